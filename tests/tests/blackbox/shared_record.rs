//! Workers that share a record of what they have finished, in tables.

use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::host::{Beside, Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::registry::Copied;
use lucius_tests::{lane, places, wait};
use serde_json::json;
use tempfile::TempDir;

const SERVICE: &str = "platform-redact";
const IN_TABLES: Kind = Kind {
    bus: false,
    fail_one_in: 0,
};

/// A worker with a data directory of its own, whose work leaves a mark there.
async fn worker(host: &Host, folder: &TempDir, cloud: &Cloud) -> Beside {
    let script = "import pathlib, runpy, sys\n\
                  pathlib.Path(sys.argv[1], 'worked').touch()\n\
                  runpy.run_path(sys.argv[2])\n";
    let program = places::fixture("redact.py").display().to_string();
    let (bus, mark) = (host.bus_url(), folder.path().display().to_string());
    let args = [
        "worker",
        "--service",
        SERVICE,
        "--bus",
        &bus,
        "--data-dir",
        &host.data().display().to_string(),
        "--",
        "python3",
        "-c",
        script,
        &mark,
        &program,
    ]
    .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut variables = vec![("LUCIUS_WORKER_RECORD", "azure-tables")];
    let of_tables = cloud
        .settings
        .iter()
        .map(|(name, value)| (&**name, &**value));
    variables.extend(of_tables);
    Beside::start_with(folder.path(), &args, &variables).await
}

/// Where a worker that keeps its record in a file has it.
fn own_record(host: &Host) -> std::path::PathBuf {
    host.data().join(format!("workers/worker-{SERVICE}.db"))
}

#[tokio::test]
async fn what_one_worker_finished_is_known_to_another_and_not_worked_on_again() -> anyhow::Result<()>
{
    let mut registry = Copied::new()?;
    registry.add_plain_step("REDACT", SERVICE)?;
    let cloud = Cloud::new(IN_TABLES, &[]).await;
    let host = Setup::quick()
        .registry(registry.path())
        .here()
        .start()
        .await;
    let client = host.client();
    let output = format!("file://{}/output", host.data().display());
    let more = json!({ "output_ref": output, "payload": { "text": "call 555-0199" } });
    let job = client.submit(&with(order("third", "REDACT"), more)).await;
    // The directive is kept, and given back for the first worker.
    let looker = host.worker(SERVICE);
    let delivery = looker.next("third").await;
    looker.abandon(&delivery).await.expect(200);

    let (first, second) = (TempDir::new()?, TempDir::new()?);
    let worked = worker(&host, &first, &cloud).await;
    assert_eq!(client.job_over(&job).await["state"], "SUCCEEDED");
    assert_eq!(worked.terminate().await.code(), Some(0));
    assert!(first.path().join("worked").exists());
    assert!(!own_record(&host).exists(), "it is in the table alone");

    let again = worker(&host, &second, &cloud).await;
    let topic = lane::topic(&lane::norm("third"));
    let send = client
        .request(reqwest::Method::POST, &format!("/bus/{topic}/messages"))
        .header("service", format!("\"{SERVICE}\""))
        .body(delivery.directive.to_string());
    client.send(send).await.expect(201);
    let log = second.path().join("beside.log");
    wait::until("the RESULT of before, sent again", async || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.contains("finished before").then_some(())
    })
    .await;
    assert_eq!(again.terminate().await.code(), Some(0));
    assert!(!second.path().join("worked").exists(), "it worked again");
    Ok(())
}

#[tokio::test]
async fn a_shared_record_that_cannot_be_used_is_named_at_the_start() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let run = |connection: Option<&str>| {
        let args = ["worker", "--service", SERVICE, "--", "python3", "-V"];
        let run = lucius_tests::program::Run::new(folder.path(), args)
            .with("LUCIUS_WORKER_RECORD", "azure-tables");
        match connection {
            Some(text) => run.with("LUCIUS_TABLES_CONNECTION", text),
            None => run,
        }
    };
    let account = lucius_azurite::emulator::tables().await.connection();
    for (connection, parts) in [
        (None, ["worker.record", "LUCIUS_TABLES_CONNECTION"]),
        (Some(&*account), ["luciusattempts", "lucius azure apply"]),
    ] {
        let ended = run(connection).ended().await.expect(2);
        for part in parts {
            assert!(ended.one_line().contains(part), "{}", ended.stderr);
        }
    }
    Ok(())
}
