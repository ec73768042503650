//! No secret leaves a host by the wrong door: each is put in where it belongs, and looked for everywhere else.

use lucius_tests::answer::Answer;
use lucius_tests::host::{Host, Setup};
use lucius_tests::orders::{order, with};
use lucius_tests::program::Run;
use reqwest::Method;
use serde_json::{Value, json};

/// Not one of these words is ever to be seen.
const TABLES_KEY: &str = "Y2FuYXJ5LXRhYmxlcy1rZXk=";
const BUS_KEY: &str = "Y2FuYXJ5LWJ1cy1rZXk=";
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnktand0In0.Y2FuYXJ5LWp3dA";
const SIGNATURE: &str = "Y2FuYXJ5LXNpZ25hdHVyZQ";
const IN_QUERY: &str = "canary-in-the-query";
const IN_BODY: &str = "canary-in-a-broken-body";
const WRONG_TOKEN: &str = "canary-wrong-callback-token";
const WRONG_KEY: &str =
    "lucius.0123456789abcdef.Y2FuYXJ5LWtleS10aGF0LWlzLW5vbmUtYXQtYWxsLWJ1dC1sb25n";
const SAS_OF_REF: &str = "canary-sas-of-a-reference";

/// What was seen, and by which door.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn note(&mut self, door: &str, answer: &Answer) {
        let headers = format!("{:?}", answer.headers);
        self.0
            .push((door.to_owned(), answer.text.clone() + &headers));
    }

    /// A reference is part of its job: whoever may read the job sees it there, and nowhere else.
    fn without_documents_of_jobs(&self) -> Self {
        let others = self.0.iter().filter(|(door, _)| {
            let is_of_jobs = door == "/v1/dead-letters" || door.starts_with("/v1/jobs/");
            !is_of_jobs
        });
        Self(others.cloned().collect())
    }

    fn holds_none_of(&self, secrets: &[(&str, String)]) {
        for (door, text) in &self.0 {
            for (name, secret) in secrets {
                assert!(
                    !secret.is_empty() && !text.contains(secret.as_str()),
                    "{name} is seen by {door}"
                );
            }
        }
    }
}

fn tables() -> String {
    format!(
        "DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={TABLES_KEY};TableEndpoint=http://127.0.0.1:9/acc;"
    )
}

fn bus() -> String {
    format!("Endpoint=sb://127.0.0.1:9/;SharedAccessKeyName=root;SharedAccessKey={BUS_KEY}")
}

/// A host that asks for keys, and says all it can.
async fn guarded(format: &str) -> Host {
    // Here, since the connection strings are made up: what they hold is looked for.
    let setup = Setup::quick()
        .here()
        .with("AUTH_MODE", "api-key")
        .with("LOG_FORMAT", format)
        .with("LOG_FILTER", "debug")
        .with("TABLES_CONNECTION", tables())
        .with("SERVICEBUS_CONNECTION", bus());
    setup.start().await
}

/// Makes keys while the host is away: an admin's, and a worker's with what Service Bus clients sign with.
async fn keys(host: &mut Host) -> (Value, Value) {
    host.kill();
    let mut made = Vec::new();
    for scopes in ["admin", "work"] {
        let args = [
            "keys",
            "create",
            "--data-dir",
            "data",
            "--scope",
            scopes,
            "--json",
        ];
        made.push(Run::new(host.folder(), args).ended().await.expect(0).json());
    }
    host.start_again().await;
    let worker = made.pop().unwrap_or_default();
    (made.pop().unwrap_or_default(), worker)
}

async fn never_seen(format: &str) -> anyhow::Result<()> {
    let mut host = guarded(format).await;
    let (admin, worker) = keys(&mut host).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (admin_key, worker_key) = (text(&admin["secret"]), text(&worker["secret"]));
    let bus_key = text(&worker["bus_key"]);
    let client = host.client();
    let mut seen = Seen::default();

    let input = format!("https://account.blob.core.windows.net/in/a.pdf?sig={SAS_OF_REF}");
    let command = with(order("acme", "OCR"), json!({ "input_ref": input }));
    let submit = client
        .request(Method::POST, "/v1/commands")
        .bearer_auth(&admin_key);
    let accepted = client.send(submit.json(&command)).await.expect(202);
    let job = text(&accepted.body["jobId"]);
    seen.note("the answer to a command", &accepted);

    // One directive out, by a client of Service Bus in all but the signature, then with the key.
    let lane = client
        .request(Method::GET, &format!("/v1/jobs/{job}"))
        .bearer_auth(&admin_key);
    let lane = client.send(lane).await.expect(200).body["lane"].clone();
    let head =
        format!("/bus/global-bus-p{lane}/subscriptions/platform-ocr/messages/head?timeout=20");
    let id = worker_key.split('.').nth(1).unwrap_or_default();
    let signed = format!("SharedAccessSignature sr=x&sig={SIGNATURE}&se=99999999999&skn={id}");
    let forged = client
        .request(Method::POST, &head)
        .header("authorization", signed);
    seen.note("a forged signature", &client.send(forged).await.expect(401));
    let receive = client.request(Method::POST, &head).bearer_auth(&worker_key);
    let message = client.send(receive).await.expect(201);
    let directive = message.body;
    let (token, lease) = (
        text(&directive["callback_token"]),
        text(&directive["lease_id"]),
    );

    let body = |more: Value| {
        let own = json!({
            "jobId": job, "stepId": "ocr", "attempt_no": 1, "lease_id": lease, "timestamp": "2026-11-23T12:00:00Z",
        });
        with(own, more)
    };
    let acked = body(json!({ "status": "ACKED" }));
    for (door, token, status) in [("a wrong token", WRONG_TOKEN, 403), ("an ACK", &token, 200)] {
        let ack = client
            .request(Method::POST, "/v1/callbacks/ack")
            .bearer_auth(token);
        seen.note(door, &client.send(ack.json(&acked)).await.expect(status));
    }
    let failed = body(json!({
        "status": "FAILED", "failure_class": "NON_RETRYABLE", "error": { "code": "X", "message": "x", "details": {} },
    }));
    let result = client
        .request(Method::POST, "/v1/callbacks/result")
        .bearer_auth(&token);
    seen.note(
        "a RESULT",
        &client.send(result.json(&failed)).await.expect(200),
    );

    for (door, key) in [("a JWT", JWT), ("a wrong key", WRONG_KEY)] {
        let refused = client.request(Method::GET, "/v1/jobs").bearer_auth(key);
        seen.note(door, &client.send(refused).await.expect(401));
    }
    let broken = client
        .request(Method::POST, "/v1/commands")
        .bearer_auth(&admin_key);
    let broken = broken.header("content-type", "application/json");
    let broken = broken.body(format!("{{\"api_key\": {IN_BODY}"));
    seen.note("a broken body", &client.send(broken).await.expect(400));
    let query = format!("/v1/jobs?api_key={IN_QUERY}");
    let query = client.request(Method::GET, &query).bearer_auth(&admin_key);
    seen.note("a query", &client.send(query).await.expect(400));

    for path in [
        "/metrics",
        "/v1/registry",
        "/v1/gates",
        "/v1/keys",
        "/v1/audit",
        "/v1/hosts",
        "/v1/pauses",
        "/v1/redrives",
        "/v1/dead-letters",
        "/healthz",
        "/readyz",
        "/console",
        "/console/console.js",
        "/openapi.json",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["events", "decisions", "steps"].map(|part| format!("/v1/jobs/{job}/{part}")))
    {
        let request = client.request(Method::GET, &path).bearer_auth(&admin_key);
        let answer = client.send(request).await;
        seen.note(&path, &answer.expect(200));
    }
    assert!(host.terminate().await.success());
    let output = host.output();
    assert!(
        output.contains("answered"),
        "the log says all it can: {output}"
    );
    seen.0.push(("output and log".to_owned(), output));

    let secret_of = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    seen.holds_none_of(&[
        ("the admin's key", secret_of(&admin_key)),
        ("the worker's key", secret_of(&worker_key)),
        ("the key that signs", bus_key),
        ("the callback token", token),
        ("the lease", lease),
        ("a JWT", JWT.to_owned()),
        ("a wrong key", secret_of(WRONG_KEY)),
        ("a wrong token", WRONG_TOKEN.to_owned()),
        ("a signature", SIGNATURE.to_owned()),
        ("the key of the tables", TABLES_KEY.to_owned()),
        ("the key of the bus", BUS_KEY.to_owned()),
        ("a query's value", IN_QUERY.to_owned()),
        ("a broken body", IN_BODY.to_owned()),
    ]);
    let of_ref = ("the signature of a reference", SAS_OF_REF.to_owned());
    seen.without_documents_of_jobs().holds_none_of(&[of_ref]);
    Ok(())
}

#[tokio::test]
async fn i18_h14_no_secret_is_seen_by_any_door_with_a_log_for_people() -> anyhow::Result<()> {
    never_seen("human").await
}

#[tokio::test]
async fn i18_h14_no_secret_is_seen_by_any_door_with_a_log_for_machines() -> anyhow::Result<()> {
    never_seen("json").await
}

#[tokio::test]
async fn i18_h14_a_start_that_fails_over_a_connection_string_does_not_show_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    for (setting, backend, variable) in [
        ("LEDGER_BACKEND", "azure-tables", "LUCIUS_TABLES_CONNECTION"),
        (
            "BUS_BACKEND",
            "azure-servicebus",
            "LUCIUS_SERVICEBUS_CONNECTION",
        ),
    ] {
        // What was pasted is the key alone, which is no connection string.
        let run = Run::new(folder.path(), ["serve", "--listen", "127.0.0.1:0"])
            .with(&format!("LUCIUS_{setting}"), backend)
            .with("LUCIUS_TABLES_CONNECTION", TABLES_KEY)
            .with("LUCIUS_SERVICEBUS_CONNECTION", BUS_KEY);
        let ended = run.ended().await.expect(2);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains(variable), "{said}");
        assert!(
            !said.contains(TABLES_KEY) && !said.contains(BUS_KEY),
            "{said}"
        );
    }
}

/// The fields of all spans around a line of the log.
fn fields(line: &Value) -> serde_json::Map<String, Value> {
    let spans = line["spans"].as_array().cloned().unwrap_or_default();
    spans
        .iter()
        .filter_map(Value::as_object)
        .flat_map(Clone::clone)
        .collect()
}

#[tokio::test]
async fn lines_of_the_log_say_which_job_step_attempt_tenant_and_request_they_are_about()
-> anyhow::Result<()> {
    let setup = Setup::quick()
        .with("LOG_FORMAT", "json")
        .with("LOG_FILTER", "warn,lucius=debug");
    let mut host = setup.start().await;
    let client = host.client();
    let submit = client
        .request(Method::POST, "/v1/commands")
        .header("x-request-id", "asked-1");
    let accepted = client
        .send(submit.json(&order("acme", "OCR")))
        .await
        .expect(202);
    let delivery = host.worker("platform-ocr").next("acme").await;
    let ack = client
        .request(Method::POST, "/v1/callbacks/ack")
        .bearer_auth(delivery.token());
    let ack = ack.header("x-request-id", "asked-2").json(&delivery.ack());
    client.send(ack).await.expect(200);
    assert!(host.terminate().await.success());
    let output = host.output();
    let lines = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.collect();
    let about = |request: &str| {
        let mut of_request = lines
            .iter()
            .map(fields)
            .filter(|it| it.get("request_id") == Some(&request.into()));
        of_request.next_back().unwrap_or_default()
    };
    let job = &accepted.body["jobId"];
    let submitted = about("asked-1");
    assert_eq!(
        (submitted.get("jobId"), submitted.get("tenant")),
        (Some(job), Some(&json!("acme")))
    );
    let acked = about("asked-2");
    for (name, value) in [
        ("jobId", job.clone()),
        ("stepId", json!("ocr")),
        ("attempt", json!(1)),
        ("tenant", json!("acme")),
    ] {
        assert_eq!(acked.get(name), Some(&value), "{name}: {acked:?}");
    }
    Ok(())
}
