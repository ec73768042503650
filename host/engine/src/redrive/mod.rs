//! Redrives: many failed jobs started again, or a dead-letter queue drained, at a pace, in the open.
//!
//! ```text
//! POST /v1/redrives -> a record, RUNNING -> each tick: take the next few in hand -> start them -> count -> ... -> DONE
//! ```
//!
//! A redrive is one record and survives whoever works on it. What a host is about to start is written into the record
//! first ([`Redrive::in_hand`]); when that host dies, another takes the same jobs in hand after a while and can tell
//! from the ledger which were started. Two hosts that reach for one redrive write on the same version, so one of them
//! gets it. Only jobs that had failed when the redrive was asked for are taken, each once; so a job that fails
//! again is not started again, and every redrive ends.
//!
//! A job that is started again takes up as much as a new one. So it passes the same gates: what has no place now stays in
//! hand and is tried again, and the redrive says what it waits for.

mod latest;
mod run;
mod verbs;

pub(crate) use run::run;

use lucius_domain::id::{JobId, ProtocolId, RequestType, ServiceName, TenantId};
use lucius_domain::job::Job;
use lucius_domain::routing::Lane;
use lucius_domain::signature;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::{self, Filter};
use lucius_ports::records::{Document, Key, Kind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Jobs a second when nobody says.
pub const DEFAULT_RATE: u32 = 10;
/// The fastest pace, in jobs a second.
pub const MAX_RATE: u32 = 500;
/// How many reasons for leaving a job as it is are kept.
const MAX_REFUSALS: usize = 20;

/// A redrive's name; later ones have greater names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub Uuid);

impl Id {
    /// Reads the hyphenated form.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().map(Self)?;
        id.to_string().eq_ignore_ascii_case(text).then_some(id)
    }

    fn key(self) -> Key {
        Key::of(&self.to_string())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// Which failed jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Only this tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Only those that failed for this reason, as the dead letters name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<signature::Id>,
    /// Only those that failed with this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Only of this protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_id: Option<ProtocolId>,
    /// Only of this request type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_type: Option<RequestType>,
    /// Only jobs accepted at this moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Only jobs accepted before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Selection {
    fn filter(&self, after: Option<JobId>, limit: usize) -> Filter {
        let Self {
            tenant_id,
            signature,
            error_code,
            protocol_id,
            request_type,
            from,
            until,
        } = self.clone();
        Filter {
            state: Some("FAILED_FINAL"),
            tenant_id,
            signature,
            error_code,
            protocol_id,
            request_type,
            from,
            until,
            after,
            limit,
        }
    }
}

/// What is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Target {
    /// Jobs that failed for good.
    Jobs {
        /// Which.
        selection: Selection,
    },
    /// A dead-letter queue of the bus.
    Bus {
        /// The lane.
        lane: Lane,
        /// The subscription.
        service: ServiceName,
    },
}

/// Which plugins and payload rules decide about the jobs from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginChoice {
    /// Those that the job was accepted under.
    #[default]
    Pinned,
    /// Those of the registry generation that is live when the job is started.
    Latest,
}

/// Where a redrive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// It takes job after job.
    Running,
    /// It has been through all of them.
    Done,
    /// Someone stopped it; what was started goes on.
    Cancelled,
}

/// Why a job was left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The job.
    pub job: JobId,
    /// Why.
    pub reason: String,
}

/// A redrive as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// Its name.
    pub id: Id,
    /// What is started again.
    pub target: Target,
    /// Jobs or messages a second.
    pub rate: u32,
    /// Who decides about the jobs.
    pub version: PluginChoice,
    /// Who asked for it.
    pub requested_by: String,
    /// Why they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When they did. Only what had failed by then is taken.
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub state: State,
    /// How many were there when it was asked for.
    pub matched: Matched,
    /// How many were started, or sent again.
    pub redriven: u64,
    /// How many were left as they are; for messages, dropped since their attempt is over.
    pub refused: u64,
    /// Why, for the last few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
    /// Taken and not counted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_hand: Vec<JobId>,
    /// The gate or pause that those in hand wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The last one that was ever taken in hand; the next ones come after it in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<JobId>,
    /// When the next ones may be taken, by anyone.
    pub next_at: Timestamp,
    /// Made anew by whoever takes some in hand, so that only they count them.
    pub holder: Uuid,
}

impl Document for Redrive {
    const KIND: Kind = Kind("redrive");
}

/// How many there are. Counting stops at a bound, since it costs what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// At least so many.
    pub count: u64,
    /// False when there are more.
    pub exact: bool,
}

/// A redrive to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is started again.
    pub target: Target,
    /// Jobs or messages a second, 1 to [`MAX_RATE`].
    pub rate: u32,
    /// Who decides about the jobs.
    pub version: PluginChoice,
    /// Who asks for it.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Why there is no such redrive, or it is not stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No redrive has this name.
    #[error("there is no such redrive")]
    NotFound,
    /// It is over already.
    #[error("the redrive is over")]
    Over,
    /// The ledger does not say.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The bus does not say.
    #[error(transparent)]
    Bus(#[from] lucius_ports::bus::Error),
    /// Other writers were faster every time.
    #[error("too many conflicts on one redrive: try again")]
    Contended,
}

/// A job that had failed when the redrive was asked for, and has stayed so.
fn is_due(job: &Job, created_at: Timestamp) -> bool {
    let ended_at = job.progress.completed_at;
    job.failure().is_some() && ended_at.is_some_and(|at| at <= created_at)
}
