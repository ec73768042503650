//! From a command to a durable job, or to the refusal that says what to do.

use lucius_domain::job::Failure;
use lucius_domain::plugin::{Function, Route, Violation};
use lucius_domain::routing::{DecisionSource, Lane, Mode};
use lucius_engine::Refusal;
use lucius_ports::ledger::{Filter, Ledger as _};
use lucius_ports::plugin::{Answer, Call};
use serde_json::{Value, json};

use crate::audit::audit_with_gates;
use crate::stage::{Stage, THREE, command};

pub(crate) async fn jobs(stage: &Stage) -> usize {
    let filter = Filter {
        limit: usize::MAX,
        ..Filter::default()
    };
    stage
        .ledger
        .list(filter)
        .await
        .expect("the memory ledger answers")
        .len()
}

/// The refusal of a command on a new stage; it leaves nothing behind.
pub(crate) async fn refused(stage: &Stage, command: Value) -> Refusal {
    let before = (jobs(stage).await, stage.engine.gates().occupancy());
    let refusal = stage.refusal(command).await;
    assert_eq!(
        (jobs(stage).await, stage.engine.gates().occupancy()),
        before
    );
    refusal
}

pub(crate) fn with(member: &str, value: Value) -> Value {
    let mut command = command("acme", "OCR", "doc-1");
    command[member] = value;
    command
}

#[tokio::test]
async fn an_accepted_job_is_durable_with_its_first_directive_in_the_outbox() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", THREE, "doc-1").await;
    let job = stage.job(id).await;
    assert_eq!(job.progress.version.0, 1);
    assert_eq!(job.spec.generation.0, 1);
    assert_eq!(job.spec.protocol_id.as_str(), "ocr-embedding-sis.v1");
    assert_eq!(stage.state(id).await, "QUEUED");
    assert_eq!(
        stage.step_states(id).await,
        ["DISPATCHING", "PENDING", "PENDING"]
    );
    let pins: Vec<_> = job
        .spec
        .steps
        .iter()
        .flat_map(|s| &s.plugin)
        .map(ToString::to_string)
        .collect();
    assert_eq!(pins, ["ocr@1.0.0", "embedding@1.0.0", "sis@1.0.0"]);
    let decided = ["decided"; 4];
    let expected = [&["accepted"][..], &decided, &["attempt_created"]].concat();
    assert_eq!(stage.events(id).await, expected);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_command_has_its_own_code() {
    let stage = Stage::new().await;
    let no_doc = json!({
        "tenant_id": "acme", "request_type": "OCR", "mode": "BURST", "input_ref": "file:///in/a.pdf",
        "output_ref": "file:///out/", "payload": {}, "schema_version": "v1",
    });
    for (command, code) in [
        (json!({}), "INVALID_ENVELOPE"),
        (json!([1]), "INVALID_ENVELOPE"),
        (with("schema_version", json!("v2")), "INVALID_ENVELOPE"),
        (with("payload", json!("text")), "INVALID_ENVELOPE"),
        (
            with("request_type", json!("ocr")),
            "UNSUPPORTED_REQUEST_TYPE",
        ),
        (no_doc, "DOC_ID_REQUIRED"),
        (
            with("input_ref", json!("ftp://host/a.pdf")),
            "REF_NOT_ALLOWED",
        ),
        (
            with("input_ref", json!("https://me:secret@host/a.pdf")),
            "REF_NOT_ALLOWED",
        ),
        (
            with("output_ref", json!({ "uri": "file:///a/../../etc/" })),
            "REF_NOT_ALLOWED",
        ),
        (
            with("input_ref", json!(format!("s3://in/{}", "a".repeat(2_048)))),
            "REF_NOT_ALLOWED",
        ),
        (
            with("payload", json!({ "page_range": 3 })),
            "INVALID_PAYLOAD",
        ),
        (with("payload", json!({ "steps": [] })), "INVALID_PAYLOAD"),
        (
            with("payload", json!({ "steps": { "orc": {} } })),
            "INVALID_PAYLOAD",
        ),
        (with("tenant_id", json!("closed")), "TENANT_LIMIT"),
    ] {
        assert_eq!(
            refused(&stage, command.clone()).await.code(),
            code,
            "{command}"
        );
    }
}

#[tokio::test]
async fn burst_without_a_document_is_refused_even_if_the_command_is_known_in_another_mode() {
    let stage = Stage::new().await;
    let mut command = with("doc_id", Value::Null);
    command.as_object_mut().unwrap().remove("doc_id");
    stage.engine.accept(command.clone()).await.unwrap();
    command["mode"] = json!("BURST");
    assert_eq!(refused(&stage, command).await.code(), "DOC_ID_REQUIRED");
}

#[tokio::test]
async fn all_violations_of_all_steps_are_reported_at_once() {
    let stage = Stage::new().await;
    stage.runtime.script(|plugin, call| match call {
        Call::Validate { .. } if plugin.as_str() == "sis" => {
            let violation = |pointer: &str| Violation {
                pointer: pointer.to_owned(),
                code: "UNKNOWN_PROMPT_SET".to_owned(),
                message: "there is no prompt set \"x\"".to_owned(),
            };
            Some(Ok(Answer::Validated(Err(vec![
                violation("/prompt_set"),
                violation("/prompt"),
            ]))))
        }
        Call::Validate { .. } | Call::Route { .. } | Call::Settle { .. } => None,
    });
    let mut command = command("acme", THREE, "doc-1");
    command["payload"] = json!({ "steps": {
        "ocr": { "page_range": 3, "output_format": "PDF" },
        "embedding": { "normalize": "yes" },
        "sis": {},
        "sys/1": {},
    }});
    let refusal = refused(&stage, command).await;
    assert_eq!(refusal.code(), "INVALID_PAYLOAD");
    let mut found: Vec<_> = refusal
        .violations()
        .iter()
        .map(|it| (it.pointer.as_str(), it.source.as_str()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("/payload/steps/embedding/normalize", "schema"),
        ("/payload/steps/ocr/output_format", "schema"),
        ("/payload/steps/ocr/page_range", "schema"),
        ("/payload/steps/sis/prompt", "plugin:sis@1.0.0"),
        ("/payload/steps/sis/prompt_set", "plugin:sis@1.0.0"),
        ("/payload/steps/sys~11", "schema"),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_step_without_a_schema_takes_any_object_and_nothing_else() {
    let stage = Stage::new().await;
    for payload in [json!(5), json!(null), json!("x"), json!([])] {
        let mut wrong = command("acme", "PLAIN", "doc-1");
        wrong["payload"] = json!({ "steps": { "plain": payload } });
        let refusal = refused(&stage, wrong).await;
        assert_eq!(refusal.code(), "INVALID_PAYLOAD");
        assert_eq!(refusal.violations()[0].pointer, "/payload/steps/plain");
    }
    stage.accepted("acme", "PLAIN", "doc-1").await;
}

#[tokio::test]
async fn a_payload_is_pinned_as_the_plugin_normalized_it_and_the_record_holds_what_it_was() {
    let stage = Stage::new().await;
    stage.runtime.script(|_, call| match call {
        Call::Validate { config, .. } => {
            assert_eq!(*config, json!({ "from": "registry" }));
            Some(Ok(Answer::Validated(Ok(
                json!({ "page_range": "1-3", "output_format": "TEXT" }),
            ))))
        }
        Call::Route { .. } | Call::Settle { .. } => None,
    });
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    let job = stage.job(id).await;
    assert_eq!(
        job.spec.steps[0].payload,
        json!({ "page_range": "1-3", "output_format": "TEXT" })
    );
    let events = stage
        .ledger
        .events(id, 0, 9)
        .await
        .expect("the memory ledger answers");
    let lucius_domain::event::Event::Decided { decision, .. } = &events[1].event else {
        panic!("{events:?}")
    };
    assert_eq!(decision.function, Function::Validate);
    assert_eq!(decision.input, Some(json!({})));
}

#[tokio::test]
async fn a_first_step_that_the_plugin_will_not_run_is_not_accepted() {
    let stage = Stage::new().await;
    stage.runtime.script(|_, call| match call {
        Call::Route { .. } => {
            let failure = Failure::new("WRONG_LANGUAGE", "no model speaks it");
            Some(Ok(Answer::Routed(Route::Fail { failure })))
        }
        Call::Validate { .. } | Call::Settle { .. } => None,
    });
    let refusal = refused(&stage, command("acme", "OCR", "doc-1")).await;
    assert_eq!(refusal.code(), "ROUTE_REJECTED");
    assert!(refusal.to_string().contains("WRONG_LANGUAGE"), "{refusal}");
}

#[tokio::test]
async fn a_job_that_needs_no_step_has_succeeded_when_it_is_accepted() {
    let stage = Stage::new().await;
    stage.runtime.script(|_, call| match call {
        Call::Route { .. } => {
            let reason = "nothing to do".to_owned();
            Some(Ok(Answer::Routed(Route::Skip { reason })))
        }
        Call::Validate { .. } | Call::Settle { .. } => None,
    });
    let id = stage.accepted("acme", THREE, "doc-1").await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
    assert_eq!(stage.step_states(id).await, ["SKIPPED"; 3]);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn the_mode_is_the_requests_else_the_tenants_else_the_hosts_and_it_chooses_the_lane() {
    let stage = Stage::new().await;
    let job = async |command: Value| stage.submit(&command).await.expect("accepted").job;
    let plain = job(command(" Acme ", "OCR", "Doc-1")).await;
    assert_eq!(
        plain.spec.mode.decision_source,
        DecisionSource::GlobalConfig
    );
    assert_eq!(plain.spec.routing_key, "acme");
    assert_eq!(plain.spec.lane, Lane::of("acme"));
    let wide = job(command("wide", "OCR", " Doc-1")).await;
    assert_eq!(wide.spec.mode.decision_source, DecisionSource::TenantConfig);
    assert_eq!(wide.spec.routing_key, "widedoc-1");
    let asked = job(json!({
        "mode": "DEFAULT", "tenant_id": "wide", "request_type": "OCR", "input_ref": "file:///in/a.pdf",
        "output_ref": "file:///out/", "payload": {}, "schema_version": "v1",
    }))
    .await;
    assert_eq!(asked.spec.mode.decision_source, DecisionSource::Request);
    assert_eq!(asked.spec.mode.resolved_mode, Mode::Default);
}

#[tokio::test]
async fn a_host_that_is_stopping_accepts_nothing_and_goes_on_with_what_it_has() {
    let stage = Stage::new().await;
    let id = stage.accepted("acme", "OCR", "doc-1").await;
    stage.engine.drain();
    assert_eq!(
        refused(&stage, command("acme", "OCR", "doc-2"))
            .await
            .code(),
        "DRAINING"
    );
    stage.work_one().await;
    assert_eq!(stage.state(id).await, "SUCCEEDED");
}
