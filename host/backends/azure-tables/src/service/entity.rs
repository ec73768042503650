//! An entity as the service keeps it and as JSON carries it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

/// What a property holds. Every number is an `Edm.Int64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text; the service counts two bytes a character.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// What an entity was at when it was read or written; only the service makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ETag(pub(crate) String);

/// Which entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The partition; entities of one partition can change together.
    pub(crate) partition: String,
    /// The place in the partition.
    pub(crate) row: String,
}

/// An entity to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entity {
    /// Which.
    pub(crate) key: Key,
    /// What it holds.
    pub(crate) properties: BTreeMap<String, Value>,
}

impl Entity {
    /// An entity that holds nothing yet.
    pub(crate) fn new(partition: impl Into<String>, row: impl Into<String>) -> Self {
        let (partition, row) = (partition.into(), row.into());
        Self {
            key: Key { partition, row },
            properties: BTreeMap::new(),
        }
    }

    /// With one more property.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// As the body of a request.
    pub(super) fn to_json(&self) -> String {
        let mut json = Map::new();
        json.insert("PartitionKey".to_owned(), self.key.partition.clone().into());
        json.insert("RowKey".to_owned(), self.key.row.clone().into());
        for (name, value) in &self.properties {
            let (kind, text) = match value {
                Value::Text(text) => (None, text.clone()),
                Value::Number(number) => (Some("Edm.Int64"), number.to_string()),
                Value::Bytes(bytes) => (Some("Edm.Binary"), STANDARD.encode(bytes)),
            };
            if let Some(kind) = kind {
                json.insert(format!("{name}@odata.type"), kind.into());
            }
            json.insert(name.clone(), text.into());
        }
        Json::Object(json).to_string()
    }
}

/// An entity as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What it holds; keys are empty when they were not asked for.
    pub(crate) entity: Entity,
    /// What it was at.
    pub(crate) etag: ETag,
    /// When it was last written, by the service's clock, as the service writes it.
    pub(crate) written_at: String,
}

impl Stored {
    /// Reads one entity of an answer; `None` when it is none.
    pub(super) fn from_json(json: Json) -> Option<Self> {
        let Json::Object(mut json) = json else {
            return None;
        };
        let mut take = |name: &str| match json.remove(name) {
            Some(Json::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let etag = ETag(take("odata.etag")?);
        let partition = take("PartitionKey").unwrap_or_default();
        let row = take("RowKey").unwrap_or_default();
        let written_at = take("Timestamp").unwrap_or_default();
        let mut entity = Entity::new(partition, row);
        for (name, value) in &json {
            if name.contains('@') || name.starts_with("odata.") {
                continue;
            }
            let kind = json
                .get(&format!("{name}@odata.type"))
                .and_then(Json::as_str);
            let value = match (kind, value) {
                (Some("Edm.Int64"), Json::String(text)) => Value::Number(text.parse().ok()?),
                (Some("Edm.Binary"), Json::String(text)) => {
                    Value::Bytes(STANDARD.decode(text).ok()?)
                }
                (None | Some("Edm.String"), Json::String(text)) => Value::Text(text.clone()),
                (_, Json::Number(number)) => Value::Number(number.as_i64()?),
                _ => continue, // a property that someone else added
            };
            entity.properties.insert(name.clone(), value);
        }
        Some(Self {
            entity,
            etag,
            written_at,
        })
    }

    /// A text property.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.entity.properties.get(name)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Bytes(_) => None,
        }
    }

    /// A number property.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.entity.properties.get(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Bytes(_) => None,
        }
    }

    /// A bytes property.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.entity.properties.get(name)? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Text(_) | Value::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back_as_it_went() {
        let entity = Entity::new("p", "r")
            .with("text", "Größe \"1\"\n\u{ffff}")
            .with("number", i64::MIN)
            .with("bytes", Value::Bytes(vec![0, 255, 10]));
        let mut json: Json = serde_json::from_str(&entity.to_json()).expect("it is JSON");
        json["odata.etag"] = "W/\"1\"".into();
        json["Timestamp"] = "2026-11-24T15:12:16.7164642Z".into();
        let stored = Stored::from_json(json).expect("it is an entity");
        assert_eq!(stored.entity, entity);
        assert_eq!(stored.etag, ETag("W/\"1\"".to_owned()));
    }

    #[test]
    fn an_answer_without_an_etag_is_no_entity() {
        assert_eq!(
            Stored::from_json(serde_json::json!({ "RowKey": "r" })),
            None
        );
    }
}
