//! The bus's router where the host has it: nested under `/bus`, on a port of its own.

use std::sync::Arc;

use lucius_embedded_bus::EmbeddedBus;
use tokio::task::JoinHandle;

/// Serves until it is dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT/bus`
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts on a free port.
    pub(crate) async fn start(bus: &Arc<EmbeddedBus>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/bus", listener.local_addr().unwrap());
        let app = axum::Router::new().nest("/bus", bus.router());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
