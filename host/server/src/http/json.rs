//! JSON from outside, read strictly: one document, every member once, not too deep and not too many values.
//!
//! `serde_json` keeps the last of two members with the same name; another reader may keep the first. A document that
//! two readers understand differently is refused. The number of values is bounded as well as the number of bytes,
//! since a short text such as `[{"a":1},{"a":1},...]` takes a hundred times its size in memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How many values one document may hold: members, items, and the document itself.
pub(super) const MAX_VALUES: u32 = 50_000;

/// Reads one document. Depth is bounded by `serde_json`, at 128.
///
/// # Errors
/// What is wrong and where; the text quotes nothing of the document.
pub(super) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { left: &left }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    left: &'a Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                return Err(D::Error::custom(format_args!(
                    "more than {MAX_VALUES} values"
                )));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(
                    "two members of one object have the same name",
                ));
            }
            let value = members.next_value_seed(self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_serde_json_reads() {
        let texts = [
            r#"{"a":[1,-2,3.5,1e300,18446744073709551615,true,false,null,"é\u0000\ud83d\ude00"],"b":{}}"#,
            "[]",
            " 7 ",
            r#""text""#,
            "0.1",
            "-0.0",
        ];
        for text in texts {
            let plain: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), plain, "{text}");
        }
    }

    #[test]
    fn a_name_given_twice_is_refused_at_any_depth_and_the_place_is_told() {
        let error = parse(b"{\"a\":1,\n \"b\":[{\"c\":1,\"c\":2}]}").unwrap_err();
        assert_eq!(error.line(), 2);
        assert!(error.to_string().starts_with("two members"), "{error}");
        // An escape makes it the same name all the same.
        assert!(parse(br#"{"a":1,"\u0061":2}"#).is_err());
    }

    #[test]
    fn a_deep_document_is_refused_and_not_followed() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(
            parse(&deep)
                .unwrap_err()
                .to_string()
                .starts_with("recursion limit")
        );
        let allowed = [b"[".repeat(100), b"]".repeat(100)].concat();
        assert!(parse(&allowed).is_ok());
    }

    #[test]
    fn a_document_of_too_many_values_is_refused() {
        let items = |count: u32| format!("[{}]", vec!["0"; count as usize].join(",")).into_bytes();
        assert!(parse(&items(MAX_VALUES - 1)).is_ok());
        assert!(
            parse(&items(MAX_VALUES))
                .unwrap_err()
                .to_string()
                .starts_with("more than")
        );
    }

    #[test]
    fn junk_is_refused_and_not_quoted() {
        for text in [
            "",
            "{",
            "secret",
            "{\"secret\":}",
            "1 secret",
            "\"\u{1}secret\"",
            "[1e999]",
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }
}
