//! What must hold in a ledger at any moment, whoever wrote to it and whatever failed.

use std::collections::HashSet;
use std::sync::Arc;

use lucius_domain::event::Event;
use lucius_domain::evolve::evolve;
use lucius_domain::job::{Job, Phase};
use lucius_domain::transition::OutboxRow;
use lucius_ports::ledger::{Filter, Ledger as _};

use crate::stage::{Stage, World};

/// Every job's trail is the job, every attempt has its row, and PENDING rows are the attempts that wait.
pub(crate) async fn audit(world: &World) {
    let filter = Filter {
        limit: usize::MAX,
        ..Filter::default()
    };
    let jobs = world
        .ledger
        .list(filter)
        .await
        .expect("the memory ledger answers");
    let mut leases = HashSet::new();
    let published: HashSet<String> = world
        .bus
        .accepted()
        .into_iter()
        .map(|message| message.message_id)
        .collect();
    for job in jobs {
        let events = world
            .ledger
            .events(job.id, 0, usize::MAX)
            .await
            .expect("it answers");
        let mut folded = Job::new(job.id, Arc::clone(&job.spec));
        let mut rows = HashSet::new();
        for (index, recorded) in events.iter().enumerate() {
            assert_eq!(recorded.seq, index as u64 + 1);
            evolve(&mut folded, recorded);
            if let Event::AttemptCreated { step, attempt } = &recorded.event {
                assert!(leases.insert(attempt.key.lease_id), "a lease is used twice");
                rows.insert((*step, attempt.key.no));
            }
        }
        folded.progress.version = job.progress.version;
        assert_eq!(folded, *job, "the trail is the job");
        assert_eq!(job.due().is_none(), job.progress.status.is_terminal());

        let outbox = world.ledger.outbox(job.id);
        let names: HashSet<_> = outbox.iter().map(|(step, no, _)| (*step, *no)).collect();
        assert_eq!(
            names, rows,
            "every attempt has one row, and no row is without"
        );
        for (step, no, row) in outbox {
            let phase = &job.progress.steps[step].phase;
            let waits = matches!(phase, Phase::Dispatching { attempt, .. } if attempt.key.no == no);
            assert_eq!(
                matches!(row, OutboxRow::Pending { .. }),
                waits,
                "{row:?} at {phase:?}"
            );
            let id = format!("{}:{}:{no}", job.id, job.spec.steps[step].step_id);
            // SENT only after the bus took it; a callback proves the same.
            assert!(
                row != OutboxRow::Sent || published.contains(&id),
                "{id} was never published"
            );
        }
    }
}

/// The same, and the gates count what the ledger holds.
pub(crate) async fn audit_with_gates(stage: &Stage) {
    audit(stage).await;
    let counts = stage
        .ledger
        .counts()
        .await
        .expect("the memory ledger answers");
    let occupancy = stage.engine.gates().occupancy();
    assert_eq!(
        occupancy.jobs,
        counts.in_flight.values().sum::<u64>(),
        "jobs in flight"
    );
    assert_eq!(
        occupancy.backlog.iter().sum::<u64>(),
        counts.outbox_pending.values().sum::<u64>(),
        "directives that wait"
    );
}
