//! The row that says when a job ended: what retention goes by.
//!
//! Every job that is over has one, or a due row that is yet to be cleared away; see [`crate::due`]. It lies in the
//! `ended` table, in the partition of its day. Days come in their order and rows in the order of their times, so the
//! jobs that ended first are read first, and no partition takes the writes of all time.

use lucius_domain::id::JobId;
use lucius_domain::time::Timestamp;

use super::{day_partition, job_of, newest_first};
use crate::service::Key;

/// That a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastRow {
    /// When.
    pub(crate) ended_at: Timestamp,
    /// Which.
    pub(crate) job: JobId,
}

impl PastRow {
    /// Where it lies.
    pub(crate) fn key(&self) -> Key {
        Key {
            partition: day_partition(self.ended_at),
            row: format!("{}-{}", moment(self.ended_at), newest_first(self.job)),
        }
    }

    /// Reads a row's key; `None` when it is none.
    pub(crate) fn parse(row: &str) -> Option<Self> {
        let (at, job) = row.split_once('-')?;
        Some(Self {
            ended_at: Timestamp(at.parse().ok()?),
            job: job_of(job)?,
        })
    }
}

/// The condition for all rows of ends before a moment.
pub(crate) fn before(until: Timestamp) -> String {
    format!(
        "PartitionKey ge 'day-' and PartitionKey le '{}' and RowKey lt '{}'",
        day_partition(until),
        moment(until)
    )
}

fn moment(at: Timestamp) -> String {
    format!("{:019}", at.0.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn rows_sort_by_time_and_read_back() {
        let row = |at| PastRow {
            ended_at: Timestamp(at),
            job: JobId(Uuid::from_u128(77)),
        };
        let times = [0, 9, DAY_MS - 1, DAY_MS, 1_800_000_000_000, i64::MAX];
        for pair in times.windows(2) {
            assert!(row(pair[0]).key() < row(pair[1]).key());
        }
        for at in times {
            assert_eq!(PastRow::parse(&row(at).key().row), Some(row(at)));
        }
        assert_eq!(PastRow::parse("FAILED_FINAL"), None);
    }

    #[test]
    fn the_moment_itself_is_not_before_it() {
        let condition = before(Timestamp(DAY_MS + 5));
        let bound = condition.rsplit('\'').nth(1).unwrap_or_default();
        let row = |ms| PastRow {
            ended_at: Timestamp(DAY_MS + ms),
            job: JobId(Uuid::from_u128(1)),
        };
        assert!(row(4).key().row.as_str() < bound && row(5).key().row.as_str() > bound);
        assert!(condition.contains(&row(4).key().partition));
    }
}
