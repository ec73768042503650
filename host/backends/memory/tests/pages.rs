//! Whatever the jobs, the filter and the size of a page: the pages are the list.

use std::sync::Arc;

use lucius_memory::ledger::MemoryLedger;
use lucius_ports::conformance::ledger::play::{Draft, Move, Play, START};
use lucius_ports::ledger::{Filter, Ledger as _};
use proptest::prelude::*;

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const TYPES: [&str; 2] = ["OCR", "SIS"];

#[derive(Clone, Debug)]
struct Made {
    tenant: usize,
    kind: usize,
    cancelled: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let any = (0..TENANTS.len(), 0..TYPES.len(), any::<bool>());
    any.prop_map(|(tenant, kind, cancelled)| Made {
        tenant,
        kind,
        cancelled,
    })
}

type Wanted = (Option<usize>, Option<usize>, Option<bool>);

fn wants(made: &Made, (tenant, kind, cancelled): Wanted) -> bool {
    tenant.is_none_or(|it| it == made.tenant)
        && kind.is_none_or(|it| it == made.kind)
        && cancelled.is_none_or(|it| it == made.cancelled)
}

async fn pages_are_the_list(all: Vec<Made>, wanted: Wanted, page: usize) {
    let ledger = Arc::new(MemoryLedger::new());
    let play = Play::on(Arc::clone(&ledger) as _);
    let mut expected = Vec::new();
    for (number, made) in (0..).zip(&all) {
        let draft = Draft {
            tenant: TENANTS[made.tenant].to_owned(),
            request_type: TYPES[made.kind].to_owned(),
            created_at: START.plus_ms(number),
            ..Draft::default()
        };
        let id = play.create(&draft).await.id;
        if made.cancelled {
            play.play(id, START, &[Move::Cancel]).await;
        }
        if wants(made, wanted) {
            expected.push(id);
        }
    }
    expected.reverse();
    let (tenant, kind, cancelled) = wanted;
    let mut filter = Filter {
        tenant_id: tenant.map(|it| TENANTS[it].into()),
        request_type: kind.map(|it| TYPES[it].into()),
        state: cancelled.map(|it| if it { "CANCELLED" } else { "QUEUED" }),
        limit: page,
        ..Filter::default()
    };
    let mut seen = Vec::new();
    loop {
        let jobs = ledger.list(filter.clone()).await.expect("memory is there");
        assert!(jobs.len() <= page);
        let Some(last) = jobs.last() else { break };
        filter.after = Some(last.id);
        seen.extend(jobs.iter().map(|job| job.id));
    }
    assert_eq!(seen, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn f34_the_pages_are_the_list(
        all in prop::collection::vec(made(), 0..40),
        tenant in prop::option::of(0..TENANTS.len()),
        kind in prop::option::of(0..TYPES.len()),
        cancelled in prop::option::of(any::<bool>()),
        page in 1..9_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(pages_are_the_list(all, (tenant, kind, cancelled), page));
    }
}
