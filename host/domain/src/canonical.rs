//! Canonical JSON, and the digest that tells whether two commands are the same.
//!
//! Keys sorted by code point, array order kept, nulls in objects dropped, numbers without trailing zeros, no white
//! space, UTF-8. Two texts of the same document give the same bytes.

use serde_json::{Map, Number, Value};

use crate::contract::Command;
use crate::id::Digest;

/// What most texts fit in; one that does not grows.
pub(crate) const USUAL_BYTES: usize = 1_024;

/// The canonical text of a document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::with_capacity(USUAL_BYTES);
    write(value, &mut out);
    out
}

/// The digest that makes a command the same as another: of the parts that say what is asked for, and not of how it
/// is traced or how urgent it is.
pub fn command_digest(command: &Command) -> Digest {
    let mut parts = Map::new();
    let mut put = |key: &str, value: Value| parts.insert(key.to_owned(), value);
    put("tenant_id", command.tenant_id.as_str().into());
    put("request_type", command.request_type.as_str().into());
    put("doc_id", command.doc_id.clone().into());
    put("input_ref", command.input_ref.to_value());
    put("output_ref", command.output_ref.to_value());
    put("payload", Value::Object(command.payload.clone()));
    put("schema_version", command.schema_version.clone().into());
    Digest::of(to_string(&Value::Object(parts)).as_bytes())
}

pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => write_list(items, out, write),
        Value::Object(members) => write_object(members, out),
    }
}

pub(crate) fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    write: impl Fn(T, &mut String),
) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

fn write_object(members: &Map<String, Value>, out: &mut String) {
    let mut object = Object::begin(out);
    if members.keys().is_sorted() {
        for (key, value) in members {
            object.value(key, value);
        }
    } else {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| key.as_str());
        for (key, value) in sorted {
            object.value(key, value);
        }
    }
    object.end();
}

/// An object that is written member by member, which must come in the order of their keys.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self {
            out,
            is_empty: true,
        }
    }

    /// A null is none.
    pub(crate) fn value(&mut self, key: &str, value: &Value) {
        if !value.is_null() {
            write(value, self.member(key));
        }
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        write_text(text, self.member(key));
    }

    pub(crate) fn number(&mut self, key: &str, number: u64) {
        put(self.member(key), format_args!("{number}"));
    }

    /// The key; its value is to be written to what this returns.
    pub(crate) fn member(&mut self, key: &str) -> &mut String {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        write_text(key, self.out);
        self.out.push(':');
        self.out
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

fn write_text(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // serde_json's escapes are the shortest ones JSON allows.
        out.push_str(&Value::from(text).to_string());
    }
}

/// `1.0`, `1e0` and `1` are one number. A float that holds a whole number of at most 2^53 is written as that number,
/// since beyond it neighbours would fall together.
fn write_number(number: &Number, out: &mut String) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
            // In range by the guard; `+ 0.0` turns -0 into 0.
            put(out, format_args!("{:.0}", float + 0.0));
        }
        _ => put(out, format_args!("{number}")),
    }
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    use std::fmt::Write as _;
    // A String takes whatever is written to it.
    let _taken = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        to_string(&serde_json::from_str(text).expect("test JSON"))
    }

    #[test]
    fn keys_are_sorted_nulls_dropped_arrays_kept() {
        assert_eq!(
            canonical(r#" { "b": [3, 1, null], "a": {"z": null, "y": "é\u0041"} } "#),
            r#"{"a":{"y":"éA"},"b":[3,1,null]}"#
        );
    }

    #[test]
    fn numbers_lose_their_trailing_zeros() {
        assert_eq!(
            canonical("[1.0, 1.50, 1e2, -0.0, 0.1, 12]"),
            "[1,1.5,100,0,0.1,12]"
        );
    }

    #[test]
    fn text_is_escaped_where_json_asks_for_it_and_nowhere_else() {
        for text in ["", "plain", "é 📄 \u{7f}", "\"", "\\", "a\nb\u{1}"] {
            let expected = serde_json::to_string(text).expect("text is JSON");
            assert_eq!(to_string(&Value::from(text)), expected);
        }
    }

    #[test]
    fn large_whole_numbers_stay_apart() {
        assert_ne!(canonical("9007199254740993"), canonical("9007199254740992"));
        assert_eq!(canonical("18446744073709551615"), "18446744073709551615");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000..1_000_i64).prop_map(Value::from),
            (-1.0e6..1.0e6f64).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same value as another program may write it: members in another order and with nulls between them, floats
    /// for whole numbers, white space, escapes.
    fn otherwise(value: &Value) -> String {
        match value {
            Value::Null | Value::Bool(_) => value.to_string(),
            Value::Number(number) => match number.as_i64() {
                Some(whole) if whole.abs() < 1 << 53 => format!("{whole}.0"),
                Some(_) | None => number.to_string(),
            },
            Value::String(text) => text_in_escapes(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(otherwise).collect();
                format!("[ {} ]", items.join(" , "))
            }
            Value::Object(members) => {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{} : {}", text_in_escapes(key), otherwise(value)))
                    .collect();
                members.sort_unstable_by(|a, b| b.cmp(a));
                members.push("\"a key that says nothing\": null".to_owned());
                format!("{{\n{}}}", members.join(",\n"))
            }
        }
    }

    fn text_in_escapes(text: &str) -> String {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    }

    /// All of a value that counts, in a form that can be compared.
    fn essence(value: &Value) -> Value {
        match value {
            Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() && float.fract() == 0.0 => {
                    Value::from(format!("the number {:.0}", float + 0.0))
                }
                Some(_) | None => Value::from(format!("the number {number}")),
            },
            Value::Array(items) => items.iter().map(essence).collect(),
            Value::Object(members) => {
                let said = members.iter().filter(|(_, value)| !value.is_null());
                said.map(|(key, value)| (key.clone(), essence(value)))
                    .collect()
            }
        }
    }

    proptest! {
        #[test]
        fn a_value_has_one_canonical_text_however_it_is_written(value in any_json()) {
            prop_assert_eq!(canonical(&otherwise(&value)), to_string(&value));
        }

        #[test]
        fn canonical_text_says_all_of_a_value_that_counts(value in any_json()) {
            let again: Value = serde_json::from_str(&to_string(&value)).expect("canonical JSON is JSON");
            prop_assert_eq!(essence(&again), essence(&value));
        }

        #[test]
        fn canonical_text_is_its_own_canonical_form(value in any_json()) {
            let once = to_string(&value);
            let again: Value = serde_json::from_str(&once).expect("canonical JSON is JSON");
            prop_assert_eq!(to_string(&again), once);
        }
    }
}
