//! The worker against a bus and a host that see every call and decide every answer.

mod deliveries;
mod documents;
mod endings;
mod fake_host;
mod programs;
mod rig;
mod slots;
