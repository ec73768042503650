//! The `lucius` program: the only crate that names concrete backends.
//!
//! [`host`] puts one host together from the [`config`]; [`http`] is what the outside sees of it; [`sandbox`] says how
//! plugins run; [`storage`] opens the ledger and the bus; [`telemetry`] what is counted; [`workers`] makes the
//! platform's workers; [`cli`] is the command line; [`bench`] is the load generator.

pub mod bench;
pub mod cli;
pub mod config;
pub mod host;
pub mod http;
pub mod sandbox;
pub mod storage;
mod stores;
pub mod system;
pub mod telemetry;
pub mod workers;
