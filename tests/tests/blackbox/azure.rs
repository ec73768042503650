//! Ledger and bus where Azure has them: what is wrong is said at the start, a job runs through while requests fail, and
//! what it costs is counted. The whole of these tests runs there with `LUCIUS_TESTS_ON`; see `lucius_tests::azure`.

use lucius_azurite::emulator::{self, connection_at};
use lucius_azurite::proxy::Proxy;
use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{artifact, order};
use lucius_tests::program::{Ended, Run};
use lucius_tests::{places, wait};
use serde_json::json;
use tempfile::TempDir;

const TABLES: &str = "LUCIUS_TABLES_CONNECTION";
const BUS: &str = "LUCIUS_SERVICEBUS_CONNECTION";
/// No account has this key. Nothing may print it.
const SECRET: &str = "bm90IHRoZSBrZXkgb2YgYW55IGFjY291bnQ=";
/// Where nobody listens.
const NOBODY: u16 = 9;

/// A start on tables.
fn on_tables(folder: &TempDir, connection: &str) -> Run {
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    Run::new(folder.path(), args)
        .with("LUCIUS_REGISTRY", places::registry())
        .with("LUCIUS_LEDGER_BACKEND", "azure-tables")
        .with("LUCIUS_LEDGER_TABLE_PREFIX", "nothere")
        .with(TABLES, connection)
}

/// The one line of a start that was refused.
#[track_caller]
fn names(ended: Ended, parts: &[&str]) {
    let ended = ended.expect(2);
    let line = ended.one_line();
    assert!(line.starts_with("error: "), "{line}");
    for part in parts {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
    assert!(!line.contains(SECRET), "{line}");
}

#[tokio::test]
async fn a_connection_string_that_is_missing_or_wrong_is_named_and_never_shown()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let args = ["serve", "--listen", "127.0.0.1:0"];
    let without = |backend: &str, value: &str| {
        Run::new(folder.path(), args)
            .with("LUCIUS_REGISTRY", places::registry())
            .with(backend, value)
    };
    let run = without("LUCIUS_LEDGER_BACKEND", "azure-tables");
    names(run.ended().await, &[TABLES, "Azure portal"]);
    let run = without("LUCIUS_BUS_BACKEND", "azure-servicebus");
    names(run.ended().await, &[BUS, "Azure portal"]);

    let key = format!("AccountKey={SECRET}");
    for (text, part) in [
        (String::new(), "empty"),
        (SECRET.trim_end_matches('=').to_owned(), "Name=Value"),
        (key.clone(), "AccountName"),
        (
            format!("{key};AccountName=a;TableEndpoint=here"),
            "TableEndpoint",
        ),
    ] {
        names(on_tables(&folder, &text).ended().await, &[TABLES, part]);
    }
    let key = format!("SharedAccessKey={SECRET}");
    for (text, part) in [
        (String::new(), "empty"),
        (key.clone(), "Endpoint"),
        (format!("{key};Endpoint=sb://a"), "SharedAccessKeyName"),
    ] {
        let run = without("LUCIUS_BUS_BACKEND", "azure-servicebus").with(BUS, text);
        names(run.ended().await, &[BUS, part]);
    }
    Ok(())
}

#[tokio::test]
async fn a_table_that_is_missing_a_key_that_is_refused_and_an_account_that_is_away_are_named()
-> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let account = emulator::tables().await.connection();
    names(
        on_tables(&folder, &account).ended().await,
        &["nothere", "lucius azure apply"],
    );
    let (before, after) = account.split_once("AccountKey=").unwrap_or_default();
    let rest = after.split_once(';').unwrap_or_default().1;
    let foreign = format!("{before}AccountKey={SECRET};{rest}");
    names(
        on_tables(&folder, &foreign).ended().await,
        &["does not accept the key", TABLES],
    );
    names(
        on_tables(&folder, &connection_at(NOBODY)).ended().await,
        &["does not answer", TABLES],
    );
    Ok(())
}

#[tokio::test]
async fn f24_a_namespace_that_is_away_keeps_the_host_from_being_ready_and_not_from_accepting()
-> anyhow::Result<()> {
    let away = format!(
        "Endpoint=http://127.0.0.1:{NOBODY}/bus;SharedAccessKeyName=n;SharedAccessKey={SECRET}"
    );
    let host = Setup::quick()
        .here()
        .with("BUS_BACKEND", "azure-servicebus")
        .with("SERVICEBUS_CONNECTION", away)
        .start()
        .await;
    let client = host.client();
    let problem = client.get("/readyz").await.expect_problem(503, "NOT_READY");
    assert_eq!(problem.body["checks"]["bus"], "unavailable");
    client.submit(&order("patient", "OCR")).await;
    assert!(host.output().contains(BUS), "{}", host.output());
    assert!(!host.output().contains(SECRET));
    Ok(())
}

/// Takes a job of three steps through, one of which fails for a while and one for good, and starts it again.
async fn live(host: &Host, tenant: &str) -> String {
    let client = host.client();
    let job = client.submit(&order(tenant, "OCR->EMBEDDING->SIS")).await;
    let ocr = host.worker("platform-ocr");
    ocr.fail(tenant, "RETRYABLE", "LATER").await;
    let second = ocr.next_attempt(tenant, &job, 2).await;
    ocr.finish(&second, &second.success(&[artifact("ocr")]))
        .await;
    let embedding = host.worker("platform-embedding");
    embedding.fail(tenant, "NON_RETRYABLE", "BROKEN").await;
    client.job_in(&job, "FAILED_FINAL").await;
    client.verb(&job, "redrive").await.expect(202);
    embedding.succeed(tenant).await;
    host.worker("platform-sis").succeed(tenant).await;
    client.job_in(&job, "SUCCEEDED").await;
    job
}

#[tokio::test]
async fn f32_a_job_runs_through_while_requests_to_tables_and_namespace_fail() {
    let kind = Kind {
        bus: true,
        fail_one_in: 15,
    };
    let cloud = Cloud::new(kind, &[]).await;
    let mut host = Setup::quick().sharing(&cloud).start().await;
    live(&host, "stormy").await;
    let job = host.client().submit(&order("stormy", "OCR")).await;
    host.crash().await;
    host.worker("platform-ocr").succeed("stormy").await;
    host.client().job_in(&job, "SUCCEEDED").await;
}

/// What one job may cost, without the scans that find nothing.
const TABLE_REQUESTS: u64 = 25;
const BUS_REQUESTS: u64 = 12;
/// The services of its steps.
const STEPS: [&str; 3] = ["platform-ocr", "platform-embedding", "platform-sis"];

#[tokio::test]
async fn a_job_of_three_steps_takes_at_most_25_table_requests_and_12_of_the_bus()
-> anyhow::Result<()> {
    const NEVER_MS: u64 = 3_600_000;
    let kind = Kind {
        bus: true,
        fail_one_in: 0,
    };
    let mut cloud = Cloud::new(kind, &[]).await;
    let tables = Proxy::start(emulator::tables().await.port(), 1).await;
    let bus = Proxy::start(cloud.namespace_port(), 1).await;
    let through = connection_at(tables.port());
    cloud.settings.push((TABLES.to_owned(), through));
    cloud.settings.push((
        BUS.to_owned(),
        lucius_tests::azure::bus_connection(bus.port()),
    ));
    // Whatever is found by scans, and the hosts' looks at each other, do not belong to a job.
    for idle in ["LUCIUS_TIMING_SWEEP_INTERVAL_MS", "LUCIUS_FLEET_CLAIM_MS"] {
        cloud.settings.push((idle.to_owned(), NEVER_MS.to_string()));
    }
    let host = Setup::serve().sharing(&cloud).start().await;
    let before = settled(&tables).await;
    let client = host.client();
    let job = client
        .submit(&order("counted", "OCR->EMBEDDING->SIS"))
        .await;
    let base = format!("http://127.0.0.1:{}", bus.port());
    for service in STEPS {
        host.worker(service).on(&base).succeed("counted").await;
    }
    // The reads of this test come on top.
    let in_tables = settled(&tables).await - before;
    // A message is settled at the address that came with it, which leads past the proxy.
    let on_bus = bus.requests() + STEPS.len() as u64;
    client.job_in(&job, "SUCCEEDED").await;
    let counted = json!({ "table_requests": in_tables, "bus_requests": on_bus });
    assert!(
        in_tables <= TABLE_REQUESTS && on_bus <= BUS_REQUESTS,
        "{counted}"
    );
    Ok(())
}

/// How many requests there were, once none follows.
async fn settled(proxy: &Proxy) -> u64 {
    let mut seen = (proxy.requests(), 0);
    wait::until("quiet", async || {
        let now = proxy.requests();
        seen = if now == seen.0 {
            (now, seen.1 + 1)
        } else {
            (now, 0)
        };
        (seen.1 > 30).then_some(now)
    })
    .await
}
