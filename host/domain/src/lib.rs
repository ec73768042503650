//! The pure heart of LUCIUS.
//!
//! Everything that decides what happens to a job is here, as functions of their arguments: no clock, no randomness,
//! no storage, no network. Read it in this order:
//!
//! 1. [`job`]: what a job and its steps are, with each state's data inside that state;
//! 2. [`event`]: what can have happened to a job; the event trail alone rebuilds it;
//! 3. [`decide`]: `(job, input, now) -> events | rejection`, the only place that knows the rules;
//! 4. [`evolve`]: `(job, event) -> job`, the only place that changes a job;
//! 5. [`transition`]: several decisions folded into the one change that a ledger commits.
//!
//! Around them: [`contract`] (the messages of the outside world), [`routing`] (lanes and modes), [`canonical`]
//! (canonical JSON and idempotency digests), [`retry`] (waits and budgets), [`plugin`] (the values that cross the
//! border to a plugin), and [`id`] and [`time`] (the words everything else is written in).

pub mod canonical;
pub mod contract;
pub mod decide;
pub mod event;
pub mod evolve;
pub mod id;
pub mod job;
pub mod plugin;
pub mod retry;
pub mod routing;
pub mod signature;
pub mod time;
pub mod transition;
