//! Waiting across a process border, where no signal reaches: look again until a deadline.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The same for what compiles.
pub const COMPILING: Duration = Duration::from_secs(600);
/// How long to rest between two looks.
const REST: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
///
/// # Panics
/// There is nothing within [`PATIENCE`]; `what` says what was awaited.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(REST).await;
    }
}
