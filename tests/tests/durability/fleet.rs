//! Three hosts on one ledger in tables and one bus, of which one dies and one is frozen past its claims.

use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::balancer::Balancer;
use lucius_tests::client::Client;
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::order;
use lucius_tests::registry::Copied;
use lucius_tests::wait;
use serde_json::Value;

use crate::crowd::Crowd;
use crate::one_job::{registry, setup};

/// How many commands are accepted between two events.
const ENOUGH: usize = 15;
/// Short, so that it is not long until lanes change hands.
const CLAIM_MS: u64 = 1_500;

const BEYOND: Kind = Kind {
    bus: true,
    fail_one_in: 0,
};

/// A host of a fleet.
async fn host(setup: Setup, cloud: &Cloud) -> Host {
    setup
        .with("FLEET_CLAIM_MS", CLAIM_MS)
        .sharing(cloud)
        .start()
        .await
}

async fn hosts(client: &Client) -> Vec<Value> {
    let body = client.get("/v1/hosts").await.expect(200).body;
    body["hosts"].as_array().cloned().unwrap_or_default()
}

/// How many lanes each host that is alive has, in order; nothing unless all lanes are had.
async fn shares(client: &Client) -> Option<Vec<usize>> {
    let hosts = hosts(client).await;
    let alive = hosts.iter().filter(|host| host["alive"] == true);
    let mut shares: Vec<usize> = alive
        .map(|host| host["lanes"].as_array().map_or(0, Vec::len))
        .collect();
    shares.sort_unstable();
    (shares.iter().sum::<usize>() == 16).then_some(shares)
}

/// Waits until the hosts that are alive have shared out the lanes like this.
async fn shared_out(client: &Client, expected: &[usize]) {
    let what = format!("lanes shared out {expected:?}");
    wait::until(&what, async || {
        (shares(client).await? == expected).then_some(())
    })
    .await;
}

/// Waits until the metrics of hosts say that each has so many lanes, and knows so many hosts.
async fn measured(hosts: &[&Host], expected: &[usize]) {
    wait::until("metrics of lanes and hosts", async || {
        let mut held = Vec::new();
        for host in hosts {
            let text = host.client().get("/metrics").await.expect(200).text;
            let alive = format!("lucius_hosts_alive {}", hosts.len());
            text.lines().find(|line| *line == alive)?;
            let is_held =
                |line: &&str| line.starts_with("lucius_lane_held{") && line.ends_with(" 1");
            held.push(text.lines().filter(is_held).count());
        }
        held.sort_unstable();
        (held == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_i15_of_three_hosts_one_dies_and_one_sleeps_and_no_job_is_lost_or_done_twice() {
    let registry = registry();
    let cloud = Cloud::new(BEYOND, &[]).await;
    let namespace = cloud.namespace.as_ref().expect("it was asked for").url();
    let balancer = Balancer::start().await;
    let setup = setup(&registry)
        .with("PUBLIC_URL", balancer.url())
        .with("TIMING_SWEEP_INTERVAL_MS", 300);
    let mut dies = host(setup.clone(), &cloud).await;
    let sleeps = host(setup.clone(), &cloud).await;
    let stays = host(setup, &cloud).await;
    for host in [&dies, &sleeps, &stays] {
        balancer.add(host);
    }
    let client = stays.client();
    shared_out(&client, &[5, 5, 6]).await;
    measured(&[&dies, &sleeps, &stays], &[5, 5, 6]).await;
    let crowd = Crowd::at(&Client::new(balancer.url()), namespace);
    crowd.accepts(ENOUGH).await;

    dies.kill();
    balancer.remove(&dies);
    shared_out(&client, &[8, 8]).await;
    crowd.accepts(ENOUGH).await;

    sleeps.freeze();
    balancer.remove(&sleeps);
    shared_out(&client, &[16]).await;
    crowd.accepts(ENOUGH).await;
    // It goes on in the middle of whatever it did, with claims that are over and jobs that have moved on.
    sleeps.wake();
    balancer.add(&sleeps);
    shared_out(&client, &[8, 8]).await;
    crowd.accepts(ENOUGH).await;

    crowd.settle_with(&client).await;
}

/// A component that does the same and has another digest.
fn with_a_note(component: &[u8]) -> Vec<u8> {
    // A custom section of 5 bytes: the length of its name, and its name.
    [component, &[0, 5, 4, b'n', b'o', b't', b'e']].concat()
}

#[tokio::test]
async fn a_reload_on_one_host_reaches_the_others_and_brings_them_the_components()
-> anyhow::Result<()> {
    let (mut changed, unchanged) = (Copied::new()?, Copied::new()?);
    let cloud = Cloud::new(BEYOND, &[]).await;
    let first = host(Setup::quick().registry(changed.path()), &cloud).await;
    let mut second = host(Setup::quick().registry(unchanged.path()), &cloud).await;

    let component = std::fs::read(changed.component("ocr"))?;
    changed.replace("ocr", &with_a_note(&component))?;
    let live = first.client().post_nothing("/v1/registry:reload").await;
    let live = live.expect(200).body;
    assert_eq!(live["generation"], 2);
    for looker in [first.client(), second.client()] {
        wait::until("both hosts on generation 2", async || {
            let hosts = hosts(&looker).await;
            let on_it = |host: &&Value| host["registry_generation"] == 2;
            (hosts.iter().filter(on_it).count() == 2).then_some(())
        })
        .await;
    }
    let there = second.client().get("/v1/registry").await.expect(200).body;
    assert_eq!(there["plugins"], live["plugins"], "the new component too");

    // A host whose files are of before the change follows the others.
    second.crash().await;
    let there = second.client().get("/v1/registry").await.expect(200).body;
    assert_eq!(there["generation"], 2);
    let job = second.client().submit(&order("acme", "OCR")).await;
    second.worker("platform-ocr").succeed("acme").await;
    let over = second.client().job_in(&job, "SUCCEEDED").await;
    assert_eq!(over["registry_generation"], 2);

    // One that ends in order takes its leave.
    shared_out(&first.client(), &[8, 8]).await;
    let address = second.url().trim_start_matches("http://").to_owned();
    let known = hosts(&first.client()).await;
    let left = known
        .iter()
        .find(|it| it["address"] == address.as_str() && it["alive"] == true);
    let left = left.map(|it| it["id"].clone());
    assert_eq!(second.terminate().await.code(), Some(0));
    assert!(left.is_some());
    wait::until("it is not among the hosts", async || {
        let known = hosts(&first.client()).await;
        let stays = known.iter().any(|it| Some(&it["id"]) == left.as_ref());
        (!stays).then_some(())
    })
    .await;
    shared_out(&first.client(), &[16]).await;
    Ok(())
}
