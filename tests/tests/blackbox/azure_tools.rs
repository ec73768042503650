//! What operators have, with ledger and bus where Azure has them: the same verbs as on one machine.

use lucius_tests::azure::{Cloud, Kind};
use lucius_tests::host::{Host, Setup};
use lucius_tests::lane;
use lucius_tests::orders::order;
use lucius_tests::program::Run;
use lucius_tests::{places, wait};
use serde_json::Value;

const BEYOND: Kind = Kind {
    bus: true,
    fail_one_in: 0,
};

/// `lucius ARGS` with the settings that the host has.
fn beside(host: &Host, cloud: &Cloud, args: &[&str]) -> Run {
    let variables = cloud.settings.iter();
    let run = variables.fold(host.lucius(args), |run, (name, value)| {
        run.with(name, value)
    });
    run.with("LUCIUS_REGISTRY", places::registry())
}

fn finding<'a>(findings: &'a Value, what: &str) -> &'a Value {
    let all = findings["findings"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|it| it["what"] == what);
    found.unwrap_or_else(|| panic!("{what} was not looked at: {findings}"))
}

#[tokio::test]
async fn the_doctor_looks_at_tables_and_namespace_and_names_what_is_wrong() {
    let cloud = Cloud::new(BEYOND, &[]).await;
    let host = Setup::quick().sharing(&cloud).start().await;
    host.client().submit(&order("acme", "OCR")).await;
    let doctor = || {
        beside(&host, &cloud, &["doctor", "--json", "--data-dir", "data"])
            .with("LUCIUS_WORKER_RECORD", "azure-tables")
    };
    // The sweepers of this host may not have come for the first time.
    let well = wait::until("all is well", async || {
        let findings = doctor().ended().await.json();
        (findings["ok"] == true).then_some(findings)
    });
    let well = well.await;
    for what in ["ledger", "clock", "bus", "worker record", "host"] {
        assert_eq!(finding(&well, what)["verdict"], "ok", "{what}: {well}");
    }
    assert!(
        finding(&well, "ledger")["seen"]
            .to_string()
            .contains("tables")
    );

    let ill = doctor()
        .with("LUCIUS_LEDGER_TABLE_PREFIX", "nothere")
        .with("LUCIUS_BUS_LOCK_MS", "30000");
    let ill = ill.ended().await.expect(1).json();
    for (what, part) in [
        ("ledger", "lucius azure apply"),
        ("worker record", "nothereattempts"),
        ("bus", "LockDuration is PT1M, not PT30S"),
    ] {
        let finding = finding(&ill, what);
        assert_eq!(finding["verdict"], "fail", "{finding}");
        assert!(finding["seen"].to_string().contains(part), "{finding}");
    }
    let nobody = "Endpoint=http://127.0.0.1:9/bus;SharedAccessKeyName=n;SharedAccessKey=c2Vj";
    let away = doctor().with("LUCIUS_SERVICEBUS_CONNECTION", nobody);
    let away = away.ended().await.expect(1).json();
    assert_eq!(finding(&away, "bus")["verdict"], "fail", "{away}");
}

#[tokio::test]
async fn plan_and_apply_find_nothing_to_do_where_all_is_there() {
    let cloud = Cloud::new(BEYOND, &[]).await;
    let host = Setup::quick().sharing(&cloud).start().await;
    for verb in ["plan", "apply"] {
        let plan = beside(&host, &cloud, &["azure", verb, "--json"]);
        let plan = plan.ended().await.expect(0).json();
        let entities = plan["entities"].as_array().cloned().unwrap_or_default();
        // 7 tables, 16 topics, and in each a subscription of three services.
        assert_eq!(entities.len(), 7 + 16 + 48);
        for entity in entities {
            assert_eq!(entity["state"], "there", "{entity}");
        }
    }
}

#[tokio::test]
async fn dead_messages_of_a_namespace_are_shown_and_drained_by_the_same_verbs() {
    let cloud = Cloud::new(
        BEYOND,
        &[("LUCIUS_BUS_MAX_DELIVERY_COUNT".into(), "2".into())],
    )
    .await;
    let host = Setup::quick().sharing(&cloud).start().await;
    let client = host.client();
    let job = client.submit(&order("acme", "OCR")).await;
    let worker = host.worker("platform-ocr");
    for _ in 0..2 {
        let delivery = worker.next("acme").await;
        worker.abandon(&delivery).await.expect(200);
    }
    let shown = host.lucius(&["dead-letters", "--json"]).ended().await;
    let queues = shown.expect(0).json()["queues"].clone();
    let lane = queues[0]["lane"].to_string();
    assert_eq!(
        lane::topic(&lane::norm("acme")),
        format!("global-bus-p{lane}")
    );
    assert_eq!(queues[0]["service"], "platform-ocr");
    assert_eq!(queues[0]["messages"], 1, "{queues}");

    let args = [
        "redrives",
        "begin",
        "--bus",
        "--lane",
        &lane,
        "--service",
        "platform-ocr",
    ];
    let begun = host
        .lucius(&[&args[..], &["--json"]].concat())
        .ended()
        .await;
    assert_eq!(begun.expect(0).json()["matched"], 1);
    // Its attempt waits for an ACK, so the directive is sent again.
    worker.succeed("acme").await;
    assert_eq!(client.job_over(&job).await["state"], "SUCCEEDED");
    let shown = host.lucius(&["dead-letters", "--json"]).ended().await;
    assert_eq!(shown.expect(0).json()["queues"], serde_json::json!([]));
}

#[tokio::test]
async fn a_job_in_tables_is_deleted_in_its_time_and_its_key_is_free_again() {
    let cloud = Cloud::new(
        Kind {
            bus: false,
            ..BEYOND
        },
        &[],
    )
    .await;
    let host = Setup::quick()
        .sharing(&cloud)
        .with("RETENTION_KEEP_MS", 1)
        .start()
        .await;
    let client = host.client();
    let command = order("acme", "OCR");
    let job = client.submit(&command).await;
    host.worker("platform-ocr").succeed("acme").await;
    wait::until("the end of a job that is over", async || {
        let answer = client.get(&format!("/v1/jobs/{job}")).await;
        (answer.status == 404).then_some(())
    })
    .await;
    let list = client.get("/v1/jobs?tenant_id=acme").await.expect(200).body;
    assert_eq!(list["jobs"], serde_json::json!([]));
    // The key goes a moment after the job; until then a command may be told to come again.
    let again = wait::until("the key of a job that is deleted", async || {
        let answer = client.post("/v1/commands", &command).await;
        (answer.status != 503).then_some(answer)
    });
    let again = again.await.expect(202).body;
    assert_eq!(again["duplicate"], false, "{again}");
}
