//! Registries and signatures that nobody would write: whatever is in `registry.json`, the host says no in lines, or
//! lives by it.
//!
//! Seeded, as [`seeds`] says.

use fastrand::Rng;
use lucius_engine::registry::Options;
use lucius_ports::conformance::seeds::{are_chosen, seeds};
use serde_json::{Value, json};

use crate::stage::{Stage, publish_version};

fn one_of<'a, T>(dice: &mut Rng, all: &'a [T]) -> &'a T {
    &all[dice.usize(..all.len())]
}

/// A value that has no business where it is put.
fn stray(dice: &mut Rng) -> Value {
    let texts = [
        "",
        " ",
        "a\nb",
        "\u{1b}[31mred",
        "\u{202e}",
        "../../etc/passwd",
        "ocr@1.0.0",
        "ocr@",
        "@",
        "%s%n",
        "\u{0}",
        "9999999999999999999999.0.0",
        "AAAA",
        "====",
        "ocr@1.1.0",
        "platform-ocr",
        "steps/ocr.v1",
        "canary",
    ];
    match dice.usize(..10) {
        0 => Value::Null,
        1 => true.into(),
        2 => (*one_of(dice, &[0_i64, -1, i64::MAX, i64::MIN, 101])).into(),
        3 => (*one_of(dice, &[1e308, -0.0, 0.1, 1.5])).into(),
        4 => json!([]),
        5 => json!({}),
        6 => json!([[[[[[[[[[{}]]]]]]]]]]),
        7 => "x".repeat(1 << dice.usize(..16)).into(),
        8 => json!({ "id": "ocr", "key_id": "acme", "value": "AAAA", "serial": 0 }),
        _ => (*one_of(dice, &texts)).into(),
    }
}

/// Every place in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mutate(document: &mut Value, dice: &mut Rng) {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let from = one_of(dice, &all).clone();
    let copied = document.pointer(&from).cloned().unwrap_or_default();
    let to = one_of(dice, &all).clone();
    let Some(place) = document.pointer_mut(&to) else {
        return;
    };
    match (dice.usize(..5), place) {
        (0, place) => *place = copied,
        (1, Value::Array(items)) => {
            let twice = items.clone();
            items.extend(twice);
        }
        (1 | 2, Value::Object(members)) => {
            let names: Vec<String> = members.keys().cloned().collect();
            if !names.is_empty() {
                members.remove(one_of(dice, &names));
            }
        }
        (3, Value::Object(members)) => {
            let name = one_of(
                dice,
                &[
                    "trials",
                    "trust",
                    "signature",
                    "limits",
                    "\n",
                    "x-y",
                    "plugin",
                ],
            );
            members.insert((*name).to_owned(), stray(dice));
        }
        (_, place) => *place = stray(dice),
    }
}

/// A good registry in which everything is used that a registry can hold.
fn rich(stage: &Stage) -> Value {
    publish_version(&stage.source, "1.1.0", |manifest| {
        manifest["trust"] = json!({
            "require_signature": false,
            "keys": [{ "key_id": "acme", "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "plugins": ["ocr"] }],
            "deny": [{ "sha256": "0".repeat(64), "reason": "leaks" }],
        });
        manifest["plugins"][0]["limits"] = json!({ "fuel": 1_000_000, "memory_bytes": 1 << 20 });
        manifest["protocols"][0]["steps"][0]["retry_overrides"] = json!({ "backoff_ms": [1, 2] });
    });
    stage.source.text().expect("it was published")
}

async fn tried(stage: &Stage) -> bool {
    let outcome = stage.engine.plan(Options::default()).await;
    let errors = outcome
        .expect("the ledger answers")
        .err()
        .unwrap_or_default();
    for error in &errors {
        let line = error.to_string();
        let clean = !line.chars().any(char::is_control) && line.chars().count() < 1_300;
        assert!(clean, "{line:?}");
    }
    errors.is_empty()
}

#[tokio::test]
async fn any_registry_is_refused_in_lines_or_could_go_live_and_what_is_live_stays() {
    let stage = Stage::new().await;
    let whole = rich(&stage);
    let plan = stage.engine.plan(Options::default()).await;
    let errors = plan.expect("the ledger answers").err().unwrap_or_default();
    assert!(errors.is_empty(), "what is mutated is good: {errors:?}");
    let (mut good, mut refused) = (0, 0);
    for seed in seeds(400) {
        let mut dice = Rng::with_seed(seed.0);
        let mut document = whole.clone();
        for _ in 0..=dice.usize(..3) {
            mutate(&mut document, &mut dice);
        }
        stage.source.set_manifest(Some(&document));
        match tried(&stage).await {
            true => good += 1,
            false => refused += 1,
        }
    }
    let is_wild = good > 0 && refused > 100;
    assert!(are_chosen() || is_wild, "{good} {refused}");
    assert_eq!(stage.engine.registry().live().generation.0, 1);
    stage.accepted("acme", "OCR", "after").await;
}

#[tokio::test]
async fn a_registry_of_any_bytes_is_refused_in_lines() {
    let stage = Stage::new().await;
    let whole = rich(&stage).to_string();
    for seed in seeds(200) {
        let mut dice = Rng::with_seed(seed.0);
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..=dice.usize(..4) {
            if bytes.is_empty() {
                break;
            }
            let at = dice.usize(..bytes.len());
            match dice.usize(..4) {
                0 => bytes[at] = dice.u8(..),
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, *one_of(&mut dice, b"{}[]\",:\n\0")),
                _ => drop(bytes.remove(at)),
            }
        }
        stage.source.set_text(&String::from_utf8_lossy(&bytes));
        tried(&stage).await;
    }
    stage.accepted("acme", "OCR", "after").await;
}

#[tokio::test]
async fn no_signature_that_was_made_up_lets_a_plugin_in() {
    let stage = Stage::new().await;
    let mut whole = rich(&stage);
    whole["trust"]["require_signature"] = true.into();
    whole["plugins"].as_array_mut().expect("a list").truncate(1);
    whole["protocols"] = json!([whole["protocols"][0]]);
    for seed in seeds(200) {
        let mut dice = Rng::with_seed(seed.0);
        let value: String = (0..dice.usize(..100))
            .map(|_| char::from(*one_of(&mut dice, b"AZaz09+/=_-")))
            .collect();
        let key: String = (0..43)
            .map(|_| char::from(*one_of(&mut dice, b"ABCDEFGHabcdefgh0123456789+/")))
            .collect();
        whole["trust"]["keys"][0]["public_key"] = format!("{key}=").into();
        whole["plugins"][0]["signature"] =
            json!({ "key_id": "acme", "serial": dice.usize(..9), "value": value });
        stage.source.set_manifest(Some(&whole));
        assert!(!tried(&stage).await, "it is let in");
    }
}
