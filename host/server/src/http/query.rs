//! Query parameters, and the cursor of a list.
//!
//! A parameter that is not known is refused: a misspelt filter would show more than was asked for.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lucius_domain::id::{Digest, JobId, ProtocolId, RequestType, TenantId};
use lucius_domain::job::Status;
use lucius_domain::signature;
use lucius_domain::time::Timestamp;
use lucius_ports::ledger::Filter;
use lucius_ports::records::Key;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::problem::Problem;

/// How many jobs a page has when the client does not say, and at most.
const JOBS: Page = Page {
    default: 50,
    max: 500,
};
/// The same for events.
const EVENTS: Page = Page {
    default: 1_000,
    max: 1_000,
};
/// The longest value of a filter, in bytes; nothing that is stored is longer.
const MAX_VALUE_BYTES: usize = 1_024;

#[derive(Clone, Copy)]
struct Page {
    default: usize,
    max: usize,
}

/// Which events to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventRange {
    pub(super) after: u64,
    pub(super) limit: usize,
}

/// Reads what a list can be narrowed by, `limit` and `cursor`. `tenant` makes of the tenant that is asked for the
/// one that may be shown.
pub(super) fn jobs(
    query: Option<&str>,
    tenant: impl FnOnce(Option<TenantId>) -> Result<Option<TenantId>, Problem>,
) -> Result<Filter, Problem> {
    let mut parameters = Parameters::read(
        query,
        &[
            "tenant_id",
            "state",
            "request_type",
            "protocol_id",
            "error_code",
            "signature",
            "from",
            "until",
            "limit",
            "cursor",
        ],
    )?;
    let mut filter = Filter {
        tenant_id: tenant(
            parameters
                .take("tenant_id")
                .map(|text| TenantId::from(&*text)),
        )?,
        state: parameters
            .take("state")
            .map(|text| state(&text))
            .transpose()?,
        request_type: parameters
            .take("request_type")
            .map(|text| RequestType::from(&*text)),
        protocol_id: parameters
            .take("protocol_id")
            .map(|text| ProtocolId::from(&*text)),
        error_code: parameters.take("error_code"),
        signature: parameters
            .take("signature")
            .map(|text| {
                let wrong = "signature is one that the dead letters name";
                signature::Id::parse(&text).ok_or_else(|| Problem::invalid_query(wrong))
            })
            .transpose()?,
        from: time(parameters.take("from"), "from")?,
        until: time(parameters.take("until"), "until")?,
        after: None,
        limit: limit(parameters.take("limit"), JOBS)?,
    };
    if let Some(text) = parameters.take("cursor") {
        let bad = || {
            let detail =
                "cursor is not one that this list gave: use next_cursor with the same filter";
            Problem::new(StatusCode::BAD_REQUEST, "INVALID_CURSOR", detail)
        };
        filter.after = Some(resume(&text, &filter).ok_or_else(bad)?);
    }
    Ok(filter)
}

/// Reads `tenant_id` and `limit`.
pub(super) fn dead_letters(query: Option<&str>) -> Result<(Option<TenantId>, usize), Problem> {
    let mut parameters = Parameters::read(query, &["tenant_id", "limit"])?;
    let tenant = parameters.take("tenant_id");
    let limit = limit(parameters.take("limit"), JOBS)?;
    Ok((tenant.map(|text| TenantId::from(&*text)), limit))
}

/// A moment as in RFC 3339, in any offset, at a precision of milliseconds.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = at.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(ms).ok().map(Timestamp)
}

fn time(text: Option<String>, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let wrong = || {
        Problem::invalid_query(format!(
            "{name} is a moment as in RFC 3339: 2026-11-23T13:34:00Z"
        ))
    };
    text.map(|text| moment(&text).ok_or_else(wrong)).transpose()
}

/// Reads `after` and `limit`.
pub(super) fn events(query: Option<&str>) -> Result<EventRange, Problem> {
    let mut parameters = Parameters::read(query, &["after", "limit"])?;
    let after = match parameters.take("after") {
        None => 0,
        Some(text) => seq(&text).ok_or_else(|| {
            Problem::invalid_query("after is the seq of an event, a whole number")
        })?,
    };
    Ok(EventRange {
        after,
        limit: limit(parameters.take("limit"), EVENTS)?,
    })
}

/// The number of an event, as `after` and `Last-Event-ID` give it.
pub(super) fn seq(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    // The ledger counts in signed numbers.
    text.parse()
        .ok()
        .filter(|seq| digits && i64::try_from(*seq).is_ok())
}

/// A page of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordPage {
    pub(super) after: Option<Key>,
    pub(super) limit: usize,
}

/// Reads `limit` and `cursor` of a list of records.
pub(super) fn records(query: Option<&str>) -> Result<RecordPage, Problem> {
    let mut parameters = Parameters::read(query, &["limit", "cursor"])?;
    let after = parameters.take("cursor").map(|text| {
        Key::parse(&text).ok_or_else(|| {
            let detail = "cursor is not one that this list gave: use next_cursor";
            Problem::new(StatusCode::BAD_REQUEST, "INVALID_CURSOR", detail)
        })
    });
    Ok(RecordPage {
        after: after.transpose()?,
        limit: limit(parameters.take("limit"), JOBS)?,
    })
}

/// No parameters here.
pub(super) fn none(query: Option<&str>) -> Result<(), Problem> {
    Parameters::read(query, &[]).map(drop)
}

fn state(text: &str) -> Result<&'static str, Problem> {
    let known = Status::NAMES.into_iter().find(|name| *name == text);
    known.ok_or_else(|| {
        Problem::invalid_query(format!("state is one of {}", Status::NAMES.join(", ")))
    })
}

fn limit(text: Option<String>, page: Page) -> Result<usize, Problem> {
    let Some(text) = text else {
        return Ok(page.default);
    };
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=page.max).contains(number));
    number.ok_or_else(|| {
        Problem::invalid_query(format!("limit is a whole number, 1 to {}", page.max))
    })
}

/// A place in a list, opaque to clients and good for this filter alone.
pub(super) fn cursor(after: JobId, filter: &Filter) -> String {
    let mut bytes = after.0.as_bytes().to_vec();
    bytes.extend(fingerprint(filter));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn resume(cursor: &str, filter: &Filter) -> Option<JobId> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (id, of_filter) = bytes.split_at_checked(16)?;
    (of_filter == fingerprint(filter)).then_some(JobId(Uuid::from_slice(id).ok()?))
}

fn fingerprint(filter: &Filter) -> [u8; 8] {
    let Filter {
        tenant_id,
        state,
        request_type,
        protocol_id,
        error_code,
        signature,
        from,
        until,
        after: _,
        limit: _,
    } = filter;
    let texts = [
        tenant_id.as_ref().map(TenantId::as_str),
        *state,
        request_type.as_ref().map(RequestType::as_str),
        protocol_id.as_ref().map(ProtocolId::as_str),
        error_code.as_deref(),
    ];
    let parts = (texts, signature, from, until);
    let digest = Digest::of(format!("{parts:?}").as_bytes()).0;
    std::array::from_fn(|index| digest[index])
}

struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(name) = known.iter().find(|known| **known == name) else {
                let detail = match known {
                    [] => "there are no query parameters here".to_owned(),
                    known => format!(
                        "only these query parameters mean something here: {}",
                        known.join(", ")
                    ),
                };
                return Err(Problem::invalid_query(detail));
            };
            if value.is_empty() || value.len() > MAX_VALUE_BYTES {
                let detail =
                    format!("{name} has 1 to {MAX_VALUE_BYTES} bytes: leave it out for none");
                return Err(Problem::invalid_query(detail));
            }
            if found.iter().any(|(known, _)| known == name) {
                return Err(Problem::invalid_query(format!("{name} is given twice")));
            }
            found.push(((*name).to_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(query: &str) -> &'static str {
        jobs(Some(query), Ok).unwrap_err().code()
    }

    #[test]
    fn a_filter_is_read_as_it_is_written() {
        let filter = jobs(
            Some("tenant_id=a%20b&state=QUEUED&request_type=OCR-%3ESIS&limit=7"),
            Ok,
        )
        .unwrap();
        assert_eq!(filter.tenant_id, Some(TenantId::from("a b")));
        assert_eq!(filter.state, Some("QUEUED"));
        assert_eq!(filter.request_type, Some(RequestType::from("OCR->SIS")));
        assert_eq!(filter.limit, 7);
        assert_eq!(jobs(None, Ok).unwrap().limit, 50);
    }

    #[test]
    fn moments_are_read_in_any_offset() {
        let here = "from=2023-11-14T23:13:20.25%2B01:00&until=2023-11-14T22:13:20.250Z";
        let filter = jobs(Some(here), Ok).unwrap();
        assert_eq!(filter.from, Some(Timestamp(1_700_000_000_250)));
        assert_eq!(filter.until, filter.from);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let wrong = [
            "tenant=acme",
            "state=queued",
            "state=",
            "limit=0",
            "limit=501",
            "limit=-1",
            "limit=x",
            "limit=+",
            "state=QUEUED&state=QUEUED",
            "from=yesterday",
            "until=2026-11-23T13:34:00",
            "signature=OCR",
        ];
        for query in wrong {
            assert_eq!(code(query), "INVALID_QUERY", "{query}");
        }
        assert!(events(Some("after=-1")).is_err());
        assert!(events(Some("after=18446744073709551615")).is_err());
        assert_eq!(
            events(Some("after=3&limit=2")).unwrap(),
            EventRange { after: 3, limit: 2 }
        );
    }

    #[test]
    fn a_cursor_goes_on_where_it_was_made_and_with_no_other_filter() {
        let filter = jobs(Some("tenant_id=acme"), Ok).unwrap();
        let id = JobId(Uuid::from_u128(42));
        let cursor = cursor(id, &filter);
        let next = jobs(Some(&format!("tenant_id=acme&limit=3&cursor={cursor}")), Ok).unwrap();
        assert_eq!(next.after, Some(id));
        for query in [
            format!("cursor={cursor}"),
            format!("tenant_id=b&cursor={cursor}"),
        ] {
            assert_eq!(code(&query), "INVALID_CURSOR");
        }
        assert_eq!(code("tenant_id=acme&cursor=AAAA"), "INVALID_CURSOR");
        assert_eq!(code("tenant_id=acme&cursor=%25%25"), "INVALID_CURSOR");
    }
}
