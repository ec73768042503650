//! Bytes and values that nobody thought of: seeded, so that a find is found again.
//!
//! `LUCIUS_MUTATIONS` sets how many are tried (the default keeps the tests quick), `LUCIUS_MUTATION_SEED` where they
//! begin. A failure names its seed.

use std::sync::Arc;

use fastrand::Rng;
use lucius_domain::id::Digest;
use lucius_ports::plugin::{AdmissionError, Fault, Limits, Runtime as _};
use lucius_wasm::{Sandbox, Settings};

use crate::guests::{self, Guest, RESULT};
use crate::sandbox::served;

fn bytes_of(dice: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| dice.u8(..)).collect()
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(otherwise, |text| text.parse().expect(variable))
}

fn seeds(otherwise: u64) -> impl Iterator<Item = u64> {
    let first = number("LUCIUS_MUTATION_SEED", 1);
    first..first + number("LUCIUS_MUTATIONS", otherwise)
}

fn limits() -> Limits {
    Limits {
        fuel: 1_000_000,
        deadline_ms: 60_000,
        ..Limits::default()
    }
}

/// What a host says is one line without control characters, however hostile the bytes that it speaks of.
fn line(text: &str, seed: u64) {
    let clean = !text.chars().any(char::is_control) && text.chars().count() < 600;
    assert!(clean, "seed {seed}: {text:?}");
}

fn mutated(whole: &[u8], dice: &mut Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.usize(..4) {
        let at = dice.usize(..bytes.len());
        let span = dice.usize(..16).min(bytes.len() - at);
        match dice.usize(..5) {
            0 => bytes[at] ^= 1 << dice.usize(..8),
            1 => bytes[at] = dice.u8(..),
            2 => drop(bytes.drain(at..at + span)),
            3 => drop(bytes.splice(at..at, bytes_of(dice, span))),
            _ => {
                let from = dice.usize(..=bytes.len() - span);
                let copied = bytes[from..from + span].to_vec();
                drop(bytes.splice(at..at, copied));
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Asks whatever was let in; an answer or a fault, and no more than that.
async fn ask(sandbox: &Sandbox, component: &Arc<[u8]>, seed: u64) {
    let digest = Digest::of(component);
    let context = guests::context();
    let calls = [
        guests::validate(),
        lucius_ports::plugin::Call::Route { context },
    ];
    for call in calls {
        if let Err(fault) = sandbox.call(&digest, limits(), call).await {
            line(&fault.to_string(), seed);
        }
    }
    sandbox.drop_component(&digest);
}

#[tokio::test]
async fn a_changed_component_is_refused_in_one_line_or_behaves() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let whole = Guest::default().component();
    for seed in seeds(400) {
        let component: Arc<[u8]> = mutated(&whole, &mut Rng::with_seed(seed)).into();
        match sandbox.admit(Arc::clone(&component), limits()).await {
            Ok(_) => ask(&sandbox, &component, seed).await,
            Err(refused) => line(&refused.to_string(), seed),
        }
    }
    served(&sandbox).await;
}

/// An i32 expression that is valid, and does anything: reads and writes anywhere, loops, recurses, grows memory, logs.
fn expression(dice: &mut Rng, depth: usize) -> String {
    let number = |dice: &mut Rng| {
        let most = [4, 2_048, 300_000, 1 << 32][dice.usize(..4)];
        format!("(i32.const {})", dice.usize(..most))
    };
    if depth == 0 {
        return number(dice);
    }
    let choice = dice.usize(..14);
    let mut of = || expression(dice, depth - 1);
    match choice {
        0 => format!("(i32.add {} {})", of(), of()),
        1 => format!("(i32.div_s {} {})", of(), of()),
        2 => format!("(i32.load {})", of()),
        3 => format!("(i32.load8_u offset=65535 {})", of()),
        4 => format!(
            "(block (result i32) (i32.store {} {}) {})",
            of(),
            of(),
            of()
        ),
        5 => format!("(memory.grow {})", of()),
        6 => format!("(if (result i32) {} (then {}) (else {}))", of(), of(), of()),
        7 => format!("(block (result i32) (loop (br_if 0 {})) {})", of(), of()),
        8 => format!(
            "(block (result i32) (memory.copy {} {} {}) {})",
            of(),
            of(),
            of(),
            of()
        ),
        9 => format!(
            "(block (result i32) (memory.fill {} {} {}) {})",
            of(),
            of(),
            of(),
            of()
        ),
        10 => format!(
            "(block (result i32) (call $log {} {} {}) {})",
            of(),
            of(),
            of(),
            of()
        ),
        11 => format!("(call $any {})", of()),
        12 => format!("(call_indirect (param i32) (result i32) {} {})", of(), of()),
        _ => format!(
            "(i32.trunc_f64_s (f64.div (f64.convert_i32_s {}) (f64.const 0.1)))",
            of()
        ),
    }
}

#[tokio::test]
async fn any_code_of_a_guest_behaves_or_is_stopped() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    for seed in seeds(60) {
        let mut dice = Rng::with_seed(seed);
        let mut code = || expression(&mut dice, 5);
        let guest = Guest {
            more: format!(
                "(table 4 4 funcref) (elem (i32.const 0) func $any $any)
                 (func $any (param i32) (result i32) {})",
                code()
            ),
            validate: code(),
            route: code(),
            after_validate: format!("(drop {})", code()),
            ..Guest::default()
        };
        let component = guest.component();
        sandbox
            .admit(Arc::clone(&component), limits())
            .await
            .expect("only describe runs, which is friendly");
        ask(&sandbox, &component, seed).await;
    }
    served(&sandbox).await;
}

/// A guest whose answers are what the host finds in this memory.
fn answering(memory: &[u8], at: u32) -> Guest {
    let bytes: String = memory.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let answer = format!("(i32.const {at})");
    Guest {
        more: format!("(data (i32.const {RESULT}) \"{bytes}\")"),
        validate: answer.clone(),
        route: answer.clone(),
        settle: answer,
        ..Guest::default()
    }
}

#[tokio::test]
async fn any_memory_taken_for_an_answer_is_an_answer_or_a_fault_in_one_line() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let (mut answers, mut rules, mut traps) = (0, 0, 0);
    for seed in seeds(60) {
        let mut dice = Rng::with_seed(seed);
        // Small numbers make more of what they point at: lengths, pointers, cases.
        let mut memory: Vec<u8> = (0..64)
            .flat_map(|_| {
                let most = [2, 16, 2_048, 200_000][dice.usize(..4)];
                u32::try_from(dice.usize(..most))
                    .expect("small")
                    .to_le_bytes()
            })
            .collect();
        let noise = mutated(br#"{"payload":{"a":[1,2,"A_CODE"]}}"#, &mut dice);
        memory.extend_from_slice(&noise);
        let component = answering(&memory, RESULT).component();
        let admitted = sandbox.admit(Arc::clone(&component), limits()).await;
        if let Err(refused) = admitted {
            assert!(
                matches!(refused, AdmissionError::Fault(_)),
                "seed {seed}: {refused}"
            );
            continue;
        }
        let digest = Digest::of(&component);
        for call in [
            guests::validate(),
            lucius_ports::plugin::Call::Route {
                context: guests::context(),
            },
        ] {
            match sandbox.call(&digest, limits(), call).await {
                Ok(_) => answers += 1,
                Err(fault) => {
                    line(&fault.to_string(), seed);
                    match fault {
                        Fault::Answer(_) => rules += 1,
                        Fault::Trap(_) | Fault::Fuel { .. } => traps += 1,
                        Fault::Deadline { .. } | Fault::NotLoaded | Fault::Busy(_) => {
                            panic!("seed {seed}: {fault}")
                        }
                    }
                }
            }
        }
        sandbox.drop_component(&digest);
    }
    assert!(
        rules > 0 && traps > 0,
        "{answers} {rules} {traps}: too tame"
    );
    served(&sandbox).await;
}
