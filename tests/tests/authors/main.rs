//! What the author of a plugin sees: a scaffold, the tools, three languages, and a plugin that goes live.
//!
//! Everything here works without a network: cargo is told so, and what else is needed comes from the set-up.

mod activation;
mod guide;
mod languages;
mod scaffold;
mod tools;
