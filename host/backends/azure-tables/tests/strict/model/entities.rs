//! What a table holds, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value as Json};

/// Partition and row.
pub(crate) type Key = (String, String);

/// An entity with its state.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) properties: Map<String, Json>,
    pub(crate) etag: String,
    /// When it was written, as the service shows it.
    pub(crate) written_at: String,
}

/// One operation of a transaction, as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    /// The key in the address; an insert has none.
    pub(crate) key: Option<Key>,
    pub(crate) if_match: Option<String>,
    pub(crate) body: Option<Json>,
}

/// Why an operation is refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code }
    }
}

/// A comparison of a query.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) property: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(BTreeMap<Key, Held>);

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Held> {
        self.0.get(key)
    }

    pub(crate) fn alter(&mut self, row: &str, property: &str, value: &str) {
        for (_, held) in self.0.iter_mut().filter(|(key, _)| key.1 == row) {
            held.properties.insert(property.to_owned(), value.into());
        }
    }

    /// The entities that match, from a key on.
    pub(crate) fn from<'a>(
        &'a self,
        from: Option<&Key>,
        conditions: &'a [Condition],
    ) -> impl Iterator<Item = (&'a Key, &'a Held)> {
        let from = from.cloned().unwrap_or_default();
        self.0
            .range(from..)
            .filter(|(key, held)| conditions.iter().all(|one| one.holds(key, held)))
    }

    /// Does all operations; says which failed and why when one does.
    pub(crate) fn apply(
        &mut self,
        operations: &[Sent],
        write: u64,
        now: &str,
    ) -> Result<Vec<Option<String>>, (usize, Refusal)> {
        let keys: Vec<Key> = operations.iter().map(Sent::key).collect();
        let partitions: BTreeSet<_> = keys.iter().map(|(partition, _)| partition).collect();
        assert_eq!(partitions.len(), 1, "a transaction of {partitions:?}");
        let unique: BTreeSet<_> = keys.iter().collect();
        assert_eq!(
            unique.len(),
            keys.len(),
            "an entity is named twice: {keys:?}"
        );
        let mut etags = Vec::new();
        for (index, (sent, key)) in operations.iter().zip(keys).enumerate() {
            let etag = format!("W/\"datetime'{write:08}%3A{index}'\"");
            let done = self.apply_one(sent, &key, etag, now);
            etags.push(done.map_err(|refusal| (index, refusal))?);
        }
        Ok(etags)
    }

    fn apply_one(
        &mut self,
        sent: &Sent,
        key: &Key,
        etag: String,
        now: &str,
    ) -> Result<Option<String>, Refusal> {
        check_key(&key.0);
        check_key(&key.1);
        let properties = sent.body.as_ref().map(properties_of).unwrap_or_default();
        let present = self.0.get(key);
        if sent.method == "POST" {
            assert!(sent.if_match.is_none(), "an insert replaces nothing");
            if present.is_some() {
                return Err(Refusal::new(StatusCode::CONFLICT, "EntityAlreadyExists"));
            }
        } else {
            let expected = sent.if_match.as_ref();
            let expected = expected.expect("a write names the state that it replaces");
            let present = present.ok_or(Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFound"))?;
            if *expected != "*" && *expected != present.etag {
                let status = StatusCode::PRECONDITION_FAILED;
                return Err(Refusal::new(status, "UpdateConditionNotSatisfied"));
            }
        }
        let properties = match sent.method.as_str() {
            "POST" | "PUT" => properties,
            "MERGE" => {
                let mut merged = present
                    .map(|held| held.properties.clone())
                    .unwrap_or_default();
                merged.extend(properties);
                merged
            }
            "DELETE" => {
                self.0.remove(key);
                return Ok(None);
            }
            other => panic!("{other} is no operation"),
        };
        check_size(key, &properties)?;
        let held = Held {
            properties,
            etag: etag.clone(),
            written_at: now.to_owned(),
        };
        self.0.insert(key.clone(), held);
        Ok(Some(etag))
    }
}

impl Sent {
    fn key(&self) -> Key {
        let named =
            |json: &Json, name: &str| json[name].as_str().expect("an entity has keys").to_owned();
        let in_body = self
            .body
            .as_ref()
            .map(|json| (named(json, "PartitionKey"), named(json, "RowKey")));
        match (&self.key, in_body) {
            (Some(key), Some(in_body)) => {
                assert_eq!(
                    *key, in_body,
                    "the address names another entity than the body"
                );
                in_body
            }
            (Some(key), None) => key.clone(),
            (None, Some(in_body)) => in_body,
            (None, None) => panic!("an operation on nothing"),
        }
    }
}

fn properties_of(body: &Json) -> Map<String, Json> {
    let mut properties = body.as_object().expect("an entity is an object").clone();
    properties.remove("PartitionKey");
    properties.remove("RowKey");
    properties
}

/// What the service forbids in keys.
fn check_key(key: &str) {
    let forbidden =
        |char: char| matches!(char, '/' | '\\' | '#' | '?' | '%' | '+') || char.is_control();
    assert!(!key.contains(forbidden), "forbidden in a key: {key:?}");
    assert!(
        !key.is_empty() && key.encode_utf16().count() <= 512,
        "a key of {} characters",
        key.len()
    );
}

/// The documented limits; sizes as the service counts them.
fn check_size(key: &Key, properties: &Map<String, Json>) -> Result<(), Refusal> {
    let mut total = 4 + 2 * (key.0.len() + key.1.len());
    let mut count = 0;
    for (name, value) in properties {
        if name.contains('@') {
            continue;
        }
        count += 1;
        let sound = name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_');
        assert!(
            sound && !name.is_empty() && name.len() <= 255,
            "property {name:?}"
        );
        let text = value.as_str().expect("values are sent as text");
        let kind = properties.get(&format!("{name}@odata.type"));
        let bytes = match kind.and_then(Json::as_str) {
            Some("Edm.Binary") => text.len() / 4 * 3,
            Some("Edm.Int64") => {
                text.parse::<i64>().expect("a number");
                8
            }
            None => 2 * text.encode_utf16().count(),
            Some(other) => panic!("{other} is not used"),
        };
        // Padding makes a whole piece look up to two bytes longer than it is.
        if bytes > (64 << 10) + 2 {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "PropertyValueTooLarge",
            ));
        }
        total += 8 + 2 * name.len() + bytes;
    }
    assert!(count <= 252, "{count} properties");
    match total > 1 << 20 {
        true => Err(Refusal::new(StatusCode::BAD_REQUEST, "EntityTooLarge")),
        false => Ok(()),
    }
}

impl Condition {
    fn holds(&self, key: &Key, held: &Held) -> bool {
        let value = match self.property.as_str() {
            "PartitionKey" => Some(key.0.as_str()),
            "RowKey" => Some(key.1.as_str()),
            name => held.properties.get(name).and_then(Json::as_str),
        };
        let Some(value) = value else { return false };
        let expected = self.value.as_str();
        match self.operator.as_str() {
            "eq" => value == expected,
            "ge" => value >= expected,
            "gt" => value > expected,
            "lt" => value < expected,
            "le" => value <= expected,
            other => panic!("{other} is not used"),
        }
    }
}
