//! Listing and counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use lucius_domain::id::JobId;
use lucius_domain::job::{Job, Status};
use lucius_domain::routing::Mode;
use lucius_domain::signature::{self, Signature};

use super::play::{Draft, Move, Play, START, lane};
use crate::ledger::{Counts, Filter, Ledger, ModeKey};

/// Twenty-four jobs of two tenants, two request types and several states, in the order they were accepted.
async fn mixed(play: &Play) -> Vec<Arc<Job>> {
    let mut jobs = Vec::new();
    for number in 0..24_u64 {
        let draft = Draft {
            tenant: ["acme", "beta"][usize::from(number % 3 == 0)].to_owned(),
            request_type: ["OCR", "SIS"][usize::from(number % 4 == 1)].to_owned(),
            mode: if number % 5 == 0 {
                Mode::Burst
            } else {
                Mode::Default
            },
            steps: 1,
            created_at: START.plus_ms(number),
            lane: lane(number / 6),
        };
        let job = play.create(&draft).await;
        let moves: &[Move] = match number % 6 {
            0 => &[],
            1 => &[Move::Dispatch],
            2 => &[Move::Dispatch, Move::Sent],
            3 => &[Move::Dispatch, Move::Ack],
            4 => &[Move::Dispatch, Move::Succeed],
            _ => &[Move::RejectRoute],
        };
        jobs.push(match moves {
            [] => job,
            moves => play.play(job.id, START.plus_ms(number), moves).await,
        });
    }
    jobs
}

/// Every combination of filters gives exactly the jobs that match, newest first.
pub async fn lists_are_newest_first_and_filtered(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let mut jobs = mixed(&play).await;
    jobs.reverse();
    let states = Status::NAMES
        .into_iter()
        .map(Some)
        .chain([None, Some("NO_SUCH_STATE")]);
    for state in states {
        for tenant in [None, Some("acme"), Some("beta"), Some("nobody")] {
            for request_type in [None, Some("OCR"), Some("SIS"), Some("NONE")] {
                let filter = Filter {
                    tenant_id: tenant.map(Into::into),
                    state,
                    request_type: request_type.map(Into::into),
                    limit: 100,
                    ..Filter::default()
                };
                let expected: Vec<_> = jobs.iter().filter(|job| matches(&filter, job)).collect();
                let listed = play
                    .ledger
                    .list(filter.clone())
                    .await
                    .expect("the ledger works");
                assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{filter:?}");
                assert_pages(&play, &filter, &expected).await;
            }
        }
    }
}

fn matches(filter: &Filter, job: &Job) -> bool {
    filter
        .tenant_id
        .as_ref()
        .is_none_or(|tenant| *tenant == job.spec.tenant_id)
        && filter
            .state
            .is_none_or(|state| state == job.progress.status.name())
        && filter
            .request_type
            .as_ref()
            .is_none_or(|kind| *kind == job.spec.request_type)
        && filter
            .protocol_id
            .as_ref()
            .is_none_or(|protocol| *protocol == job.spec.protocol_id)
        && filter
            .error_code
            .as_ref()
            .is_none_or(|code| job.failure().is_some_and(|failure| failure.code == *code))
        && filter
            .signature
            .is_none_or(|id| Signature::of(job).is_some_and(|it| it.id() == id))
        && filter.from.is_none_or(|from| job.spec.created_at >= from)
        && filter.until.is_none_or(|until| job.spec.created_at < until)
}

/// Reads the same list five jobs at a time.
async fn assert_pages(play: &Play, filter: &Filter, expected: &[&Arc<Job>]) {
    let mut rest = expected;
    let mut after = None;
    loop {
        let page = Filter {
            after,
            limit: 5,
            ..filter.clone()
        };
        let page = play.ledger.list(page).await.expect("the ledger works");
        let (head, tail) = rest.split_at(rest.len().min(5));
        assert_eq!(
            page.iter().collect::<Vec<_>>(),
            head,
            "{filter:?} after {after:?}"
        );
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        rest = tail;
    }
    let none = Filter {
        limit: 0,
        ..filter.clone()
    };
    assert_eq!(play.ledger.list(none).await.expect("the ledger works"), []);
}

/// The filters that look deeper than tenant, type and state, alone and with the others.
pub async fn lists_are_filtered_by_protocol_error_and_time(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let mut jobs = mixed(&play).await;
    jobs.reverse();
    let signature = jobs.iter().find_map(|job| Signature::of(job));
    let signature = signature.expect("some of them failed").id();
    let unknown = signature::Id([0; 8]);
    let deeper = [
        Filter::default(),
        Filter {
            protocol_id: Some("ocr-embedding-sis.v1".into()),
            ..Filter::default()
        },
        Filter {
            protocol_id: Some("none.v1".into()),
            ..Filter::default()
        },
        Filter {
            error_code: Some("NO_ROUTE".to_owned()),
            ..Filter::default()
        },
        Filter {
            error_code: Some("NONE".to_owned()),
            ..Filter::default()
        },
        Filter {
            signature: Some(signature),
            ..Filter::default()
        },
        Filter {
            signature: Some(unknown),
            error_code: Some("NO_ROUTE".to_owned()),
            ..Filter::default()
        },
        Filter {
            signature: Some(signature),
            protocol_id: Some("ocr-embedding-sis.v1".into()),
            error_code: Some("NO_ROUTE".to_owned()),
            ..Filter::default()
        },
    ];
    let times = [
        (None, None),
        (Some(START.plus_ms(5)), None),
        (None, Some(START.plus_ms(12))),
        (Some(START.plus_ms(5)), Some(START.plus_ms(12))),
        (Some(START.plus_ms(99)), None),
    ];
    for (deeper, (from, until)) in deeper.iter().flat_map(|it| times.map(|time| (it, time))) {
        for tenant in [None, Some("acme")] {
            for state in [None, Some("FAILED_FINAL"), Some("QUEUED")] {
                let filter = Filter {
                    tenant_id: tenant.map(Into::into),
                    state,
                    from,
                    until,
                    limit: 100,
                    ..deeper.clone()
                };
                let expected: Vec<_> = jobs.iter().filter(|job| matches(&filter, job)).collect();
                assert_pages(&play, &filter, &expected).await;
            }
        }
    }
}

/// Jobs that arrive while someone pages through the list neither shift nor repeat what is older.
pub async fn a_cursor_holds_while_jobs_arrive(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    let mut expected: Vec<JobId> = Vec::new();
    for number in 0..10 {
        let draft = Draft {
            created_at: START.plus_ms(number),
            ..Draft::default()
        };
        expected.push(play.create(&draft).await.id);
    }
    expected.reverse();
    let mut seen = Vec::new();
    let mut after = None;
    for number in 100.. {
        let filter = Filter {
            after,
            limit: 3,
            tenant_id: Some("acme".into()),
            ..Filter::default()
        };
        let page = play.ledger.list(filter).await.expect("the ledger works");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|job| job.id));
        play.create(&Draft {
            created_at: START.plus_ms(number),
            ..Draft::default()
        })
        .await;
    }
    assert_eq!(seen, expected);
}

/// The counts are those of a count by hand, after everything that changes them.
pub async fn counts_follow_the_jobs(ledger: Arc<dyn Ledger>) {
    let play = Play::on(ledger);
    assert_eq!(play.counts().await, Counts::default());
    let jobs = mixed(&play).await;
    assert_counts(&play, &jobs).await;
    let mut ended = Vec::new();
    for job in jobs {
        ended.push(match job.progress.status {
            Status::Queued | Status::Dispatching | Status::InProgress | Status::Cancelling => {
                play.play(job.id, START.plus_ms(50), &[Move::Cancel]).await
            }
            Status::FailedFinal { .. } => play.play(job.id, START, &[Move::Redrive]).await,
            Status::Succeeded | Status::Cancelled => job,
        });
    }
    assert_counts(&play, &ended).await;
}

async fn assert_counts(play: &Play, jobs: &[Arc<Job>]) {
    let mut in_flight = BTreeMap::new();
    let mut outbox_pending = BTreeMap::new();
    for job in jobs.iter().filter(|job| !job.progress.status.is_terminal()) {
        let mode = ModeKey::from(job.spec.mode.resolved_mode);
        *in_flight
            .entry((job.spec.tenant_id.clone(), mode))
            .or_insert(0) += 1;
        let dispatching = job
            .progress
            .steps
            .iter()
            .any(|step| step.state_name() == "DISPATCHING");
        if dispatching {
            *outbox_pending.entry(job.spec.lane).or_insert(0) += 1;
        }
    }
    assert_eq!(
        play.counts().await,
        Counts {
            in_flight,
            outbox_pending
        }
    );
}
