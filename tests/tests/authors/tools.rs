//! `lucius plugin check`, `test`, `inspect` and `add` on what is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use lucius_tests::author;
use lucius_tests::registry::Copied;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of the built example, to be changed.
struct Mine {
    folder: TempDir,
    manifest: Value,
}

impl Mine {
    async fn new() -> anyhow::Result<Self> {
        let built = author::redact().await;
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("cases"))?;
        fs::copy(built.join("redact.wasm"), folder.path().join("redact.wasm"))?;
        fs::copy(
            built.join("../redact.v1.json"),
            folder.path().join("redact.v1.json"),
        )?;
        let text = fs::read_to_string(built.join("plugin.json"))?.replace("\"../", "\"");
        let manifest = serde_json::from_str(&text)?;
        let mine = Self { folder, manifest };
        mine.write()?;
        Ok(mine)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self) -> anyhow::Result<()> {
        Ok(fs::write(
            self.path().join("plugin.json"),
            self.manifest.to_string(),
        )?)
    }

    fn case(&self, name: &str, case: &Value) -> anyhow::Result<PathBuf> {
        let file = self.path().join("cases").join(name);
        fs::write(&file, case.to_string())?;
        Ok(file)
    }
}

#[tokio::test]
async fn check_says_what_a_host_would_refuse_and_ends_with_1() -> anyhow::Result<()> {
    let mut mine = Mine::new().await?;
    let check = async |mine: &Mine| author::plugin(mine.path(), &["check"]).ended().await;
    let fine = check(&mine).await.expect(0).stdout;
    assert!(
        fine.contains("redact@1.0.0") && !fine.contains("refused"),
        "{fine}"
    );

    mine.manifest["protocols"][0]["steps"][0]["payload_schema_ref"] = json!("missing.json");
    mine.manifest["protocols"][0]["protocol_id"] = json!("Not An Id");
    mine.write()?;
    let wrong = check(&mine).await.expect(1);
    assert!(wrong.stdout.contains("refused  entry"), "{}", wrong.stdout);
    assert!(
        wrong.stdout.contains("/protocols/0/protocol_id"),
        "{}",
        wrong.stdout
    );
    wrong.one_line();

    fs::write(mine.path().join("redact.wasm"), b"\0asm\x01\0\0\0")?;
    let wrong = check(&mine).await.expect(1).stdout;
    assert!(
        wrong.contains("refused  admission") && wrong.contains("core module"),
        "{wrong}"
    );
    let inspected = author::plugin(mine.path(), &["inspect", "--json"]);
    let inspected = inspected.ended().await.expect(1).json();
    assert!(
        inspected["refusal"]
            .as_str()
            .is_some_and(|it| it.contains("core module"))
    );
    assert!(inspected["plugin"].is_null());
    Ok(())
}

#[tokio::test]
async fn inspect_shows_that_the_operators_cap_holds() -> anyhow::Result<()> {
    let mine = Mine::new().await?;
    fs::write(mine.path().join("host.toml"), "[plugins]\nfuel = 1000000\n")?;
    let inspect = ["inspect", "--json", "--config", "host.toml"];
    let inspected = author::plugin(mine.path(), &inspect)
        .ended()
        .await
        .expect(0)
        .json();
    assert_eq!(
        inspected["limits"]["fuel"],
        json!({ "asked": 200_000_000, "granted": 1_000_000 })
    );
    let check = ["check", "--config", "host.toml"];
    let checked = author::plugin(mine.path(), &check)
        .ended()
        .await
        .expect(0)
        .stdout;
    assert!(checked.contains("1000000 is the host's cap"), "{checked}");
    Ok(())
}

#[tokio::test]
async fn a_case_that_fails_says_where_and_the_others_still_run() -> anyhow::Result<()> {
    let mine = Mine::new().await?;
    let defaults = |replacement: &str| {
        let payload =
            json!({ "categories": ["EMAIL", "IBAN", "PHONE"], "replacement": replacement });
        json!({ "call": "validate", "expect": { "payload": payload } })
    };
    mine.case("1-wrong.json", &defaults("black"))?;
    mine.case("2-right.json", &json!([defaults("[redacted]")]))?;
    let more = mine.path().join("more.json");
    fs::write(
        &more,
        json!({ "name": "more", "call": "route", "expect": { "route": "skip" } }).to_string(),
    )?;
    let more = more.display().to_string();
    let tested = author::plugin(mine.path(), &["test", "--case", &more])
        .ended()
        .await
        .expect(1);
    let lines: Vec<&str> = tested.stdout.lines().collect();
    assert!(
        lines[0].starts_with("FAILED  1-wrong")
            && lines[0].contains("/payload/replacement: expected \"black\", is \"[redacted]\""),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("ok      2-right"), "{lines:?}");
    assert!(
        lines[2].starts_with("FAILED  more") && lines[2].contains("/route: expected \"skip\""),
        "{lines:?}"
    );
    assert_eq!(lines[3], "1 passed, 2 failed");
    tested.one_line();
    Ok(())
}

#[tokio::test]
async fn add_writes_nothing_that_a_host_would_refuse() -> anyhow::Result<()> {
    let mut mine = Mine::new().await?;
    let registry = Copied::new()?;
    let path = registry.path().display().to_string();
    let add = ["add", "--registry", &path];
    let before = fs::read_to_string(registry.path().join("registry.json"))?;

    mine.manifest["protocols"][0]["request_types"] = json!(["OCR"]);
    mine.write()?;
    let refused = author::plugin(mine.path(), &add).ended().await.expect(1);
    assert!(
        refused.one_line().contains("request_type OCR"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        fs::read_to_string(registry.path().join("registry.json"))?,
        before
    );

    mine.manifest["protocols"][0]["request_types"] = json!(["REDACT"]);
    mine.write()?;
    for _ in 0..2 {
        author::plugin(mine.path(), &add).ended().await.expect(0);
    }
    let written: Value =
        serde_json::from_str(&fs::read_to_string(registry.path().join("registry.json"))?)?;
    let entries = written["plugins"].as_array().into_iter().flatten();
    assert_eq!(entries.filter(|entry| entry["id"] == "redact").count(), 1);
    let nowhere = author::plugin(mine.path(), &["add", "--registry", "nowhere"]);
    assert!(
        nowhere
            .ended()
            .await
            .expect(1)
            .one_line()
            .contains("--registry")
    );
    Ok(())
}

#[tokio::test]
async fn being_asked_in_the_wrong_way_is_exit_2() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let mine = Mine::new().await?;
    fs::remove_dir(mine.path().join("cases"))?;
    fs::write(
        folder.path().join("plugin.json"),
        r#"{"component": "a.wasm", "sevices": []}"#,
    )?;
    for (at, args, said) in [
        (mine.path(), &["test"][..], "no cases"),
        (folder.path(), &["build"], "sevices"),
        (folder.path(), &["check", "elsewhere"], "lucius plugin new"),
        (folder.path(), &["new"], "NAME"),
        (folder.path(), &["new", "a", "--language", "cobol"], "cobol"),
    ] {
        let ended = author::plugin(at, args).ended().await.expect(2);
        assert!(
            ended.one_line().contains(said),
            "{args:?}: {}",
            ended.stderr
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_key_is_made_once_and_a_signature_goes_into_the_entry() -> anyhow::Result<()> {
    let mine = Mine::new().await?;
    let sign = async |serial: &str, more: &[&str]| {
        let args = [
            "sign", "--key", "acme.pem", "--key-id", "acme", "--serial", serial,
        ];
        author::plugin(mine.path(), &[&args[..], more].concat())
            .ended()
            .await
    };
    let no_key = sign("1", &[]).await.expect(1);
    assert!(no_key.one_line().contains("--new-key"), "{}", no_key.stderr);
    let signed = sign("7", &["--new-key", "--json"]).await.expect(0).json();
    let public_key = signed["public_key"].clone();
    let digest = &signed["signed"]["digest"];
    assert_eq!(signed["signed"]["services"], json!(["platform-redact"]));
    let again = sign("8", &["--new-key"]).await.expect(1);
    assert!(again.one_line().contains("acme.pem"), "{}", again.stderr);
    let key = fs::metadata(mine.path().join("acme.pem"))?;
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777,
        0o600
    );

    let mut registry = Copied::new()?;
    registry.manifest["trust"]["keys"] = json!([{ "key_id": "acme", "public_key": public_key }]);
    registry.write()?;
    let path = registry.path().display().to_string();
    author::plugin(mine.path(), &["check"])
        .ended()
        .await
        .expect(0);
    author::plugin(mine.path(), &["add", "--registry", &path])
        .ended()
        .await
        .expect(0);
    let written: Value =
        serde_json::from_str(&fs::read_to_string(registry.path().join("registry.json"))?)?;
    let entry = written["plugins"].as_array().into_iter().flatten();
    let entry = entry.clone().find(|entry| entry["id"] == "redact");
    let entry = entry.cloned().unwrap_or_default();
    assert_eq!(
        (&entry["sha256"], &entry["signature"]),
        (digest, &signed["signature"])
    );
    assert_eq!(entry["signature"]["serial"], 7);
    Ok(())
}
