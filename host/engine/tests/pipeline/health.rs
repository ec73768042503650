//! Commands are refused at once while ledger or bus is sick, and taken again when it is well, by itself.

use lucius_memory::faulty::Fault;

use crate::audit::audit_with_gates;
use crate::stage::{Stage, command};

#[tokio::test]
async fn a_sick_ledger_is_not_asked_and_one_command_a_second_tries_it() {
    let stage = Stage::new().await;
    stage.faulty.set_outage(Some(Fault::Before));
    for n in 0..9 {
        let refused = stage.refusal(command("acme", "PLAIN", &format!("doc-{n}")));
        assert_eq!(refused.await.code(), "LEDGER_UNAVAILABLE");
        stage.later(300);
    }
    let calls = stage.faulty.calls();
    for n in 0..20 {
        let refused = stage.refusal(command("acme", "PLAIN", &format!("fast-{n}")));
        let line = "the ledger takes nothing just now, so nothing was tried: try again later";
        assert_eq!(refused.await.to_string(), line);
    }
    assert_eq!(stage.faulty.calls(), calls, "the ledger is left alone");
    let [ledger, bus] = stage.engine.health().conditions();
    assert_eq!((ledger.is_sick, ledger.refused), (true, 20));
    assert!(!bus.is_sick);

    stage.faulty.set_outage(None);
    stage.later(1_000);
    stage.accepted("acme", "PLAIN", "the ledger is well").await;
    stage.accepted("acme", "PLAIN", "and so are all").await;
    assert!(!stage.engine.health().conditions()[0].is_sick);
    // What became of the writes that failed is in doubt until a sweep has looked.
    stage.after(1).await;
    audit_with_gates(&stage).await;
}

#[tokio::test]
async fn a_bus_that_is_away_takes_no_new_commands_and_keeps_what_was_accepted() {
    let stage = Stage::new().await;
    for n in 0..8 {
        stage.accepted("acme", "PLAIN", &format!("doc-{n}")).await;
    }
    stage.bus.set_down(true);
    stage.dispatch().await;
    stage.later(2_000);
    for n in 0..3 {
        let refused = stage.refusal(command("acme", "PLAIN", &format!("new-{n}")));
        assert_eq!(refused.await.code(), "BUS_UNAVAILABLE");
    }
    let known = stage.submit(&command("acme", "PLAIN", "doc-1")).await;
    assert!(
        known.is_ok_and(|it| it.duplicate),
        "what was accepted is known"
    );
    stage.bus.set_down(false);
    stage.later(1_000);
    stage.accepted("acme", "PLAIN", "the bus is there").await;
    audit_with_gates(&stage).await;
}
