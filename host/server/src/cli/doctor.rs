//! `lucius doctor`: looks at a deployment, says what is wrong with it and what to do.
//!
//! It changes nothing, and a host may run meanwhile. Each look is one line: `ok`, `warn` (it works, and should be seen
//! to) or `FAIL` (it does not work, or will not for long). Exit code 1 when anything fails.

mod azure;
mod host;
mod machine;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::client::HostUrl;
use super::{Failure, load, output};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Flags {
    #[command(flatten)]
    host: HostUrl,
    /// A TOML file with settings
    #[arg(long, env = "LUCIUS_CONFIG")]
    config: Option<PathBuf>,
    /// The data directory [default: ./lucius-data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The registry folder [default: ./registry]
    #[arg(long)]
    registry: Option<PathBuf>,
    /// Look at the machine alone, since no host is meant to run
    #[arg(long)]
    offline: bool,
}

/// What the lines about the ledger and the bus are called, wherever those are.
const LEDGER: &str = "ledger";
const BUS: &str = "bus";

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One look at one thing.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// What was looked at.
    what: &'static str,
    verdict: Verdict,
    /// What was seen.
    seen: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Ok,
            seen: seen.into(),
            advice: None,
        }
    }

    fn warn(what: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Warn,
            seen: seen.into(),
            advice: Some(advice.into()),
        }
    }

    fn fail(what: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(what, seen, advice)
        }
    }
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let findings = match settings(&flags) {
        Ok(config) => look(&config, &flags).await,
        Err(finding) => vec![finding],
    };
    let failed = findings.iter().filter(|it| it.verdict == Verdict::Fail);
    let failed = failed.count();
    if json {
        output::json(&json!({ "ok": failed == 0, "findings": findings }));
    } else {
        print(&findings);
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Failed(anyhow::anyhow!(
            "{failed} of {} looks failed: see to the lines that say FAIL, from the top",
            findings.len()
        ))),
    }
}

fn settings(flags: &Flags) -> Result<Config, Finding> {
    let mut config = match load(flags.config.clone()) {
        Ok(config) => config,
        Err(Failure::Usage(error) | Failure::Failed(error)) => {
            let advice = "mend the settings; docs/settings.md names every key";
            return Err(Finding::fail("settings", error.to_string(), advice));
        }
    };
    if let Some(data_dir) = &flags.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(registry) = &flags.registry {
        config.registry.clone_from(registry);
    }
    Ok(config)
}

async fn look(config: &Config, flags: &Flags) -> Vec<Finding> {
    let mut findings = vec![match crate::host::check(config) {
        Ok(()) => Finding::ok("settings", "they make sense"),
        Err(error) => Finding::fail("settings", error.to_string(), "mend the settings"),
    }];
    findings.extend(machine::look(config).await);
    if !flags.offline {
        findings.extend(host::look(&flags.host).await);
    }
    findings
}

fn print(findings: &[Finding]) {
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        output::line(format!("{word:<5} {:<16} {}", finding.what, finding.seen));
        if let Some(advice) = &finding.advice {
            output::line(format!("{:<23}do: {advice}", ""));
        }
    }
}
