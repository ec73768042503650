//! The one thing a plugin may ask of the host.

use crate::bindings::lucius::step::types as wit;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use to the plugin's author.
    Debug,
    /// Of use to an operator.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

impl From<Level> for wit::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => wit::Level::Debug,
            Level::Info => wit::Level::Info,
            Level::Warn => wit::Level::Warn,
            Level::Error => wit::Level::Error,
        }
    }
}

/// Writes a line to the host's log, marked with the plugin's name. The host cuts long lines and stops after a bounded
/// number of lines a call. Never write what is confidential: a log outlives the job.
///
/// In tests, [`testing::logged`](crate::testing::logged) takes what was written.
#[cfg(target_arch = "wasm32")]
pub fn log(level: Level, message: &str) {
    crate::bindings::lucius::step::log::write(level.into(), message);
}

/// Writes a line to the host's log, marked with the plugin's name. The host cuts long lines and stops after a bounded
/// number of lines a call. Never write what is confidential: a log outlives the job.
///
/// In tests, [`testing::logged`](crate::testing::logged) takes what was written.
#[cfg(not(target_arch = "wasm32"))]
pub fn log(level: Level, message: &str) {
    crate::testing::remember_line(level, message);
}
