//! The worker against a bus and a host that see every call and decide every answer.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in what it calls as well"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test asks about some events of many"
)]

mod deliveries;
mod documents;
mod endings;
mod fake_host;
mod programs;
mod rig;
mod slots;
