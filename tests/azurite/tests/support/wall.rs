//! The machine's clock, for tests against services that have it too.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use lucius_domain::time::Timestamp;
use lucius_ports::clock::Clock;

#[derive(Debug)]
pub(crate) struct Wall;

#[async_trait]
impl Clock for Wall {
    #[expect(
        clippy::disallowed_methods,
        reason = "requests and locks are dated by the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
