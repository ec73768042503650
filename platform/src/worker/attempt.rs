//! One attempt, from its message to the message's settlement.

use std::sync::Arc;

use tracing::{Instrument, error, info, info_span, warn};

use super::held::Held;
use super::report::{self, Reported, Wanted};
use super::{Shared, heartbeat, work};
use crate::bus::Delivery;
use crate::contract::{self, AttemptResult, Directive};
use crate::service::Progress;

/// What becomes of a message.
enum Settlement {
    /// Nobody needs it any more.
    Complete,
    /// Somebody must look at it again.
    Abandon,
}

/// Sees one message through.
pub(super) async fn handle(shared: &Arc<Shared>, delivery: Delivery) {
    let directive = match Directive::parse(&delivery.body) {
        Ok(directive) => Arc::new(directive),
        Err(error) => return refuse(shared, delivery, error).await,
    };
    let span = info_span!(
        "attempt",
        jobId = directive.job_id,
        stepId = directive.step_id,
        attempt = directive.attempt_no,
        tenant = directive.tenant_id,
        traceparent = directive.traceparent
    );
    async {
        let Some(held) = Held::take(shared, directive.attempt(), delivery) else {
            info!("delivered again while in hand; keeping the newer lock");
            return;
        };
        match settle(shared, &directive).await {
            Settlement::Complete => held.complete().await,
            Settlement::Abandon => held.abandon().await,
        }
    }
    .instrument(span)
    .await;
}

/// Gives back what is no directive: each delivery counts, and after the last one the bus puts the
/// message aside for a person to look at.
async fn refuse(shared: &Shared, delivery: Delivery, error: contract::Invalid) {
    let message_id = delivery.message_id.as_deref().unwrap_or("unknown");
    let count = delivery.delivery_count;
    warn!(
        message_id,
        delivery_count = count,
        %error,
        "leaving a message to the dead-letter queue; look at it there"
    );
    if let Err(error) = shared.bus.abandon(&delivery).await {
        warn!(%error, "cannot give the message back; it returns when its lock ends");
    }
}

async fn settle(shared: &Arc<Shared>, directive: &Arc<Directive>) -> Settlement {
    let finished = match shared.record.find(&directive.attempt()).await {
        Ok(finished) => finished,
        // Working without a look at the record might repeat finished work.
        Err(error) => return unrecorded(&error),
    };
    let result = match finished {
        Some(result) => {
            info!("finished before; sending its RESULT again");
            result
        }
        None => match accept_and_work(shared, directive).await {
            Ok(result) => result,
            Err(settlement) => return settlement,
        },
    };
    tokio::select! {
        reported = report::result(shared, directive, &result) => match reported {
            Ok(Reported::Decided) => Settlement::Complete,
            Ok(Reported::Refused) => Settlement::Abandon,
            Err(error) => unrecorded(&error),
        },
        () = shared.give_back.cancelled() => {
            warn!("stopping before the host took the RESULT; the next delivery sends it again");
            Settlement::Abandon
        }
    }
}

/// ACKs, works and remembers; or says what becomes of the message when there is no RESULT.
async fn accept_and_work(
    shared: &Arc<Shared>,
    directive: &Arc<Directive>,
) -> Result<AttemptResult, Settlement> {
    let wanted = tokio::select! {
        wanted = report::ack(shared, directive) => wanted,
        () = shared.stop.cancelled() => Wanted::Unclear,
    };
    match wanted {
        Wanted::Yes => {}
        Wanted::No => return Err(Settlement::Complete),
        Wanted::Unclear => return Err(Settlement::Abandon),
    }
    let (progress, reports) = Progress::new();
    tokio::select! {
        worked = work_in_turn(shared, directive, progress) => worked,
        () = heartbeat::until_unwanted(shared, directive, reports) => Err(Settlement::Complete),
        () = shared.give_back.cancelled() => {
            warn!("stopping before the work was done; giving the message back");
            Err(Settlement::Abandon)
        }
    }
}

async fn work_in_turn(
    shared: &Arc<Shared>,
    directive: &Arc<Directive>,
    progress: Progress,
) -> Result<AttemptResult, Settlement> {
    let slot = match shared.working.try_acquire() {
        Ok(slot) => Ok(slot),
        Err(_) => {
            progress.report(0, "waiting for a free slot");
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => return Err(Settlement::Abandon),
                slot = shared.working.acquire() => slot,
            }
        }
    };
    // The semaphore is never closed; were it, no work could be done here.
    let Ok(_slot) = slot else {
        return Err(Settlement::Abandon);
    };
    let result = work::perform(shared, directive, progress).await;
    match shared.record.remember(&result).await {
        Ok(()) => Ok(result),
        // Sent without a record, a RESULT whose answer is lost would be worked for again. Given
        // back, the attempt is done again in the same folder, by a worker that can remember.
        Err(error) => Err(unrecorded(&error)),
    }
}

fn unrecorded(error: &dyn std::fmt::Display) -> Settlement {
    error!(%error, "cannot use the record of finished attempts; check what keeps it: the data directory's disk, or the tables");
    Settlement::Abandon
}
