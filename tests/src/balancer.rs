//! One address before several hosts, as a load balancer is: it takes each connection to the next host that it is told
//! is well, and cuts those to a host that is well no more.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::host::Host;

/// A host that is well, by its address, and what ends the connections to it.
#[derive(Debug)]
struct Way {
    address: String,
    cut: CancellationToken,
}

/// A running balancer; it ends when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: String,
    ways: Arc<Mutex<Vec<Way>>>,
    task: JoinHandle<()>,
}

impl Balancer {
    /// A balancer without any host.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port: {error}"));
        let address = listener.local_addr();
        let address = address.map_or_else(|error| panic!("{error}"), |address| address.to_string());
        let ways: Arc<Mutex<Vec<Way>>> = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&ways)));
        Self {
            address,
            ways,
            task,
        }
    }

    /// The base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A host is well.
    pub fn add(&self, host: &Host) {
        let address = host.url().trim_start_matches("http://").to_owned();
        let cut = CancellationToken::new();
        lock(&self.ways).push(Way { address, cut });
    }

    /// A host is not well any more.
    pub fn remove(&self, host: &Host) {
        let is_it = |way: &mut Way| host.url().ends_with(&way.address);
        for way in lock(&self.ways).extract_if(.., is_it) {
            way.cut.cancel();
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(ways: &Mutex<Vec<Way>>) -> std::sync::MutexGuard<'_, Vec<Way>> {
    ways.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, ways: Arc<Mutex<Vec<Way>>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let next = {
            let mut ways = lock(&ways);
            if !ways.is_empty() {
                ways.rotate_left(1);
            }
            ways.first()
                .map(|way| (way.address.clone(), way.cut.clone()))
        };
        let Some((address, cut)) = next else {
            continue; // there is none, and the connection ends
        };
        connections.spawn(async move {
            let forward = async {
                let mut host = TcpStream::connect(&address).await?;
                copy_bidirectional(&mut stream, &mut host).await
            };
            // However it ends, both sides see the end of their connection.
            tokio::select! {
                () = cut.cancelled() => {}
                _ = forward => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
