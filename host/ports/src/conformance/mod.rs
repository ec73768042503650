//! One suite beside each trait, run by every backend: what the engine relies on, as tests.
//!
//! Each case is a plain async function that panics with what is wrong.

pub mod bus;
pub mod ledger;
pub mod plugin;
pub mod records;
pub mod seeds;
pub mod upkeep;
