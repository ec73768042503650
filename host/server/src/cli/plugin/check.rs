//! `lucius plugin check`: all that a host would say, in the order in which it would say it, a line each.

use std::time::Instant;

use serde_json::{Value, json};

use super::package::{Package, Prepared};
use super::{Candidate, inspect};
use crate::cli::Failure;
use crate::cli::output;

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<(bool, &'static str, String)>);

impl Findings {
    fn ok(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push((true, what, text.into()));
    }

    fn refused(&mut self, what: &'static str, text: impl Into<String>) {
        self.0.push((false, what, text.into()));
    }

    fn report(self, json: bool) -> Result<(), Failure> {
        let refused = self.0.iter().filter(|(ok, ..)| !ok).count();
        if json {
            let lines: Vec<Value> = self
                .0
                .iter()
                .map(|(ok, what, text)| json!({ "ok": ok, "check": what, "text": text }))
                .collect();
            output::json(&json!({ "ok": refused == 0, "checks": lines }));
        } else {
            for (ok, what, text) in &self.0 {
                let verdict = if *ok { "ok" } else { "refused" };
                output::line(format!("{verdict:<8} {what:<10} {text}"));
            }
        }
        match refused {
            0 => Ok(()),
            count => Err(Failure::Failed(anyhow::anyhow!(
                "no host would take it: {count} of the checks above say why"
            ))),
        }
    }
}

pub(super) async fn run(candidate: &Candidate, json: bool) -> Result<(), Failure> {
    let mut findings = Findings::default();
    look(candidate, &mut findings).await?;
    findings.report(json)
}

async fn look(candidate: &Candidate, findings: &mut Findings) -> anyhow::Result<()> {
    let built = &candidate.built;
    findings.ok("size", format!("{} bytes", built.bytes.len()));
    findings.ok("digest", built.digest.to_string());
    let sandbox = candidate.sandbox()?;
    let since = Instant::now();
    let described = match candidate.admit(&sandbox).await {
        Ok(described) => described,
        Err(error) => {
            findings.refused("admission", error.to_string());
            return Ok(());
        }
    };
    let took = since.elapsed().as_millis();
    if let Ok(anatomy) = inspect::Anatomy::of(&built.bytes) {
        findings.ok("imports", inspect::listed(&anatomy.imports));
        findings.ok("exports", inspect::listed(&anatomy.exports));
    }
    findings.ok("compiles", format!("and says what it is, in {took} ms"));
    let (step_types, services) = inspect::names(&described);
    findings.ok(
        "describes",
        format!(
            "{}@{}, step types {step_types}, services {services}",
            described.id, described.version
        ),
    );
    for (name, asked, granted) in inspect::limits(candidate) {
        if asked.is_some_and(|asked| asked > granted) {
            let asked = asked.unwrap_or_default();
            findings.ok(
                "limits",
                format!("{name}: {asked} is asked for, {granted} is the host's cap and holds"),
            );
        }
    }
    let package = Package::new(candidate, &described)?;
    let source = Prepared {
        manifest: package.alone().to_string(),
        package: &package,
        behind: None,
    };
    match lucius_engine::registry::check(&source, &sandbox, candidate.settings.cap()).await {
        Ok(_) => {
            let protocols: Vec<&str> = package
                .protocols
                .iter()
                .filter_map(|protocol| protocol["protocol_id"].as_str())
                .collect();
            findings.ok("protocols", inspect::listed(&protocols));
        }
        Err(errors) => {
            for error in errors {
                findings.refused("entry", error.to_string());
            }
        }
    }
    Ok(())
}
