//! The reference backends: everything in maps behind a lock, nothing durable.
//!
//! They say in the plainest way what a backend does, so that a faster one can be compared with them answer by answer,
//! and they fail on demand, so that the simulator can try every point at which a store or a bus may let the engine
//! down.

pub mod bus;
pub mod faulty;
pub mod ledger;
pub mod records;
