//! What the host tells about its work: the metrics of the pipeline.
//!
//! The engine knows nothing of metrics. Ledger, bus and plugin runtime are wrapped on their way into it
//! ([`observed`]), and what passes through is counted ([`pipeline`]): a commit carries the events that made it, so
//! attempts, retries and endings are counted when they are durable, and never twice. How full things are
//! ([`levels`]) is read when somebody asks.
//!
//! What one command goes through, over all programs that work on it, is traced; see [`traces`].
//!
//! Every label has a bounded set of values: names that the registry holds, lanes, and words of this program. What a
//! worker or a client can make up is no label.

pub mod fleet;
pub mod levels;
pub mod observed;
pub mod pipeline;
pub mod traces;
pub mod trials;
