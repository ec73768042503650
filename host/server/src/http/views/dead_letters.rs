//! Dead letters and redrives as they are shown.

use lucius_domain::time::Timestamp;
use lucius_engine::dead_letters::Group;
use lucius_engine::redrive::{
    Matched, Order, PluginChoice, Redrive, Refused, Selection, State, Target,
};
use lucius_ports::dead_queues::DeadQueue;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::JobView;

/// What came to nothing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub struct DeadLettersView {
    /// Jobs that failed for good, by why, the most frequent first.
    pub groups: Vec<DeadGroupView>,
    /// The bus's dead-letter queues that hold anything.
    pub queues: Vec<DeadQueueView>,
    /// Why the queues are not known, when the bus does not show them to this host; they can be drained all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues_unknown: Option<String>,
}

/// Jobs that failed for good for one reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadGroup)]
pub struct DeadGroupView {
    /// The reason's name; a redrive takes it as `filter.signature`.
    pub signature: String,
    /// The failure's code.
    pub error_code: String,
    /// The step that failed.
    pub step_id: String,
    /// The service that the protocol declares for it.
    pub service: String,
    /// The plugin that decides about it, `id@version`; null when there is none.
    pub plugin: Option<String>,
    /// The message, with numbers, ids, addresses and paths made alike.
    pub message: String,
    /// How many jobs.
    pub count: u64,
    /// When the first of them failed.
    #[schema(format = DateTime)]
    pub first_at: String,
    /// When the last of them failed.
    #[schema(format = DateTime)]
    pub last_at: String,
    /// The newest few of them.
    pub samples: Vec<JobView>,
}

/// A dead-letter queue of the bus.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadQueue)]
pub struct DeadQueueView {
    /// The lane, 0 to 15.
    pub lane: u8,
    /// The service whose subscription it is.
    pub service: String,
    /// How many messages it holds.
    pub messages: u64,
}

impl DeadLettersView {
    /// The groups, and the queues or why they are not known.
    pub fn new(groups: &[Group], queues: Result<Vec<DeadQueue>, String>) -> Self {
        let (queues, queues_unknown) = match queues {
            Ok(queues) => (queues, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        Self {
            groups: groups.iter().map(Into::into).collect(),
            queues: queues.iter().map(Into::into).collect(),
            queues_unknown,
        }
    }
}

impl From<&Group> for DeadGroupView {
    fn from(group: &Group) -> Self {
        let signature = group.signature.clone();
        Self {
            signature: signature.id().to_string(),
            error_code: signature.code,
            step_id: signature.step_id.to_string(),
            service: signature.service.to_string(),
            plugin: signature.plugin,
            message: signature.message,
            count: group.count,
            first_at: group.first_at.to_string(),
            last_at: group.last_at.to_string(),
            samples: group
                .samples
                .iter()
                .map(|job| JobView::from(&**job))
                .collect(),
        }
    }
}

impl From<&DeadQueue> for DeadQueueView {
    fn from(queue: &DeadQueue) -> Self {
        Self {
            lane: queue.lane.number(),
            service: queue.service.to_string(),
            messages: queue.messages,
        }
    }
}

/// Failed jobs that are started again, or a dead-letter queue that is drained.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redrive)]
pub struct RedriveView {
    /// Its name; null for a dry run, which has none.
    pub id: Option<String>,
    /// RUNNING, DONE or CANCELLED; DRY_RUN when nothing happens.
    pub state: &'static str,
    /// Which ones.
    #[schema(value_type = Value)]
    pub filter: Map<String, Value>,
    /// Jobs or messages a second.
    pub rate: u32,
    /// `pinned` or `latest`.
    pub version: &'static str,
    /// How many there were when it was asked for.
    pub matched: u64,
    /// True when `matched` is where counting stopped, and there are more.
    pub matched_at_least: bool,
    /// How many were started, or sent again.
    pub redriven: u64,
    /// How many were left as they are; for messages, dropped since their attempt is over.
    pub refused: u64,
    /// Why, for the last few.
    pub refusals: Vec<RefusedView>,
    /// The gate or pause that the next ones wait for: `tenant_inflight`, `pause lane:3`.
    pub waits_for: Option<String>,
    /// Who asked for it.
    pub requested_by: String,
    /// Why they did.
    pub reason: Option<String>,
    /// When they did; null for a dry run.
    #[schema(format = DateTime)]
    pub created_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// A job that was left as it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedriveRefused)]
pub struct RefusedView {
    /// The job.
    #[serde(rename = "jobId")]
    pub job_id: String,
    /// Why.
    pub reason: String,
}

/// Redrives, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedriveList)]
pub struct RedriveListView {
    /// The redrives.
    pub redrives: Vec<RedriveView>,
}

impl RedriveView {
    /// What a redrive would be.
    pub fn dry(order: &Order, matched: Matched) -> Self {
        Self {
            id: None,
            state: "DRY_RUN",
            filter: filter(&order.target),
            rate: order.rate,
            version: version(order.version),
            matched: matched.count,
            matched_at_least: !matched.exact,
            redriven: 0,
            refused: 0,
            refusals: Vec::new(),
            waits_for: None,
            requested_by: order.requested_by.clone(),
            reason: order.reason.clone(),
            created_at: None,
            ended_at: None,
        }
    }

    /// What goes on record about it.
    pub fn in_short(&self) -> String {
        let filter = Value::Object(self.filter.clone());
        let (id, reason) = (self.id.as_deref(), self.reason.as_deref());
        format!(
            "redrive {}: {} of {filter}, {} a second, {}{}{}",
            id.unwrap_or_default(),
            self.matched,
            self.rate,
            self.version,
            if reason.is_some() { ", " } else { "" },
            reason.unwrap_or_default(),
        )
    }
}

impl From<&Redrive> for RedriveView {
    fn from(redrive: &Redrive) -> Self {
        Self {
            id: Some(redrive.id.to_string()),
            state: match redrive.state {
                State::Running => "RUNNING",
                State::Done => "DONE",
                State::Cancelled => "CANCELLED",
            },
            filter: filter(&redrive.target),
            rate: redrive.rate,
            version: version(redrive.version),
            matched: redrive.matched.count,
            matched_at_least: !redrive.matched.exact,
            redriven: redrive.redriven,
            refused: redrive.refused,
            refusals: redrive.refusals.iter().map(Into::into).collect(),
            waits_for: redrive.waits_for.clone(),
            requested_by: redrive.requested_by.clone(),
            reason: redrive.reason.clone(),
            created_at: Some(redrive.created_at.to_string()),
            ended_at: redrive.ended_at.as_ref().map(Timestamp::to_string),
        }
    }
}

impl From<&Refused> for RefusedView {
    fn from(Refused { job, reason }: &Refused) -> Self {
        Self {
            job_id: job.to_string(),
            reason: reason.clone(),
        }
    }
}

fn version(choice: PluginChoice) -> &'static str {
    match choice {
        PluginChoice::Pinned => "pinned",
        PluginChoice::Latest => "latest",
    }
}

/// The filter as it was asked for.
fn filter(target: &Target) -> Map<String, Value> {
    let members = match target {
        Target::Bus { lane, service } => {
            json!({ "source": "bus", "lane": lane.number(), "service": service })
        }
        Target::Jobs { selection } => {
            let Selection {
                tenant_id,
                signature,
                error_code,
                protocol_id,
                request_type,
                from,
                until,
            } = selection;
            json!({
                "source": "jobs", "tenant_id": tenant_id, "signature": signature,
                "error_code": error_code, "protocol_id": protocol_id, "request_type": request_type,
                "from": from.map(|at| at.to_string()), "until": until.map(|at| at.to_string()),
            })
        }
    };
    match members {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, it)| !it.is_null())
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
