//! JSON Schemas, compiled once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use lucius_domain::contract::{self, Schema};
use serde_json::Value;

use crate::refusal::Violation;

/// How many violations of one document are reported.
const MAX_VIOLATIONS: usize = 100;

/// A compiled schema.
#[derive(Clone)]
pub struct Compiled(Arc<Validator>);

impl Compiled {
    /// Compiles a schema's text.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let schema: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|error| format!("not a JSON Schema: {error}"))?;
        Ok(Self(Arc::new(validator)))
    }

    /// All that is wrong with a document; `base` is the JSON Pointer to where it stands.
    pub fn violations(&self, document: &Value, base: &str) -> Vec<Violation> {
        if self.0.is_valid(document) {
            return Vec::new();
        }
        let errors = self.0.iter_errors(document).take(MAX_VIOLATIONS);
        errors
            .map(|error| {
                let (pointer, code) = place_and_code(error.kind(), error.instance_path().as_str());
                Violation {
                    pointer: format!("{base}{pointer}"),
                    code,
                    message: message_of(error.kind(), || error.masked().to_string()),
                    source: "schema".to_owned(),
                }
            })
            .collect()
    }
}

/// Points at the member that is missing rather than at the object it is missing from.
fn place_and_code(kind: &ValidationErrorKind, place: &str) -> (String, String) {
    let code = kind.keyword().to_uppercase();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other keyword points at its value"
    )]
    match kind {
        ValidationErrorKind::Required { property } => {
            let name = property
                .as_str()
                .unwrap_or_default()
                .replace('~', "~0")
                .replace('/', "~1");
            (format!("{place}/{name}"), code)
        }
        _ => (place.to_owned(), code),
    }
}

/// What is wrong, without repeating what was sent. A regular expression tells a person nothing to do.
fn message_of(kind: &ValidationErrorKind, said: impl FnOnce() -> String) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other kind says it in words"
    )]
    match kind {
        ValidationErrorKind::Pattern { .. } => {
            "is not of the form that the schema's description of this field asks for".to_owned()
        }
        _ => said().chars().take(500).collect(),
    }
}

/// The schemas that ship with the host.
pub struct Schemas {
    by_name: BTreeMap<&'static str, Compiled>,
}

impl Schemas {
    /// Compiles them all.
    ///
    /// # Errors
    /// Which one is broken; a broken build, since they are compiled in.
    pub fn compile() -> Result<Self, String> {
        let compile = |schema: &Schema| {
            Compiled::new(schema.text)
                .map(|compiled| (schema.name, compiled))
                .map_err(|error| format!("{}: {error}", schema.name))
        };
        let by_name = contract::SCHEMAS
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()?;
        Ok(Self { by_name })
    }

    /// A schema by its short name.
    pub fn get(&self, name: &str) -> Option<&Compiled> {
        self.by_name.get(name)
    }

    /// All that is wrong with a document under one of the shipped schemas.
    pub fn violations(&self, schema: Schema, document: &Value) -> Vec<Violation> {
        match self.by_name.get(schema.name) {
            Some(compiled) => compiled.violations(document, ""),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_violation_is_reported_at_its_place() {
        let schemas = Schemas::compile().expect("the shipped schemas compile");
        let wrong = json!({"tenant_id": 7, "payload": {}, "schema_version": "v2"});
        let found = schemas.violations(contract::COMMAND_ENVELOPE, &wrong);
        let pointers: Vec<&str> = found.iter().map(|v| v.pointer.as_str()).collect();
        for expected in [
            "/tenant_id",
            "/schema_version",
            "/request_type",
            "/input_ref",
            "/output_ref",
        ] {
            assert!(pointers.contains(&expected), "{expected} in {pointers:?}");
        }
        assert!(found.iter().all(|violation| violation.source == "schema"));
    }

    #[test]
    fn a_message_does_not_repeat_what_was_sent() {
        let schema = Compiled::new(r#"{"type": "object"}"#).expect("a schema");
        let found = schema.violations(&json!("secret-value"), "/payload");
        assert_eq!(found[0].pointer, "/payload");
        assert!(
            !found[0].message.contains("secret-value"),
            "{}",
            found[0].message
        );
    }
}
