//! Events as they are shown: each kind with its own members, picked one by one.

use lucius_domain::event::{Event, Recorded};
use lucius_domain::id::AttemptNo;
use lucius_domain::job::{Attempt, Failure, Job};
use lucius_domain::plugin::Decision;
use lucius_domain::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// A job's events, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventList)]
pub struct EventListView {
    /// The events.
    pub events: Vec<EventView>,
    /// Give it as `after` to get the next ones; null when these are all there are by now.
    pub next_after: Option<u64>,
}

/// Something that happened to a job. What else it tells depends on its type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Its number in the job, from 1, no gaps.
    pub seq: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    #[serde(rename = "type")]
    pub event_type: &'static str,
    /// The step it is about; null when it is about the job.
    pub step_id: Option<String>,
    /// The attempt it is about, if it is about one.
    pub attempt_no: Option<u32>,
    /// What else it tells.
    #[serde(flatten)]
    #[schema(ignore)]
    pub details: Map<String, Value>,
}

impl EventView {
    /// An event of this job.
    pub fn new(job: &Job, recorded: &Recorded) -> Self {
        let Recorded { seq, at, event } = recorded;
        let step = event.step().and_then(|index| job.spec.steps.get(index));
        let (attempt_no, details) = details(event);
        Self {
            seq: *seq,
            at: at.to_string(),
            event_type: event.name(),
            step_id: step.map(|step| step.step_id.to_string()),
            attempt_no: attempt_no.map(|attempt| attempt.0),
            details: match details {
                Value::Object(members) => members,
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => Map::new(),
            },
        }
    }
}

fn details(event: &Event) -> (Option<AttemptNo>, Value) {
    let time = Timestamp::to_string;
    match event {
        Event::Accepted
        | Event::StepSucceeded { .. }
        | Event::StepCancelled { .. }
        | Event::CancelRequested
        | Event::JobSucceeded
        | Event::JobCancelled
        | Event::Redriven { .. } => (None, Value::Null),
        Event::Decided { decision, .. } => (None, decided(decision)),
        Event::DecisionDeferred {
            failure,
            faults,
            due_at,
            ..
        } => (
            None,
            json!({ "error": error(failure), "faults": faults, "due_at": time(due_at) }),
        ),
        Event::StepSkipped { reason, .. } => (None, json!({ "reason": reason })),
        Event::AttemptCreated { attempt, .. } => (Some(attempt.key.no), created(attempt)),
        Event::DirectiveSent {
            attempt_no,
            ack_due,
            ..
        } => (Some(*attempt_no), json!({ "ack_due": time(ack_due) })),
        Event::PublishFailed {
            attempt_no,
            failure,
            publish_at,
            ..
        } => {
            let details = json!({ "error": error(failure), "publish_at": time(publish_at) });
            (Some(*attempt_no), details)
        }
        Event::Acked {
            attempt_no,
            lease_expires_at,
            ends_by,
            ..
        } => {
            let details =
                json!({ "lease_expires_at": time(lease_expires_at), "ends_by": time(ends_by) });
            (Some(*attempt_no), details)
        }
        Event::LeaseRenewed {
            attempt_no,
            lease_expires_at,
            progress,
            ..
        } => {
            let expires = time(lease_expires_at);
            (
                Some(*attempt_no),
                json!({ "lease_expires_at": expires, "progress": progress }),
            )
        }
        Event::ResultReceived {
            attempt_no,
            report,
            digest,
            ..
        } => (
            Some(*attempt_no),
            json!({ "report": report, "result_digest": digest }),
        ),
        Event::RetryScheduled {
            attempt_no,
            failure,
            due_at,
            ..
        } => (
            Some(*attempt_no),
            json!({ "error": error(failure), "due_at": time(due_at) }),
        ),
        Event::StepFailed { failure, .. } | Event::JobFailed { failure } => {
            (None, json!({ "error": error(failure) }))
        }
        Event::Migrated {
            from,
            generation,
            plugins,
        } => (
            None,
            json!({ "from": from, "generation": generation, "plugins": plugins }),
        ),
        Event::CallbackIgnored {
            attempt_no,
            callback,
            reason,
            ..
        } => (
            Some(*attempt_no),
            json!({ "callback": callback, "reason": reason }),
        ),
    }
}

/// All of an attempt but its fence.
fn created(attempt: &Attempt) -> Value {
    let Attempt {
        key: _,
        service,
        payload,
        ack_ms,
        lease_ms,
    } = attempt;
    json!({ "service": service, "payload": payload, "ack_ms": ack_ms, "lease_ms": lease_ms })
}

fn decided(decision: &Decision) -> Value {
    let Decision {
        function,
        plugin,
        input_digest,
        input,
        output,
        fuel,
    } = decision;
    json!({
        "function": function,
        "plugin": { "id": plugin.id, "version": plugin.version, "digest": plugin.digest },
        "input_digest": input_digest,
        "input": input,
        "output": output,
        "fuel": fuel,
    })
}

fn error(Failure { code, message }: &Failure) -> Value {
    json!({ "code": code, "message": message })
}
