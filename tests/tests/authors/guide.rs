//! docs/plugins.md, word for word.
//!
//! The page's marked blocks are one shell session, in the order of the page, in a folder of its own beside a running
//! host: `<!-- run -->` is run to its end, `<!-- run beside -->` is what the page tells to keep running in another
//! terminal. Only the host's address and the name of its data folder are others, since tests use free ports.

use lucius_tests::host::Setup;
use lucius_tests::registry::Copied;
use lucius_tests::{author, places, wait};

/// Where the documented host listens.
const DOCUMENTED: &str = "http://127.0.0.1:7420";

/// The page's session as one script.
fn session(page: &str) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null' EXIT\n".to_owned();
    for part in page.split("<!-- run").skip(1) {
        let (how, rest) = part.split_once("-->\n```sh\n").unwrap_or_default();
        let block = rest.split("```").next().unwrap_or_default();
        match how.trim() {
            "beside" => script.push_str(&format!("(\n{block}) > beside.log 2>&1 &\n")),
            _ => script.push_str(block),
        }
    }
    script
}

#[test]
fn a_page_is_one_session() {
    let page =
        "```sh\nno\n```\n<!-- run -->\n```sh\none\n```\n<!-- run beside -->\n```sh\ntwo\n```\n";
    let script = session(page);
    assert!(
        script.ends_with("one\n(\ntwo\n) > beside.log 2>&1 &\n"),
        "{script}"
    );
}

#[tokio::test]
async fn the_authors_guide_leads_from_nothing_to_a_job_done_by_a_new_plugin() -> anyhow::Result<()>
{
    let page = std::fs::read_to_string(places::workspace().join("docs/plugins.md"))?;
    let registry = Copied::new()?;
    let host = Setup::serve().registry(registry.path()).start().await;
    std::os::unix::fs::symlink(registry.path(), host.folder().join("registry"))?;
    let script = session(&page)
        .replace(DOCUMENTED, host.url())
        .replace("lucius-data", "data");
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-c", &script]).current_dir(host.folder());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LUCIUS_") {
            shell.env_remove(name);
        }
    }
    shell
        .env("LUCIUS_URL", host.url())
        .env("PATH", author::path())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", places::target().join("authors"))
        .kill_on_drop(true);
    let output = tokio::time::timeout(wait::COMPILING, shell.output()).await??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}\n{errors}");
    for shown in ["5 passed, 0 failed", "SUCCEEDED", "redact at level 7"] {
        assert!(said.contains(shown), "{shown}: {said}\n{errors}");
    }
    Ok(())
}
