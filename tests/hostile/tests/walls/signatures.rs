//! Entries that nobody vouches for, in the registry of a running host that asks for signatures.

use lucius_domain::id::Digest;
use lucius_engine::registry::PluginSpec;
use lucius_engine::registry::signature::{PrivateKey, Signed};
use serde_json::{Value, json};

use crate::host::Attacked;

const OURS: [u8; 32] = [7; 32];
const THEIRS: [u8; 32] = [8; 32];

/// Signs every entry with one key and one serial, in the name of `acme`.
fn sign(manifest: &mut Value, seed: &[u8; 32], serial: u64) {
    for entry in manifest["plugins"].as_array_mut().expect("a list") {
        let spec: PluginSpec = serde_json::from_value(entry.clone()).expect("an entry");
        let digest = Digest::parse(&spec.sha256).expect("a digest");
        let signed = Signed::of(&spec, digest, serial);
        let signature = PrivateKey::from_seed(seed).sign("acme", &signed);
        entry["signature"] = serde_json::to_value(signature).expect("plain data");
    }
}

/// A host that asks for signatures and has a registry that is signed with serial 5, as generation 2.
async fn strict() -> Attacked {
    let mut attacked = Attacked::start().await;
    let public = PrivateKey::from_seed(&OURS).public_key().to_string();
    attacked.change(|manifest| {
        manifest["trust"] = json!({
            "require_signature": true,
            "keys": [{ "key_id": "acme", "public_key": public }],
        });
        sign(manifest, &OURS, 5);
    });
    attacked.goes_live(2).await;
    attacked
}

#[tokio::test]
async fn w30_what_is_not_signed_or_by_the_wrong_key_or_for_something_else_is_refused() {
    type Attack = fn(&mut Value);
    let attacks: [(&str, Attack); 5] = [
        ("is not signed", |it| {
            let entry = it["plugins"][0].as_object_mut().expect("an entry");
            entry.remove("signature");
        }),
        ("does not fit this entry", |it| sign(it, &THEIRS, 6)),
        ("does not fit this entry", |it| {
            it["plugins"][0]["limits"]["fuel"] = json!(5_000);
        }),
        ("does not fit this entry", |it| {
            it["plugins"][0]["signature"] = it["plugins"][1]["signature"].clone();
        }),
        ("not in trust.keys", |it| {
            it["plugins"][0]["signature"]["key_id"] = json!("stranger");
        }),
    ];
    let mut attacked = strict().await;
    for (says, attack) in attacks {
        attacked.change(attack);
        let reason = attacked.refusal().await;
        assert!(reason.contains(says), "{says}: {reason}");
        attacked.restore();
    }
}

#[tokio::test]
async fn w29_an_older_release_does_not_come_back_with_the_signature_it_had() {
    let mut attacked = strict().await;
    attacked.change(|manifest| sign(manifest, &OURS, 4));
    let reason = attacked.refusal().await;
    assert!(
        reason.contains("has serial 4, and 5 was activated before"),
        "{reason}"
    );
    // Nor when it was gone in between.
    let whole = attacked.good.clone();
    attacked.change(|manifest| {
        manifest["plugins"] = json!([]);
        manifest["protocols"] = json!([{
            "protocol_id": "atomic-ocr.v1", "request_types": ["OCR"],
            "steps": [{ "step_id": "ocr", "step_type": "OCR", "service": "platform-ocr" }],
        }]);
    });
    attacked.goes_live(3).await;
    attacked.change(|manifest| {
        *manifest = whole;
        sign(manifest, &OURS, 4);
    });
    let reason = attacked.refusal().await;
    assert!(reason.contains("has serial 4"), "{reason}");
}
