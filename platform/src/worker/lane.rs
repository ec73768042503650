//! One lane: polls for messages and hands each to an attempt of its own.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::{Shared, attempt};
use crate::bus::Lane;

/// Serves `lane` until the worker stops and the lane's attempts have ended.
pub(super) async fn serve(shared: Arc<Shared>, lane: Lane) {
    let mut attempts = JoinSet::new();
    let mut backoff = Backoff::new(&shared.timing);
    let mut away = false;
    loop {
        while let Some(ended) = attempts.try_join_next() {
            note(ended);
        }
        let next = async {
            // The slot is taken before the message is, so a full worker leaves it to others.
            let slot = Arc::clone(&shared.in_hand).acquire_owned().await;
            (slot, shared.bus.receive(lane, shared.timing.poll).await)
        };
        let (slot, received) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            next = next => next,
        };
        let pause = match received {
            Ok(message) => {
                if away {
                    info!(%lane, "the bus answers again");
                }
                away = false;
                shared.status.note_bus(true);
                backoff.reset();
                match message {
                    None => shared.timing.poll_pause,
                    Some(delivery) => {
                        let shared = Arc::clone(&shared);
                        attempts.spawn(async move {
                            let _in_hand = shared.status.take();
                            attempt::handle(&shared, delivery).await;
                            drop(slot);
                        });
                        continue;
                    }
                }
            }
            Err(error) => {
                if !away {
                    warn!(%lane, %error, "cannot receive; trying again until the bus answers");
                }
                away = true;
                shared.status.note_bus(false);
                backoff.wait(None)
            }
        };
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    while let Some(ended) = attempts.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "an attempt ended unexpectedly; its message comes back when its lock ends");
    }
}
