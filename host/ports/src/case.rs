//! Cases: what a plugin was asked and what it is to answer, as a file.
//!
//! An author writes them by hand beside the plugin; the host writes them from what a job went through. Either way the
//! file holds all that the answer depends on, so it can be run on any machine, against any version of the plugin,
//! with no host near.
//!
//! ```json
//! { "format": "lucius-cases.v1", "cases": [
//!     { "name": "a range that descends", "call": "validate",
//!       "payload": { "page_range": "5-2" }, "config": {},
//!       "expect": { "valid": false, "violations": [ { "pointer": "/page_range", "code": "...", "message": "..." } ] } }
//! ] }
//! ```
//!
//! `call` is `validate` (with `payload` and `config`), `route` (with `context`) or `settle` (with `context` and
//! `report`). `expect` is the answer as [`Answer::to_value`] writes it.

use lucius_domain::plugin::Pin;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugin::{Answer, Call};

/// What `format` says.
pub const FORMAT: &str = "lucius-cases.v1";

/// A file of cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// Always [`FORMAT`].
    pub format: String,
    /// A note for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The cases, in the order in which they are run.
    pub cases: Vec<Case>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it is about, for people.
    pub name: String,
    /// The component that gave the answer; absent in a case that was written by hand. Only cases whose plugin id is
    /// the id of the component under test are run against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Pin>,
    /// The question.
    #[serde(flatten)]
    pub call: Call,
    /// The answer.
    pub expect: Value,
}

/// Why a text is not a file of cases.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON of that form.
    #[error("is not a file of cases: {0}")]
    Form(#[from] serde_json::Error),
    /// Another format.
    #[error("has format \"{0}\", this version reads \"{FORMAT}\"")]
    Format(String),
}

impl Cases {
    /// These cases as a file.
    pub fn new(cases: Vec<Case>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            description: None,
            cases,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let cases: Self = serde_json::from_str(text)?;
        if cases.format == FORMAT {
            Ok(cases)
        } else {
            Err(Error::Format(cases.format))
        }
    }
}

impl Answer {
    /// The answer as cases and differences show it: for `validate` `{"valid": true, "payload"}` or `{"valid": false,
    /// "violations"}`, else the decision as it is kept in the job's events.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Validated(Ok(payload)) => json!({ "valid": true, "payload": payload }),
            Self::Validated(Err(violations)) => {
                json!({ "valid": false, "violations": violations })
            }
            // Plain data with text keys always serializes.
            Self::Routed(route) => serde_json::to_value(route).unwrap_or(Value::Null),
            Self::Settled(settle) => serde_json::to_value(settle).unwrap_or(Value::Null),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucius_domain::plugin::{Settle, Violation};

    #[test]
    fn a_case_written_by_hand_is_read() {
        let text = r#"{ "format": "lucius-cases.v1", "cases": [
            { "name": "empty", "call": "validate", "payload": {}, "config": {}, "expect": { "valid": true, "payload": {} } }
        ] }"#;
        let cases = Cases::parse(text).expect("a file of cases");
        let [case] = &cases.cases[..] else {
            panic!("{cases:?}")
        };
        let payload = json!({});
        let config = json!({});
        assert_eq!(case.call, Call::Validate { payload, config });
        let answer = Answer::Validated(Ok(json!({})));
        assert_eq!(answer.to_value(), case.expect);
        let written = serde_json::to_string(&cases).expect("plain data");
        assert_eq!(Cases::parse(&written).expect("its own text"), cases);
    }

    #[test]
    fn every_kind_of_answer_has_one_form() {
        let violation = Violation {
            pointer: "/a".to_owned(),
            code: "A".to_owned(),
            message: "no".to_owned(),
        };
        assert_eq!(
            Answer::Validated(Err(vec![violation])).to_value(),
            json!({ "valid": false, "violations": [{ "pointer": "/a", "code": "A", "message": "no" }] })
        );
        assert_eq!(
            Answer::Settled(Settle::Accept).to_value(),
            json!({ "settle": "accept" })
        );
    }

    #[test]
    fn a_file_of_another_format_is_refused_with_its_name() {
        let refused = Cases::parse(r#"{ "format": "lucius-cases.v9", "cases": [] }"#);
        let line = refused.expect_err("another format").to_string();
        assert!(line.contains("lucius-cases.v9"), "{line}");
        assert!(matches!(Cases::parse("[]"), Err(Error::Form(_))));
    }
}
