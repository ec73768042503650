//! From the outbox to the bus.
//!
//! A PENDING row is published, then committed as SENT. A crash in between publishes it again, with the same message
//! id; the fence makes the second copy harmless. A commit hands the job over by a hint; a scan finds what hints
//! missed. This host never publishes one row twice at the same time. What has to wait goes out in fair order; see [`fair`].
//!
//! A callback proves that its directive was sent, and its commit says so. A service that waits for work answers within
//! milliseconds, so SENT is only committed when nothing was heard for [`Settings::sent_delay`]: most directives need
//! no commit of their own.
//!
//! [`Settings::sent_delay`]: crate::Settings::sent_delay

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use lucius_domain::contract::{CallbackUrls, Directive, Ref};
use lucius_domain::decide::Input;
use lucius_domain::id::{AttemptKey, JobId};
use lucius_domain::job::{Attempt, DueKind, Failure, Job, Phase};
use lucius_domain::routing::Lane;
use lucius_ports::bus::{self, Message};
use lucius_ports::ledger;
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument as _;

use crate::Engine;
use crate::drive::{DriveError, Driven};
use crate::outgoing::{Hold, RowKey};

mod fair;

use fair::Fair;

/// How many rows one scan of one lane takes; wide, so that it sees who waits behind a tenant that has many.
const SCAN_LIMIT: usize = 16_384;
/// With more rows than this only their names are kept, and a job is loaded again when its turn comes.
const KEPT_JOBS: usize = 256;
/// How many jobs a scan loads at once.
const LOADS_AT_ONCE: usize = 32;
/// How many rows of a scan are published at once.
const PUBLISHES_AT_ONCE: usize = 256;
/// How many lanes are scanned at once.
const SCANS_AT_ONCE: usize = 4;
/// How many hints wait for a slot in fair order; more wait in the order they came.
const WAITING_HINTS: usize = 4_096;

/// Publishes what hints bring and what scans find, until dropped.
pub(crate) async fn run(engine: &Arc<Engine>, hints: Option<mpsc::Receiver<Arc<Job>>>) {
    let by_hint = async {
        if let Some(hints) = hints {
            follow(engine, hints).await;
        }
    };
    let by_scan = async {
        loop {
            // First thing after a start: what was waiting when the host went down.
            let scans = stream::iter(engine.lanes());
            scans
                .for_each_concurrent(SCANS_AT_ONCE, |lane| async move {
                    if let Err(error) = engine.dispatch_tick(lane).await {
                        tracing::warn!(lane = lane.number(), %error, "the outbox scan failed; it runs again");
                    }
                })
                .await;
            engine
                .ports
                .clock
                .sleep(engine.settings.sweep_interval)
                .await;
        }
    };
    futures_util::future::join(by_hint, by_scan).await;
}

/// Publishes what hints bring, as many at once as there are slots; what has to wait for one waits in fair order.
async fn follow(engine: &Arc<Engine>, mut hints: mpsc::Receiver<Arc<Job>>) {
    let slots = Arc::new(Semaphore::new(engine.settings.publish_concurrency));
    let mut waiting = Fair::default();
    loop {
        tokio::select! {
            biased;
            hint = hints.recv(), if waiting.len() < WAITING_HINTS => {
                let Some(job) = hint else { return };
                let spec = Arc::clone(&job.spec);
                waiting.push(&spec.tenant_id, spec.priority, job);
            }
            slot = Arc::clone(&slots).acquire_owned(), if waiting.len() > 0 => {
                let (Ok(slot), Some(job)) = (slot, waiting.next()) else { return };
                let engine = Arc::clone(engine);
                tokio::spawn(async move {
                    let id = job.id;
                    let published = engine.publish(&job).await;
                    drop(slot);
                    if let Some(published) = published
                        && let Err(error) = engine.record(published).await
                    {
                        tracing::warn!(jobId = %id, %error, "dispatch is left to the next scan");
                    }
                });
            }
        }
    }
}

impl Engine {
    /// Publishes the rows of one lane that may be published by now, in fair order. Returns how many there were.
    ///
    /// # Errors
    /// The ledger did not answer; the next tick tries again.
    pub async fn dispatch_tick(&self, lane: Lane) -> Result<usize, ledger::Error> {
        let now = self.ports.clock.now();
        // Rows that are held stay first in the outbox; the scan has to see past them.
        let limit = SCAN_LIMIT + self.pauses.held();
        let due = self
            .ports
            .ledger
            .due(lane, &[DueKind::Dispatch], now, limit)
            .await?;
        let found = due.len();
        if found < limit {
            self.pauses.keep_held(lane, &due);
        }
        let mut waiting = Fair::default();
        let loads = due.into_iter().map(|id| self.load_waiting(id));
        let mut loaded = stream::iter(loads).buffered(LOADS_AT_ONCE);
        while let Some(job) = loaded.next().await {
            match job {
                Ok(None) => {}
                Ok(Some(job)) => {
                    let (id, spec) = (job.id, Arc::clone(&job.spec));
                    let kept = (found <= KEPT_JOBS).then_some(job);
                    waiting.push(&spec.tenant_id, spec.priority, (id, kept));
                }
                Err(error) => left(lane, &error),
            }
        }
        let publishes = waiting.map(|(id, job)| self.publish_waiting(id, job));
        let mut published = stream::iter(publishes).buffer_unordered(PUBLISHES_AT_ONCE);
        while let Some(outcome) = published.next().await {
            if let Err(error) = outcome {
                left(lane, &error);
            }
        }
        Ok(found)
    }

    /// A job that a scan found, unless it is known to be held.
    async fn load_waiting(&self, id: JobId) -> Result<Option<Arc<Job>>, ledger::Error> {
        let now = self.ports.clock.now();
        if self.pauses.is_known_to_hold(id, now).await {
            return Ok(None);
        }
        self.ports.ledger.load(id).await
    }

    /// Publishes what a scan found, and commits what the bus said.
    async fn publish_waiting(&self, id: JobId, job: Option<Arc<Job>>) -> Result<(), DriveError> {
        let job = match job {
            Some(job) => Some(job),
            None => self.ports.ledger.load(id).await?,
        };
        let Some(job) = job else { return Ok(()) };
        match self.publish(&job).await {
            Some(published) => self.record(published).await,
            None => Ok(()),
        }
    }

    /// Publishes the directive of a job's active attempt; nothing when none waits, it is paused, or
    /// somebody else is at it.
    async fn publish(&self, job: &Arc<Job>) -> Option<Published<'_>> {
        let now = self.ports.clock.now();
        let (step, attempt) = waiting(job, now)?;
        if self.pauses.holds(job, now).await {
            return None;
        }
        let key = attempt.key;
        let hold = self.outgoing.hold(RowKey {
            job: job.id,
            step,
            attempt: key.no,
        })?;
        let message = self.message(job, step, attempt);
        let span = tracing::info_span!(
            "publish",
            jobId = %job.id,
            stepId = %message.step_id,
            attempt = %key.no,
            tenant = %message.tenant_id,
            traceparent = job.spec.traceparent.as_deref(),
        );
        let outcome = self
            .ports
            .bus
            .publish(&message)
            .instrument(span.clone())
            .await;
        if let Err(error) = &outcome {
            span.in_scope(|| tracing::warn!(%error, "publish failed"));
        }
        Some(Published {
            hold,
            job: Arc::clone(job),
            step,
            key,
            outcome,
        })
    }

    /// Commits what the bus said, unless a callback has said so first.
    async fn record(&self, published: Published<'_>) -> Result<(), DriveError> {
        let Published {
            hold,
            job,
            step,
            key,
            outcome,
        } = published;
        let delay = self.settings.sent_delay;
        let mut known = Some(Arc::clone(&job));
        if outcome.is_ok() && !delay.is_zero() {
            self.ports.clock.sleep(delay).await;
            if hold.is_over() {
                return Ok(());
            }
            known = None;
        }
        let input = || match &outcome {
            Ok(()) => Input::Sent { step, key },
            Err(error) => Input::PublishFailed {
                step,
                key,
                failure: Failure::new("PUBLISH_FAILED", error.to_string()),
                retryable: matches!(error, bus::Error::Unavailable(_)),
            },
        };
        match self.drive(job.id, known, input).await? {
            // Rejected: a callback overtook the write of SENT, or the job was cancelled; both are fine.
            Driven::Changed(_) | Driven::Rejected(..) | Driven::NotFound => Ok(()),
        }
    }

    /// The message that carries the directive of an attempt.
    pub(crate) fn message(&self, job: &Job, step: usize, attempt: &Attempt) -> Message {
        let spec = &job.spec;
        let step_id = spec.steps[step].step_id.clone();
        let attempt_no = attempt.key.no;
        let directive = self.directive(job, step, attempt);
        Message {
            message_id: format!("{}:{step_id}:{attempt_no}", job.id),
            lane: spec.lane,
            routing_key: spec.routing_key.clone(),
            service: attempt.service.clone(),
            mode: spec.mode.resolved_mode,
            tenant_id: spec.tenant_id.clone(),
            job_id: job.id,
            step_id,
            attempt_no,
            // Plain data with text keys always serializes.
            body: serde_json::to_string(&directive).unwrap_or_default(),
        }
    }

    /// The directive of an attempt. It is made from the ledger each time, and so is its token.
    pub fn directive(&self, job: &Job, step: usize, attempt: &Attempt) -> Directive {
        let spec = &job.spec;
        let step_spec = &spec.steps[step];
        let AttemptKey {
            no: attempt_no,
            lease_id,
        } = attempt.key;
        let token = self
            .tokens
            .issue(&spec.tenant_id, job.id, &step_spec.step_id, attempt.key);
        Directive {
            job_id: job.id,
            tenant_id: spec.tenant_id.clone(),
            step_id: step_spec.step_id.clone(),
            protocol_id: spec.protocol_id.clone(),
            step_type: step_spec.step_type.clone(),
            attempt_no,
            lease_id,
            input_ref: spec.input_ref.clone(),
            workspace_ref: Ref::Uri(self.settings.workspace_ref.clone()),
            output_ref: spec.output_ref.clone(),
            payload: attempt
                .payload
                .clone()
                .unwrap_or_else(|| step_spec.payload.clone()),
            callback_urls: CallbackUrls::below(&self.settings.callback_base),
            callback_token: token,
            service: attempt.service.clone(),
            mode: spec.mode.resolved_mode,
            lane: spec.lane,
            routing_key_used: spec.routing_key.clone(),
            inputs: job.earlier_steps(step),
            correlation_id: spec.correlation_id.clone(),
            traceparent: spec.traceparent.clone(),
        }
    }
}

fn left(lane: Lane, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(
        lane = lane.number(),
        error,
        "dispatch is left to the next scan"
    );
}

/// The attempt that may be published by now.
fn waiting(job: &Job, now: lucius_domain::time::Timestamp) -> Option<(usize, &Attempt)> {
    if job.progress.status.is_terminal() {
        return None;
    }
    let (index, _, step) = job.current()?;
    match &step.phase {
        Phase::Dispatching {
            attempt,
            publish_at,
            ..
        } if *publish_at <= now => Some((index, attempt)),
        Phase::Dispatching { .. }
        | Phase::Pending
        | Phase::Waiting { .. }
        | Phase::AwaitingAck { .. }
        | Phase::InProgress { .. }
        | Phase::Settling { .. }
        | Phase::Succeeded
        | Phase::Skipped { .. }
        | Phase::FailedFinal
        | Phase::Cancelled => None,
    }
}

/// A directive that was brought to the bus, and what the bus said. While it lives, nobody else on this host publishes
/// that row.
struct Published<'a> {
    hold: Hold<'a>,
    job: Arc<Job>,
    step: usize,
    key: AttemptKey,
    outcome: Result<(), bus::Error>,
}
