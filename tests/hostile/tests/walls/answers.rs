//! Answers that nobody would give: what a guest leaves in its memory is an answer that keeps every rule, or a fault.
//!
//! Each function's friendly answer is laid out by hand as the canonical ABI reads it, and then spoilt by seed: the host
//! must survive what is nearly right as well as what is noise.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use lucius_domain::id::Digest;
use lucius_domain::plugin::Report;
use lucius_ports::conformance::seeds::{are_chosen, seeds};
use lucius_ports::plugin::{AdmissionError, Call, Fault, Runtime as _};
use lucius_wasm::{Sandbox, Settings};
use serde_json::Value;

use crate::guests::{self, Guest, RESULT};
use crate::mutations::{limits, line, mutated};
use crate::sandbox::served;

/// Where the texts of an answer are; those of the friendly guest are elsewhere and stay as they are.
const AT: u32 = 2_048;
const TEXTS: &[u8] = b"ocr1.0.0OCRplatform-ocr{\"from\":\"route\"}TOO_SHORTgive a payload";
const ID: [u32; 2] = [AT, 3];
const VERSION: [u32; 2] = [AT + 3, 5];
const STEP_TYPE: [u32; 2] = [AT + 8, 3];
const SERVICE: [u32; 2] = [AT + 11, 12];
const PAYLOAD: [u32; 2] = [AT + 23, 16];
const CODE: [u32; 2] = [AT + 39, 9];
const MESSAGE: [u32; 2] = [AT + 48, 14];

const FUNCTIONS: [Function; 4] = [
    Function::Describe,
    Function::Validate,
    Function::Route,
    Function::Settle,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Function {
    Describe,
    Validate,
    Route,
    Settle,
}

/// A friendly answer, word for word, as it lies at [`RESULT`].
fn friendly(function: Function, dice: &mut Rng) -> Vec<u32> {
    let lists = RESULT + 32;
    match (function, dice.bool()) {
        (Function::Describe, _) => {
            let lists = [[lists, 1], [lists + 8, 1]];
            [ID, VERSION, lists[0], lists[1], STEP_TYPE, SERVICE].concat()
        }
        (Function::Validate, true) => [&[0][..], &PAYLOAD].concat(),
        (Function::Validate, false) => {
            [&[1, lists, 1, 0, 0, 0, 0, 0, 0, 0][..], &CODE, &MESSAGE].concat()
        }
        (Function::Route, true) => [&[0][..], &SERVICE, &PAYLOAD, &[1, 30, 0, 0]].concat(),
        (Function::Route, false) => [&[2][..], &CODE, &MESSAGE].concat(),
        (Function::Settle, true) => [&[1, 0, 1, 0, 5_000, 0][..], &CODE, &MESSAGE].concat(),
        (Function::Settle, false) => [&[2, 0][..], &CODE, &MESSAGE].concat(),
    }
}

/// Numbers that sit on an edge: of a case, of a length, of an address in four pages, of a word.
const EDGES: [u32; 16] = [
    0,
    1,
    2,
    3,
    7,
    16,
    64,
    255,
    1_001,
    65_535,
    262_143,
    262_144,
    1 << 24,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX,
];

fn spoilt(words: &mut [u32], dice: &mut Rng) {
    let at = dice.usize(..words.len());
    match dice.usize(..5) {
        0 => words[at] ^= 1 << dice.u32(..32),
        1 => words.swap(at, dice.usize(..words.len())),
        2 => words[at] = words[at].wrapping_add(dice.u32(..9)).wrapping_sub(4),
        3 => words[at] = dice.u32(..),
        _ => words[at] = EDGES[dice.usize(..EDGES.len())],
    }
}

fn data(at: u32, bytes: &[u8]) -> String {
    let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {at}) \"{bytes}\")")
}

/// A guest that gives this answer to one function and is friendly otherwise.
fn answering(function: Function, words: &[u32], texts: &[u8]) -> Guest {
    let memory: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut guest = Guest {
        more: data(RESULT, &memory) + &data(AT, texts),
        ..Guest::default()
    };
    let answer = format!("(i32.const {RESULT})");
    match function {
        Function::Describe => guest.describe = answer,
        Function::Validate => guest.validate = answer,
        Function::Route => guest.route = answer,
        Function::Settle => guest.settle = answer,
    }
    guest
}

fn question(function: Function) -> Option<Call> {
    let context = guests::context();
    let report = Report::Succeeded {
        artifact_refs: Vec::new(),
        output_ref: None,
    };
    match function {
        Function::Describe => None, // asked by whoever admits it
        Function::Validate => Some(guests::validate()),
        Function::Route => Some(Call::Route { context }),
        Function::Settle => Some(Call::Settle { context, report }),
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Taken,
    RuleBroken,
    Trap,
}

fn ended(fault: &Fault) -> End {
    line(&fault.to_string());
    match fault {
        Fault::Answer(_) => End::RuleBroken,
        Fault::Trap(_) | Fault::Fuel { .. } => End::Trap,
        Fault::Deadline { .. } | Fault::NotLoaded | Fault::Busy(_) => panic!("{fault}"),
    }
}

async fn put(sandbox: &Sandbox, function: Function, guest: &Guest) -> End {
    let component = guest.component();
    let digest = Digest::of(&component);
    let end = match (
        sandbox.admit(Arc::clone(&component), limits()).await,
        question(function),
    ) {
        (Ok(_), None) => End::Taken,
        (Err(AdmissionError::Fault(fault)), None) => ended(&fault),
        (Err(refused), _) => panic!("{refused}"),
        (Ok(_), Some(call)) => match sandbox.call(&digest, limits(), call).await {
            Ok(answered) => {
                for text in texts(&answered.answer.to_value()) {
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                }
                End::Taken
            }
            Err(fault) => ended(&fault),
        },
    };
    sandbox.drop_component(&digest);
    end
}

/// Every text of an answer, but those of a payload, which is the service's own business.
fn texts(answer: &Value) -> Vec<&str> {
    match answer {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| *name != "payload");
            members.flat_map(|(_, member)| texts(member)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[tokio::test]
async fn a_friendly_answer_that_is_laid_out_by_hand_is_taken() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    for function in FUNCTIONS {
        for seed in 0..4 {
            let words = friendly(function, &mut Rng::with_seed(seed));
            let guest = answering(function, &words, TEXTS);
            let end = put(&sandbox, function, &guest).await;
            assert_eq!(end, End::Taken, "{function:?} {words:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_spoilt_is_an_answer_that_keeps_the_rules_or_a_fault_in_one_line() {
    let sandbox = Sandbox::start(Settings::default()).expect("the sandbox starts");
    let mut ends = BTreeMap::new();
    for seed in seeds(240) {
        let mut dice = Rng::with_seed(seed.0);
        let function = FUNCTIONS[dice.usize(..FUNCTIONS.len())];
        let mut words = friendly(function, &mut dice);
        let mut texts = TEXTS.to_vec();
        match dice.usize(..4) {
            0 => texts = mutated(TEXTS, &mut dice),
            1 => words.iter_mut().for_each(|word| *word = dice.u32(..4_096)),
            _ => (0..=dice.usize(..2)).for_each(|_| spoilt(&mut words, &mut dice)),
        }
        let guest = answering(function, &words, &texts);
        let end = put(&sandbox, function, &guest).await;
        *ends.entry((function, end)).or_insert(0) += 1;
    }
    let is_tame = |function| {
        let met = |end| ends.contains_key(&(function, end));
        !(met(End::Taken) && met(End::RuleBroken) && met(End::Trap))
    };
    let is_wild = !FUNCTIONS.into_iter().any(is_tame);
    assert!(are_chosen() || is_wild, "{ends:?}");
    served(&sandbox).await;
}
