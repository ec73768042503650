//! Entity group transactions on the wire: `multipart/mixed` out and back.
//!
//! The answer to a transaction that failed is a success as HTTP goes: status 202, and inside it the one operation that
//! failed with its own status. Every part is therefore looked at.

use http::StatusCode;
use serde_json::Value as Json;

use super::entity::{ETag, Entity, Key};

/// Which state of an entity a write replaces. There is no write without one: a PUT that lost its `If-Match` would be
/// an upsert on the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// This very one.
    At(ETag),
    /// Any, but it must be there. Right only where another operation of the same transaction is the guard, or where
    /// the entity never changes.
    There,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new entity; fails when it is there.
    Insert(Entity),
    /// Another one in its place.
    Replace(Entity, Expected),
    /// Other values for these properties; the rest stays.
    Merge(Entity, Expected),
    /// Takes it away.
    Delete(Key, Expected),
}

/// Why a transaction changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The operation that failed, when the service says which.
    pub(crate) operation: Option<usize>,
    /// Its status: 409 it is there, 412 it is at another state, 404 it is not there.
    pub(crate) status: StatusCode,
    /// The service's own code: `EntityAlreadyExists`.
    pub(crate) code: String,
    /// The service's own words.
    pub(crate) message: String,
}

/// What became of each operation, in order: its entity's new state, none for a deletion.
pub(crate) type Done = Vec<Option<ETag>>;

/// The body of a request.
pub(super) fn encode(endpoint: &str, table: &str, operations: &[Operation], id: u128) -> Multipart {
    let (batch, changes) = (format!("batch_{id:032x}"), format!("changeset_{id:032x}"));
    let mut body =
        format!("--{batch}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n");
    for operation in operations {
        body.push_str(&format!(
            "--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        ));
        body.push_str(&encode_one(endpoint, table, operation));
    }
    body.push_str(&format!("--{changes}--\r\n--{batch}--\r\n"));
    Multipart {
        content_type: format!("multipart/mixed; boundary={batch}"),
        body,
    }
}

/// A body and what it is.
pub(super) struct Multipart {
    pub(super) content_type: String,
    pub(super) body: String,
}

fn encode_one(endpoint: &str, table: &str, operation: &Operation) -> String {
    let address = |key: &Key| entity_address(endpoint, table, key);
    let (method, url, expected, entity) = match operation {
        Operation::Insert(entity) => ("POST", format!("{endpoint}/{table}"), None, Some(entity)),
        Operation::Replace(entity, expected) => {
            ("PUT", address(&entity.key), Some(expected), Some(entity))
        }
        Operation::Merge(entity, expected) => {
            ("MERGE", address(&entity.key), Some(expected), Some(entity))
        }
        Operation::Delete(key, expected) => ("DELETE", address(key), Some(expected), None),
    };
    let mut text = format!("{method} {url} HTTP/1.1\r\nDataServiceVersion: 3.0\r\n");
    text.push_str(
        "Accept: application/json;odata=minimalmetadata\r\nPrefer: return-no-content\r\n",
    );
    match expected {
        Some(Expected::At(ETag(etag))) => text.push_str(&format!("If-Match: {etag}\r\n")),
        Some(Expected::There) => text.push_str("If-Match: *\r\n"),
        None => {}
    }
    match entity {
        Some(entity) => text.push_str(&format!(
            "Content-Type: application/json\r\n\r\n{}\r\n",
            entity.to_json()
        )),
        None => text.push_str("\r\n\r\n"),
    }
    text
}

/// The address of one entity. Keys are made by [`crate::layout`] of characters that need no encoding.
pub(super) fn entity_address(endpoint: &str, table: &str, key: &Key) -> String {
    format!(
        "{endpoint}/{table}(PartitionKey='{}',RowKey='{}')",
        key.partition, key.row
    )
}

/// Reads an answer with status 202; `None` when it is not one to a transaction of so many operations.
pub(super) fn decode(body: &str, operations: usize) -> Option<Result<Done, Failed>> {
    let mut done = Vec::with_capacity(operations);
    let parts = body.split("HTTP/1.1 ").skip(1);
    for part in parts {
        let (head, rest) = part.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').next()?;
        let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
        if !status.is_success() {
            return Some(Err(failed(status, rest)));
        }
        let etag = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("etag")
                .then(|| ETag(value.trim().to_owned()))
        });
        done.push(etag);
    }
    (done.len() == operations).then_some(Ok(done))
}

fn failed(status: StatusCode, rest: &str) -> Failed {
    let json = rest.split("\r\n--").next().unwrap_or_default();
    let (code, message) = error_text(json);
    let operation = message
        .split_once(':')
        .and_then(|(index, _)| index.parse().ok());
    Failed {
        operation,
        status,
        code,
        message,
    }
}

/// Code and first line of the message of an error's body, JSON or not.
pub(super) fn error_text(body: &str) -> (String, String) {
    let json: Json = serde_json::from_str(body).unwrap_or_default();
    let error = &json["odata.error"];
    let code = error["code"].as_str().unwrap_or_default().to_owned();
    let message = error["message"]["value"].as_str().unwrap_or_default();
    let message = message.lines().next().unwrap_or_default().to_owned();
    (code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_failed_is_found_inside_of_a_success() {
        let body = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n\
            --changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
            HTTP/1.1 412 Precondition Failed\r\nContent-ID: 2\r\nDataServiceVersion: 3.0;\r\n\
            Content-Type: application/json;odata=minimalmetadata;charset=utf-8\r\n\r\n\
            {\"odata.error\":{\"code\":\"UpdateConditionNotSatisfied\",\"message\":{\"lang\":\"en-US\",\
            \"value\":\"1:The update condition specified in the request was not satisfied.\\nRequestId:5\"}}}\r\n\
            --changesetresponse_1--\r\n--batchresponse_1--\r\n";
        let failed = decode(body, 2).expect("it is an answer").expect_err("412");
        assert_eq!(failed.operation, Some(1));
        assert_eq!(failed.status, StatusCode::PRECONDITION_FAILED);
        assert_eq!(failed.code, "UpdateConditionNotSatisfied");
    }

    #[test]
    fn an_answer_for_fewer_operations_than_were_sent_is_none() {
        let part = "HTTP/1.1 204 No Content\r\nETag: W/\"a\"\r\n\r\n\r\n--x\r\n";
        let answer = decode(part, 1).expect("it is an answer");
        assert_eq!(answer, Ok(vec![Some(ETag("W/\"a\"".to_owned()))]));
        assert_eq!(decode(part, 2), None);
        assert_eq!(decode("", 1), None);
    }

    #[test]
    fn every_write_names_the_state_it_replaces() {
        let entity = Entity::new("p", "r");
        let at = Expected::At(ETag("W/\"a\"".to_owned()));
        let operations = [
            Operation::Insert(entity.clone()),
            Operation::Replace(Entity::new("p", "s"), at),
            Operation::Delete(entity.key, Expected::There),
        ];
        let body = encode("http://h/a", "jobs", &operations, 7).body;
        assert_eq!(body.matches("If-Match: ").count(), 2);
        assert!(body.contains("PUT http://h/a/jobs(PartitionKey='p',RowKey='s') HTTP/1.1\r\n"));
        assert!(body.contains("If-Match: W/\"a\"\r\n"));
    }
}
