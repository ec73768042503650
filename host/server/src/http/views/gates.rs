//! Gates and pauses as they are shown.

use lucius_engine::gates::Standing;
use lucius_engine::gates::health::Condition;
use lucius_engine::gates::pause::{Manner, Pause};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How one gate stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gate)]
pub struct GateView {
    /// Which limit: `tenant_inflight`, `outbox_backlog`, `burst_inflight`, `global_inflight`, `client_requests`.
    pub gate: &'static str,
    /// The tenant that is nearest to its limit or the fullest lane, where the limit is one of each.
    pub fullest: Option<String>,
    /// Places that are taken, of the fullest one.
    pub used: u64,
    /// Places that there are, for that one.
    pub limit: u64,
    /// Commands that it turned away since the host started.
    pub refused: u64,
    /// Places that became free, a second, of late; Retry-After is made from it.
    pub freed_per_second: f64,
}

impl From<Standing> for GateView {
    fn from(standing: Standing) -> Self {
        let Standing {
            gate,
            fullest,
            used,
            limit,
            refused,
            freed_per_second,
        } = standing;
        Self {
            gate: gate.as_str(),
            fullest,
            used,
            limit,
            refused,
            freed_per_second,
        }
    }
}

/// The gates of a host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gates)]
pub struct GatesView {
    /// True while the host stops: it takes no commands.
    pub draining: bool,
    /// Jobs whose directive is known to be held by a pause.
    pub held: u64,
    /// Each limit.
    pub gates: Vec<GateView>,
    /// Whether ledger and bus take what they are given.
    pub health: Vec<StoreHealthView>,
    /// What operators have stopped.
    pub pauses: Vec<PauseView>,
}

/// How ledger or bus is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StoreHealth)]
pub struct StoreHealthView {
    /// `ledger` or `bus`.
    pub store: &'static str,
    /// False while every write fails; commands are then refused until one works.
    pub ok: bool,
    /// Since when writes fail; null when the last one worked.
    #[schema(format = DateTime)]
    pub failing_since: Option<String>,
    /// Commands that were refused for it since the host started.
    pub refused: u64,
}

impl From<Condition> for StoreHealthView {
    fn from(condition: Condition) -> Self {
        let Condition {
            store,
            failing_since,
            is_sick,
            refused,
        } = condition;
        Self {
            store: store.as_str(),
            ok: !is_sick,
            failing_since: failing_since.map(|at| at.to_string()),
            refused,
        }
    }
}

/// What becomes of new commands.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PauseManner)]
pub enum MannerView {
    /// They are accepted and wait.
    #[default]
    Hold,
    /// They are refused.
    Refuse,
}

impl MannerView {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Refuse => "refuse",
        }
    }
}

impl From<MannerView> for Manner {
    fn from(view: MannerView) -> Self {
        match view {
            MannerView::Hold => Self::Hold,
            MannerView::Refuse => Self::Refuse,
        }
    }
}

impl From<Manner> for MannerView {
    fn from(manner: Manner) -> Self {
        match manner {
            Manner::Hold => Self::Hold,
            Manner::Refuse => Self::Refuse,
        }
    }
}

/// A pause that is wanted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedPause)]
pub struct WantedPauseView {
    /// `everything`, `tenant:<id>`, `protocol:<id>`, `lane:<0-15>` or `plugin:<id>@<version>`.
    pub target: String,
    /// What becomes of new commands.
    #[serde(default)]
    pub manner: MannerView,
    /// Why; clients that are refused are told.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is to go on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Resume)]
pub struct ResumeView {
    /// As in the pause.
    pub target: String,
}

/// One pause.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pause)]
pub struct PauseView {
    /// What is paused.
    pub target: String,
    /// What becomes of new commands.
    pub manner: MannerView,
    /// Since when.
    pub since: String,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

impl From<Pause> for PauseView {
    fn from(pause: Pause) -> Self {
        let Pause {
            target,
            manner,
            since,
            by,
            reason,
        } = pause;
        Self {
            target: target.to_string(),
            manner: manner.into(),
            since: since.to_string(),
            by,
            reason,
        }
    }
}

/// All pauses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PauseList)]
pub struct PauseListView {
    /// By target.
    pub pauses: Vec<PauseView>,
}
