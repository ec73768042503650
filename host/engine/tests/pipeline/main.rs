//! The engine over the memory ledger and bus, scripted plugins and a clock that only the tests move.
//!
//! [`stage`] puts them together and plays client and worker; [`audit`] says what must hold in the ledger at any time.

mod accept;
mod audit;
mod callbacks;
mod dispatch;
mod doubles;
mod duplicates;
mod fleet;
mod gates;
mod health;
mod journey;
mod ledger_faults;
mod pauses;
mod plugins;
mod redrives;
mod redrives_latest;
mod registry;
mod registry_breaker;
mod registry_changes;
mod registry_history;
mod registry_mutations;
mod registry_trials;
mod registry_trust;
mod retention;
mod running;
mod slow_bus;
mod stage;
mod sweepers;
