//! The built program, killed, starved and cut off at every moment, and what it must not have lost.
//!
//! The program is the one that ships: what goes wrong is done to it from outside, by signals, by its disk (see
//! `lucius_tests::disk`) and by changing its files. Each test has a host of its own. What a test may take is small by
//! default; `LUCIUS_CRASHES=all` kills at every single operation instead of a choice of them.

mod boundaries;
mod bounds;
mod crowd;
mod damage;
mod fleet;
mod load;
mod one_job;
mod power;
mod promises;
mod reload;
mod room;
