//! A page of docs/, word for word.
//!
//! The page's marked blocks are one shell script, in the order of the page, in the folder of a running host:
//! `<!-- run -->` is run to its end, `<!-- run beside -->` is what the page tells to keep running in another terminal.
//! Only the host's address and the name of its data folder are others, since tests use free ports.

use crate::host::Host;
use crate::{author, places, wait};

/// Where the documented host listens.
const DOCUMENTED: &str = "http://127.0.0.1:7420";

/// The page's marked blocks as one script.
pub fn script(page: &str) -> String {
    let mut script =
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n".to_owned();
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

/// Runs a page beside a host; what its commands say.
///
/// # Panics
/// A command of it fails.
pub async fn run(page: &str, host: &Host) -> String {
    let page = std::fs::read_to_string(places::workspace().join("docs").join(page));
    let page = page.unwrap_or_else(|error| panic!("no such page: {error}"));
    let script = script(&page)
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
    let output = tokio::time::timeout(wait::COMPILING, shell.output()).await;
    let output = match output {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => panic!("no shell: {error}"),
        Err(_) => panic!("the page does not end: {script}"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}\n{errors}");
    said
}
