//! All tests by one command, closed by one line that a machine can read: `N passed, N failed`.
//!
//! The count is taken from what the test programs report themselves. A run that breaks off without such a report (a
//! build error, a crashed test program) counts as a failure, so that silence is never taken for success. The demo
//! runs last, as one more test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{demo, plugins, setup, shell};

/// The first run: everything, on this machine's own ledger and bus.
const EVERYTHING: [&str; 4] = ["test", "--release", "--workspace", "--no-fail-fast"];
/// Where the second run has its ledger and bus; see docs/azure.md.
const BEYOND: &str = "azure-with-faults";

/// What all test programs reported.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// The names of those that failed.
    failures: Vec<String>,
}

/// Sets up, builds, runs every test and the demo, and prints the summary last.
pub(crate) fn run() -> Result<()> {
    let mut summary = Summary::default();
    let tested = prepare()
        .and_then(|()| cargo_test(&mut summary, shell::cargo(&EVERYTHING), ""))
        .and_then(|()| cargo_test(&mut summary, beyond(), BEYOND));
    if let Err(error) = tested {
        println!("error: {error:#}");
        summary.fail(format!("{error:#}"));
    } else {
        run_demo(&mut summary);
    }

    if !summary.failures.is_empty() {
        println!("\nfailed:");
        for name in &summary.failures {
            println!("  {name}");
        }
    }
    println!("\n{}", summary.line());
    std::io::stdout().flush()?;
    if summary.failed > 0 || summary.passed == 0 {
        // The summary closes the output, so there is no further line to print.
        std::process::exit(1);
    }
    Ok(())
}

fn prepare() -> Result<()> {
    setup::run()?;
    plugins::run()?;
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "--workspace",
        "--all-targets",
    ]))
}

/// The tests of the state machine once more, with ledger and bus where Azure has them, and proxies before both that
/// fail now and then. What is beside the state machine does not change with the place of the ledger.
fn beyond() -> Command {
    let mut command = shell::cargo(&["test", "--release", "--workspace", "--test", "blackbox"]);
    command.args([
        "--",
        "lifecycle::",
        "callbacks::",
        "cancelling::",
        "retries::",
        "routing::",
    ]);
    command.env("LUCIUS_TESTS_ON", BEYOND);
    command
}

/// Runs tests; what fails is named with the place they ran on.
fn cargo_test(summary: &mut Summary, mut command: Command, place: &str) -> Result<()> {
    if !place.is_empty() {
        println!("LUCIUS_TESTS_ON={place}");
    }
    println!("$ {}", shell::typed(&command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start cargo")?;
    let Some(output) = child.stdout.take() else {
        bail!("cargo's output is not connected")
    };
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cargo's output broke off")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.note(&line, place);
    }
    let status = child.wait()?;
    if !status.success() && summary.failed == 0 {
        summary.fail(format!(
            "cargo test ended with {status}: a crashed test program"
        ));
    }
    Ok(())
}

fn run_demo(summary: &mut Summary) {
    const NAME: &str = "the demo gives the known text and the right answer after a crash";
    println!("\n$ cargo xtask demo --check");
    match demo::checked_on_present_build() {
        Ok(()) => {
            println!("test {NAME} ... ok");
            summary.passed += 1;
        }
        Err(error) => {
            println!("test {NAME} ... FAILED\n{error:#}");
            summary.fail(NAME.to_owned());
        }
    }
}

impl Summary {
    fn fail(&mut self, name: String) {
        self.failed += 1;
        self.failures.push(name);
    }

    /// Takes in one line of a test program's output, which ran on a place.
    fn note(&mut self, line: &str, place: &str) {
        if let Some(counts) = line.strip_prefix("test result:") {
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                    continue;
                };
                match words.next() {
                    Some("passed") => self.passed += count,
                    Some("failed") => self.failed += count,
                    Some("ignored") => self.skipped += count,
                    _ => {}
                }
            }
        } else if let Some(name) = failed_name(line) {
            let name = format!("{name} {place}").trim_end().to_owned();
            self.failures.push(name);
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

fn failed_name(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(output: &str) -> Summary {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.note(line, ""));
        summary
    }

    #[test]
    fn results_of_several_test_programs_are_added_up() {
        let summary = summary_of(
            "test a ... ok\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s\n\
             test b::c ... FAILED\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.10s\n",
        );
        assert_eq!(summary.line(), "15 passed, 1 failed, 1 skipped");
        assert_eq!(summary.failures, ["b::c"]);
    }

    #[test]
    fn skipped_is_left_out_when_there_is_none() {
        let summary = summary_of("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured;");
        assert_eq!(summary.line(), "2 passed, 0 failed");
    }

    #[test]
    fn output_of_a_test_that_only_looks_like_a_result_is_not_counted() {
        let summary =
            summary_of("note: test result: ok. 9 passed; 0 failed;\n9 passed\ntest x ... ok");
        assert_eq!(summary, Summary::default());
    }

    #[test]
    fn what_fails_elsewhere_is_named_with_the_place() {
        let mut summary = Summary::default();
        summary.note("test b::c ... FAILED", BEYOND);
        assert_eq!(summary.failures, ["b::c azure-with-faults"]);
    }
}
