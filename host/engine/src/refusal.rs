//! Why the host says no. Each refusal has a stable code, and a text that says what to do.

use std::time::Duration;

use lucius_domain::id::JobId;
use lucius_domain::plugin;
use lucius_ports::ledger;

use crate::gates::health::Store;
use crate::gates::pause::Pause;
use crate::registry::Difference;

/// One thing that is wrong with a document, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer into the document as it was sent.
    pub pointer: String,
    /// A stable code.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// `schema`, or `plugin:<id>@<version>`.
    pub source: String,
}

impl Violation {
    /// What a plugin found, moved from the payload to where the payload stands.
    pub fn from_plugin(violation: plugin::Violation, base: &str, pin: &plugin::Pin) -> Self {
        let plugin::Violation {
            pointer,
            code,
            message,
        } = violation;
        Self {
            pointer: format!("{base}{pointer}"),
            code,
            message,
            source: format!("plugin:{pin}"),
        }
    }
}

/// Why a request was not carried out. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The envelope does not fit its schema.
    #[error("the command does not fit command-envelope.v1; see violations")]
    InvalidEnvelope(Vec<Violation>),
    /// A callback does not fit its schema.
    #[error("the callback does not fit its schema; see violations")]
    InvalidCallback(Vec<Violation>),
    /// A step's payload is wrong.
    #[error("the payload is not valid; see violations")]
    InvalidPayload(Vec<Violation>),
    /// A reference is not let in.
    #[error("a reference is not allowed here; see violations")]
    RefNotAllowed(Vec<Violation>),
    /// No protocol serves it.
    #[error("no protocol serves request_type \"{asked}\"; use one of: {served}")]
    UnsupportedRequestType {
        /// What was asked for.
        asked: String,
        /// What there is.
        served: String,
    },
    /// BURST without a document.
    #[error(transparent)]
    DocIdRequired(#[from] lucius_domain::routing::DocIdRequired),
    /// The plugin will not run the first step.
    #[error("step \"{step_id}\" cannot be run: {message} ({code})")]
    RouteRejected {
        /// The step.
        step_id: String,
        /// The plugin's code.
        code: String,
        /// The plugin's reason.
        message: String,
    },
    /// The key belongs to another command.
    #[error(
        "idempotency_key was used for another command (job {0}): use a new key for a new command"
    )]
    KeyReused(JobId),
    /// Too many jobs of the tenant.
    #[error("tenant \"{tenant}\" has {limit} jobs in flight, as many as it may: try again later")]
    TenantLimit {
        /// The tenant.
        tenant: String,
        /// Its limit.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Plugins have worked too much for the tenant.
    #[error(
        "plugins have used up the fuel of tenant \"{tenant}\", which gets {limit} a second: try again later"
    )]
    TenantFuelLimit {
        /// The tenant.
        tenant: String,
        /// Fuel a second.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many directives wait in the lane.
    #[error("lane {lane} has {limit} directives waiting, as many as it may: try again later")]
    LaneLimit {
        /// The lane.
        lane: u8,
        /// The limit.
        limit: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many jobs in all.
    #[error("the host has {limit} jobs in flight{of_mode}, as many as it may: try again later")]
    GlobalLimit {
        /// The limit.
        limit: u64,
        /// Which jobs it counts.
        of_mode: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// An operator has stopped it.
    #[error("{target} is paused and takes no new commands{reason}: try again later")]
    Paused {
        /// What is paused.
        target: String,
        /// Why, if it was said.
        reason: String,
    },
    /// A plugin broke down; nothing is known about the command.
    #[error("plugin {plugin} {fault}: try again later, or tell the operator")]
    PluginFault {
        /// Which plugin.
        plugin: String,
        /// How.
        fault: String,
    },
    /// The ledger did not answer, or not as it should.
    #[error(
        "the ledger is unavailable: try again later; what was sent may have been accepted, so keep the key"
    )]
    LedgerUnavailable(#[source] ledger::Error),
    /// Every write has failed for a while, so it was not tried; nothing was written.
    #[error("the {} takes nothing just now, so nothing was tried: try again later", .0.as_str())]
    Sick(Store),
    /// It is more than this ledger takes; nothing was written.
    #[error("{0}: send less")]
    TooLarge(String),
    /// What is stored of the job is damaged, or from another version. It is left as it is.
    #[error(
        "what the ledger holds of it cannot be understood and is left as it is: tell the operator, whose log says what is wrong"
    )]
    NotUnderstood(#[source] ledger::Error),
    /// The host is stopping.
    #[error("the host is stopping: try again, another one will answer")]
    Draining,
    /// There is no such job.
    #[error("there is no such job")]
    JobNotFound,
    /// The job is over.
    #[error("the job is {0}; only a job that is not over can be cancelled")]
    JobTerminal(&'static str),
    /// The job did not fail.
    #[error("the job is {0}; only a job that is FAILED_FINAL can be redriven")]
    JobNotFailed(&'static str),
    /// The job cannot be moved to that generation.
    #[error("the job cannot be moved: {0}")]
    MigrationRefused(String),
    /// The plugins of that generation would have decided otherwise.
    #[error(
        "the plugins of that generation decide otherwise on {} of the job's past decisions; see differences, and force \
         it if that is right",
        .0.len()
    )]
    MigrationDiffers(Vec<Difference>),
    /// The callback's attempt is not the current one.
    #[error("the attempt is not the step's current one: drop the directive and stop working on it")]
    StaleAttempt,
    /// The attempt was decided otherwise.
    #[error("another RESULT has decided this attempt: drop the directive")]
    CallbackConflict,
    /// A callback without a token.
    #[error("send the directive's callback_token as \"Authorization: Bearer <token>\"")]
    TokenMissing,
    /// A callback with the token of something else.
    #[error("the token is not the one of this attempt: send the callback_token of its directive")]
    TokenRefused,
    /// Too many others changed the same job at the same time.
    #[error("the job is being changed by many at once: try again")]
    Contended,
}

impl Refusal {
    /// What a pause says to what it turns away.
    pub(crate) fn paused(pause: Pause) -> Self {
        let reason = pause.reason.map(|it| format!(" ({it})"));
        Self::Paused {
            target: pause.target.to_string(),
            reason: reason.unwrap_or_default(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidEnvelope(_) => "INVALID_ENVELOPE",
            Self::InvalidCallback(_) => "INVALID_CALLBACK",
            Self::InvalidPayload(_) => "INVALID_PAYLOAD",
            Self::RefNotAllowed(_) => "REF_NOT_ALLOWED",
            Self::UnsupportedRequestType { .. } => "UNSUPPORTED_REQUEST_TYPE",
            Self::DocIdRequired(_) => "DOC_ID_REQUIRED",
            Self::RouteRejected { .. } => "ROUTE_REJECTED",
            Self::KeyReused(_) => "IDEMPOTENCY_KEY_REUSED",
            Self::TenantLimit { .. } => "TENANT_LIMIT",
            Self::TenantFuelLimit { .. } => "TENANT_FUEL_LIMIT",
            Self::LaneLimit { .. } => "LANE_LIMIT",
            Self::GlobalLimit { .. } => "GLOBAL_LIMIT",
            Self::Paused { .. } => "PAUSED",
            Self::PluginFault { .. } => "PLUGIN_FAULT",
            Self::LedgerUnavailable(_) => "LEDGER_UNAVAILABLE",
            Self::Sick(Store::Ledger) => "LEDGER_UNAVAILABLE",
            Self::Sick(Store::Bus) => "BUS_UNAVAILABLE",
            Self::TooLarge(_) => "TOO_LARGE",
            Self::NotUnderstood(_) => "LEDGER_CORRUPT",
            Self::Draining => "DRAINING",
            Self::JobNotFound => "JOB_NOT_FOUND",
            Self::JobTerminal(_) => "JOB_TERMINAL",
            Self::JobNotFailed(_) => "JOB_NOT_FAILED",
            Self::MigrationRefused(_) => "MIGRATION_REFUSED",
            Self::MigrationDiffers(_) => "MIGRATION_DIFFERS",
            Self::StaleAttempt => "STALE_ATTEMPT",
            Self::CallbackConflict => "CALLBACK_CONFLICT",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenRefused => "TOKEN_REFUSED",
            Self::Contended => "CONTENDED",
        }
    }

    /// All violations, when there are any.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::InvalidEnvelope(list)
            | Self::InvalidCallback(list)
            | Self::InvalidPayload(list)
            | Self::RefNotAllowed(list) => list,
            Self::UnsupportedRequestType { .. }
            | Self::DocIdRequired(_)
            | Self::RouteRejected { .. }
            | Self::KeyReused(_)
            | Self::TenantLimit { .. }
            | Self::TenantFuelLimit { .. }
            | Self::LaneLimit { .. }
            | Self::GlobalLimit { .. }
            | Self::Paused { .. }
            | Self::PluginFault { .. }
            | Self::LedgerUnavailable(_)
            | Self::Sick(_)
            | Self::TooLarge(_)
            | Self::NotUnderstood(_)
            | Self::Draining
            | Self::JobNotFound
            | Self::JobTerminal(_)
            | Self::JobNotFailed(_)
            | Self::MigrationRefused(_)
            | Self::MigrationDiffers(_)
            | Self::StaleAttempt
            | Self::CallbackConflict
            | Self::TokenMissing
            | Self::TokenRefused
            | Self::Contended => &[],
        }
    }
}

impl From<ledger::Error> for Refusal {
    fn from(error: ledger::Error) -> Self {
        match error {
            ledger::Error::TooLarge(_) => Self::TooLarge(error.to_string()),
            ledger::Error::Unavailable(_) => Self::LedgerUnavailable(error),
            ledger::Error::Corrupt(_) => Self::NotUnderstood(error),
        }
    }
}
