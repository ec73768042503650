//! The row that says when a job needs the host.
//!
//! Every job that is not over has one row that counts, in its lane's partition and named in its JOB row; its time is
//! at or before the job's own due time. A row is written before the commit that names it and is never used for
//! another: its name ends in a number drawn at random. So a row that no JOB row names any more will never count again.

use lucius_domain::id::JobId;
use lucius_domain::time::Timestamp;

use super::{job_of, newest_first};

/// A due row's key within its lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DueRow(String);

impl DueRow {
    /// A row for a job at a time.
    pub(crate) fn new(at: Timestamp, job: JobId, random: u128) -> Self {
        let at = at.0.max(0);
        // The low half is random enough: two commits of one job at one millisecond would have to draw the same.
        let random = random & u128::from(u64::MAX);
        Self(format!("{at:019}-{}-{random:016x}", newest_first(job)))
    }

    /// Reads a key; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let row = Self(text.to_owned());
        row.parts().map(|_| row.clone())
    }

    fn parts(&self) -> Option<(Timestamp, JobId)> {
        let mut parts = self.0.splitn(3, '-');
        let at = parts.next()?.parse().ok()?;
        Some((Timestamp(at), job_of(parts.next()?)?))
    }

    /// Its time.
    pub(crate) fn at(&self) -> Timestamp {
        self.parts().map_or(Timestamp(0), |(at, _)| at)
    }

    /// Its job.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.parts().map(|(_, job)| job)
    }

    /// The key.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first key that is later than every row of this moment.
pub(crate) fn after(now: Timestamp) -> String {
    match now.0.max(0).checked_add(1) {
        Some(next) => format!("{next:019}"),
        None => format!("{}.", i64::MAX), // a `.` comes after the `-` of every row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn rows_sort_by_time_and_read_back() {
        let job = JobId(Uuid::from_u128(77));
        let row = |at| DueRow::new(Timestamp(at), job, 5);
        let times = [0, 9, 1_800_000_000_000, i64::MAX];
        for pair in times.windows(2) {
            assert!(row(pair[0]) < row(pair[1]));
        }
        for at in times {
            assert_eq!((row(at).at(), row(at).job()), (Timestamp(at), Some(job)));
            assert_eq!(DueRow::parse(row(at).as_str()), Some(row(at)));
            assert!(*row(at).as_str() < *after(Timestamp(at)));
        }
        assert!(*row(10).as_str() > *after(Timestamp(9)));
        assert_eq!(DueRow::parse("x"), None);
    }
}
