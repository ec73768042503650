//! The rules of a job, as sentences: what may happen in which state, what it does, and what it never does.
//!
//! Every commit in these tests is checked against the invariants in [`invariants`], whatever the test itself asks.

mod callbacks;
mod decisions;
mod diagram;
mod document;
mod explore;
mod invariants;
mod model;
mod properties;
mod random;
mod reading;
mod stage;
mod table;
mod verbs;
mod waits;
mod world;
