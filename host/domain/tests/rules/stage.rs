//! A job on a stage: inputs go in, and each commit that comes out is checked.

use std::sync::Arc;

use lucius_domain::contract::{Progress, Ref};
use lucius_domain::decide::{Input, Rejection};
use lucius_domain::event::{Event, IgnoreReason};
use lucius_domain::id::{AttemptKey, AttemptNo, Digest, Generation, JobId, LeaseId};
use lucius_domain::job::{Failure, Job, JobSpec, Phase, StepSpec};
use lucius_domain::plugin::{Dispatch, Pin, Report, Route, Settle};
use lucius_domain::retry::Timing;
use lucius_domain::routing::{DecisionSource, Lane, Mode, ModeDecision};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Transition;
use serde_json::json;
use uuid::Uuid;

use crate::invariants::History;

/// When jobs are accepted.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

/// The RESULTs that the tests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// SUCCEEDED, with one artifact.
    Done,
    /// FAILED, RETRYABLE.
    TryAgain,
    /// FAILED, NON_RETRYABLE.
    GiveUp,
}

impl Says {
    pub(crate) fn report(self) -> Report {
        let failed = |retryable, code| Report::Failed {
            retryable,
            failure: Failure::new(code, "the worker says so"),
            details: json!({ "page": 3, "ratio": 0.1 }),
        };
        match self {
            Self::Done => Report::Succeeded {
                artifact_refs: vec![Ref::Uri("file:///workspace/text.json".to_owned())],
                output_ref: Some(Ref::Uri("file:///out/text.json".to_owned())),
            },
            Self::TryAgain => failed(true, "BUSY"),
            Self::GiveUp => failed(false, "UNREADABLE"),
        }
    }

    fn digest(self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }
}

/// One job, the time, and all that happened so far.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) job: Job,
    pub(crate) now: Timestamp,
    pub(crate) history: History,
    /// The keys of all attempts so far, in order.
    pub(crate) keys: Vec<(usize, AttemptKey)>,
    leases: u128,
}

impl Play {
    /// A job with so many steps and the default timing, just accepted; its first step's turn has come.
    pub(crate) fn new(steps: usize) -> Self {
        Self::with_timing(steps, &Timing::default())
    }

    pub(crate) fn with_timing(steps: usize, timing: &Timing) -> Self {
        let spec = Arc::new(spec(steps, timing));
        let id = JobId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
        let change = Transition::create(id, Arc::clone(&spec), Vec::new())
            .finish()
            .expect("a job that is created has its first event");
        let before = Job::new(id, spec);
        let mut history = History::default();
        history.commit(&before, &change);
        let job = Job::clone(&change.job);
        let (keys, leases) = (Vec::new(), 0);
        Self {
            job,
            now: START,
            history,
            keys,
            leases,
        }
    }

    /// Several inputs in one commit. When one is rejected nothing is committed.
    pub(crate) fn try_together(&mut self, inputs: Vec<Input>) -> Result<Vec<Event>, Rejection> {
        let mut transition = Transition::of(&self.job, self.now);
        for input in inputs {
            transition.apply(input)?;
        }
        let change = transition
            .finish()
            .expect("an input that is not rejected has events");
        self.history.commit(&self.job, &change);
        self.job = Job::clone(&change.job);
        let events: Vec<Event> = change.events.iter().map(|it| it.event.clone()).collect();
        for event in &events {
            if let Event::AttemptCreated { step, attempt } = event {
                self.keys.push((*step, attempt.key));
            }
        }
        Ok(events)
    }

    pub(crate) fn try_bring(&mut self, input: Input) -> Result<Vec<Event>, Rejection> {
        self.try_together(vec![input])
    }

    /// Brings inputs that are legal, in one commit; the names of what happens.
    pub(crate) fn together(&mut self, inputs: Vec<Input>) -> Vec<&'static str> {
        let shown = format!("{inputs:?}");
        match self.try_together(inputs) {
            Ok(events) => events.iter().map(Event::name).collect(),
            Err(rejection) => panic!("{rejection} at {:?}: {shown}", self.phase()),
        }
    }

    pub(crate) fn bring(&mut self, input: Input) -> Vec<&'static str> {
        self.together(vec![input])
    }

    /// Brings an input that is not legal; why not. The job stays as it is.
    pub(crate) fn refused(&mut self, input: Input) -> Rejection {
        let before = self.job.clone();
        let rejection = self
            .try_bring(input)
            .expect_err("the rules should reject this");
        assert_eq!(self.job, before);
        rejection
    }

    pub(crate) fn later(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus_ms(ms);
        self
    }

    /// Lets the job's due time come.
    pub(crate) fn until_due(&mut self) -> &mut Self {
        let (_, at) = self
            .job
            .due()
            .expect("a job that is not over has a due time");
        self.now = self.now.max(at);
        self
    }

    /// How long it is until the job's due time.
    pub(crate) fn wait_ms(&self) -> u128 {
        let (_, at) = self
            .job
            .due()
            .expect("a job that is not over has a due time");
        self.now.until(at).as_millis()
    }

    pub(crate) fn step(&self) -> usize {
        self.job.progress.current
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.job.progress.steps[self.step().min(self.job.spec.steps.len() - 1)].phase
    }

    pub(crate) fn state(&self) -> &'static str {
        self.job.progress.status.name()
    }

    pub(crate) fn step_states(&self) -> Vec<&'static str> {
        self.job
            .progress
            .steps
            .iter()
            .map(|step| step.state_name())
            .collect()
    }

    /// The key of the latest attempt; one that never was when there is none.
    pub(crate) fn key(&self) -> AttemptKey {
        self.keys.last().map_or(forged(), |(_, key)| *key)
    }

    /// A lease that no attempt had before.
    pub(crate) fn lease(&mut self) -> LeaseId {
        self.leases += 1;
        LeaseId(Uuid::from_u128(self.leases))
    }

    pub(crate) fn route(&mut self, outcome: Result<Route, Failure>) -> Input {
        let lease_id = self.lease();
        Input::Route {
            lease_id,
            decision: None,
            outcome,
        }
    }

    /// The plugin sends the step where the protocol says.
    pub(crate) fn routed(&mut self) -> Input {
        let service = self.job.spec.steps[self.step()].service.clone();
        self.route(Ok(Route::Dispatch(Dispatch {
            service,
            payload: None,
            ack_ms: None,
            lease_ms: None,
        })))
    }

    pub(crate) fn sent(&self) -> Input {
        let (step, key) = (self.step(), self.key());
        Input::Sent { step, key }
    }

    pub(crate) fn publish_failed(&self, retryable: bool) -> Input {
        let failure = Failure::new("PUBLISH_FAILED", "the bus is down");
        let (step, key) = (self.step(), self.key());
        Input::PublishFailed {
            step,
            key,
            failure,
            retryable,
        }
    }

    pub(crate) fn ack(&self) -> Input {
        let (step, key) = (self.step(), self.key());
        Input::Ack { step, key }
    }

    pub(crate) fn beat(&self) -> Input {
        self.beat_of(self.key())
    }

    pub(crate) fn beat_of(&self, key: AttemptKey) -> Input {
        let step = self.step();
        let progress = Some(Progress {
            percent: Some(12.5),
            message: None,
        });
        Input::Heartbeat {
            step,
            key,
            progress,
        }
    }

    pub(crate) fn result(&self, says: Says) -> Input {
        result_of(self.step(), self.key(), says)
    }

    /// What plugins say when they leave it to the worker.
    pub(crate) fn settled(&self) -> Input {
        let Phase::Settling { report, .. } = self.phase() else {
            panic!("nothing to settle at {:?}", self.phase())
        };
        settle(Ok(Settle::by_default(report)))
    }

    /// The current attempt is routed and published, and the service has acknowledged it.
    pub(crate) fn begin_work(&mut self) {
        let route = self.routed();
        self.bring(route);
        self.bring(self.sent());
        self.bring(self.ack());
    }

    /// A RESULT and what follows from it by default, in one commit.
    pub(crate) fn end_work(&mut self, says: Says) -> Vec<&'static str> {
        let settle = settle(Ok(Settle::by_default(&says.report())));
        self.together(vec![self.result(says), settle])
    }
}

pub(crate) fn result_of(step: usize, key: AttemptKey, says: Says) -> Input {
    Input::Result {
        step,
        key,
        report: says.report(),
        digest: says.digest(),
    }
}

pub(crate) fn settle(outcome: Result<Settle, Failure>) -> Input {
    Input::Settle {
        decision: None,
        outcome,
    }
}

pub(crate) fn skip() -> Result<Route, Failure> {
    let reason = "the text is empty".to_owned();
    Ok(Route::Skip { reason })
}

pub(crate) fn fault() -> Failure {
    Failure::new("PLUGIN_FAULT", "plugin ocr@1.0.0 trapped: unreachable")
}

pub(crate) fn failure() -> Failure {
    Failure::new("WRONG_LANGUAGE", "no model speaks it")
}

pub(crate) fn note(reason: IgnoreReason) -> Input {
    let event = Event::CallbackIgnored {
        step: 0,
        attempt_no: AttemptNo(1),
        callback: lucius_domain::contract::CallbackKind::Ack,
        reason,
    };
    Input::Note { event }
}

/// To a generation whose plugins have the generation's number as their version.
pub(crate) fn migrate(generation: u64) -> Input {
    let plugin = Some(Pin {
        id: "ocr".into(),
        version: generation.to_string().as_str().into(),
        digest: Digest::of(&generation.to_le_bytes()),
    });
    Input::Migrate {
        generation: Generation(generation),
        plugins: vec![plugin],
    }
}

/// The key of an attempt that never was.
pub(crate) fn forged() -> AttemptKey {
    let (no, lease_id) = (AttemptNo(1), LeaseId(Uuid::from_u128(0xbad)));
    AttemptKey { no, lease_id }
}

fn spec(steps: usize, timing: &Timing) -> JobSpec {
    let names = ["ocr", "embedding", "sis"];
    let steps = names.iter().take(steps).map(|name| StepSpec {
        step_id: (*name).into(),
        step_type: name.to_uppercase().as_str().into(),
        service: format!("platform-{name}").as_str().into(),
        plugin: None,
        payload: json!({ "page_range": "1-3", "temperature": 0.7 }),
        timing: timing.clone(),
    });
    JobSpec {
        tenant_id: "acme".into(),
        request_type: "OCR->EMBEDDING->SIS".into(),
        protocol_id: "ocr-embedding-sis.v1".into(),
        generation: Generation(1),
        doc_id: Some("doc 1".to_owned()),
        mode: ModeDecision {
            resolved_mode: Mode::Default,
            decision_source: DecisionSource::Request,
            decision_reason: "the command asks for DEFAULT".to_owned(),
        },
        routing_key: "acme".to_owned(),
        lane: Lane::of("acme"),
        priority: 5,
        input_ref: serde_json::from_value(json!({ "uri": "s3://in/a.pdf", "size_bytes": 7 }))
            .expect("a full reference"),
        output_ref: Ref::Uri("file:///out/".to_owned()),
        correlation_id: None,
        traceparent: None,
        created_at: START,
        steps: steps.collect(),
    }
}
