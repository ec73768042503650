//! `lucius plugin new`: what it makes is whole.

use std::fs;
use std::path::Path;

use lucius_tests::author;
use lucius_tests::places;
use lucius_tests::program::Ended;
use tempfile::TempDir;

async fn ok(folder: &Path, args: &[&str]) -> Ended {
    author::plugin(folder, args)
        .patient()
        .ended()
        .await
        .expect(0)
}

#[tokio::test]
async fn a_new_plugin_builds_and_passes_its_own_tests_at_once_and_offline() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let made = ok(folder.path(), &["new", "stamp", "--service", "acme-stamp"]).await;
    assert!(
        made.stdout.contains("lucius plugin build"),
        "{}",
        made.stdout
    );
    let root = folder.path().join("stamp");

    let mut cargo = tokio::process::Command::new("cargo");
    cargo
        .args(["test", "--offline", "--quiet"])
        .env("CARGO_TARGET_DIR", places::target().join("authors"))
        .current_dir(&root);
    let native = cargo.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&native.stdout);
    assert!(
        native.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&native.stderr)
    );

    ok(&root, &["build"]).await;
    let inspected = ok(&root, &["inspect", "--json"]).await.json();
    let plugin = &inspected["plugin"];
    assert_eq!(
        (&plugin["id"], &plugin["version"]),
        (&"stamp".into(), &"0.1.0".into())
    );
    assert_eq!(plugin["services"][0], "acme-stamp");
    assert_eq!(inspected["limits"]["memory_bytes"]["asked"], 16 << 20);
    let checked = ok(&root, &["check"]).await.stdout;
    assert!(
        checked.lines().all(|line| line.starts_with("ok ")),
        "{checked}"
    );
    let tested = ok(&root, &["test"]).await.stdout;
    assert!(tested.ends_with("5 passed, 0 failed\n"), "{tested}");

    let component = fs::read(root.join("stamp.wasm"))?;
    let names = [folder.path(), &places::workspace()].map(|it| it.display().to_string());
    for name in names {
        let holds = component
            .windows(name.len())
            .any(|it| it == name.as_bytes());
        assert!(
            !holds,
            "the component names {name}, a folder of this machine"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_new_plugin_in_javascript_or_python_has_the_contract_and_the_cases() -> anyhow::Result<()>
{
    let folder = TempDir::new()?;
    for (language, source) in [("javascript", "plugin.js"), ("python", "plugin.py")] {
        ok(folder.path(), &["new", language, "--language", language]).await;
        let root = folder.path().join(language);
        for file in [
            source,
            "plugin.json",
            "lucius/wit/step-1.0.0/step.wit",
            "cases/defaults.json",
        ] {
            assert!(root.join(file).is_file(), "{language}: {file}");
        }
    }
    // One of them is built; what they share with the examples is not built a second time.
    let root = folder.path().join("python");
    author::build(&root).await;
    let tested = ok(&root, &["test"]).await.stdout;
    assert!(tested.ends_with("5 passed, 0 failed\n"), "{tested}");
    Ok(())
}

#[tokio::test]
async fn a_new_plugin_never_writes_over_what_is_there() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    fs::create_dir(folder.path().join("mine"))?;
    for (name, said) in [
        ("mine", "is there already"),
        ("Not A Name", "no name for a plugin"),
    ] {
        let refused = author::plugin(folder.path(), &["new", name])
            .ended()
            .await
            .expect(2);
        assert!(refused.one_line().contains(said), "{}", refused.stderr);
    }
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}
