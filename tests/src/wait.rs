//! Waiting across a process border, where no signal reaches: look again until a deadline.

use std::time::{Duration, Instant};

use crate::azure::Kind;

/// How long anything may take on a busy machine before it counts as never; longer where every write crosses to
/// Azurite, which has one processor for all tests at once.
pub fn patience() -> Duration {
    Duration::from_secs(match Kind::asked() {
        None => 60,
        Some(_) => 240,
    })
}

/// The same for what compiles.
pub const COMPILING: Duration = Duration::from_secs(600);
/// How long to rest between two looks.
const REST: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
///
/// # Panics
/// There is nothing within [`patience`]; `what` says what was awaited.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(since.elapsed() < patience(), "waited in vain: {what}");
        tokio::time::sleep(REST).await;
    }
}
