//! The pipeline, over ports.
//!
//! ```text
//! POST /v1/commands -> accept    envelope -> registry snapshot -> every step: schema, plugin.validate -> gates -> create
//! outbox            -> dispatch  a PENDING row -> bus.publish -> commit SENT
//! ACK, RESULT, ...  -> callback  fence -> plugin.settle -> plugin.route of the next step -> one commit
//! the clock         -> sweep     what is due by now -> an input -> the same commit
//! ```
//!
//! Every change to a job goes through [`drive`]: load, decide ([`lucius_domain::decide`]), answer the questions that
//! only plugins can answer, commit at the version that was loaded; on a conflict, again from the start. Effects are
//! data in that commit. Hints make the next stage start at once; they may be lost, since a scan finds the same work.

pub mod accept;
pub mod access;
pub mod audit;
pub mod callback;
pub mod dead_letters;
pub mod decisions;
pub mod dispatch;
pub mod drive;
pub mod engine;
pub mod fleet;
pub mod gates;
pub mod hints;
pub mod migrate;
mod outgoing;
pub mod plugins;
pub mod redrive;
pub mod refusal;
pub mod registry;
pub mod retention;
pub mod schema;
pub mod settings;
pub mod sweep;
pub mod token;
pub mod verbs;

pub use engine::{Engine, Ports};
pub use refusal::Refusal;
pub use settings::Settings;
