//! What is refused is refused alike wherever one looks: entry, reason and remedy in one line.

use lucius_tests::host::Setup;
use lucius_tests::orders::order;
use lucius_tests::registry::Copied;
use serde_json::{Value, json};

use crate::changes::small;

/// What is wrong, and what the line about it holds: the entry, the reason, the remedy.
type Mistake = (fn(&mut Copied), [&'static str; 3]);

const MISTAKES: [Mistake; 11] = [
    (
        |it| it.plugin("ocr")["sha256"] = "0".repeat(64).into(),
        ["plugin ocr@1.0.0", "SHA-256 is", "restore the component"],
    ),
    (
        |it| it.plugin("ocr")["component"] = "components/none.wasm".into(),
        [
            "plugin ocr@1.0.0",
            "cannot be read",
            "mend the path in component",
        ],
    ),
    (
        |it| it.plugin("ocr")["services"] = json!([]),
        [
            "plugin ocr@1.0.0",
            "not granted",
            "add it to the entry's services",
        ],
    ),
    (
        |it| it.plugin("ocr")["version"] = "1.0.9".into(),
        [
            "plugin ocr@1.0.9",
            "it is ocr@1.0.0",
            "name it so in the registry",
        ],
    ),
    (
        |it| it.manifest["trust"] = json!({ "require_signature": true }),
        ["plugin ocr@1.0.0", "is not signed", "lucius plugin sign"],
    ),
    (
        |it| {
            let sha256 = it.plugin("ocr")["sha256"].clone();
            it.manifest["trust"] = json!({ "deny": [{ "sha256": sha256, "reason": "leaks" }] });
        },
        [
            "plugin ocr@1.0.0",
            "denied by trust.deny (leaks)",
            "register a mended version",
        ],
    ),
    (
        |it| it.manifest["protocols"][0]["steps"][0]["plugin"] = "nobody@1.0.0".into(),
        [
            "protocol atomic-ocr.v1 step ocr",
            "not in plugins",
            "add it, or name another",
        ],
    ),
    (
        |it| it.manifest["protocols"][0]["steps"][0]["payload_schema_ref"] = "none.json".into(),
        [
            "protocol atomic-ocr.v1 step ocr",
            "cannot be read",
            "mend the path in payload_schema_ref",
        ],
    ),
    (
        |it| it.manifest["protocols"][0]["steps"][0]["step_type"] = "REDACT".into(),
        [
            "protocol atomic-ocr.v1 step ocr",
            "decides about OCR, not about REDACT",
            "mend step_type",
        ],
    ),
    (
        |it| it.manifest["protcols"] = json!([]),
        ["registry.json", "protcols", "see protocol-registry.v1"],
    ),
    (
        |it| {
            it.manifest["trials"] = json!([{
                "plugin": "ocr@1.0.0", "candidate": "ocr@9.0.0", "mode": "shadow", "percent": 1,
            }]);
        },
        [
            "trial ocr@1.0.0 -> ocr@9.0.0",
            "not in plugins",
            "add or mend its entry",
        ],
    ),
];

fn errors(document: &Value) -> Vec<String> {
    let errors = document["errors"].as_array().into_iter().flatten();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    errors
        .map(|error| format!("{}: {}", text(error, "entry"), text(error, "reason")))
        .collect()
}

#[tokio::test]
async fn every_refusal_names_entry_reason_and_remedy_in_one_line_alike_everywhere()
-> anyhow::Result<()> {
    let good = small()?;
    let mut copied = small()?;
    let host = Setup::quick().registry(copied.path()).start().await;
    let client = host.client();
    for (mistake, parts) in MISTAKES {
        copied.manifest = good.manifest.clone();
        mistake(&mut copied);
        copied.write()?;
        let answer = client.post_nothing("/v1/registry:reload").await;
        let problem = answer.expect_problem(422, "REGISTRY_REFUSED");
        let by_api = errors(&problem.body);
        let line = &by_api[0];
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(
            line.starts_with(parts[0]) && !line.contains('\n') && line.len() < 400,
            "{line}"
        );
        let status = client.get("/v1/registry").await.expect(200).body;
        assert_eq!(errors(&status["last_reload"]), by_api);
        let said = host.lucius(&["registry", "reload"]).ended().await.expect(1);
        assert!(
            said.one_line().ends_with(&by_api.join("; ")),
            "{}",
            said.stderr
        );
        let said = host.lucius(&["registry", "status"]).ended().await.expect(0);
        for error in &by_api {
            let shown = format!("last reload refused  {error}");
            assert!(
                said.stdout.lines().any(|it| it == shown),
                "{shown}: {}",
                said.stdout
            );
        }
        let path = copied.path().display().to_string();
        let check = host.lucius(&["registry", "check", "--registry", &path]);
        let check = check.ended().await.expect(1);
        for error in &by_api {
            let shown = format!("refused  {error}");
            assert!(
                check.stdout.lines().any(|it| it == shown),
                "{shown}: {}",
                check.stdout
            );
        }
        client
            .submit(&order(&format!("after {}", parts[1]), "OCR"))
            .await;
        assert_eq!(status["generation"], 1);
    }
    assert!(!host.output().contains("panicked"), "{}", host.output());
    Ok(())
}
