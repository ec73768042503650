//! Golden cases: a question to a plugin and what it must answer, as JSON.
//!
//! ```json
//! {"call": "validate", "payload": {}, "expect": {"violations": [{"pointer": "/level", "code": "LEVEL_TOO_HIGH"}]}}
//! {"call": "route", "context": {"payload": {}}, "expect": {"route": "dispatch", "service": "platform-redact"}}
//! {"call": "settle", "context": {}, "report": {"status": "SUCCEEDED"}, "expect": {"settle": "accept"}}
//! ```
//!
//! An author writes what matters: what is left out of a context has a default, and of an answer only what is expected
//! is compared. The one exception is `payload`, which is compared as a whole, since a member too many is a change too.
//!
//! A file holds one case, a list of them, or what `lucius jobs export` writes: there each case says everything, and
//! those of other plugins of the job are passed over.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lucius_domain::plugin::{Description, Pin};
use lucius_ports::case::Cases;
use lucius_ports::plugin::Call;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A case as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows; the file's name when absent.
    #[serde(default)]
    pub(super) name: String,
    /// The component that a job asked; absent in a case that was written by hand.
    #[serde(default)]
    plugin: Option<Pin>,
    call: Function,
    #[serde(default)]
    payload: Option<Value>,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    report: Option<Value>,
    /// What the plugin must answer.
    pub(super) expect: Value,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Validate,
    Route,
    Settle,
}

/// The cases of a folder, in the order of their files' names, then those of more files.
///
/// # Errors
/// A file that is no case, by its name.
pub(super) fn read(folder: &Path, more: &[PathBuf]) -> anyhow::Result<Vec<Case>> {
    let mut files = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)? {
            let file = entry?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                files.push(file);
            }
        }
        files.sort();
    }
    files.extend(more.iter().cloned());
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read the case {}", file.display()))?;
        let read = several(&text).with_context(|| format!("{} is no case", file.display()))?;
        let alone = read.len() == 1;
        let stem = file.file_stem().unwrap_or_default().display().to_string();
        for (index, mut case) in read.into_iter().enumerate() {
            if case.name.is_empty() {
                case.name = match alone {
                    true => stem.clone(),
                    false => format!("{stem}[{index}]"),
                };
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

/// The cases of one file.
fn several(text: &str) -> anyhow::Result<Vec<Case>> {
    let document: Value = serde_json::from_str(text)?;
    if document.get("format").is_some() {
        // Held against the exported form first, which says more than a case by hand has to.
        Cases::parse(text)?;
        return listed(&document["cases"]);
    }
    match document.is_array() {
        true => listed(&document),
        false => Ok(vec![Case::deserialize(&document)?]),
    }
}

fn listed(cases: &Value) -> anyhow::Result<Vec<Case>> {
    let cases = cases.as_array().into_iter().flatten();
    Ok(cases.map(Case::deserialize).collect::<Result<_, _>>()?)
}

impl Case {
    /// True unless the case is of another plugin.
    pub(super) fn concerns(&self, plugin: &Description) -> bool {
        self.plugin.as_ref().is_none_or(|pin| pin.id == plugin.id)
    }

    /// The question, with defaults where the case says nothing.
    ///
    /// # Errors
    /// What of the case cannot be asked.
    pub(super) fn question(&self, plugin: &Description, config: &Value) -> anyhow::Result<Call> {
        let payload = || self.payload.clone().unwrap_or_else(|| json!({}));
        let call = match self.call {
            Function::Validate => json!({
                "call": "validate",
                "payload": payload(),
                "config": self.config.as_ref().unwrap_or(config),
            }),
            Function::Route => json!({ "call": "route", "context": self.context(plugin, config) }),
            Function::Settle => json!({
                "call": "settle",
                "context": self.context(plugin, config),
                "report": self.report.as_ref().context("a settle needs a report")?,
            }),
        };
        serde_json::from_value(call).context("it asks in a way that no host would")
    }

    fn context(&self, plugin: &Description, config: &Value) -> Value {
        let step_type = plugin.step_types.first().map_or("STEP", |it| it.as_str());
        let service = plugin.services.first().map_or("service", |it| it.as_str());
        let mut context = json!({
            "step_id": step_type.to_lowercase(),
            "step_type": step_type,
            "service": service,
            "mode": "DEFAULT",
            "attempt": 1,
            "max_attempts": 3,
            "input": { "uri": "file:///input" },
            "payload": {},
            "earlier": [],
            "config": self.config.as_ref().unwrap_or(config),
        });
        for (name, value) in &self.context {
            context[name] = value.clone();
        }
        fill(&mut context["input"]);
        for step in context["earlier"].as_array_mut().into_iter().flatten() {
            for (name, value) in [("skipped", json!(false)), ("artifacts", json!([]))] {
                if step.get(name).is_none() {
                    step[name] = value;
                }
            }
            for artifact in step["artifacts"].as_array_mut().into_iter().flatten() {
                fill(artifact);
            }
        }
        context
    }
}

/// An artifact has metadata, if only an empty object.
fn fill(artifact: &mut Value) {
    if artifact.is_object() && artifact.get("metadata").is_none() {
        artifact["metadata"] = json!({});
    }
}

/// Where an answer is not as expected: the place, what was expected, and what was said.
pub(super) fn difference(expected: &Value, said: &Value) -> Option<String> {
    differs(expected, said, "", false)
}

fn differs(expected: &Value, said: &Value, place: &str, whole: bool) -> Option<String> {
    match (expected, said) {
        (Value::Object(expected), Value::Object(said)) => {
            if let Some(extra) = said
                .keys()
                .find(|name| whole && !expected.contains_key(*name))
            {
                return Some(format!("{place}/{extra}: not expected, is {}", said[extra]));
            }
            expected.iter().find_map(|(name, expected)| {
                let place = format!("{place}/{name}");
                match said.get(name) {
                    Some(said) => differs(expected, said, &place, whole || name == "payload"),
                    None => Some(format!("{place}: expected {expected}, is not there")),
                }
            })
        }
        (Value::Array(expected), Value::Array(said)) if expected.len() == said.len() => expected
            .iter()
            .zip(said)
            .enumerate()
            .find_map(|(index, (expected, said))| {
                differs(expected, said, &format!("{place}/{index}"), whole)
            }),
        (expected, said) if equal(expected, said) => None,
        (expected, said) => Some(format!("{place}: expected {expected}, is {said}")),
    }
}

/// Numbers are compared by value: JSON does not tell `5` from `5.0`.
fn equal(expected: &Value, said: &Value) -> bool {
    match (expected, said) {
        (Value::Number(expected), Value::Number(said)) => {
            expected == said
                || (expected.is_f64() != said.is_f64() && expected.as_f64() == said.as_f64())
        }
        (expected, said) => expected == said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_is_compared_but_a_payload_is_compared_as_a_whole() {
        let said = json!({ "route": "dispatch", "service": "a", "payload": { "x": { "y": 1.0 }, "z": [] } });
        for right in [
            json!({}),
            json!({ "service": "a" }),
            json!({ "payload": { "x": { "y": 1 }, "z": [] } }),
        ] {
            assert_eq!(difference(&right, &said), None, "{right}");
        }
        for (wrong, place) in [
            (json!({ "service": "b" }), "/service: "),
            (json!({ "ack_ms": 1 }), "/ack_ms: "),
            (json!({ "payload": { "x": { "y": 1.0 } } }), "/payload/z: "),
            (json!({ "payload": { "x": {}, "z": [] } }), "/payload/x/y: "),
            (
                json!({ "payload": { "x": { "y": 1.0 }, "z": [1] } }),
                "/payload/z: ",
            ),
        ] {
            let found = difference(&wrong, &said).unwrap_or_default();
            assert!(found.starts_with(place), "{wrong}: {found}");
        }
    }

    #[test]
    fn a_violation_too_many_is_a_difference() {
        let said = json!({ "violations": [{ "pointer": "/a", "code": "A" }, { "pointer": "/b", "code": "B" }] });
        let expected = json!({ "violations": [{ "code": "A" }] });
        assert!(difference(&expected, &said).is_some());
    }

    #[test]
    fn a_context_has_a_default_for_all_that_a_case_leaves_out() {
        let plugin: Description = serde_json::from_value(json!({
            "id": "a", "version": "1.0.0", "step_types": ["A"], "services": ["acme-a"]
        }))
        .expect("a description");
        let text = r#"{"call": "route", "context": {"earlier": [{"step_id": "ocr", "step_type": "OCR", "artifacts": [
            {"uri": "file:///a"}]}]}, "expect": {}}"#;
        let cases = several(text).expect("a case");
        let Ok(Call::Route { context }) = cases[0].question(&plugin, &json!({ "a": 1 })) else {
            panic!("{cases:?} does not ask for a route")
        };
        assert_eq!((context.service.as_str(), context.attempt), ("acme-a", 1));
        assert_eq!(context.config, json!({ "a": 1 }));
        assert_eq!(context.earlier[0].artifacts[0].metadata, json!({}));
    }

    #[test]
    fn a_file_that_a_job_was_exported_to_is_read_and_says_whose_cases_they_are() {
        let text = json!({
            "format": "lucius-cases.v1",
            "description": "What plugins decided about job 1",
            "cases": [{
                "name": "ocr validate",
                "plugin": { "id": "ocr", "version": "1.0.0", "digest": "0".repeat(64) },
                "call": "validate", "payload": {}, "config": {}, "expect": { "valid": true },
            }],
        });
        let cases = several(&text.to_string()).expect("an exported file");
        let of = |id: &str| -> Description {
            serde_json::from_value(json!({
                "id": id, "version": "1.1.0", "step_types": ["X"], "services": []
            }))
            .expect("a description")
        };
        assert!(cases[0].concerns(&of("ocr")) && !cases[0].concerns(&of("sis")));
        let other = text.to_string().replace("cases.v1", "cases.v9");
        assert!(several(&other).is_err());
    }

    #[test]
    fn a_misspelt_member_is_not_passed_over() {
        for wrong in [
            r#"{"call": "validate", "paylaod": {}, "expect": {}}"#,
            r#"{"call": "describe", "expect": {}}"#,
            r#"{"call": "validate"}"#,
        ] {
            assert!(several(wrong).is_err(), "{wrong}");
        }
    }
}
