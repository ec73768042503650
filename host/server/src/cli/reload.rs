//! What makes a running host read its registry again besides the API: SIGHUP, and a change of the folder.

use std::sync::Arc;
use std::time::Duration;

use lucius_domain::id::Digest;
use lucius_engine::Engine;
use tokio::signal::unix::Signal;

/// Reloads when it is told to, until dropped. Every reload takes the path that the API takes; what is refused is in
/// the log and in the status.
pub(super) async fn run(engine: Arc<Engine>, mut hangups: Signal, watch: Option<Duration>) {
    let mut seen = manifest(&engine).await;
    loop {
        let looked = async {
            match watch {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            received = hangups.recv() => received.is_some(),
            () = looked => false,
        };
        let now = manifest(&engine).await;
        if !asked && (now == seen || now.is_none()) {
            continue;
        }
        seen = now;
        let options = engine.settings().registry.options;
        match engine.reload(options).await {
            Ok(Ok(activated)) => {
                tracing::info!(generation = %activated.live.generation, asked, "the registry was reloaded");
            }
            Ok(Err(errors)) => {
                for error in errors {
                    tracing::error!(%error, "the registry is refused, the live generation stays");
                }
            }
            Err(error) => tracing::error!(%error, "the registry was not reloaded"),
        }
    }
}

/// The manifest as it is now; nothing while it cannot be read, as in the middle of being replaced.
async fn manifest(engine: &Engine) -> Option<Digest> {
    let text = engine.ports().source.manifest().await.ok()?;
    Some(Digest::of(text.as_bytes()))
}
