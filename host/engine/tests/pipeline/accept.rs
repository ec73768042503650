//! From a command to a durable job, or to the refusal that says what to do.

use futures_util::future::join_all;
use lucius_domain::contract::RefRules;
use lucius_domain::job::Failure;
use lucius_domain::plugin::{Function, Route, Violation};
use lucius_domain::routing::{DecisionSource, Lane, Mode};
use lucius_engine::{Refusal, Settings};
use lucius_memory::faulty::Fault;
use lucius_ports::ledger::{Filter, Ledger as _};
use lucius_ports::plugin::{Answer, Call};
use serde_json::{Value, json};

use crate::audit::audit_with_gates;
use crate::doubles::trap;
use crate::stage::{Stage, THREE, command, manifest, publish_registry, settings};

async fn jobs(stage: &Stage) -> usize {
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
async fn refused(stage: &Stage, command: Value) -> Refusal {
    let before = (jobs(stage).await, stage.engine.gates().occupancy());
    let refusal = stage.refusal(command).await;
    assert_eq!(
        (jobs(stage).await, stage.engine.gates().occupancy()),
        before
    );
    refusal
}

fn with(member: &str, value: Value) -> Value {
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
async fn the_same_command_again_is_the_same_job_however_it_is_written() {
    let stage = Stage::new().await;
    let first = with(
        "payload",
        json!({ "steps": { "ocr": { "language_hint": "de", "x-n": 1 } } }),
    );
    let again = json!({
        "payload": { "steps": { "ocr": { "x-n": 1.0, "x-none": null, "language_hint": "de" } } },
        "schema_version": "v1", "output_ref": "file:///out/", "input_ref": "file:///in/a.pdf",
        "doc_id": "doc-1", "request_type": "OCR", "tenant_id": "acme", "priority": 9,
        "correlation_id": "another",
    });
    let id = stage.submit(&first).await.expect("accepted").job.id;
    let before = stage.events(id).await;
    let duplicate = stage.submit(&again).await.expect("known");
    assert!(duplicate.duplicate);
    assert_eq!(duplicate.job.id, id);
    assert_eq!(jobs(&stage).await, 1);
    assert_eq!(stage.events(id).await, before);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_key_is_its_tenants_own_and_belongs_to_one_command() {
    let stage = Stage::new().await;
    let keyed = |tenant: &str, doc: &str| {
        let mut command = command(tenant, "OCR", doc);
        command["idempotency_key"] = json!("key-1");
        command
    };
    let first = stage
        .submit(&keyed("acme", "doc-1"))
        .await
        .expect("accepted");
    let again = stage.submit(&keyed("acme", "doc-1")).await.expect("known");
    assert_eq!((again.job.id, again.duplicate), (first.job.id, true));
    let other = stage
        .submit(&keyed("other", "doc-2"))
        .await
        .expect("another tenant's key");
    assert!(!other.duplicate);
    let unkeyed = stage
        .submit(&command("acme", "OCR", "doc-1"))
        .await
        .expect("no key");
    assert!(!unkeyed.duplicate);
    let refusal = refused(&stage, keyed("acme", "doc-2")).await;
    assert!(
        matches!(refusal, Refusal::KeyReused(id) if id == first.job.id),
        "{refusal}"
    );
    let mut broken = keyed("acme", "doc-1");
    broken["payload"] = json!({ "page_range": 3 });
    assert_eq!(
        refused(&stage, broken).await.code(),
        "IDEMPOTENCY_KEY_REUSED"
    );
}

#[tokio::test]
async fn a_hundred_of_the_same_at_once_are_one_job() {
    let stage = Stage::new().await;
    let same = command("acme", THREE, "doc-1");
    let answers = join_all((0..100).map(|_| stage.submit(&same))).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|it| it.expect("accepted"))
        .collect();
    let id = answers[0].job.id;
    assert!(answers.iter().all(|it| it.job.id == id));
    assert_eq!(answers.iter().filter(|it| !it.duplicate).count(), 1);
    assert_eq!(jobs(&stage).await, 1);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn many_of_the_same_at_once_take_one_place() {
    let stage = Stage::new().await;
    let same = command("small", THREE, "doc-1");
    let answers = join_all((0..50).map(|_| stage.submit(&same))).await;
    let refused = answers.iter().flat_map(|it| it.as_ref().err()).next();
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(jobs(&stage).await, 1);
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_known_command_is_answered_even_if_limits_or_rules_would_refuse_it_now() {
    let stage = Stage::new().await;
    let known = stage.accepted("small", THREE, "doc-1").await;
    stage.accepted("small", THREE, "doc-2").await;
    assert_eq!(
        stage.refusal(command("small", THREE, "doc-3")).await.code(),
        "TENANT_LIMIT"
    );
    let again = async |stage: &Stage| {
        let answer = stage
            .submit(&command("small", THREE, "doc-1"))
            .await
            .expect("known");
        assert_eq!((answer.job.id, answer.duplicate), (known, true));
    };
    again(&stage).await;
    stage.runtime.script(|_, _| Some(Err(trap())));
    again(&stage).await;
    stage.runtime.script(|_, call| match call {
        Call::Validate { .. } => {
            let (pointer, code) = (String::new(), "NEVER".to_owned());
            let message = "nothing is valid any more".to_owned();
            Some(Ok(Answer::Validated(Err(vec![Violation {
                pointer,
                code,
                message,
            }]))))
        }
        Call::Route { .. } | Call::Settle { .. } => None,
    });
    again(&stage).await;
    stage.runtime.heal();
    let mut fewer = manifest();
    fewer["protocols"].as_array_mut().expect("a list").remove(1);
    publish_registry(&stage.source, &fewer);
    stage
        .engine
        .reload()
        .await
        .expect("the ledger answers")
        .expect("it is good");
    assert_eq!(
        stage.refusal(command("acme", THREE, "x")).await.code(),
        "UNSUPPORTED_REQUEST_TYPE"
    );
    again(&stage).await;

    let refs = RefRules {
        schemes: vec!["s3".to_owned()],
        hosts: Vec::new(),
    };
    let strict = stage
        .world
        .open(Settings { refs, ..settings() })
        .await
        .expect("it starts");
    assert_eq!(
        strict.refusal(command("acme", "OCR", "x")).await.code(),
        "REF_NOT_ALLOWED"
    );
    again(&strict).await;
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

#[tokio::test]
async fn a_ledger_that_is_away_refuses_and_the_same_command_later_is_one_job() {
    for fault in [Fault::Before, Fault::After] {
        let stage = Stage::new().await;
        let same = command("acme", THREE, "doc-1");
        stage.faulty.set_outage(Some(fault));
        assert_eq!(
            stage.refusal(same.clone()).await.code(),
            "LEDGER_UNAVAILABLE"
        );
        stage.faulty.set_outage(None);
        let answer = stage.submit(&same).await.expect("accepted");
        assert_eq!(answer.duplicate, fault == Fault::After);
        assert_eq!(jobs(&stage).await, 1);
        // The hint was lost with the answer; the scan finds the directive.
        stage.work_one().await;
    }
}
