//! The rules for what comes out of a guest: a stranger's word.
//!
//! Every text counts against the output limit, JSON is parsed (at most 128 deep) and must be an object where the
//! contract says so, names and codes keep their alphabet, and messages are cut to one bounded line. The rules are the
//! same for every version of the contract.

use lucius_domain::job::Failure;
use lucius_ports::plugin::{Fault, Limits};
use serde_json::Value;

use crate::text::{obeyed, one_line};

const MAX_NAME_CHARS: usize = 128;
const MAX_POINTER_CHARS: usize = 1_024;
const MAX_CODE_CHARS: usize = 64;
/// Step types and services that one plugin may name.
const MAX_NAMES: usize = 100;
/// More would help nobody to mend a payload.
const MAX_VIOLATIONS: usize = 1_000;

/// What one call may still return. Every rule fails with [`Fault::Answer`] and the rule that is broken.
pub(crate) struct Output {
    limit: u64,
    used: u64,
}

impl Output {
    /// For one call.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.output_bytes,
            used: 0,
        }
    }

    fn count(&mut self, text: &str) -> Result<(), Fault> {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.used = self.used.saturating_add(bytes);
        if self.used <= self.limit {
            return Ok(());
        }
        Err(Fault::Answer(format!(
            "more than the {} bytes of text that are allowed",
            self.limit
        )))
    }

    /// A plugin's id.
    pub(crate) fn id(&mut self, text: String) -> Result<String, Fault> {
        self.count(&text)?;
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if fits {
            return Ok(text);
        }
        Err(broken(
            "describe: the id is made of 1 to 64 of a-z, 0-9 and -",
        ))
    }

    /// A plugin's version.
    pub(crate) fn version(&mut self, text: String) -> Result<String, Fault> {
        self.count(&text)?;
        if is_version(&text) {
            return Ok(text);
        }
        Err(broken("describe: the version is written as 1.2.3"))
    }

    /// Names of step types or services.
    pub(crate) fn names(&mut self, names: Vec<String>, what: &str) -> Result<Vec<String>, Fault> {
        if names.len() > MAX_NAMES {
            return Err(Fault::Answer(format!(
                "{what}: it names more than {MAX_NAMES}"
            )));
        }
        names
            .into_iter()
            .map(|text| self.name(text, what))
            .collect()
    }

    /// A name.
    pub(crate) fn name(&mut self, text: String, what: &str) -> Result<String, Fault> {
        self.count(&text)?;
        let fits = !text.is_empty() && text.chars().count() <= MAX_NAME_CHARS;
        if fits && !text.chars().any(|c| obeyed(c) || c.is_whitespace()) {
            return Ok(text);
        }
        Err(Fault::Answer(format!(
            "{what} is a name of 1 to {MAX_NAME_CHARS} characters without blanks"
        )))
    }

    /// A JSON object.
    pub(crate) fn object(&mut self, text: &str, what: &str) -> Result<Value, Fault> {
        self.count(text)?;
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Fault::Answer(format!("{what} is not JSON: {error}")))?;
        if value.is_object() {
            return Ok(value);
        }
        Err(Fault::Answer(format!("{what} is JSON, but no object")))
    }

    /// How many violations there may be.
    pub(crate) fn violations(&self, count: usize) -> Result<(), Fault> {
        match count {
            0 => Err(broken(
                "validate: it refuses the payload without a violation",
            )),
            1..=MAX_VIOLATIONS => Ok(()),
            _ => Err(broken("validate: more than 1,000 violations")),
        }
    }

    /// A JSON Pointer.
    pub(crate) fn pointer(&mut self, text: String) -> Result<String, Fault> {
        self.count(&text)?;
        let fits = text.chars().count() <= MAX_POINTER_CHARS && !text.chars().any(obeyed);
        if fits && (text.is_empty() || text.starts_with('/')) {
            return Ok(text);
        }
        Err(broken(
            "validate: a pointer is empty or begins with / (RFC 6901)",
        ))
    }

    /// A stable code.
    pub(crate) fn code(&mut self, text: String, what: &str) -> Result<String, Fault> {
        self.count(&text)?;
        let mut chars = text.bytes();
        let fits = text.len() <= MAX_CODE_CHARS
            && chars.next().is_some_and(|first| first.is_ascii_uppercase())
            && chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
        if fits {
            return Ok(text);
        }
        Err(Fault::Answer(format!(
            "{what} is written in UPPER_SNAKE_CASE, at most 64 characters"
        )))
    }

    /// A message for people: one line, cut.
    pub(crate) fn message(&mut self, text: &str) -> Result<String, Fault> {
        self.count(text)?;
        Ok(one_line(text, Failure::MAX_MESSAGE_CHARS))
    }
}

/// A rule that is broken, in words.
pub(crate) fn broken(rule: &str) -> Fault {
    Fault::Answer(rule.to_owned())
}

/// Three numbers, and what SemVer lets follow them.
fn is_version(text: &str) -> bool {
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let extra = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'+');
    text.len() <= 64
        && core.split('.').count() == 3
        && core.split('.').all(number)
        && rest.len() != 1
        && rest.bytes().all(extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        Output::new(&Limits {
            output_bytes: 3_000,
            ..Limits::default()
        })
    }

    #[test]
    fn a_code_keeps_its_alphabet() {
        let code = |text: &str| output().code(text.to_owned(), "a code");
        for wrong in ["", "a", "1A", "_A", "A-B", "A\n", &"A".repeat(65)] {
            assert!(code(wrong).is_err(), "{wrong:?}");
        }
        assert!(code("PAGE_RANGE_2").is_ok());
    }

    #[test]
    fn a_pointer_is_a_json_pointer() {
        let pointer = |text: &str| output().pointer(text.to_owned());
        assert!(pointer("page_range").is_err());
        assert!(pointer("/a\u{1b}[2J").is_err());
        assert!(pointer("/a/0").is_ok());
    }

    #[test]
    fn a_message_is_cut_and_defused() {
        let message = format!("\u{1b}[31m{}", "x".repeat(2_500));
        let said = output().message(&message).unwrap();
        assert!(said.starts_with(" [31mxxx"));
        assert_eq!(said.chars().count(), 2_001);
    }

    #[test]
    fn all_text_of_an_answer_counts_together() {
        let long = "x".repeat(1_600);
        let mut output = output();
        assert!(output.message(&long).is_ok());
        assert!(matches!(output.message(&long), Err(Fault::Answer(_))));
    }

    #[test]
    fn a_payload_is_a_json_object_of_bounded_depth() {
        let say = |text: &str| output().object(text, "the payload");
        assert!(say("{\"a\": 1}").is_ok());
        for wrong in ["", "1", "[]", "null", "{", "{\"a\":1} x"] {
            assert!(matches!(say(wrong), Err(Fault::Answer(_))), "{wrong}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(130), "]".repeat(130));
        assert!(matches!(say(&deep), Err(Fault::Answer(_))));
    }

    #[test]
    fn a_refusal_names_a_bounded_number_of_violations() {
        assert!(output().violations(0).is_err());
        assert!(output().violations(1_000).is_ok());
        assert!(output().violations(1_001).is_err());
    }

    #[test]
    fn a_version_is_semantic() {
        for right in ["1.0.0", "10.2.33-beta.1", "1.0.0+build-7"] {
            assert!(is_version(right), "{right}");
        }
        for wrong in [
            "", "1", "1.0", "1.0.0.0", "v1.0.0", "1.0.x", "1.0.0-", "1.0.0 ",
        ] {
            assert!(!is_version(wrong), "{wrong}");
        }
    }
}
