//! What keeps a host from starting, and how it says so: exit code 2 and one line that names the cause.

use std::fs;
use std::path::Path;

use lucius_tests::host::Setup;
use lucius_tests::orders::order;
use lucius_tests::program::{Ended, Run};
use lucius_tests::registry::Copied;
use lucius_tests::{places, wait};
use tempfile::TempDir;

/// A component of no world at all: it has neither imports nor exports.
const EMPTY_COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// A module, which is no component.
const EMPTY_MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// Breaks a registry.
type Breakage = fn(&mut Copied) -> anyhow::Result<()>;

fn serve(folder: &TempDir, more: &[&str]) -> Run {
    serve_from(&places::registry(), folder, more)
}

fn serve_from(registry: &Path, folder: &TempDir, more: &[&str]) -> Run {
    let registry = registry.display().to_string();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "data",
        "--registry",
        &registry,
    ];
    Run::new(folder.path(), args.iter().chain(more))
}

/// The one line of a start that was refused.
fn refused(ended: Ended) -> String {
    let ended = ended.expect(2);
    assert!(!ended.stdout.contains("ready"), "{}", ended.stdout);
    let line = ended.one_line().to_owned();
    assert!(line.starts_with("error: "), "{line}");
    line
}

#[track_caller]
fn names(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
}

#[tokio::test]
async fn a_busy_port_is_named() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let busy = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = busy.local_addr()?.to_string();
    let args = ["serve", "--listen", &address, "--data-dir", "data"];
    let registry = places::registry();
    let run = Run::new(folder.path(), args).with("LUCIUS_REGISTRY", registry);
    names(&refused(run.ended().await), &[&address, "--listen"]);
    Ok(())
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    fs::write(folder.path().join("file"), "not a folder")?;
    let run = serve(&folder, &[]).with("LUCIUS_DATA_DIR", "ignored, since the flag wins");
    drop(run);
    let registry = places::registry().display().to_string();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        "file/data",
        "--registry",
        &registry,
    ];
    names(
        &refused(Run::new(folder.path(), args).ended().await),
        &["file/data", "--data-dir"],
    );
    Ok(())
}

#[tokio::test]
async fn f12_a_second_host_on_the_same_data_is_refused_and_the_first_goes_on() -> anyhow::Result<()>
{
    let mut host = Setup::quick().here().start().await;
    let data = host.folder().join("data").display().to_string();
    let folder = TempDir::new()?;
    let registry = places::registry().display().to_string();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--registry",
        &registry,
    ];
    names(
        &refused(Run::new(folder.path(), args).ended().await),
        &["data"],
    );
    let job = host.client().submit(&order("first", "OCR")).await;
    // Its lock dies with it, however it ends.
    host.crash().await;
    host.worker("platform-ocr").succeed("first").await;
    host.client().job_in(&job, "SUCCEEDED").await;
    Ok(())
}

#[tokio::test]
async fn settings_that_mean_nothing_are_named() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("lucius.toml");
    let config = ["--config", "lucius.toml"];
    for (text, parts) in [
        (
            "[timing]\nack_timeout = 5\n",
            ["lucius.toml", "ack_timeout"],
        ),
        ("colour = \"red\"\n", ["lucius.toml", "colour"]),
        (
            "[timing]\nlease_ms = \"soon\"\n",
            ["lucius.toml", "lease_ms"],
        ),
        (
            "[ledger]\nbackend = \"oracle\"\n",
            ["lucius.toml", "oracle"],
        ),
        ("[timing\n", ["lucius.toml", "line 1"]),
        (
            "[timing]\nmax_attempts = 0\n",
            ["max_attempts", "at least 1"],
        ),
        (
            "[limits]\nglobal_inflight = 10\nburst_inflight = 10\n",
            ["limits.burst_inflight", "below 10"],
        ),
        (
            "[limits]\nclient_requests = 0\n",
            ["limits.client_requests", "at least 1"],
        ),
    ] {
        fs::write(&file, text)?;
        names(&refused(serve(&folder, &config).ended().await), &parts);
    }
    let missing = serve(&folder, &["--config", "no-such.toml"]);
    names(&refused(missing.ended().await), &["no-such.toml"]);
    let variable = serve(&folder, &[]).with("LUCIUS_TIMING_LEASE_MS", "soon");
    names(
        &refused(variable.ended().await),
        &["LUCIUS_TIMING_LEASE_MS"],
    );
    Ok(())
}

#[tokio::test]
async fn open_doors_are_refused_on_any_address_but_loopback() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let registry = places::registry().display().to_string();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let args = [
            "serve",
            "--listen",
            address,
            "--data-dir",
            "data",
            "--registry",
            &registry,
        ];
        names(
            &refused(Run::new(folder.path(), args).ended().await),
            &["auth", "open", "127.0.0.1"],
        );
    }
    Ok(())
}

#[tokio::test]
async fn h10_a_registry_is_refused_by_entry_and_reason() -> anyhow::Result<()> {
    let cases: [(&str, Breakage, &[&str]); 9] = [
        (
            "missing",
            |r| Ok(fs::remove_file(r.component("ocr"))?),
            &["plugin ocr@1.0.0", "cannot be read"],
        ),
        ("altered", alter, &["plugin ocr@1.0.0", "SHA-256"]),
        (
            "junk",
            |r| r.replace("sis", b"not wasm"),
            &["plugin sis@1.0.0", "not a WebAssembly component"],
        ),
        (
            "module",
            |r| r.replace("sis", &EMPTY_MODULE),
            &["plugin sis@1.0.0", "component"],
        ),
        (
            "world",
            |r| r.replace("sis", &EMPTY_COMPONENT),
            &["plugin sis@1.0.0", "lucius:step"],
        ),
        (
            "outside",
            outside,
            &["registry.json/plugins/0/component", "form"],
        ),
        (
            "ungranted",
            ungranted,
            &["plugin ocr@1.0.0", "platform-ocr"],
        ),
        (
            "unknown",
            unknown_plugin,
            &["protocol atomic-ocr.v1", "ocr@9.9.9"],
        ),
        (
            "no json",
            |r| Ok(fs::write(r.path().join("registry.json"), "{")?),
            &["registry.json", "JSON"],
        ),
    ];
    for (what, break_it, parts) in cases {
        let mut registry = Copied::new()?;
        break_it(&mut registry)?;
        let folder = TempDir::new()?;
        let line = refused(serve_from(registry.path(), &folder, &[]).ended().await);
        assert!(
            parts.iter().all(|part| line.contains(part)),
            "{what}: {parts:?} in {line}"
        );
    }
    Ok(())
}

fn alter(registry: &mut Copied) -> anyhow::Result<()> {
    let path = registry.component("ocr");
    let mut bytes = fs::read(&path)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    Ok(fs::write(path, bytes)?)
}

fn outside(registry: &mut Copied) -> anyhow::Result<()> {
    registry.plugin("ocr")["component"] = "../../etc/passwd".into();
    registry.write()
}

fn ungranted(registry: &mut Copied) -> anyhow::Result<()> {
    registry.plugin("ocr")["services"] = serde_json::json!(["another"]);
    registry.write()
}

fn unknown_plugin(registry: &mut Copied) -> anyhow::Result<()> {
    registry.manifest["protocols"][0]["steps"][0]["plugin"] = "ocr@9.9.9".into();
    registry.write()
}

#[tokio::test]
async fn f38_a_registry_that_goes_bad_later_stops_neither_the_host_nor_its_next_start()
-> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    let mut host = Setup::quick().registry(registry.path()).start().await;
    let before = host.client().get("/v1/registry").await.expect(200).body;
    alter(&mut registry)?;
    let refused = host.client().post_nothing("/v1/registry:reload").await;
    let refused = refused.expect_problem(422, "REGISTRY_REFUSED");
    assert!(
        refused.text.contains("plugin ocr@1.0.0"),
        "{}",
        refused.text
    );
    for _ in 0..2 {
        let now = host.client().get("/v1/registry").await.expect(200).body;
        assert_eq!(
            (&now["generation"], &now["plugins"]),
            (&before["generation"], &before["plugins"])
        );
        assert_eq!(now["last_reload"]["ok"], false);
        assert!(
            now["last_reload"]["errors"]
                .to_string()
                .contains("ocr@1.0.0"),
            "{now}"
        );
        // The last good generation starts from what the host has kept.
        host.crash().await;
    }
    host.client().submit(&order("unharmed", "OCR")).await;
    host.worker("platform-ocr").succeed("unharmed").await;
    assert!(host.output().contains("DEGRADED"), "{}", host.output());
    Ok(())
}

#[tokio::test]
async fn a_reload_makes_a_new_protocol_live_and_leaves_running_jobs_alone() -> anyhow::Result<()> {
    let mut registry = Copied::new()?;
    let host = Setup::quick().registry(registry.path()).start().await;
    let client = host.client();
    let running = client.submit(&order("running", "OCR")).await;
    let redact = order("running", "REDACT");
    client
        .post("/v1/commands", &redact)
        .await
        .expect_problem(400, "UNSUPPORTED_REQUEST_TYPE");
    registry.add_plain_step("REDACT", "acme-redact")?;
    let live = client
        .post_nothing("/v1/registry:reload")
        .await
        .expect(200)
        .body;
    assert_eq!(live["generation"], 2);
    assert_eq!(live["previous_generations"][0]["generation"], 1);
    let job = client.submit(&redact).await;
    host.worker("acme-redact").succeed("running").await;
    assert_eq!(
        client.job_in(&job, "SUCCEEDED").await["registry_generation"],
        2
    );
    host.worker("platform-ocr").succeed("running").await;
    assert_eq!(
        client.job_in(&running, "SUCCEEDED").await["registry_generation"],
        1
    );
    Ok(())
}

#[tokio::test]
async fn sigterm_right_after_the_start_ends_with_exit_0() {
    let mut host = Setup::serve().start().await;
    assert_eq!(host.terminate().await.code(), Some(0));
    wait::until("a closed port", async || {
        let request = host.client().request(reqwest::Method::GET, "/healthz");
        host.client().try_send(request).await.is_err().then_some(())
    })
    .await;
}
