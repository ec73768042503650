//! The one place of this crate that asks for the wall clock: callbacks carry a time of day, and the
//! record of finished attempts forgets by age. Waits use tokio's clock, which tests can move.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// The time of day as callbacks carry it: RFC 3339 in UTC, to the millisecond.
pub(crate) fn timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let to_the_millisecond = now.replace_nanosecond(u32::from(now.millisecond()) * 1_000_000);
    to_the_millisecond
        .unwrap_or(now)
        .format(&Rfc3339)
        .expect("a date of this era has an RFC 3339 form")
}
