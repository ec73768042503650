//! What the engine needs of the outside, in the engine's words.
//!
//! A backend implements one of these traits in a crate of its own and proves it with the conformance suite that
//! stands beside the trait (feature `conformance`). Errors are split by what the caller can do about them.

pub mod bus;
pub mod case;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dead_queues;
pub mod ledger;
pub mod pins;
pub mod plugin;
pub mod records;
pub mod registry;
pub mod upkeep;
