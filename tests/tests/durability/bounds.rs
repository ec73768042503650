//! What a host may use of the machine, and what it does when the machine has no more: descriptors, memory, queues.
//!
//! A host that the kernel kills for its memory has died as by SIGKILL; that is the business of [`crate::boundaries`].

use lucius_tests::answer::Answer;
use lucius_tests::client::Client;
use lucius_tests::history::History;
use lucius_tests::wait;
use tokio::net::TcpStream;

use crate::crowd::{Crowd, VISITORS};
use crate::one_job::{Visitor, command, registry, setup};

#[tokio::test]
async fn f42_a_host_without_descriptors_serves_whom_it_has_and_goes_on_when_there_are_more() {
    let (registry, history) = (registry(), History::default());
    let mut host = setup(&registry).start().await;
    let visitor = Visitor::of(&host, &history);
    visitor.live("before").await.expect("the host is there");
    host.limit_descriptors(host.descriptors() + 8);
    // The kernel takes every one of them; the host can take only a few.
    let address = host.url().trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(
            TcpStream::connect(&address)
                .await
                .expect("the kernel takes it"),
        );
    }
    wait::until("the host to notice", async || {
        let says = host.output();
        says.contains("connections cannot be accepted")
            .then_some(())
    })
    .await;
    visitor
        .submit("during")
        .await
        .expect("its connection is open");
    assert!(host.is_alive());
    drop(idle);
    for key in ["during", "after"] {
        visitor.live(key).await.expect("the host is there");
    }
    history.compare(&host.client()).await;
}

/// How many commands make a soak: a few in each run of the tests, `LUCIUS_SOAK=100000` for as long as that takes.
fn soak() -> usize {
    let asked = std::env::var("LUCIUS_SOAK").ok();
    let asked = asked.map(|text| text.parse().expect("LUCIUS_SOAK is a number of commands"));
    asked.unwrap_or(300)
}

/// How many jobs of one tenant may be in flight in the soak.
const OF_A_TENANT: usize = 4;
/// Who submits and never lets anyone work.
const FLOODS: [&str; 2] = ["flood one", "flood two"];
/// What the memory of a host may grow by over a soak, in KiB: caches that fill and the allocator's slack. A leak of a
/// few KiB a job is more, in a soak of some ten thousand.
const GROWTH_KIB: u64 = 64 << 10;
/// The longest WAL: what SQLite folds away at 32 MiB, and what comes meanwhile.
const WAL_BYTES: u64 = 96 << 20;

async fn in_flight(client: &Client) -> usize {
    let metrics = client.get("/metrics").await.expect(200).text;
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("lucius_jobs_in_flight{"));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    values.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i20_in_a_soak_memory_and_queues_keep_within_their_bounds() {
    let (registry, soak) = (registry(), soak());
    let most = VISITORS + FLOODS.len() * OF_A_TENANT;
    let host = setup(&registry)
        .with("LIMITS_TENANT_INFLIGHT", OF_A_TENANT)
        .with("LIMITS_GLOBAL_INFLIGHT", most)
        .start()
        .await;
    let client = host.client();
    let crowd = Crowd::on(&host);
    crowd.accepts((soak / 4).min(1_000)).await;
    let at_first = host.memory_kib();
    let end = crowd.history.jobs() + soak;
    let (mut refused, mut number) = (0, 0);
    while crowd.history.jobs() < end {
        for tenant in FLOODS {
            number += 1;
            let mut more = command(tenant);
            more["idempotency_key"] = number.to_string().into();
            let Answer { status, body, .. } = client.post("/v1/commands", &more).await;
            assert!(matches!(status, 202 | 429), "{status} {body}");
            refused += usize::from(status == 429);
        }
        let now = in_flight(&client).await;
        assert!(now <= most, "{now} jobs in flight, and {most} are allowed");
    }
    assert!(refused > number / 2, "{refused} of {number} were refused");
    let grown = host.memory_kib().saturating_sub(at_first);
    assert!(grown < GROWTH_KIB, "{grown} KiB more after {soak} jobs");
    for name in ["ledger.db-wal", "bus.db-wal"] {
        let wal = std::fs::metadata(host.data().join(name)).map_or(0, |wal| wal.len());
        assert!(wal < WAL_BYTES, "{name} has {wal} bytes");
    }
    crowd.settle(&host).await;
}
