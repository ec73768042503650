//! The platform side: what runs outside the host and does the actual work of a step.
//!
//! A worker knows the host only through the bus (Service Bus REST) and the callback URLs in each
//! directive, so it is the same program on the embedded bus and on Azure, and any third party can
//! write one in another language. This crate therefore depends on no host crate and carries its own
//! reading of the contracts in [`contract`].
//!
//! [`worker::run`] is the entry: it takes messages from the bus, keeps the promises (work is done
//! at most once per finished attempt, nothing accepted is lost, leases are renewed) and calls one
//! [`service::Service`] for the work itself.

pub mod buckets;
pub mod bus;
pub mod callback;
mod clock;
pub mod contract;
pub mod embedding;
pub mod ocr;
mod process;
pub mod program;
pub mod record;
pub mod refs;
pub mod service;
pub mod sis;
pub mod worker;
pub mod workspace;
