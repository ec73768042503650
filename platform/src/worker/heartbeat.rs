//! Keeps an attempt's lease alive and brings its progress to the host.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::Shared;
use crate::callback::Answer;
use crate::clock;
use crate::contract::{Directive, Envelope, Heartbeat, ProgressReport};

/// Sends heartbeats until the host says that this attempt is no longer wanted, then returns.
pub(super) async fn until_unwanted(
    shared: &Shared,
    directive: &Directive,
    mut progress: watch::Receiver<Option<ProgressReport>>,
) {
    let timing = &shared.timing;
    let mut last = Instant::now();
    let mut due = last + timing.heartbeat;
    let mut reports_come = true;
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            changed = progress.changed(), if reports_come => {
                reports_come = changed.is_ok();
                if reports_come {
                    due = due.min(last + timing.progress);
                }
                continue;
            }
        }
        let heartbeat = Heartbeat {
            envelope: Envelope::of(directive, clock::timestamp()),
            progress: progress.borrow_and_update().clone(),
        };
        let url = &directive.callback_urls.heartbeat;
        let token = directive.callback_token.as_ref();
        match shared.callbacks.post(url, token, &heartbeat).await {
            Ok(Answer::Applied) => {}
            Ok(Answer::JobOver) => {
                info!("the job is over; dropping the work");
                return;
            }
            Ok(Answer::Superseded { code }) => {
                info!(code, "another attempt is current; dropping the work");
                return;
            }
            Ok(Answer::Rejected { status, detail } | Answer::Unreadable { status, detail }) => {
                warn!(%status, detail, "the host refuses heartbeats; going on until the lease ends");
            }
            Err(error) => debug!(%error, "heartbeat not taken; trying again at the next one"),
        }
        last = Instant::now();
        due = last + timing.heartbeat;
    }
}
