//! Guests that attack the host in a call. After each the host still serves.

use std::sync::Arc;

use lucius_domain::id::Digest;
use lucius_ports::plugin::{Answer, Answered, Call, Fault, Limits, Runtime};
use lucius_wasm::{Sandbox, Settings};
use serde_json::json;

use crate::guests::{self, Guest, RESULT};
use crate::sandbox::served;

/// Fuel decides: the deadline is far away, however slow the machine.
fn fuel_first() -> Limits {
    Limits {
        fuel: 10_000_000,
        deadline_ms: 60_000,
        ..Limits::default()
    }
}

/// The deadline decides: the fuel would last for hours.
fn deadline_first() -> Limits {
    Limits {
        fuel: u64::MAX / 4,
        deadline_ms: 20,
        ..Limits::default()
    }
}

async fn admit(sandbox: &Sandbox, guest: &Guest) -> Digest {
    let component = guest.component();
    sandbox
        .admit(Arc::clone(&component), Limits::default())
        .await
        .expect("it is admitted");
    Digest::of(&component)
}

/// Asks a guest to validate, twice on one sandbox with a friendly guest between and after.
async fn attack_within(guest: Guest, limits: Limits) -> Result<Answered, Fault> {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let hostile = admit(&sandbox, &guest).await;
    let first = sandbox.call(&hostile, limits, guests::validate()).await;
    served(&sandbox).await;
    let second = sandbox.call(&hostile, limits, guests::validate()).await;
    served(&sandbox).await;
    assert_eq!(first, second, "a verdict does not change");
    first
}

async fn attack(guest: Guest) -> Result<Answered, Fault> {
    attack_within(guest, fuel_first()).await
}

fn validating(body: &str) -> Guest {
    Guest {
        validate: body.to_owned(),
        ..Guest::default()
    }
}

/// Answers `validate` with the text at a place.
fn returning(pointer: i64, length: i64) -> Guest {
    validating(&format!(
        "(call $pair (i32.const {}) (i32.const {pointer}) (i32.const {length})) (i32.const {RESULT})",
        RESULT + 4
    ))
}

fn returning_text(text: &str) -> Guest {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    Guest {
        more: format!("(data (i32.const 2048) \"{bytes}\")"),
        ..returning(2_048, i64::try_from(text.len()).expect("it is short"))
    }
}

fn trap(answer: Result<Answered, Fault>) -> String {
    let Err(Fault::Trap(reason)) = answer else {
        panic!("{answer:?}")
    };
    assert!(!reason.contains('\n') && !reason.contains("0x"), "{reason}");
    reason
}

fn broken_rule(answer: Result<Answered, Fault>) -> String {
    let Err(Fault::Answer(rule)) = answer else {
        panic!("{answer:?}")
    };
    rule
}

const FOREVER: &str = "(loop $again (br $again)) (unreachable)";

#[tokio::test]
async fn w1_an_endless_loop_runs_out_of_fuel() {
    let answer = attack(validating(FOREVER)).await;
    assert_eq!(answer, Err(Fault::Fuel { limit: 10_000_000 }));
}

#[tokio::test]
async fn w1_an_endless_loop_meets_its_deadline() {
    let answer = attack_within(validating(FOREVER), deadline_first()).await;
    assert_eq!(answer, Err(Fault::Deadline { limit_ms: 20 }));
}

/// Whichever of fuel and deadline is nearer ends it.
async fn meets_both_limits(guest: impl Fn() -> Guest) {
    assert_eq!(
        attack(guest()).await,
        Err(Fault::Fuel { limit: 10_000_000 })
    );
    let answer = attack_within(guest(), deadline_first()).await;
    assert_eq!(answer, Err(Fault::Deadline { limit_ms: 20 }));
}

#[tokio::test]
async fn w1_an_endless_loop_while_memory_is_asked_for_ends_too() {
    let guest = || Guest {
        realloc: FOREVER.to_owned(),
        ..Guest::default()
    };
    meets_both_limits(guest).await;
}

#[tokio::test]
async fn w1_an_endless_loop_after_the_answer_ends_too() {
    let guest = || Guest {
        after_validate: FOREVER.to_owned(),
        ..Guest::default()
    };
    meets_both_limits(guest).await;
}

#[tokio::test]
async fn w4_copying_memory_in_a_loop_ends() {
    let guest = validating(
        "(loop $again (memory.copy (i32.const 0) (i32.const 65536) (i32.const 131072)) (br $again))
         (unreachable)",
    );
    assert_eq!(
        attack_within(guest, deadline_first()).await,
        Err(Fault::Deadline { limit_ms: 20 })
    );
}

#[tokio::test]
async fn w5_memory_stops_growing_at_the_limit_and_the_trap_says_why() {
    let guest = validating(
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (unreachable)",
    );
    let reason = trap(attack(guest).await);
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(reason.contains("16777216"), "{reason}");
}

#[tokio::test]
async fn w5_a_limit_on_memory_holds_below_what_the_guest_starts_with() {
    let limits = Limits {
        memory_bytes: 100_000,
        ..fuel_first()
    };
    let reason = trap(attack_within(Guest::default(), limits).await);
    assert!(reason.contains("100000"), "{reason}");
}

#[tokio::test]
async fn w8_deep_recursion_exhausts_the_guests_stack_alone() {
    let guest = Guest {
        more: "(func $deep (param i32) (result i32)
                 (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))"
            .to_owned(),
        ..validating("(call $deep (i32.const 0))")
    };
    assert!(trap(attack(guest).await).contains("stack"));
}

#[tokio::test]
async fn unreachable_is_a_trap() {
    assert!(trap(attack(validating("(unreachable)")).await).contains("unreachable"));
}

#[tokio::test]
async fn w9_a_hundred_megabytes_that_do_not_exist_are_a_trap() {
    assert!(trap(attack(returning(0, 100_000_000)).await).contains("out of bounds"));
}

#[tokio::test]
async fn w9_a_string_larger_than_the_output_limit_is_never_copied() {
    let guest = validating(&format!(
        "(drop (memory.grow (i32.const 160)))
         (call $pair (i32.const {}) (i32.const 0) (i32.const 10485760)) (i32.const {RESULT})",
        RESULT + 4
    ));
    assert!(broken_rule(attack(guest).await).contains("1048576"));
}

#[tokio::test]
async fn w9_many_items_that_share_one_large_string_are_not_multiplied_in_the_host() {
    // 100,000 violations of 24 bytes each, whose three strings are the same half megabyte.
    let guest = validating(&format!(
        "(drop (memory.grow (i32.const 64)))
         (loop $again
           (call $pair (i32.add (i32.const 262144) (i32.mul (local.get $i) (i32.const 8)))
                       (i32.const 0) (i32.const 524288))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 300000))))
         (i32.store8 (i32.const {RESULT}) (i32.const 1))
         (call $pair (i32.const {}) (i32.const 262144) (i32.const 100000))
         (i32.const {RESULT})",
        RESULT + 4
    ));
    assert!(broken_rule(attack(guest).await).contains("1048576"));
}

#[tokio::test]
async fn w10_pointers_that_lie_are_traps() {
    trap(attack(returning(-16, 256)).await);
    trap(attack(returning(-1, -1)).await);
    trap(attack(validating("(i32.const -4)")).await);
    trap(attack(validating(&format!("(i32.const {})", RESULT + 1))).await);
    let realloc = |at: &str| Guest {
        realloc: format!("(i32.const {at})"),
        ..Guest::default()
    };
    trap(attack(realloc("-4")).await);
}

#[tokio::test]
async fn w10_an_answer_that_is_no_case_of_its_type_is_a_trap() {
    let guest = validating(&format!(
        "(i32.store8 (i32.const {RESULT}) (i32.const 7)) (i32.const {RESULT})"
    ));
    trap(attack(guest).await);
}

#[tokio::test]
async fn w10_text_that_is_not_utf_8_is_a_trap() {
    let guest = Guest {
        more: r#"(data (i32.const 2048) "\ff\fe")"#.to_owned(),
        ..returning(2_048, 2)
    };
    assert!(trap(attack(guest).await).contains("utf-8"));
}

#[tokio::test]
async fn w12_a_payload_that_is_not_a_json_object_breaks_a_rule() {
    assert!(broken_rule(attack(returning_text("{\"a\":")).await).contains("not JSON"));
    assert!(broken_rule(attack(returning_text("[1]")).await).contains("no object"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert!(broken_rule(attack(returning_text(&deep)).await).contains("recursion"));
}

#[tokio::test]
async fn w31_a_dispatch_to_a_service_with_a_hostile_name_breaks_a_rule() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let guest = Guest {
        more: r#"(data (i32.const 2048) "a\1b[2J\0aready")"#.to_owned(),
        route: format!(
            "(call $pair (i32.const {}) (i32.const 2048) (i32.const 11))
             (call $pair (i32.const {}) (i32.const 64) (i32.const 16)) (i32.const {RESULT})",
            RESULT + 4,
            RESULT + 12
        ),
        ..Guest::default()
    };
    let hostile = admit(&sandbox, &guest).await;
    let call = Call::Route {
        context: guests::context(),
    };
    let rule = broken_rule(sandbox.call(&hostile, fuel_first(), call).await);
    assert!(rule.contains("service"), "{rule}");
    served(&sandbox).await;
}

#[tokio::test]
async fn w19_a_flood_of_log_lines_costs_the_guest_its_fuel() {
    let guest = validating(
        "(loop $again (call $log (i32.const 1) (i32.const 16) (i32.const 4)) (br $again))
         (unreachable)",
    );
    assert_eq!(attack(guest).await, Err(Fault::Fuel { limit: 10_000_000 }));
}

#[tokio::test]
async fn w22_nothing_is_kept_between_calls() {
    // Answers {"n":"0"} and counts up what would be the next answer.
    let guest = Guest {
        more: r#"(data (i32.const 2048) "{\"n\":\"0\"}")"#.to_owned(),
        after_validate: "(i32.store8 (i32.const 2054) (i32.const 57))".to_owned(),
        ..returning(2_048, 9)
    };
    let answered = attack(guest).await.unwrap();
    assert_eq!(answered.answer, Answer::Validated(Ok(json!({"n": "0"}))));
}

#[tokio::test]
async fn w3_a_full_queue_says_so_at_once() {
    let settings = Settings {
        threads: 1,
        queue: 2,
        ..Settings::default()
    };
    let sandbox = Sandbox::start(settings).unwrap();
    let hostile = admit(&sandbox, &validating(FOREVER)).await;
    let ask = || sandbox.call(&hostile, deadline_first(), guests::validate());
    let answers = tokio::join!(ask(), ask(), ask());
    let answers = [answers.0, answers.1, answers.2];
    assert!(
        answers
            .iter()
            .any(|answer| matches!(answer, Err(Fault::Busy(_)))),
        "{answers:?}"
    );
    assert!(
        answers.contains(&Err(Fault::Deadline { limit_ms: 20 })),
        "{answers:?}"
    );
    served(&sandbox).await;
}

#[tokio::test]
async fn w3_a_plugin_that_burns_its_deadline_does_not_hold_up_another() {
    let settings = Settings {
        threads: 2,
        ..Settings::default()
    };
    let sandbox = Arc::new(Sandbox::start(settings).unwrap());
    let hostile = admit(&sandbox, &validating(FOREVER)).await;
    let slow = Limits {
        deadline_ms: 300,
        ..deadline_first()
    };
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move { sandbox.call(&hostile, slow, guests::validate()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    served(&sandbox).await;
    assert!(
        !calls.iter().all(tokio::task::JoinHandle::is_finished),
        "the other waited for them"
    );
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(Fault::Deadline { limit_ms: 300 }));
    }
}

#[tokio::test]
async fn w4_copying_and_filling_memory_cost_fuel_for_each_byte() {
    for copy in [
        "(memory.copy (i32.const 0) (i32.const 65536) (i32.const 131072))",
        "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 131072))",
    ] {
        let guest = validating(&format!("(loop $again {copy} (br $again)) (unreachable)"));
        assert_eq!(attack(guest).await, Err(Fault::Fuel { limit: 10_000_000 }));
    }
}

#[tokio::test]
async fn w18_the_log_cannot_be_called_while_the_host_copies() {
    let log = "(call $log (i32.const 1) (i32.const 16) (i32.const 4))";
    let from_realloc = Guest {
        realloc: format!("{log} (i32.const 65536)"),
        ..Guest::default()
    };
    assert!(trap(attack(from_realloc).await).contains("cannot leave component instance"));
    let from_post_return = Guest {
        after_validate: log.to_owned(),
        ..Guest::default()
    };
    assert!(trap(attack(from_post_return).await).contains("cannot leave component instance"));
}

#[tokio::test]
async fn w19_a_log_line_that_is_not_where_the_guest_says_is_a_trap() {
    let guest = validating("(call $log (i32.const 1) (i32.const -8) (i32.const 64)) (unreachable)");
    assert!(trap(attack(guest).await).contains("out of bounds"));
}

#[tokio::test]
async fn w21_a_float_has_one_nan_whatever_it_was_made_of() {
    // Any other bits than those of the one NaN would trap.
    let nan_of = |made: &str| {
        format!(
            "(if (i32.ne (i32.reinterpret_f32 {made}) (i32.const 0x7fc00000)) (then (unreachable)))"
        )
    };
    let odd = "(f32.reinterpret_i32 (i32.const 0xffa12345))";
    let checks = [
        format!("(f32.add {odd} (f32.const 1))"),
        format!("(f32.sqrt {odd})"),
        "(f32.div (f32.const 0) (f32.const 0))".to_owned(),
        "(f32.sub (f32.const inf) (f32.const inf))".to_owned(),
    ];
    let checks: String = checks.iter().map(|made| nan_of(made)).collect();
    let guest = validating(&format!("{checks} {}", Guest::default().validate));
    let answered = attack(guest).await.expect("every NaN is the one NaN");
    assert_eq!(
        answered.answer,
        Answer::Validated(Ok(json!({"page_range": "1-3"})))
    );
}

#[tokio::test]
async fn w21_the_same_input_costs_the_same_fuel() {
    let first = attack(Guest::default()).await.expect("it answers").fuel;
    let second = attack(Guest::default()).await.expect("it answers").fuel;
    assert!(first > 0);
    assert_eq!(first, second);
}
