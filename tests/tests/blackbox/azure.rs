//! Ledger and bus where Azure has them: what is wrong is said at the start, a job runs through while requests fail, and
//! what it costs is counted. The whole of these tests runs there with `LUCIUS_TESTS_ON`; see `lucius_tests::azure`.

use lucius_azurite::blobs;
use lucius_azurite::emulator::{self, connection_at};
use lucius_azurite::proxy::Proxy;
use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::client::Client;
use lucius_tests::host::{Beside, Host, Setup};
use lucius_tests::orders::{artifact, order, with};
use lucius_tests::program::{Ended, Run};
use lucius_tests::registry::Copied;
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
async fn the_first_key_is_made_in_the_tables_and_every_host_knows_it() -> anyhow::Result<()> {
    let kind = Kind {
        bus: false,
        fail_one_in: 0,
    };
    let cloud = Cloud::new(kind, &[]).await;
    let folder = TempDir::new()?;
    let args = ["keys", "create", "--tables", "--scope", "admin", "--json"];
    let variables = cloud.settings.iter();
    let create = variables.fold(Run::new(folder.path(), args), |run, (name, value)| {
        run.with(name, value)
    });
    let key = create.ended().await.expect(0).json();
    let key = key["secret"].as_str().unwrap_or_default().to_owned();
    for _ in 0..2 {
        let host = Setup::quick()
            .with("AUTH_MODE", "api-key")
            .sharing(&cloud)
            .start()
            .await;
        let client = host.client();
        let ask = || client.request(reqwest::Method::GET, "/v1/keys");
        client.send(ask()).await.expect(401);
        client.send(ask().bearer_auth(&key)).await.expect(200);
    }
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

/// Does one attempt with success. A directive may come twice, since an answer of the bus was lost; what is not this
/// attempt's is passed over.
async fn succeed(host: &Host, tenant: &str, (job, service, attempt): (&str, &str, u64)) {
    let worker = host.worker(service);
    let delivery = worker.next_attempt(tenant, job, attempt).await;
    let made = artifact(delivery.text("stepId"));
    worker.finish(&delivery, &delivery.success(&[made])).await;
}

/// Takes a job of three steps through, one of which fails for a while and one for good, and starts it again.
async fn live(host: &Host, tenant: &str) {
    let client = host.client();
    let job = client.submit(&order(tenant, "OCR->EMBEDDING->SIS")).await;
    let ocr = host.worker("platform-ocr");
    let first = ocr.next_attempt(tenant, &job, 1).await;
    ocr.finish(&first, &first.failure("RETRYABLE", "LATER"))
        .await;
    succeed(host, tenant, (&job, "platform-ocr", 2)).await;
    let embedding = host.worker("platform-embedding");
    let broken = embedding.next_attempt(tenant, &job, 1).await;
    let failure = broken.failure("NON_RETRYABLE", "BROKEN");
    embedding.finish(&broken, &failure).await;
    client.job_in(&job, "FAILED_FINAL").await;
    client.verb(&job, "redrive").await.expect(202);
    succeed(host, tenant, (&job, "platform-embedding", 2)).await;
    succeed(host, tenant, (&job, "platform-sis", 1)).await;
    client.job_in(&job, "SUCCEEDED").await;
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
    succeed(&host, "stormy", (&job, "platform-ocr", 1)).await;
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
    let written_before = tables.operations();
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
    let written = tables.operations() - written_before;
    let counted = json!({
        "table_requests": in_tables, "bus_requests": on_bus, "entities_written": written,
    });
    // Where `cargo xtask bench` finds it.
    let folder = places::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("azure.json"), counted.to_string())?;
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

#[tokio::test]
async fn a_document_in_a_container_is_read_and_its_result_written_there() -> anyhow::Result<()> {
    blobs::make_container("papers").await;
    let document = std::fs::read(places::document("scan.pdf"))?;
    blobs::put("papers/in/invoice.pdf", document).await;
    blobs::put("papers/private/invoice.pdf", b"private".to_vec()).await;
    let host = Setup::dev()
        .here()
        .with("WORKER_READ_BUCKETS", r#"["az://papers/in"]"#)
        .with("WORKER_WRITE_BUCKETS", r#"["az://papers/out"]"#)
        .with_variables(blobs::environment().await)
        .start()
        .await;
    let client = host.client();
    let ocr = |input: &str, output: &str| {
        let refs = json!({ "input_ref": input, "output_ref": output });
        with(order("acme", "OCR"), refs)
    };
    let (input, output) = ("az://papers/in/invoice.pdf", "az://papers/out/acme");
    let job = client.submit(&ocr(input, output)).await;
    let ended = client.job_over(&job).await;
    assert_eq!(ended["state"], "SUCCEEDED", "{ended} {}", host.output());
    let step = client.step(&job, "ocr").await;
    let made = step["output_ref"]["uri"].as_str().unwrap_or_default();
    let path = made.strip_prefix("az://").unwrap_or_default();
    assert!(path.starts_with("papers/out/acme/ocr."), "{step}");
    let written = blobs::get(path).await.unwrap_or_default();
    let kept = step["artifact_refs"][0]["uri"].as_str().unwrap_or_default();
    assert_eq!(written, std::fs::read(kept.trim_start_matches("file://"))?);

    for (input, output, code) in [
        ("az://papers/in/missing.pdf", output, "INPUT_NOT_FOUND"),
        ("az://papers/private/invoice.pdf", output, "REF_NOT_ALLOWED"),
        (input, "az://papers/in/acme", "REF_NOT_ALLOWED"),
        (
            "s3://papers/in/invoice.pdf",
            output,
            "REF_SCHEME_UNSUPPORTED",
        ),
    ] {
        let job = client.submit(&ocr(input, output)).await;
        let ended = client.job_over(&job).await;
        assert_eq!(ended["error_code"], code, "{input} {output} {ended}");
    }
    assert!(
        !host.output().contains("Eby8vdM02x"),
        "the account's key is in the log"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_takes_directives_from_a_namespace_and_says_how_it_is() -> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    registry.add_plain_step("REDACT", "platform-redact")?;
    let mut host = Setup::quick()
        .registry(registry.path())
        .here()
        .start()
        .await;
    let namespace = host.namespace().trim_start_matches("http://").to_owned();
    let connection = format!(
        "Endpoint=http://{namespace}/bus;SharedAccessKeyName=listen;SharedAccessKey={SECRET}"
    );
    let health = format!("127.0.0.1:{}", free_port()?);
    let program = places::fixture("redact.py").display().to_string();
    let args = [
        "worker",
        "--service",
        "platform-redact",
        "--data-dir",
        "data",
        "--health",
        &health,
        "--",
        "python3",
        &program,
    ];
    let surroundings = [
        ("LUCIUS_BUS_BACKEND", "azure-servicebus"),
        (BUS, connection.as_str()),
    ];
    let worker = Beside::start_with(host.folder(), &args, &surroundings).await;
    let looker = Client::new(format!("http://{health}"));
    looker.get("/healthz").await.expect(200);
    let ready = async |status: u16| {
        let answer = looker.get("/readyz").await;
        (answer.status == status).then_some(answer.body)
    };
    wait::until("a worker that is ready", async || ready(200).await).await;

    let output = format!("file://{}/data/output", host.folder().display());
    let more = json!({ "output_ref": output, "payload": { "text": "call 555-0199" } });
    let client = host.client();
    let job = client.submit(&with(order("third", "REDACT"), more)).await;
    assert_eq!(client.job_over(&job).await["state"], "SUCCEEDED");

    host.kill();
    let away = wait::until("a worker without a bus", async || ready(503).await).await;
    assert_eq!(
        (&away["bus"], &away["in_hand"]),
        (&json!("unavailable"), &json!(0))
    );
    assert_eq!(worker.terminate().await.code(), Some(0));
    let log = std::fs::read_to_string(host.folder().join("beside.log"))?;
    assert!(!log.contains(SECRET), "{log}");
    Ok(())
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
