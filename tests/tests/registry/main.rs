//! The registry of a running host, from outside: what changes it, what refuses a change, what status says.

mod changes;
mod page;
mod refusals;
mod trials;
