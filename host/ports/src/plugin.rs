//! Running plugins, with walls around them.
//!
//! A runtime knows components by their digest. It compiles a component once, off the request path, and gives every
//! call a fresh instance with its own limits. A call gives an answer or a typed fault, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use lucius_domain::id::Digest;
use lucius_domain::plugin::{Context, Description, Report, Route, Settle, Violation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one call may use. Each is set before the guest's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory of the whole instance, in bytes.
    pub memory_bytes: u64,
    /// Wall-clock time, in milliseconds; the backstop behind `fuel`.
    pub deadline_ms: u64,
    /// Work, in wasmtime fuel; the verdict that is the same on every host.
    pub fuel: u64,
    /// What a call may return, in bytes of text.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            deadline_ms: 250,
            fuel: 200_000_000,
            output_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// The smaller of each: what a plugin asks for, capped by what the operator grants.
    pub fn capped_by(self, cap: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(cap.memory_bytes),
            deadline_ms: self.deadline_ms.min(cap.deadline_ms),
            fuel: self.fuel.min(cap.fuel),
            output_bytes: self.output_bytes.min(cap.output_bytes),
        }
    }
}

/// Why a component is not let in. Each message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The bytes are not a WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// Larger than a component may be.
    #[error("the component has {bytes} bytes, {limit} are allowed: strip it, or raise the limit")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// It wants something the host does not give.
    #[error(
        "imports {0}, which no plugin gets: build it for the world lucius:step/step without WASI"
    )]
    Import(String),
    /// It does not implement the contract.
    #[error("does not implement lucius:step@1.0.0: {0}")]
    World(String),
    /// It asks for more than it may have, before it even runs.
    #[error("needs more than it may have: {0}")]
    Resources(String),
    /// It broke down while being admitted.
    #[error("failed while being admitted: {0}")]
    Fault(#[from] Fault),
    /// The host could not do it now.
    #[error("could not be compiled: {0}")]
    Compile(String),
    /// Compiling it had to be stopped, now or earlier, and it is not tried again with the same room.
    #[error(
        "is quarantined: when it was compiled, {0}: build it smaller, or raise plugins.compile_memory_bytes or plugins.compile_cpu_seconds"
    )]
    Quarantined(String),
}

/// How a call went wrong. None of it is the job's doing, and none of it says anything about the job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More fuel than allowed.
    #[error("used up its fuel of {limit}")]
    Fuel {
        /// The limit.
        limit: u64,
    },
    /// More time than allowed.
    #[error("did not answer within {limit_ms} ms")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// A trap of its own: unreachable, out of bounds, out of memory, stack overflow.
    #[error("trapped: {0}")]
    Trap(String),
    /// An answer that breaks a rule: too large, not JSON, too deep.
    #[error("gave an answer that is not allowed: {0}")]
    Answer(String),
    /// No component of that digest is loaded.
    #[error("is not loaded on this host")]
    NotLoaded,
    /// The host had no room to run it now.
    #[error("could not be run now: {0}")]
    Busy(String),
}

impl Fault {
    /// A stable code for metrics, events and errors.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fuel { .. } => "PLUGIN_FUEL",
            Self::Deadline { .. } => "PLUGIN_DEADLINE",
            Self::Trap(_) => "PLUGIN_TRAP",
            Self::Answer(_) => "PLUGIN_ANSWER",
            Self::NotLoaded => "PLUGIN_NOT_LOADED",
            Self::Busy(_) => "PLUGIN_BUSY",
        }
    }
}

/// A question to a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// Is this payload right, and what is it in full?
    Validate {
        /// The payload, which fits the step's schema.
        payload: Value,
        /// The plugin's config from the registry.
        config: Value,
    },
    /// Where does this step go?
    Route {
        /// All it may know.
        context: Box<Context>,
    },
    /// What does this outcome mean?
    Settle {
        /// All it may know.
        context: Box<Context>,
        /// What the worker reported.
        report: Report,
    },
}

/// What a plugin said.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Call::Validate`]: the normalized payload, or all that is wrong with it.
    Validated(Result<Value, Vec<Violation>>),
    /// To [`Call::Route`].
    Routed(Route),
    /// To [`Call::Settle`].
    Settled(Settle),
}

/// An answer and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// What the plugin said; the answer is of the kind the call asks for.
    pub answer: Answer,
    /// Fuel used.
    pub fuel: u64,
    /// The memory that the instance had in the end, in bytes; memory only grows.
    pub memory_bytes: u64,
}

/// Runs components.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Admits a component: checks it, compiles it, and asks it what it is. A second time for the same bytes is quick.
    ///
    /// # Errors
    /// The reason why it is not let in; nothing is loaded then.
    async fn admit(
        &self,
        component: Arc<[u8]>,
        limits: Limits,
    ) -> Result<Description, AdmissionError>;

    /// Asks an admitted component, in a fresh instance.
    ///
    /// # Errors
    /// How the call went wrong.
    async fn call(&self, component: &Digest, limits: Limits, call: Call)
    -> Result<Answered, Fault>;

    /// Forgets a component that no live job needs.
    fn drop_component(&self, component: &Digest);
}
