//! Where a job stands, in the words that clients know, and why it may need the host.

use serde::{Deserialize, Serialize};

use super::Failure;

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "SCREAMING_SNAKE_CASE",
    deny_unknown_fields
)]
pub enum Status {
    /// Accepted; no directive was sent yet.
    Queued,
    /// A directive was sent; none was acknowledged yet.
    Dispatching,
    /// A service has begun.
    InProgress,
    /// Cancelled as soon as the active attempt ends.
    Cancelling,
    /// All steps are done.
    Succeeded,
    /// A step failed for good.
    FailedFinal {
        /// Why.
        failure: Failure,
    },
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// All public names, in the order of a job's life.
    pub const NAMES: [&'static str; 7] = [
        "QUEUED",
        "DISPATCHING",
        "IN_PROGRESS",
        "CANCELLING",
        "SUCCEEDED",
        "FAILED_FINAL",
        "CANCELLED",
    ];

    /// The public name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Dispatching => "DISPATCHING",
            Self::InProgress => "IN_PROGRESS",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::FailedFinal { .. } => "FAILED_FINAL",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// True when nothing moves the job any more (but a redrive of a failed one).
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Queued | Self::Dispatching | Self::InProgress | Self::Cancelling => false,
            Self::Succeeded | Self::FailedFinal { .. } | Self::Cancelled => true,
        }
    }
}

/// Why a job has a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueKind {
    /// A directive may be published.
    Dispatch,
    /// The wait for an ACK ends.
    Ack,
    /// A lease ends.
    Lease,
    /// A decision is to be made: the next attempt, or what a RESULT means.
    Decision,
}
