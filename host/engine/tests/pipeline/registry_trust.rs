//! Signatures, serials, denials and approvals: what nobody vouches for does not go live.

use lucius_domain::id::{Digest, Generation};
use lucius_engine::registry::signature::{PrivateKey, Signed};
use lucius_engine::registry::{EntryError, Options, PluginSpec};
use serde_json::{Value, json};

use crate::stage::{Stage, publish_version};

const KEY: [u8; 32] = [7; 32];

/// Signs every plugin of a manifest with one serial, in the name of `acme`.
fn sign(manifest: &mut Value, key: &PrivateKey, serial: u64) {
    for entry in manifest["plugins"].as_array_mut().expect("a list") {
        let spec: PluginSpec = serde_json::from_value(entry.clone()).expect("an entry");
        let digest = Digest::parse(&spec.sha256).expect("a digest");
        let signature = key.sign("acme", &Signed::of(&spec, digest, serial));
        entry["signature"] = serde_json::to_value(signature).expect("plain data");
    }
}

fn trust(manifest: &mut Value) {
    let public = PrivateKey::from_seed(&KEY).public_key().to_string();
    manifest["trust"] = json!({
        "require_signature": true,
        "keys": [{ "key_id": "acme", "public_key": public }],
    });
}

/// A signed registry, changed after it was signed.
fn publish(stage: &Stage, version: &str, serial: u64, change: impl FnOnce(&mut Value)) {
    publish_version(&stage.source, version, |manifest| {
        trust(manifest);
        sign(manifest, &PrivateKey::from_seed(&KEY), serial);
        change(manifest);
    });
}

async fn reload(stage: &Stage) -> Result<Generation, Vec<EntryError>> {
    let outcome = stage.engine.reload(Options::default()).await;
    let outcome = outcome.expect("the ledger answers");
    outcome.map(|activated| activated.live.generation)
}

/// The reason why the OCR plugin is refused.
async fn refused(stage: &Stage) -> String {
    let errors = reload(stage).await.expect_err("it is refused");
    let error = errors.iter().find(|it| it.entry.starts_with("plugin ocr@"));
    error.unwrap_or_else(|| panic!("{errors:?}")).reason.clone()
}

#[tokio::test]
async fn w30_only_what_a_trusted_key_signed_goes_live() {
    let stage = Stage::new().await;
    type Mistake = fn(&mut Value);
    let mistakes: [(&str, Mistake); 6] = [
        ("is not signed", |it| {
            it["plugins"][0]["signature"] = Value::Null
        }),
        ("not in trust.keys", |it| {
            it["plugins"][0]["signature"]["key_id"] = "stranger".into()
        }),
        ("does not fit this entry", |it| {
            it["plugins"][0]["limits"] = json!({ "fuel": 5_000 })
        }),
        ("does not fit this entry", |it| {
            it["plugins"][0]["signature"]["serial"] = 2.into()
        }),
        ("not 64 bytes", |it| {
            it["plugins"][0]["signature"]["value"] = "AAAA".into()
        }),
        ("may not sign this plugin", |it| {
            it["trust"]["keys"][0]["plugins"] = json!(["embedding", "sis"])
        }),
    ];
    for (reason, mistake) in mistakes {
        publish(&stage, "1.1.0", 1, |manifest| {
            mistake(manifest);
            if manifest["plugins"][0]["signature"].is_null() {
                manifest["plugins"][0]
                    .as_object_mut()
                    .expect("an entry")
                    .remove("signature");
            }
        });
        let said = refused(&stage).await;
        assert!(said.contains(reason), "{reason}: {said}");
    }
    publish(&stage, "1.1.0", 1, |manifest| {
        manifest["trust"]["keys"][0]["public_key"] = "AAAA".into();
    });
    let errors = reload(&stage).await.expect_err("no key can be read");
    assert_eq!(errors[0].entry, "trust key acme");
    publish(&stage, "1.1.0", 1, |_| {});
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    stage.accepted("acme", "OCR", "doc-1").await;
}

#[tokio::test]
async fn w29_an_old_plugin_does_not_come_back_with_its_old_signature() {
    let stage = Stage::new().await;
    publish(&stage, "1.1.0", 5, |_| {});
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    publish(&stage, "1.0.9", 4, |_| {});
    let said = refused(&stage).await;
    assert!(
        said.contains("has serial 4, and 5 was activated before"),
        "{said}"
    );

    // Nor after its plugin was taken out of the registry in between, nor on a host that starts anew.
    publish(&stage, "1.1.0", 5, |manifest| {
        manifest["plugins"]
            .as_array_mut()
            .expect("a list")
            .remove(0);
        for protocol in 0..2 {
            manifest["protocols"][protocol]["steps"]
                .as_array_mut()
                .expect("a list")
                .remove(0);
        }
        manifest["protocols"]
            .as_array_mut()
            .expect("a list")
            .remove(0);
    });
    assert_eq!(reload(&stage).await, Ok(Generation(3)));
    publish(&stage, "1.0.9", 4, |_| {});
    assert!(refused(&stage).await.contains("has serial 4"));
    let again = stage.restarted().await;
    let errors = again.engine.registry().last_reload().errors;
    assert!(errors[0].reason.contains("has serial 4"), "{errors:?}");

    // The operator's own way back stays open.
    let back = again.engine.rollback(Some(Generation(1))).await;
    assert!(back.expect("the ledger answers").is_ok());
    publish(&again, "1.2.0", 5, |_| {});
    assert_eq!(reload(&again).await, Ok(Generation(5)));
}

#[tokio::test]
async fn a_denied_component_neither_goes_live_nor_comes_back() {
    let stage = Stage::new().await;
    let denied = stage.engine.registry().live().plugins[0].pin.digest;
    let deny = |manifest: &mut Value| {
        manifest["trust"] = json!({ "deny": [{ "sha256": denied, "reason": "leaks page 7" }] });
    };
    publish_version(&stage.source, "1.0.0", deny);
    let said = refused(&stage).await;
    assert!(
        said.contains("denied by trust.deny (leaks page 7)"),
        "{said}"
    );
    publish_version(&stage.source, "1.1.0", deny);
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    let back = stage
        .engine
        .rollback(None)
        .await
        .expect("the ledger answers");
    let errors = back.err().expect("it is refused");
    assert_eq!(errors[0].entry, "plugin ocr@1.0.0");
    assert!(errors[0].reason.contains("leaks page 7"));
    assert_eq!(stage.engine.registry().live().generation, Generation(2));
}

#[tokio::test]
async fn a_version_that_asks_for_more_waits_until_that_component_is_approved() {
    let stage = Stage::new().await;
    let more = |manifest: &mut Value| {
        manifest["plugins"][0]["services"] = json!(["platform-ocr", "platform-vault"]);
    };
    publish_version(&stage.source, "1.1.0", more);
    let said = refused(&stage).await;
    assert!(
        said.contains("asks for more than it had (service platform-vault)"),
        "{said}"
    );
    let digest = said
        .split("registry approve ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let digest = Digest::parse(digest.expect("the remedy names it")).expect("a digest");
    let unknown = stage.engine.approve(Digest::of(b"nothing")).await;
    assert!(
        unknown
            .expect_err("it is not there")
            .to_string()
            .contains("no plugin in registry.json")
    );
    let approval = stage.engine.approve(digest).await.expect("it is there");
    assert_eq!(approval.plugin.to_string(), "ocr@1.1.0");
    assert_eq!(approval.services.len(), 2);

    // What was approved is what was asked for then, and not more.
    publish_version(&stage.source, "1.1.0", |manifest| {
        more(manifest);
        manifest["plugins"][0]["services"]
            .as_array_mut()
            .expect("a list")
            .push("bank".into());
    });
    assert!(refused(&stage).await.contains("(service bank)"));
    publish_version(&stage.source, "1.1.0", more);
    assert_eq!(reload(&stage).await, Ok(Generation(2)));
    publish_version(&stage.source, "1.2.0", more);
    assert_eq!(
        reload(&stage).await,
        Ok(Generation(3)),
        "that is no more than before"
    );
}

#[tokio::test]
async fn a_higher_limit_waits_too_and_a_plugin_that_is_new_does_not() {
    let stage = Stage::new().await;
    publish_version(&stage.source, "1.1.0", |manifest| {
        manifest["plugins"][0]["limits"] = json!({ "fuel": 1_000, "memory_bytes": 1 << 20 });
    });
    assert_eq!(reload(&stage).await, Ok(Generation(2)), "it asks for less");
    publish_version(&stage.source, "1.2.0", |manifest| {
        manifest["plugins"][0]["limits"] = json!({ "fuel": 2_000, "memory_bytes": 1 << 20 });
    });
    let said = refused(&stage).await;
    assert!(said.contains("(fuel 2000 instead of 1000)"), "{said}");
}
