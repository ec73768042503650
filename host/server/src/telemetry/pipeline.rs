//! Counting what jobs go through, from the events of each commit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lucius_domain::event::{Event, Recorded};
use lucius_domain::id::{AttemptNo, JobId};
use lucius_domain::job::{Failure, Job};
use lucius_domain::time::Timestamp;
use lucius_domain::transition::Change;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds for what takes as long as work takes, in seconds.
const WORK: [f64; 12] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
];
/// Upper bounds for what should be quick, in seconds.
const QUICK: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// How many jobs are timed at once; more than any host has in flight.
const MOST_TIMED: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    step_type: String,
    cause: &'static str,
}

type Durations = Family<StepLabels, Histogram, fn() -> Histogram>;

/// A histogram of quick things.
pub(super) fn quick() -> Histogram {
    Histogram::new(QUICK)
}

fn work() -> Histogram {
    Histogram::new(WORK)
}

/// What jobs go through on this host.
pub struct Pipeline {
    ended: Family<StateLabels, Counter>,
    attempts: Family<StepLabels, Counter>,
    retries: Family<CauseLabels, Counter>,
    failed: Family<CauseLabels, Counter>,
    redriven: Counter,
    step_duration: Durations,
    dispatch_lag: Histogram,
    timed: Mutex<HashMap<JobId, Timed>>,
}

/// When what a job does now began.
#[derive(Clone, Copy, Debug)]
struct Timed {
    step: Timestamp,
    attempt: Timestamp,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            attempts: Family::default(),
            retries: Family::default(),
            failed: Family::default(),
            redriven: Counter::default(),
            step_duration: Family::new_with_constructor(work),
            dispatch_lag: quick(),
            timed: Mutex::default(),
        }
    }
}

impl Pipeline {
    /// Adds the metrics to those of the host.
    pub fn register(&self, to: &mut Registry) {
        to.register(
            "jobs_ended",
            "Jobs that ended, by state",
            self.ended.clone(),
        );
        to.register(
            "attempts",
            "Attempts that were begun, by step type",
            self.attempts.clone(),
        );
        to.register(
            "retries",
            "Attempts that failed and are tried again, by step type and cause",
            self.retries.clone(),
        );
        to.register(
            "steps_failed",
            "Steps that failed for good, by step type and cause",
            self.failed.clone(),
        );
        to.register(
            "jobs_redriven",
            "Failed jobs that were started again",
            self.redriven.clone(),
        );
        to.register_with_unit(
            "step_duration",
            "Time from a step's first attempt to its success, by step type",
            Unit::Seconds,
            self.step_duration.clone(),
        );
        to.register_with_unit(
            "dispatch_lag",
            "Time from an attempt's directive in the outbox to its being on record as sent, which an early ACK may do",
            Unit::Seconds,
            self.dispatch_lag.clone(),
        );
    }

    /// Counts what a commit made durable.
    pub fn committed(&self, change: &Change) {
        for recorded in change.events.iter() {
            self.happened(&change.job, recorded);
        }
        if change.job.progress.status.is_terminal() {
            self.timed().remove(&change.job.id);
        }
    }

    fn happened(&self, job: &Job, Recorded { at, event, .. }: &Recorded) {
        let of_step = |step: usize| job.spec.steps.get(step).map(|it| it.step_type.to_string());
        match event {
            Event::AttemptCreated { step, attempt } => {
                if let Some(step_type) = of_step(*step) {
                    let labels = StepLabels { step_type };
                    if self.attempts.get_or_create(&labels).inc() == 0 {
                        self.known(&labels.step_type);
                    }
                }
                let budget = job.progress.steps.get(*step).map(|it| it.budget_from);
                let is_first = budget.map(AttemptNo::next) == Some(attempt.key.no);
                self.begin(job.id, *at, is_first);
            }
            Event::DirectiveSent { .. } => {
                let began = self.timed().get(&job.id).map(|timed| timed.attempt);
                if let Some(began) = began {
                    self.dispatch_lag.observe(began.until(*at).as_secs_f64());
                }
            }
            Event::StepSucceeded { step } => {
                let began = self.timed().get(&job.id).map(|timed| timed.step);
                if let (Some(began), Some(step_type)) = (began, of_step(*step)) {
                    self.step_duration
                        .get_or_create(&StepLabels { step_type })
                        .observe(began.until(*at).as_secs_f64());
                }
            }
            Event::RetryScheduled { step, failure, .. } => {
                if let Some(step_type) = of_step(*step) {
                    let cause = cause(failure);
                    let labels = CauseLabels { step_type, cause };
                    self.retries.get_or_create(&labels).inc();
                }
            }
            Event::StepFailed { step, failure } => {
                if let Some(step_type) = of_step(*step) {
                    let cause = cause(failure);
                    let labels = CauseLabels { step_type, cause };
                    self.failed.get_or_create(&labels).inc();
                }
            }
            Event::JobSucceeded | Event::JobFailed { .. } | Event::JobCancelled => {
                let state = job.progress.status.name();
                self.ended.get_or_create(&StateLabels { state }).inc();
            }
            Event::Redriven { .. } => {
                self.redriven.inc();
            }
            Event::Accepted
            | Event::Decided { .. }
            | Event::DecisionDeferred { .. }
            | Event::StepSkipped { .. }
            | Event::PublishFailed { .. }
            | Event::Acked { .. }
            | Event::LeaseRenewed { .. }
            | Event::ResultReceived { .. }
            | Event::StepCancelled { .. }
            | Event::CancelRequested
            | Event::Migrated { .. }
            | Event::CallbackIgnored { .. } => {}
        }
    }

    /// Makes what can go wrong with a step type visible as zeros, so that the first time already is a rise.
    fn known(&self, step_type: &str) {
        for cause in CAUSES {
            let step_type = step_type.to_owned();
            let labels = CauseLabels { step_type, cause };
            drop(self.retries.get_or_create(&labels));
            drop(self.failed.get_or_create(&labels));
        }
    }

    /// An attempt began. A job that this host did not see begin, since it restarted or another host did it, is timed
    /// from its next step on.
    fn begin(&self, job: JobId, at: Timestamp, is_first: bool) {
        let mut timed = self.timed();
        if is_first {
            if timed.len() >= MOST_TIMED {
                timed.clear(); // jobs that other hosts ended; what is still under way is timed from its next step on
            }
            let both = Timed {
                step: at,
                attempt: at,
            };
            timed.insert(job, both);
        } else if let Some(timed) = timed.get_mut(&job) {
            timed.attempt = at;
        }
    }

    fn timed(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Timed>> {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every cause that there is.
const CAUSES: [&str; 6] = [
    "ack_timeout",
    "lease_expired",
    "attempt_deadline",
    "bus",
    "plugin_fault",
    "reported",
];

/// A worker's own codes are many, so they are one cause.
fn cause(failure: &Failure) -> &'static str {
    match failure.code.as_str() {
        "ACK_TIMEOUT" => "ack_timeout",
        "LEASE_EXPIRED" => "lease_expired",
        "ATTEMPT_DEADLINE" => "attempt_deadline",
        "DISPATCH_EXHAUSTED" | "DISPATCH_REFUSED" => "bus",
        lucius_engine::plugins::PLUGIN_FAULT => "plugin_fault",
        _ => "reported",
    }
}
