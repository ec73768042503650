//! Jobs for tests, and the moves that drive them: each move is what a plugin, a worker or a clock would do.
//!
//! [`Play`] commits moves and checks after each commit that the ledger tells one story: the job loads as committed,
//! its events have no gaps and fold into it, and it is due exactly when and for what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lucius_domain::contract::Ref;
use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::{Event, IgnoreReason, Recorded};
use lucius_domain::evolve::evolve;
use lucius_domain::id::{AttemptNo, Digest, Generation, JobId, LeaseId, PluginVersion};
use lucius_domain::job::{DueKind, Failure, Job, JobSpec, StepSpec};
use lucius_domain::plugin::{Decision, Dispatch, Function, Pin, Report, Route, Settle};
use lucius_domain::retry::Timing;
use lucius_domain::routing::{DecisionSource, Lane, Mode, ModeDecision};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::{Change, Question, Transition};
use serde_json::json;
use uuid::Uuid;

use crate::ledger::{Committed, Counts, Created, Idempotency, Ledger};

/// When the first job of a case is accepted.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// Every reason to be due.
pub const KINDS: [DueKind; 4] = [
    DueKind::Dispatch,
    DueKind::Ack,
    DueKind::Lease,
    DueKind::Decision,
];

/// The lane with this number, modulo 16.
pub fn lane(number: u64) -> Lane {
    let number = u8::try_from(number % 16).expect("a remainder of 16 fits");
    Lane::new(number).expect("there are 16 lanes")
}

/// A job to be created.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose it is.
    pub tenant: String,
    /// What is asked for.
    pub request_type: String,
    /// How it is routed.
    pub mode: Mode,
    /// Its lane.
    pub lane: Lane,
    /// How many steps it has.
    pub steps: usize,
    /// When it is accepted.
    pub created_at: Timestamp,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            tenant: "acme".to_owned(),
            request_type: "OCR->EMBEDDING->SIS".to_owned(),
            mode: Mode::Default,
            lane: lane(3),
            steps: 3,
            created_at: START,
        }
    }
}

impl Draft {
    /// The spec, with something in every optional place.
    pub fn spec(&self) -> Arc<JobSpec> {
        let full = json!({
            "uri": "s3://in/Größe 1.pdf", "checksum": "sha256:00", "size_bytes": u64::MAX,
            "metadata": { "pages": 3, "ratio": 0.1, "none": null }, "x-own": [1, "zwei"],
        });
        Arc::new(JobSpec {
            tenant_id: self.tenant.as_str().into(),
            request_type: self.request_type.as_str().into(),
            protocol_id: "ocr-embedding-sis.v1".into(),
            generation: Generation(7),
            doc_id: Some("doc \"1\"\n".to_owned()),
            mode: ModeDecision {
                resolved_mode: self.mode,
                decision_source: DecisionSource::Request,
                decision_reason: "the command asks for it".to_owned(),
            },
            routing_key: self.tenant.to_lowercase(),
            lane: self.lane,
            priority: 5,
            input_ref: serde_json::from_value(full).expect("a full reference is a reference"),
            output_ref: Ref::Uri("file:///out/".to_owned()),
            correlation_id: Some("group-1".to_owned()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            created_at: self.created_at,
            steps: (0..self.steps).map(step_spec).collect(),
        })
    }

    /// A key that belongs to this job alone.
    pub fn key(&self, id: JobId) -> Idempotency {
        Idempotency::key_of(None, Digest::of(id.0.as_bytes()))
    }
}

fn step_spec(index: usize) -> StepSpec {
    let name = ["ocr", "embedding", "sis"][index % 3];
    StepSpec {
        step_id: format!("{name}-{index}").as_str().into(),
        step_type: name.to_uppercase().as_str().into(),
        service: format!("platform-{name}").as_str().into(),
        plugin: (index != 1).then(pin),
        payload: json!({ "page_range": "1-3", "temperature": 0.7, "max": 9_007_199_254_740_993_u64 }),
        timing: Timing::default(),
    }
}

fn pin() -> Pin {
    let version = PluginVersion::from("1.0.0");
    Pin {
        id: "ocr".into(),
        version,
        digest: Digest::of(b"component"),
    }
}

/// One thing that a plugin, the bus, a worker, a clock or a person does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The plugin sends the step that is due to its service.
    Dispatch,
    /// The plugin says that the step is not needed.
    Skip,
    /// The plugin says that the step cannot be run.
    RejectRoute,
    /// The plugin cannot say where the step goes.
    RouteFault,
    /// The bus takes the directive.
    Sent,
    /// The bus does not take the directive this time.
    PublishFails,
    /// The bus will never take the directive.
    PublishRefused,
    /// The worker has the directive.
    Ack,
    /// The worker is still at it.
    Heartbeat,
    /// The worker reports success; the plugin has yet to say what it means.
    Report,
    /// The worker reports success and the plugin accepts.
    Succeed,
    /// As [`Move::Succeed`], and the next step is dispatched in the same commit.
    SucceedAndDispatch,
    /// The worker reports a failure that another attempt may mend.
    Fail,
    /// The worker reports a failure for good.
    FailFinally,
    /// The plugin cannot say what the report means.
    SettleFault,
    /// The wait for the ACK may be over.
    AckOverdue,
    /// The lease may be over.
    LeaseOverdue,
    /// Someone cancels.
    Cancel,
    /// Someone redrives.
    Redrive,
    /// A callback that does not count is noted.
    Note,
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 20] = [
        Self::Dispatch,
        Self::Skip,
        Self::RejectRoute,
        Self::RouteFault,
        Self::Sent,
        Self::PublishFails,
        Self::PublishRefused,
        Self::Ack,
        Self::Heartbeat,
        Self::Report,
        Self::Succeed,
        Self::SucceedAndDispatch,
        Self::Fail,
        Self::FailFinally,
        Self::SettleFault,
        Self::AckOverdue,
        Self::LeaseOverdue,
        Self::Cancel,
        Self::Redrive,
        Self::Note,
    ];

    /// Makes the move.
    ///
    /// # Errors
    /// The rejection, when the job does not stand so that the move is possible.
    pub fn apply(self, to: &mut Transition, lease: LeaseId) -> Result<(), Rejection> {
        match self {
            Self::Dispatch => dispatch(to, lease),
            Self::Skip => route(
                to,
                lease,
                Ok(Route::Skip {
                    reason: "nothing to do".to_owned(),
                }),
            ),
            Self::RejectRoute => route(
                to,
                lease,
                Ok(Route::Fail {
                    failure: failure("NO_ROUTE"),
                }),
            ),
            Self::RouteFault => route(to, lease, Err(failure("PLUGIN_TRAP"))),
            Self::Sent => {
                let (step, key) = active(to)?;
                to.apply(Input::Sent { step, key })
            }
            Self::PublishFails => publish_failed(to, true),
            Self::PublishRefused => publish_failed(to, false),
            Self::Ack => {
                let (step, key) = active(to)?;
                to.apply(Input::Ack { step, key })
            }
            Self::Heartbeat => {
                let (step, key) = active(to)?;
                let progress =
                    serde_json::from_value(json!({ "percent": 50, "message": "½" })).ok();
                to.apply(Input::Heartbeat {
                    step,
                    key,
                    progress,
                })
            }
            Self::Report => report(to, success()),
            Self::Succeed => {
                report(to, success())?;
                settle(to, Ok(Settle::Accept))
            }
            Self::SucceedAndDispatch => {
                Self::Succeed.apply(to, lease)?;
                if matches!(to.question(), Some(Question::Route { .. })) {
                    dispatch(to, lease)?;
                }
                Ok(())
            }
            Self::Fail => {
                report(to, failed(true))?;
                settle(to, Ok(Settle::by_default(&failed(true))))
            }
            Self::FailFinally => {
                report(to, failed(false))?;
                settle(to, Ok(Settle::by_default(&failed(false))))
            }
            Self::SettleFault => settle(to, Err(failure("PLUGIN_TRAP"))),
            Self::AckOverdue => to.apply(Input::AckOverdue),
            Self::LeaseOverdue => to.apply(Input::LeaseOverdue),
            Self::Cancel => to.apply(Input::Cancel),
            Self::Redrive => to.apply(Input::Redrive),
            Self::Note => to.apply(Input::Note { event: note() }),
        }
    }
}

fn active(of: &Transition) -> Result<(usize, lucius_domain::id::AttemptKey), Rejection> {
    of.job()
        .active_attempt()
        .map(|(step, attempt)| (step, attempt.key))
        .ok_or(Rejection::NotWaiting)
}

fn dispatch(to: &mut Transition, lease: LeaseId) -> Result<(), Rejection> {
    let (_, spec, _) = to.job().current().ok_or(Rejection::NotWaiting)?;
    let dispatch = Dispatch {
        service: spec.service.clone(),
        payload: Some(json!({ "page_range": "1-3", "chosen": 1.5 })),
        ack_ms: Some(1_000),
        lease_ms: Some(60_000),
    };
    route(to, lease, Ok(Route::Dispatch(dispatch)))
}

fn route(
    to: &mut Transition,
    lease_id: LeaseId,
    outcome: Result<Route, Failure>,
) -> Result<(), Rejection> {
    let decision = outcome.is_ok().then(|| decision(Function::Route));
    to.apply(Input::Route {
        lease_id,
        decision,
        outcome,
    })
}

fn settle(to: &mut Transition, outcome: Result<Settle, Failure>) -> Result<(), Rejection> {
    if to.job().progress.status.is_terminal() {
        return Ok(()); // a cancelled job asks nobody what its last RESULT means
    }
    let decision = outcome.is_ok().then(|| decision(Function::Settle));
    to.apply(Input::Settle { decision, outcome })
}

fn report(to: &mut Transition, report: Report) -> Result<(), Rejection> {
    let (step, key) = active(to)?;
    to.apply(Input::Result {
        step,
        key,
        report,
        digest: Digest::of(b"a RESULT"),
    })
}

fn publish_failed(to: &mut Transition, retryable: bool) -> Result<(), Rejection> {
    let (step, key) = active(to)?;
    to.apply(Input::PublishFailed {
        step,
        key,
        failure: failure("BUS_DOWN"),
        retryable,
    })
}

fn success() -> Report {
    let artifact = json!({ "uri": "file:///out/text.json", "metadata": { "score": 0.25 } });
    let artifact: Ref = serde_json::from_value(artifact).expect("a full reference is a reference");
    let output_ref = Some(Ref::Uri("file:///out/text.txt".to_owned()));
    Report::Succeeded {
        artifact_refs: vec![artifact],
        output_ref,
    }
}

fn failed(retryable: bool) -> Report {
    Report::Failed {
        retryable,
        failure: failure("MODEL_OVERLOADED"),
        details: json!({ "queue": 12 }),
    }
}

fn failure(code: &str) -> Failure {
    Failure::new(code, "it did not work: try \"later\"")
}

fn note() -> Event {
    Event::CallbackIgnored {
        step: 0,
        attempt_no: AttemptNo(1),
        callback: lucius_domain::contract::CallbackKind::Ack,
        reason: IgnoreReason::Stale,
    }
}

/// A plugin's decision, with something in every place.
pub fn decision(function: Function) -> Decision {
    Decision {
        function,
        plugin: pin(),
        input_digest: Digest::of(b"input"),
        input: Some(json!({ "raw": [1, 2.5, null] })),
        output: json!({ "ok": true }),
        fuel: 12_345,
    }
}

/// A job id whose order is that of `at` and then of `serial`.
pub fn job_id(at: Timestamp, serial: u64) -> JobId {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&serial.to_be_bytes());
    let millis = u64::try_from(at.0).unwrap_or(0);
    JobId(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
}

/// A new job, accepted; nothing is decided yet.
pub fn accepted(id: JobId, draft: &Draft) -> Change {
    Transition::create(id, draft.spec(), Vec::new())
        .finish()
        .expect("accepting is an event")
}

/// The change that some moves make.
///
/// # Errors
/// The rejection of the first move that is not possible.
pub fn change(job: &Job, now: Timestamp, moves: &[Move], lease: u128) -> Result<Change, Rejection> {
    let mut transition = Transition::of(job, now);
    for step in moves {
        step.apply(&mut transition, LeaseId(Uuid::from_u128(lease)))?;
    }
    transition.finish().ok_or(Rejection::NotWaiting)
}

/// The job that a spec and its events make.
pub fn replay(stored: &Job, events: &[Recorded]) -> Job {
    let mut job = Job::new(stored.id, Arc::clone(&stored.spec));
    for recorded in events {
        evolve(&mut job, recorded);
    }
    job.progress.version = stored.progress.version; // events do not say where a commit ended
    job
}

/// A ledger under test, and what is needed to play on it.
pub struct Play {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    serial: AtomicU64,
}

impl Play {
    /// Plays on a ledger.
    pub fn on(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            serial: AtomicU64::new(1),
        }
    }

    fn next(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// An id for a job that is accepted at this moment, later than all before it.
    pub fn id(&self, at: Timestamp) -> JobId {
        job_id(at, self.next())
    }

    /// Creates a job.
    pub async fn create(&self, draft: &Draft) -> Arc<Job> {
        let id = self.id(draft.created_at);
        let created = self.ledger.create(accepted(id, draft), draft.key(id)).await;
        assert_eq!(created.expect("the ledger works"), Created::New);
        self.check(id).await
    }

    /// Makes some moves in one commit.
    pub async fn play(&self, id: JobId, now: Timestamp, moves: &[Move]) -> Arc<Job> {
        let job = self.load(id).await;
        let change = change(&job, now, moves, u128::from(self.next()))
            .unwrap_or_else(|rejection| panic!("{moves:?} on {:?}: {rejection}", job.progress));
        let expected = Arc::clone(&change.job);
        let committed = self.ledger.commit(change).await.expect("the ledger works");
        assert_eq!(committed, Committed::Done, "{moves:?}");
        let stored = self.check(id).await;
        assert_eq!(*stored, *expected, "the job loads as it was committed");
        stored
    }

    /// The job.
    pub async fn load(&self, id: JobId) -> Arc<Job> {
        self.ledger
            .load(id)
            .await
            .expect("the ledger works")
            .expect("the job is there")
    }

    /// What is due in a lane.
    pub async fn due(&self, lane: Lane, kinds: &[DueKind], now: Timestamp) -> Vec<JobId> {
        self.ledger
            .due(lane, kinds, now, usize::MAX)
            .await
            .expect("the ledger works")
    }

    /// The counts, without the zeros that a ledger may leave out.
    pub async fn counts(&self) -> Counts {
        let mut counts = self.ledger.counts().await.expect("the ledger works");
        counts.in_flight.retain(|_, count| *count > 0);
        counts.outbox_pending.retain(|_, count| *count > 0);
        counts
    }

    /// How many directives wait to be published, in all lanes.
    pub async fn outbox_pending(&self) -> u64 {
        self.counts().await.outbox_pending.values().sum()
    }

    /// Checks that job, events, due times and outbox tell one story, and returns the job.
    pub async fn check(&self, id: JobId) -> Arc<Job> {
        let job = self.load(id).await;
        let events = self
            .ledger
            .events(id, 0, usize::MAX)
            .await
            .expect("the ledger works");
        for (index, recorded) in events.iter().enumerate() {
            assert_eq!(
                usize::try_from(recorded.seq).ok(),
                Some(index + 1),
                "a gap in {id}"
            );
        }
        assert_eq!(
            replay(&job, &events),
            *job,
            "the events of {id} make another job"
        );
        let lane = job.spec.lane;
        let end = Timestamp(i64::MAX);
        for kind in KINDS {
            match job.due() {
                Some((due, at)) if due == kind => {
                    assert!(
                        self.due(lane, &[kind], at).await.contains(&id),
                        "{kind:?} at {at}"
                    );
                    let before = Timestamp(at.0 - 1);
                    assert!(
                        !self.due(lane, &[kind], before).await.contains(&id),
                        "{kind:?} early"
                    );
                }
                Some(_) | None => {
                    assert!(
                        !self.due(lane, &[kind], end).await.contains(&id),
                        "not {kind:?}"
                    );
                }
            }
        }
        job
    }
}
