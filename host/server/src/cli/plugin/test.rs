//! `lucius plugin test`: golden cases, asked of the component itself in the sandbox that a host asks it in.
//!
//! Beyond what a case expects, every answer must hold what the contract promises: the same question gives the same
//! answer for the same fuel, and a payload that was normalized is not changed by being normalized again.

use std::path::PathBuf;

use clap::Args;
use lucius_domain::plugin::{Description, Route};
use lucius_ports::plugin::{Answer, Answered, Call, Runtime as _};
use lucius_wasm::Sandbox;
use serde_json::{Value, json};

use super::{Candidate, Judged, cases};
use crate::cli::output;
use crate::cli::{Failure, usage};

#[derive(Args)]
pub(in crate::cli) struct Flags {
    #[command(flatten)]
    judged: Judged,
    /// A further file with a case or a list of cases, or one that lucius jobs export wrote
    #[arg(long = "case", value_name = "FILE")]
    more: Vec<PathBuf>,
}

pub(super) async fn run(flags: Flags, json: bool) -> Result<(), Failure> {
    let candidate = flags.judged.open()?;
    let folder = candidate.folder.root.join(&candidate.folder.manifest.cases);
    let mut cases = cases::read(&folder, &flags.more).map_err(usage)?;
    if cases.is_empty() {
        let error = anyhow::anyhow!("no cases: put some into {}", folder.display());
        return Err(usage(error));
    }
    let sandbox = candidate.sandbox()?;
    let described = candidate
        .admit(&sandbox)
        .await
        .map_err(|error| anyhow::anyhow!("no host would take it: {error}"))?;
    cases.retain(|case| case.concerns(&described));
    if cases.is_empty() {
        let plugin = &described.id;
        return Err(usage(anyhow::anyhow!("no case is of the plugin {plugin}")));
    }
    let bench = Bench {
        config: Value::Object(candidate.folder.manifest.config.clone()),
        candidate,
        sandbox,
        described,
    };
    let width = cases.iter().map(|case| case.name.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut results = Vec::new();
    for case in &cases {
        let result = bench.run(case).await;
        if !json {
            output::line(match &result {
                Ok(fuel) => format!("ok      {:width$}  {fuel:>10} fuel", case.name),
                Err(why) => format!("FAILED  {:width$}  {why}", case.name),
            });
        }
        results.push((&case.name, result));
    }
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    let passed = results.len() - failed;
    if json {
        let cases: Vec<Value> = results
            .iter()
            .map(|(name, result)| match result {
                Ok(fuel) => json!({ "name": name, "ok": true, "fuel": fuel }),
                Err(why) => json!({ "name": name, "ok": false, "difference": why }),
            })
            .collect();
        output::json(&json!({ "passed": passed, "failed": failed, "cases": cases }));
    } else {
        output::line(format!("{passed} passed, {failed} failed"));
    }
    match failed {
        0 => Ok(()),
        count => Err(Failure::Failed(anyhow::anyhow!(
            "{count} of {} cases failed",
            results.len()
        ))),
    }
}

/// A plugin that is asked.
struct Bench {
    candidate: Candidate,
    sandbox: Sandbox,
    described: Description,
    config: Value,
}

impl Bench {
    /// The fuel that the case took, or what is wrong.
    async fn run(&self, case: &cases::Case) -> Result<u64, String> {
        let call = case
            .question(&self.described, &self.config)
            .map_err(|error| format!("{error:#}"))?;
        let answered = self.ask(&call).await?;
        if let Some(difference) = cases::difference(&case.expect, &answered.answer.to_value()) {
            return Err(difference);
        }
        if self.ask(&call).await? != answered {
            return Err("the same question gets another answer, or takes other fuel".to_owned());
        }
        self.promises(&call, &answered.answer).await?;
        Ok(answered.fuel)
    }

    async fn promises(&self, call: &Call, answer: &Answer) -> Result<(), String> {
        match (call, answer) {
            (Call::Validate { config, .. }, Answer::Validated(Ok(payload))) => {
                let again = Call::Validate {
                    payload: payload.clone(),
                    config: config.clone(),
                };
                let said = self.ask(&again).await?.answer;
                if said == *answer {
                    return Ok(());
                }
                Err(format!(
                    "normalizing the normalized payload changes it: {}",
                    said.to_value()
                ))
            }
            (_, Answer::Routed(Route::Dispatch(dispatch))) => {
                if self.described.services.contains(&dispatch.service) {
                    return Ok(());
                }
                Err(format!(
                    "it routes to service \"{}\", which describe does not name",
                    dispatch.service
                ))
            }
            _ => Ok(()),
        }
    }

    async fn ask(&self, call: &Call) -> Result<Answered, String> {
        self.sandbox
            .call(
                &self.candidate.built.digest,
                self.candidate.granted,
                call.clone(),
            )
            .await
            .map_err(|fault| format!("the plugin {fault}"))
    }
}
