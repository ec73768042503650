//! Components that are not let in, each with a reason in one line that a person can act on.

use std::sync::Arc;

use lucius_ports::plugin::{AdmissionError, Fault, Limits, Runtime};
use lucius_wasm::{Sandbox, Settings};
use wit_component::StringEncoding;

use crate::guests::{self, Guest, RESULT};

async fn refusal(component: Arc<[u8]>) -> AdmissionError {
    refusal_within(
        component,
        Limits {
            deadline_ms: 60_000,
            fuel: 10_000_000,
            ..Limits::default()
        },
    )
    .await
}

async fn refusal_within(component: Arc<[u8]>, limits: Limits) -> AdmissionError {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let refused = sandbox
        .admit(component, limits)
        .await
        .expect_err("it is refused");
    let line = refused.to_string();
    assert!(!line.contains('\n') && line.len() < 400, "{line}");
    let friendly = Guest::default().component();
    let description = sandbox.admit(friendly, Limits::default()).await;
    assert_eq!(description, Ok(guests::description()));
    refused
}

fn component(text: &str) -> Arc<[u8]> {
    wat::parse_str(text)
        .expect("the text is WebAssembly")
        .into()
}

fn world(refused: AdmissionError, says: &str) {
    let AdmissionError::World(reason) = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains(says), "{reason}");
}

fn resources(refused: AdmissionError, says: &str) {
    let AdmissionError::Resources(reason) = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains(says), "{reason}");
}

fn no_component(refused: AdmissionError, says: &str) {
    let AdmissionError::NotAComponent(reason) = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains(says), "{reason}");
}

#[tokio::test]
async fn w15_what_is_no_component_is_told_by_name() {
    no_component(refusal(component("(module)")).await, "core module");
    no_component(
        refusal(b"\x7fELF\x02\x01\x01\0 and more".as_slice().into()).await,
        "compiled",
    );
    no_component(refusal(b"(component)".as_slice().into()).await, "text");
    no_component(refusal(Vec::new().into()).await, "empty");
    no_component(
        refusal(b"MZ\x90\0".as_slice().into()).await,
        "does not begin",
    );
}

#[tokio::test]
async fn w15_a_component_that_was_cut_short_is_damaged_wherever_the_cut_is() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let whole = Guest::default().component();
    for cut in (8..whole.len()).step_by(97) {
        let refused = sandbox.admit(whole[..cut].into(), Limits::default()).await;
        assert!(refused.is_err(), "cut at {cut}");
    }
}

#[tokio::test]
async fn w17_a_component_over_the_size_limit_is_not_even_read() {
    let settings = Settings {
        component_bytes: 1_000,
        ..Settings::default()
    };
    let sandbox = Sandbox::start(settings).unwrap();
    let refused = sandbox
        .admit(vec![0; 1_001].into(), Limits::default())
        .await;
    assert_eq!(
        refused,
        Err(AdmissionError::TooLarge {
            bytes: 1_001,
            limit: 1_000
        })
    );
}

#[tokio::test]
async fn w13_an_import_of_the_outside_world_is_refused_by_name() {
    let wit = guests::contract(
        "world step {",
        "interface clock { now: func() -> u64; } world step { import clock;",
    );
    let text = Guest {
        more: String::new(),
        ..Guest::default()
    }
    .text()
    .replacen(
        "(module",
        r#"(module (import "lucius:step/clock@1.0.0" "now" (func (result i64)))"#,
        1,
    );
    let refused = refusal(guests::component(&text, &wit)).await;
    assert_eq!(
        refused,
        AdmissionError::Import("lucius:step/clock@1.0.0".to_owned())
    );
}

#[tokio::test]
async fn w13_wasi_is_refused_by_name() {
    let wasi = component(
        r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get" (func)))))"#,
    );
    let refused = refusal(wasi).await;
    assert_eq!(
        refused,
        AdmissionError::Import("wasi:cli/environment@0.2.0".to_owned())
    );
}

#[tokio::test]
async fn w14_another_version_of_the_contract_is_named() {
    let wit = guests::contract("package lucius:step@1.0.0", "package lucius:step@2.0.0");
    let text = Guest::default().text().replace("@1.0.0", "@2.0.0");
    world(refusal(guests::component(&text, &wit)).await, "@2.0.0");
}

#[tokio::test]
async fn w14_a_missing_export_is_named() {
    world(
        refusal(component("(component)")).await,
        "lucius:step/handler@1.0.0",
    );
    let settle = "settle: func(context: context, outcome: outcome) -> settle-decision;";
    let wit = guests::contract(settle, "");
    let text = Guest::default().text().replace(
        r#"(func (export "lucius:step/handler@1.0.0#settle")"#,
        "(func $unused",
    );
    world(
        refusal(guests::component(&text, &wit)).await,
        "does not export settle",
    );
}

#[tokio::test]
async fn w14_an_export_of_another_type_is_named() {
    let wit = guests::contract(
        "describe: func() -> description;",
        "describe: func() -> string;",
    );
    let guest = Guest::default();
    world(
        refusal(guests::component(&guest.text(), &wit)).await,
        "describe",
    );
}

#[tokio::test]
async fn w11_strings_that_are_not_utf_8_are_refused() {
    let text = Guest::default().text();
    for encoding in [StringEncoding::UTF16, StringEncoding::CompactUTF16] {
        let wit = guests::contract("world step", "world step");
        world(
            refusal(guests::encode(&text, &wit, encoding)).await,
            "UTF-8",
        );
    }
}

#[tokio::test]
async fn w11_compositions_are_refused() {
    world(
        refusal(component("(component (component (component)))")).await,
        "nested",
    );
    world(
        refusal(component("(component (component (core module)))")).await,
        "nested",
    );
}

#[tokio::test]
async fn w6_w7_what_it_starts_with_is_bounded() {
    let huge = Guest {
        memory: "4096".to_owned(),
        ..Guest::default()
    };
    resources(refusal(huge.component()).await, "268435456");
    resources(
        refusal(component("(component (core module (memory i64 1)))")).await,
        "64-bit",
    );
    resources(
        refusal(component("(component (core module (table 70000 funcref)))")).await,
        "table elements",
    );
    let instances = "(core instance (instantiate $m))".repeat(101);
    resources(
        refusal(component(&format!(
            "(component (core module $m) {instances})"
        )))
        .await,
        "core instances",
    );
    let modules = "(core module (memory 1))".repeat(5);
    resources(
        refusal(component(&format!("(component {modules})"))).await,
        "memories",
    );
}

#[tokio::test]
async fn w21_features_that_are_off_are_named() {
    let simd = Guest {
        more: "(func (drop (i32x4.extract_lane 0 (v128.const i64x2 0 0))))".to_owned(),
        ..Guest::default()
    };
    no_component(refusal(simd.component()).await, "SIMD");
    let relaxed = Guest {
        more: "(func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))".to_owned(),
        ..Guest::default()
    };
    no_component(refusal(relaxed.component()).await, "SIMD");
}

#[tokio::test]
async fn w2_an_endless_start_function_does_not_hold_up_admission() {
    let guest = Guest {
        more: "(func $start (loop $again (br $again))) (start $start)".to_owned(),
        ..Guest::default()
    };
    let refused = refusal(guest.component()).await;
    assert_eq!(
        refused,
        AdmissionError::Fault(Fault::Fuel { limit: 10_000_000 })
    );
    let limits = Limits {
        fuel: u64::MAX / 4,
        deadline_ms: 20,
        ..Limits::default()
    };
    let refused = refusal_within(guest.component(), limits).await;
    assert_eq!(
        refused,
        AdmissionError::Fault(Fault::Deadline { limit_ms: 20 })
    );
}

#[tokio::test]
async fn w31_a_plugin_that_describes_itself_badly_is_refused() {
    let shouting = Guest {
        describe: format!(
            "(i32.store8 (i32.const 16) (i32.const 33)) {}",
            Guest::default().describe
        ),
        ..Guest::default()
    };
    let refused = refusal(shouting.component()).await;
    assert!(
        matches!(refused, AdmissionError::Fault(Fault::Answer(_))),
        "{refused:?}"
    );
    let trapping = Guest {
        describe: format!("(unreachable) (i32.const {RESULT})"),
        ..Guest::default()
    };
    let refused = refusal(trapping.component()).await;
    assert!(
        matches!(refused, AdmissionError::Fault(Fault::Trap(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_second_admission_asks_its_own_limits() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let component = Guest::default().component();
    sandbox
        .admit(Arc::clone(&component), Limits::default())
        .await
        .unwrap();
    let less = Limits {
        memory_bytes: 1_000,
        ..Limits::default()
    };
    let refused = sandbox
        .admit(component, less)
        .await
        .expect_err("it starts with more");
    resources(refused, "1000");
}

#[tokio::test]
async fn w12_types_nested_without_end_are_refused() {
    let deep: String = (1..=200)
        .map(|n| format!("(type $t{n} (list $t{}))", n - 1))
        .collect();
    let text = format!("(component (type (instance (type $t0 (list u8)) {deep})))");
    let refused = refusal(handled(&text)).await;
    no_component(refused, "nesting is too deep");
}

#[tokio::test]
async fn w20_resources_are_refused() {
    let resource = component("(component (type (resource (rep i32))))");
    world(refusal(resource).await, "resources");
    let dropped = component(
        r#"(component
             (import "lucius:step/log@1.0.0" (instance $i (export "r" (type (sub resource)))))
             (alias export $i "r" (type $r))
             (core func (canon resource.drop $r)))"#,
    );
    world(refusal(dropped).await, "resources");
}

#[tokio::test]
async fn w23_async_functions_are_refused() {
    let text = r#"(component
         (core module $m (func (export "f")))
         (core instance $i (instantiate $m))
         (func (export "f") async (canon lift (core func $i "f") async)))"#;
    world(refusal(component(text)).await, "async");
}

#[tokio::test]
async fn w17_what_is_too_much_to_compile_is_counted_before_it_is_compiled() {
    let one = |module: String| component(&format!("(component (core module {module}))"));
    resources(
        refusal(one(format!("(func {})", "(local i32)".repeat(10_001)))).await,
        "10000 locals",
    );
    resources(
        refusal(one(format!("(func {})", "(nop)".repeat((1 << 20) + 1)))).await,
        "1048576 bytes in one function",
    );
    resources(
        refusal(one("(global i32 (i32.const 0))".repeat(100_001))).await,
        "100000 globals",
    );
}

/// The friendly guest with more definitions before it.
fn handled(component_text: &str) -> Arc<[u8]> {
    let more = wat::parse_str(component_text).expect("the text is WebAssembly");
    let guest = Guest::default().component();
    // Both begin with the same eight bytes; sections may come in any order.
    [&guest[..], &more[8..]].concat().into()
}
