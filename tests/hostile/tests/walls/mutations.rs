//! Components that nobody thought of: seeded, so that a find is found again; see [`seeds`].

use std::path::Path;
use std::sync::Arc;

use fastrand::Rng;
use lucius_domain::id::Digest;
use lucius_ports::conformance::seeds::seeds;
use lucius_ports::plugin::{AdmissionError, Limits, Runtime as _};
use lucius_wasm::{Sandbox, Settings};

use crate::guests::{self, Guest};
use crate::sandbox::served;

fn bytes_of(dice: &mut Rng, count: usize) -> Vec<u8> {
    (0..count).map(|_| dice.u8(..)).collect()
}

pub(crate) fn limits() -> Limits {
    Limits {
        fuel: 1_000_000,
        deadline_ms: 60_000,
        ..Limits::default()
    }
}

/// What a host says is one line without control characters, however hostile the bytes that it speaks of.
pub(crate) fn line(text: &str) {
    let clean = !text.chars().any(char::is_control) && text.chars().count() < 600;
    assert!(clean, "{text:?}");
}

pub(crate) fn mutated(whole: &[u8], dice: &mut Rng) -> Vec<u8> {
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
async fn ask(sandbox: &Sandbox, component: &Arc<[u8]>) {
    let digest = Digest::of(component);
    let context = guests::context();
    let calls = [
        guests::validate(),
        lucius_ports::plugin::Call::Route { context },
    ];
    for call in calls {
        if let Err(fault) = sandbox.call(&digest, limits(), call).await {
            line(&fault.to_string());
        }
    }
    sandbox.drop_component(&digest);
}

#[tokio::test]
async fn a_changed_component_is_refused_in_one_line_or_behaves() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let whole = Guest::default().component();
    for seed in seeds(400) {
        let component: Arc<[u8]> = mutated(&whole, &mut Rng::with_seed(seed.0)).into();
        tried(&sandbox, component).await;
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
        let mut dice = Rng::with_seed(seed.0);
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
        ask(&sandbox, &component).await;
    }
    served(&sandbox).await;
}

/// What wasm-smith made: `build.rs` of this crate says how.
fn made(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("OUT_DIR")).join(kind);
    let files = std::fs::read_dir(folder).expect("the build script made it");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("it is there").path())
        .collect();
    paths.sort();
    let read = |path| std::fs::read(path).expect("it is there");
    paths.into_iter().map(read).collect()
}

/// Admits what is let in and asks it; true if it was.
async fn tried(sandbox: &Sandbox, component: Arc<[u8]>) -> bool {
    match sandbox.admit(Arc::clone(&component), limits()).await {
        Ok(_) => {
            ask(sandbox, &component).await;
            true
        }
        Err(refused) => {
            line(&refused.to_string());
            false
        }
    }
}

#[tokio::test]
async fn any_component_of_a_stranger_is_refused_in_one_line() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let made = made("component");
    for (number, component) in made.iter().enumerate() {
        let admitted = tried(&sandbox, component.as_slice().into()).await;
        assert!(!admitted, "number {number} has no handler");
    }
    for seed in seeds(200) {
        let mut dice = Rng::with_seed(seed.0);
        let component = &made[dice.usize(..made.len())];
        tried(&sandbox, mutated(component, &mut dice).into()).await;
    }
    served(&sandbox).await;
}

#[tokio::test]
async fn any_module_in_the_shape_of_a_plugin_is_refused_in_one_line_or_behaves() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let made = made("module");
    let (mut whole, mut ran) = (Vec::new(), 0);
    for module in made {
        // Not all that WebAssembly can be is what the tool knows to wrap.
        let Some(component) = guests::wrapped(module) else {
            continue;
        };
        match sandbox.admit(Arc::clone(&component), limits()).await {
            Err(refused) => {
                line(&refused.to_string());
                ran += usize::from(matches!(refused, AdmissionError::Fault(_)));
            }
            Ok(_) => ask(&sandbox, &component).await,
        }
        whole.push(component);
    }
    assert!(ran >= 16, "{ran} of {} ran: too tame", whole.len());
    for seed in seeds(100) {
        let mut dice = Rng::with_seed(seed.0);
        let component = &whole[dice.usize(..whole.len())];
        tried(&sandbox, mutated(component, &mut dice).into()).await;
    }
    served(&sandbox).await;
}
