//! Which entity is where: tables, partitions and rows. docs/table-storage-schema.md describes the same for people.
//!
//! Keys are made of ASCII letters, digits, `-`, `.` and `_` alone. So none holds what the service forbids, none needs
//! encoding in an address or quoting in a query, and their order is that of their bytes.

pub(crate) mod document;
pub(crate) mod due_row;
pub(crate) mod job_row;
pub(crate) mod past_row;

use lucius_domain::id::{AttemptNo, Digest, JobId, TenantId};
use lucius_domain::routing::Lane;
use lucius_domain::time::Timestamp;
use uuid::Uuid;

use crate::service::Key;

/// The names of the tables, which share a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Jobs with their steps, outbox and events: a partition each.
    pub(crate) jobs: String,
    /// What belongs to a tenant: idempotency keys, and its jobs in order.
    pub(crate) tenants: String,
    /// When jobs need the host, a partition each lane.
    pub(crate) due: String,
    /// Jobs that failed or were cancelled, in order; and when each job ended.
    pub(crate) ended: String,
    /// Registry generations.
    pub(crate) registry: String,
    /// Small documents, a partition each kind.
    pub(crate) records: String,
    /// What workers have finished; nothing of the ledger.
    pub(crate) attempts: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |table: &str| format!("{prefix}{table}");
        Self {
            jobs: name("jobs"),
            tenants: name("tenants"),
            due: name("due"),
            ended: name("ended"),
            registry: name("registry"),
            records: name("records"),
            attempts: name("attempts"),
        }
    }

    pub(crate) fn all(&self) -> [&str; 7] {
        let Self {
            jobs,
            tenants,
            due,
            ended,
            registry,
            records,
            attempts,
        } = self;
        [jobs, tenants, due, ended, registry, records, attempts]
    }
}

/// A job's id so that a later one comes first: 32 hexadecimal digits, each bit turned over.
pub(crate) fn newest_first(job: JobId) -> String {
    format!("{:032x}", !job.0.as_u128())
}

/// The id that [`newest_first`] wrote.
pub(crate) fn job_of(text: &str) -> Option<JobId> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then_some(JobId(Uuid::from_u128(!number)))
}

/// The partition of a job.
pub(crate) fn job_partition(job: JobId) -> String {
    newest_first(job)
}

/// The row that is the job; its version guards all others of the partition.
pub(crate) const JOB: &str = "job";

/// Job and spec, and nothing else of the partition: `-` comes before `.` and after the end of `job`.
pub(crate) const JOB_AND_SPEC: (&str, &str) = ("job", "job.");

pub(crate) fn job_key(job: JobId) -> Key {
    Key {
        partition: job_partition(job),
        row: JOB.to_owned(),
    }
}

/// A part of what the job was accepted with.
pub(crate) fn spec_row(part: usize) -> String {
    format!("job-spec-{part:02}")
}

/// A part of the events of one commit, which is named by the number of its last event.
pub(crate) fn event_row(last_seq: u64, part: usize) -> String {
    format!("event-{last_seq:010}-{part:02}")
}

/// The rows of all events after a number.
pub(crate) fn events_after(seq: u64) -> (String, String) {
    (
        format!("event-{:010}", seq.saturating_add(1)),
        "event.".to_owned(),
    )
}

/// A directive to publish.
pub(crate) fn outbox_row(step: usize, attempt: AttemptNo) -> String {
    format!("outbox-{step:02}-{:010}", attempt.0)
}

/// A tenant as a partition. Other characters than letters, digits, `-` and `.` become `_` and two hexadecimal digits a
/// byte; a name that would be too long for a key becomes its digest, which no other name looks like.
pub(crate) fn tenant_partition(tenant: &TenantId) -> String {
    const LONGEST: usize = 256;
    let mut text = String::new();
    for byte in tenant.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => text.push(char::from(byte)),
            _ => text.push_str(&format!("_{byte:02x}")),
        }
    }
    if text.len() > LONGEST {
        return format!("_sha256-{}", Digest::of(tenant.as_str().as_bytes()));
    }
    text
}

/// An idempotency key within its tenant. The digest stands for it: a client's key may hold any character.
pub(crate) fn idempotency_row(key: &str) -> String {
    format!("key-{}", Digest::of(key.as_bytes()))
}

/// A job in its tenant's list.
pub(crate) fn listed_row(job: JobId) -> String {
    format!("job-{}", newest_first(job))
}

/// The job of a tenant's list row.
pub(crate) fn listed_job(row: &str) -> Option<JobId> {
    job_of(row.strip_prefix("job-")?)
}

/// The partition of a lane.
pub(crate) fn lane_partition(lane: Lane) -> String {
    format!("lane-{:02}", lane.number())
}

/// The partition of what happened on a day; days are in their order.
pub(crate) fn day_partition(at: Timestamp) -> String {
    const DAY_MS: i64 = 86_400_000;
    format!("day-{:012}", at.0.max(0) / DAY_MS)
}

/// A generation, later ones first.
pub(crate) fn generation_row(number: u64) -> String {
    format!("{:020}", u64::MAX - number)
}

/// A record within its kind: its key in hexadecimal digits, which keeps the order and takes every character.
pub(crate) fn record_row(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The partition of all generations.
pub(crate) const GENERATIONS: &str = "generations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_job_comes_first_and_its_id_reads_back() {
        let (early, late) = (
            JobId(Uuid::from_u128(5)),
            JobId(Uuid::from_u128(u128::MAX - 5)),
        );
        assert!(newest_first(late) < newest_first(early));
        assert_eq!(job_of(&newest_first(early)), Some(early));
        assert_eq!(listed_job(&listed_row(late)), Some(late));
        assert_eq!(job_of("5"), None);
    }

    #[test]
    fn a_tenant_is_a_key_whatever_its_name() {
        for (name, expected) in [
            ("acme", "acme"),
            ("Acme", "Acme"),
            ("a/b\\c#d?e", "a_2fb_5cc_23d_3fe"),
            ("a_b", "a_5fb"),
            ("größe", "gr_c3_b6_c3_9fe"),
        ] {
            assert_eq!(tenant_partition(&name.into()), expected);
        }
        let long = tenant_partition(&"ö".repeat(200).as_str().into());
        assert_eq!(long.len(), "_sha256-".len() + 64);
    }

    #[test]
    fn job_and_spec_are_a_range_that_holds_no_other_row() {
        let (from, to) = JOB_AND_SPEC;
        let within = |row: &str| from <= row && row < to;
        assert!(within(JOB) && within(&spec_row(0)) && within(&spec_row(99)));
        assert!(!within(&event_row(1, 0)) && !within(&outbox_row(0, AttemptNo(1))));
    }

    #[test]
    fn the_events_after_a_number_are_those_of_later_commits() {
        let (from, to) = events_after(7);
        let within = |row: String| from <= row && row < to;
        assert!(!within(event_row(7, 3)));
        assert!(within(event_row(8, 0)) && within(event_row(4_000_000_000, 99)));
    }
}
