//! A document that may be larger than a property: cut into pieces of 64 KiB, as many to a row as fit.
//!
//! Documents are JSON as bytes, not as text: bytes come back exactly as they went, whatever they hold, and take half
//! the room, since the service counts two bytes a character of text.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::{Entity, Stored, Value};

/// The largest property.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces go into a row of at most 1 MiB, with room for what else the row holds.
const PIECES: usize = 15;
/// The most bytes in one row.
pub(crate) const ROW_BYTES: usize = PIECE_BYTES * PIECES;
/// The most rows of one document: more would not fit into one transaction of 4 MiB, as base64.
pub(crate) const MOST_ROWS: usize = 4;

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It is larger than a row, or than the rows of a transaction.
    #[error("{what} has {bytes} bytes, where {limit} are the limit")]
    TooLarge {
        what: &'static str,
        bytes: usize,
        limit: usize,
    },
    /// A piece is missing, or it is not what was expected.
    #[error("{what}: {reason}")]
    NotUnderstood { what: &'static str, reason: String },
}

/// A document as JSON.
pub(crate) fn encode(
    what: &'static str,
    document: &impl Serialize,
    rows: usize,
) -> Result<Vec<u8>, DocumentError> {
    let bytes = serde_json::to_vec(document).map_err(|error| DocumentError::NotUnderstood {
        what,
        reason: error.to_string(),
    })?;
    let limit = ROW_BYTES * rows;
    match bytes.len() > limit {
        true => Err(DocumentError::TooLarge {
            what,
            bytes: bytes.len(),
            limit,
        }),
        false => Ok(bytes),
    }
}

/// Puts bytes that fit into one row into it.
pub(crate) fn put(mut entity: Entity, bytes: &[u8]) -> Entity {
    for (piece, bytes) in bytes.chunks(PIECE_BYTES).enumerate() {
        let value = Value::Bytes(bytes.to_vec());
        entity.properties.insert(name(piece), value);
    }
    entity
}

/// The rows that hold these bytes; there is at least one.
pub(crate) fn rows(bytes: &[u8], row: impl Fn(usize) -> Entity) -> Vec<Entity> {
    let parts = bytes.chunks(ROW_BYTES);
    let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    parts
        .enumerate()
        .map(|(part, bytes)| put(row(part).with("parts", count), bytes))
        .collect()
}

/// The bytes in one row.
pub(crate) fn bytes(stored: &Stored) -> Vec<u8> {
    let pieces = (0..PIECES).map_while(|piece| stored.bytes(&name(piece)));
    pieces.flatten().copied().collect()
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|error| DocumentError::NotUnderstood {
        what,
        reason: error.to_string(),
    })
}

fn name(piece: usize) -> String {
    format!("body{piece:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(entity: Entity) -> Stored {
        Stored {
            entity,
            etag: crate::service::ETag("e".to_owned()),
            written_at: String::new(),
        }
    }

    #[test]
    fn a_document_of_any_size_comes_back_from_its_rows() {
        for size in [
            1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            ROW_BYTES,
            ROW_BYTES + 1,
            2 * ROW_BYTES + 7,
        ] {
            let text = "ä".repeat(size.div_ceil(2));
            let document = encode("it", &text, MOST_ROWS).expect("it fits");
            let rows = rows(&document, |part| Entity::new("p", part.to_string()));
            assert_eq!(rows.len(), document.len().div_ceil(ROW_BYTES));
            let read: Vec<u8> = rows
                .into_iter()
                .flat_map(|row| bytes(&stored(row)))
                .collect();
            assert_eq!(decode::<String>("it", &read).as_deref(), Ok(&*text));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_size() {
        let text = "a".repeat(ROW_BYTES);
        let error = encode("it", &text, 1).expect_err("two bytes too many");
        assert_eq!(
            error.to_string(),
            format!(
                "it has {} bytes, where {ROW_BYTES} are the limit",
                ROW_BYTES + 2
            )
        );
    }
}
