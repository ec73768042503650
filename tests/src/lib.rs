//! A host seen from outside: what the black-box tests need to start the built program, to be its client, and to be a
//! worker of a third party.
//!
//! Nothing here knows the product's code. A contract that is only kept when both sides share a type is not kept, so
//! lanes, callbacks and messages are written down here a second time, from the interface alone.

pub mod answer;
pub mod author;
pub mod azure;
pub mod balancer;
pub mod client;
pub mod disk;
pub mod history;
pub mod host;
pub mod lane;
pub mod orders;
pub mod page;
pub mod places;
mod process;
pub mod program;
pub mod registry;
pub mod shared;
pub mod wait;
pub mod worker;
