//! From a JSON document to a type and back, without losing what the type does not say.
//!
//! Two things go wrong when a payload passes through a typed program. A field of the wrong type ends the parse at the
//! first error, so a client mends its payload one field at a time; here every such field is found. And a number comes
//! out in another form than it went in (`1.50` as `1.5`, a 20-digit id as a float), which changes a document that nobody
//! meant to change; here, what is equal to the original is written as the original had it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

use crate::violation::Violations;

/// The fields of a payload that the plugin does not know, for a `#[serde(flatten)]` field.
pub type Rest = serde_json::Map<String, Value>;

/// The code of a violation for a field of the wrong type, or a missing one.
pub(crate) const TYPE_MISMATCH: &str = "TYPE_MISMATCH";
/// The code when the document is no JSON, or cannot be written as JSON.
pub(crate) const PAYLOAD_INVALID: &str = "PAYLOAD_INVALID";
/// The code when the registry's `config` cannot be used.
pub(crate) const CONFIG_INVALID: &str = "CONFIG_INVALID";
/// The code when the host passes a context that breaks the contract.
pub(crate) const CONTEXT_INVALID: &str = "CONTEXT_INVALID";

/// How many fields of the wrong type are reported at most; a document with more is some other document.
const TYPE_VIOLATIONS_MAX: usize = 32;

/// Parses JSON; the error is one line for a person.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Reads the registry's `config`; `null` counts as an empty object. The error is one line for a person.
pub(crate) fn config<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    let explain = |reason: &str| {
        format!(
            "the plugin's `config` in the registry is not usable: {reason}; the operator must correct it"
        )
    };
    if let Some(config) = at_once(text) {
        return Ok(config);
    }
    let mut value = parse(text).map_err(|reason| explain(&reason))?;
    if value.is_null() {
        value = Value::Object(Rest::new());
    }
    serde_path_to_error::deserialize(&value).map_err(|error| match pointer(error.path()).as_str() {
        "" => explain(&error.inner().to_string()),
        pointer => explain(&format!("{pointer}: {}", error.inner())),
    })
}

/// Reads a payload. All fields of the wrong type are reported, each with its pointer.
pub(crate) fn typed<P: DeserializeOwned>(text: &str) -> Result<P, Violations> {
    if let Some(payload) = at_once(text) {
        return Ok(payload);
    }
    let mut value = parse(text).map_err(|reason| {
        Violations::one(
            "",
            PAYLOAD_INVALID,
            format!("the payload is not JSON: {reason}"),
        )
    })?;
    if !value.is_object() {
        return Err(Violations::one(
            "",
            TYPE_MISMATCH,
            "the payload must be a JSON object",
        ));
    }
    let mut violations = Violations::new();
    let mut found: Vec<String> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, P>(&value) {
            Ok(payload) => return violations.or(payload),
            Err(error) => error,
        };
        let pointer = pointer(error.path());
        // A field taken out below may have been a required one: that it is missing now is our doing.
        let caused_by_removal = found.iter().any(|earlier| earlier.starts_with(&pointer));
        if !caused_by_removal {
            violations.add(
                pointer.clone(),
                TYPE_MISMATCH,
                format!("{}; correct this field", error.inner()),
            );
        }
        let go_on = !caused_by_removal
            && found.len() < TYPE_VIOLATIONS_MAX
            && take_out(&mut value, &pointer);
        if !go_on {
            return Err(violations);
        }
        found.push(pointer);
    }
}

/// Reads an object that is as it should be; nothing when it is not, or is no object: finding out what is wrong, and
/// where, takes several times the work.
fn at_once<T: DeserializeOwned>(text: &str) -> Option<T> {
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}

/// Removes an object's field, so that what is wrong beside it can be found; false when there is no such field.
fn take_out(value: &mut Value, pointer: &str) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    let key = key.replace("~1", "/").replace("~0", "~");
    value
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .is_some_and(|object| object.remove(&key).is_some())
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                // Writing to a String cannot fail.
                let _ = write!(pointer, "/{index}");
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            // The name of a variant is not always a step into the document: point at what holds it.
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    pointer
}

/// Writes `value` as JSON; numbers that `original` has at the same place keep the form they have there.
pub(crate) fn write_like(original: &str, value: &Value) -> String {
    let mut out = String::with_capacity(original.len());
    write_value(Some(original), value, &mut out);
    out
}

fn write_value(original: Option<&str>, value: &Value, out: &mut String) {
    if !holds_a_number(value) {
        return out.push_str(&written(value));
    }
    match value {
        Value::Object(fields) => {
            let originals: BTreeMap<String, &RawValue> = parts(original);
            out.push('{');
            for (position, (key, field)) in fields.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&written(key));
                out.push(':');
                write_value(originals.get(key).map(|raw| raw.get()), field, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            let originals: Vec<&RawValue> = parts(original);
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(originals.get(position).map(|raw| raw.get()), item, out);
            }
            out.push(']');
        }
        Value::Number(_) => match original {
            Some(text) if parse(text).as_ref() == Ok(value) => out.push_str(text.trim()),
            Some(_) | None => out.push_str(&written(value)),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&written(value)),
    }
}

/// Only numbers have more than one form.
fn holds_a_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(holds_a_number),
        Value::Object(fields) => fields.values().any(holds_a_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn written(value: &(impl Serialize + ?Sized)) -> String {
    // Values and texts in memory always serialize.
    serde_json::to_string(value).unwrap_or_default()
}

/// The parts of an object or array, unparsed; none when the original is something else.
fn parts<'a, T: Deserialize<'a> + Default>(original: Option<&'a str>) -> T {
    original
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The largest float up to which every whole number is exact.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The number as a count: JSON does not tell `200` from `200.0`.
pub(crate) fn as_whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        let exact = (0.0..=EXACT_MAX).contains(&float) && float.fract() == 0.0;
        // In range and without a fraction, so the cast is exact.
        exact.then_some(float as u64)
    })
}

/// For `#[serde(deserialize_with = "lucius_step_sdk::whole", default)]` on an `Option<u64>`: reads a count as JSON Schema
/// understands `integer`, where `200.0` is as good as `200`.
///
/// # Errors
/// When the value is neither `null` nor a whole number from 0.
pub fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    as_whole(&value)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("expected a whole number from 0, not {value}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        #[serde(default, deserialize_with = "whole")]
        count: Option<u64>,
        #[serde(flatten)]
        rest: Rest,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Outer {
        name: Option<String>,
        required: Option<bool>,
        inner: Option<Inner>,
        #[serde(default, rename = "a/b~c")]
        odd: Vec<u32>,
        #[serde(flatten)]
        rest: Rest,
    }

    fn pointers(text: &str) -> Vec<String> {
        let violations = typed::<Outer>(text).expect_err("the payload is wrong");
        violations
            .iter()
            .map(|violation| violation.pointer.clone())
            .collect()
    }

    #[test]
    fn every_field_of_the_wrong_type_is_reported_with_its_pointer() {
        let text = r#"{"name": 1, "required": "yes", "inner": {"count": -1}, "more": {}}"#;
        assert_eq!(pointers(text), ["/inner/count", "/name", "/required"]);
    }

    #[test]
    fn a_pointer_escapes_what_the_rfc_says() {
        assert_eq!(pointers(r#"{"a/b~c": [1, "x"]}"#), ["/a~1b~0c/1"]);
    }

    #[test]
    fn a_required_field_of_the_wrong_type_is_reported_once() {
        #[derive(Debug, Deserialize)]
        struct Strict {
            #[serde(rename = "needed")]
            _needed: u32,
        }
        let violations = typed::<Strict>(r#"{"needed": "x"}"#).expect_err("the payload is wrong");
        assert_eq!(violations.iter().count(), 1);
        let violations = typed::<Strict>("{}").expect_err("the payload is wrong");
        assert_eq!(
            violations.iter().next().map(|first| first.pointer.as_str()),
            Some("")
        );
    }

    #[test]
    fn what_is_no_object_or_no_json_is_a_violation_of_the_whole() {
        for text in ["null", "[]", "\"x\"", "{", "", "{\"a\": 1e999}"] {
            assert_eq!(pointers(text), [""], "{text}");
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_at_first_sight_may_be_all_the_same() {
        let payload: Outer = typed(r#"{"name": 1, "name": "last", "more": 2}"#).expect("it is");
        assert_eq!(payload.name.as_deref(), Some("last"));
        assert_eq!(
            payload.rest,
            json!({"more": 2}).as_object().cloned().unwrap_or_default()
        );
    }

    #[test]
    fn numbers_keep_their_form_where_nothing_changed() {
        let original = r#"{ "id": 123456789012345678901234567890, "t": 1.50, "e": 1E2, "n": [0.10, {"x": -0.0}] }"#;
        let value = parse(original).expect("the original is JSON");
        assert_eq!(
            write_like(original, &value),
            r#"{"e":1E2,"id":123456789012345678901234567890,"n":[0.10,{"x":-0.0}],"t":1.50}"#
        );
    }

    #[test]
    fn a_changed_number_and_a_new_field_are_written_anew() {
        let value = json!({"t": 2.5, "new": [1], "s": "a\"b"});
        assert_eq!(
            write_like(r#"{"t": 1.50, "s": 3}"#, &value),
            r#"{"new":[1],"s":"a\"b","t":2.5}"#
        );
    }

    #[test]
    fn unknown_fields_survive_the_typed_form_at_every_depth() {
        let original = r#"{"inner": {"count": 3, "later": 1.10}, "x-note": {"a": null}}"#;
        let payload: Outer = typed(original).expect("the payload is right");
        let value = serde_json::to_value(&payload).expect("the payload is JSON");
        let written = write_like(original, &value);
        assert!(
            written.contains(r#""inner":{"count":3,"later":1.10}"#),
            "{written}"
        );
        assert!(written.contains(r#""x-note":{"a":null}"#), "{written}");
    }

    #[test]
    fn a_count_may_be_written_as_a_float_without_a_fraction() {
        assert_eq!(as_whole(&json!(200.0)), Some(200));
        for wrong in [json!(1.5), json!(-1), json!("3"), json!(1e300), json!(null)] {
            assert_eq!(as_whole(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_unusable_config_says_where_and_who_can_help() {
        #[derive(Debug, Deserialize)]
        struct Config {
            #[serde(rename = "engines")]
            _engines: Vec<String>,
        }
        let reason = config::<Config>(r#"{"engines": [1]}"#).expect_err("the config is wrong");
        assert!(
            reason.contains("/engines/0") && reason.contains("operator"),
            "{reason}"
        );
        assert!(
            config::<Config>("null")
                .expect_err("a field is missing")
                .contains("engines")
        );
        assert!(config::<Config>("{").is_err());
    }
}
