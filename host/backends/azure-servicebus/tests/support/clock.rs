//! A clock that stands still: nothing in these tests ends by it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lucius_domain::time::Timestamp;
use lucius_ports::clock::Clock;

#[derive(Debug)]
struct Stopped;

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

pub(crate) fn stopped() -> Arc<dyn Clock> {
    Arc::new(Stopped)
}
