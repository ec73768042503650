//! The console in a real browser: `tests/browser/console.mjs` looks, submits, watches, cancels, redrives and reloads
//! as an operator would. With `LUCIUS_SCREENSHOTS` set to a folder it leaves pictures of the pages there.

use std::process::Stdio;

use lucius_tests::host::Setup;
use lucius_tests::places;
use tokio::process::Command;

const SCREENSHOTS: &str = "LUCIUS_SCREENSHOTS";

#[tokio::test]
async fn an_operator_finds_watches_and_repairs_jobs_in_the_console() {
    let host = Setup::quick().start().await;
    let (script, modules) = places::browser();
    let mut command = Command::new("node");
    command.arg(script).arg(host.url()).arg(modules);
    command.arg("chromium");
    if let Some(folder) = std::env::var_os(SCREENSHOTS) {
        command.arg(places::workspace().join(folder));
    }
    let driven = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node is there, as npm is");
    let seen = String::from_utf8_lossy(&driven.stdout);
    let complaints = String::from_utf8_lossy(&driven.stderr);
    assert!(driven.status.success(), "{seen}\n{complaints}");
    assert_eq!(seen.matches("ok ").count(), 10, "{seen}");
}
