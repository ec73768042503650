//! The real clock and real ids: the one module where time and randomness enter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use lucius_domain::id::{JobId, LeaseId};
use lucius_domain::time::Timestamp;
use lucius_engine::access::keys::Random;
use lucius_ports::clock::{Clock, Ids};
use uuid::{NoContext, Uuid};

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everyone else is given"
    )]
    fn now(&self) -> Timestamp {
        // A clock before 1970 reads as 1970.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Ids from the operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn job_id(&self, now: Timestamp) -> JobId {
        let ms = u64::try_from(now.0).unwrap_or(0);
        let at = uuid::Timestamp::from_unix(NoContext, ms / 1_000, nanoseconds(ms));
        JobId(Uuid::new_v7(at))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where leases come from")]
    fn lease_id(&self) -> LeaseId {
        LeaseId(Uuid::new_v4())
    }
}

/// What a new API key is made of.
///
/// # Errors
/// The system has no randomness.
pub fn random_key() -> anyhow::Result<Random> {
    let mut random: Random = [0; 40];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("the system has no randomness: {error}"))?;
    Ok(random)
}

/// A number that nobody can guess.
#[expect(clippy::disallowed_methods, reason = "this is where randomness enters")]
pub fn random() -> u128 {
    // 122 of its bits are random; version and variant are the rest.
    Uuid::new_v4().as_u128()
}

fn nanoseconds(ms: u64) -> u32 {
    u32::try_from(ms % 1_000 * 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_job_has_a_greater_id() {
        let first = SystemIds.job_id(Timestamp(1_700_000_000_000));
        let second = SystemIds.job_id(Timestamp(1_700_000_000_001));
        assert!(first < second);
    }
}
