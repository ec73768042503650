//! Requests and answers as text.

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

use super::entities::{Condition, Held, Key, Refusal, Sent};

pub(crate) fn answer(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

pub(crate) fn error(status: StatusCode, code: &str) -> Response<Bytes> {
    answer(status, Bytes::from(error_body(code, code).to_string()))
}

fn error_body(code: &str, message: &str) -> Json {
    let message = format!("{message}\nRequestId:1\nTime:2026-11-24T15:12:16.710Z");
    json!({ "odata.error": { "code": code, "message": { "lang": "en-US", "value": message } } })
}

pub(crate) fn table_name(body: &Bytes) -> String {
    let json: Json = serde_json::from_slice(body).expect("it is JSON");
    json["TableName"]
        .as_str()
        .expect("it names a table")
        .to_owned()
}

/// The table and the operations of a transaction.
pub(crate) fn operations(body: &str) -> (String, Vec<Sent>) {
    let mut tables = Vec::new();
    let mut operations = Vec::new();
    for part in body.split("Content-Type: application/http\r\n").skip(1) {
        let (_, request) = part.split_once("\r\n\r\n").expect("a part has a head");
        let (head, rest) = request
            .split_once("\r\n\r\n")
            .expect("a request has a head");
        let mut lines = head.split("\r\n");
        let mut words = lines.next().expect("a request line").split(' ');
        let method = words.next().expect("a method").to_owned();
        let uri: Uri = words
            .next()
            .expect("an address")
            .parse()
            .expect("an address");
        let if_match = lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(name, value)| (name == "If-Match").then(|| value.to_owned()));
        let (table, key) = address(&uri);
        let body = rest.split("\r\n--").next().unwrap_or_default().trim();
        tables.push(table);
        operations.push(Sent {
            method,
            key,
            if_match,
            body: (!body.is_empty()).then(|| serde_json::from_str(body).expect("it is JSON")),
        });
    }
    tables.dedup();
    assert_eq!(tables.len(), 1, "a transaction in {tables:?}");
    (tables.remove(0), operations)
}

/// The table of an address, and the key when it names one entity.
fn address(uri: &Uri) -> (String, Option<Key>) {
    let path = percent_decode_str(uri.path())
        .decode_utf8()
        .expect("it is text");
    let name = path.rsplit('/').next().expect("a path has an end");
    match name.split_once('(') {
        None => (name.to_owned(), None),
        Some((table, ")")) => (table.to_owned(), None),
        Some((table, key)) => {
            let quoted: Vec<_> = key.split('\'').collect();
            assert_eq!(quoted.len(), 5, "{key}");
            (
                table.to_owned(),
                Some((quoted[1].to_owned(), quoted[3].to_owned())),
            )
        }
    }
}

/// What a GET asks.
#[derive(Default)]
pub(crate) struct Question {
    pub(crate) table: String,
    pub(crate) key: Option<Key>,
    pub(crate) filter: Vec<Condition>,
    pub(crate) select: Vec<String>,
    pub(crate) top: Option<usize>,
    pub(crate) from: Option<Key>,
}

pub(crate) fn question(uri: &Uri) -> Question {
    let (table, key) = address(uri);
    let mut question = Question {
        table,
        key,
        ..Question::default()
    };
    let (mut partition, mut row) = (None, None);
    for pair in uri.query().unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().expect("it is text");
        match name {
            "$filter" => question.filter = conditions(&value),
            "$select" => question.select = value.split(',').map(str::to_owned).collect(),
            "$top" => question.top = Some(value.parse().expect("a number")),
            "NextPartitionKey" => partition = Some(value.into_owned()),
            "NextRowKey" => row = Some(value.into_owned()),
            "" => {}
            other => panic!("{other} is not used"),
        }
    }
    question.from =
        partition.map(|partition| (untoken(&partition), untoken(&row.unwrap_or_default())));
    if let Some(top) = question.top {
        assert!((1..=1_000).contains(&top), "$top={top}");
    }
    question
}

/// A condition is a list of comparisons joined by `and`; quotes are doubled in texts.
fn conditions(text: &str) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let mut rest = text;
    loop {
        let (property, after) = rest.split_once(' ').expect("a property");
        let (operator, after) = after.split_once(" '").expect("a text in quotes");
        let doubled = after.replace("''", "\u{0}\u{0}");
        let end = doubled.find('\'').expect("an end of the text");
        conditions.push(Condition {
            property: property.to_owned(),
            operator: operator.to_owned(),
            value: after[..end].replace("''", "'"),
        });
        match after[end + 1..].strip_prefix(" and ") {
            Some(more) => rest = more,
            None => {
                assert_eq!(&after[end + 1..], "", "{text}");
                return conditions;
            }
        }
    }
}

/// Continuation tokens mean nothing to a client, so here they are no keys to look at.
fn token(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn untoken(text: &str) -> String {
    let bytes = (0..text.len()).step_by(2).map(|at| {
        u8::from_str_radix(&text[at..at + 2], 16).expect("a token comes back as it went")
    });
    String::from_utf8(bytes.collect()).expect("a token comes back as it went")
}

fn entity(key: &Key, held: &Held, select: &[String]) -> Json {
    let mut json = held.properties.clone();
    json.insert("PartitionKey".to_owned(), key.0.clone().into());
    json.insert("RowKey".to_owned(), key.1.clone().into());
    json.insert("Timestamp".to_owned(), held.written_at.clone().into());
    if !select.is_empty() {
        let wanted = |name: &str| {
            let name = name.split('@').next().unwrap_or_default();
            select.iter().any(|wanted| wanted == name)
        };
        json.retain(|name, _| wanted(name));
    }
    json.insert("odata.etag".to_owned(), held.etag.clone().into());
    Json::Object(json)
}

pub(crate) fn one(key: &Key, held: &Held, select: &[String]) -> Response<Bytes> {
    let json = entity(key, held, select);
    answer(StatusCode::OK, Bytes::from(json.to_string()))
}

/// A page of at most so many of these; where there are more, it says where to go on.
pub(crate) fn page(entities: &[(&Key, &Held)], limit: usize, select: &[String]) -> Response<Bytes> {
    let values: Vec<_> = entities
        .iter()
        .take(limit)
        .map(|(key, held)| entity(key, held, select))
        .collect();
    let body = json!({ "odata.metadata": "m", "value": values }).to_string();
    let mut response = answer(StatusCode::OK, Bytes::from(body));
    if let Some((key, _)) = entities.get(limit) {
        let header = |text: &str| http::HeaderValue::from_str(&token(text)).expect("it is a token");
        let headers = response.headers_mut();
        headers.insert("x-ms-continuation-nextpartitionkey", header(&key.0));
        headers.insert("x-ms-continuation-nextrowkey", header(&key.1));
    }
    response
}

fn multipart(parts: &[String]) -> Response<Bytes> {
    let mut body = String::from(
        "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n",
    );
    for part in parts {
        body.push_str("--changesetresponse_1\r\nContent-Type: application/http\r\n");
        body.push_str("Content-Transfer-Encoding: binary\r\n\r\n");
        body.push_str(part);
    }
    body.push_str("--changesetresponse_1--\r\n--batchresponse_1--\r\n");
    answer(StatusCode::ACCEPTED, Bytes::from(body))
}

pub(crate) fn done(etags: &[Option<String>]) -> Response<Bytes> {
    let part = |etag: &Option<String>| match etag {
        Some(etag) => format!("HTTP/1.1 204 No Content\r\nETag: {etag}\r\n\r\n\r\n"),
        None => "HTTP/1.1 204 No Content\r\n\r\n\r\n".to_owned(),
    };
    multipart(&etags.iter().map(part).collect::<Vec<_>>())
}

pub(crate) fn failed(index: usize, refusal: &Refusal) -> Response<Bytes> {
    let body = error_body(refusal.code, &format!("{index}:It cannot be done."));
    let status = refusal.status;
    let part = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json;odata=minimalmetadata\r\n\r\n{body}\r\n"
    );
    multipart(&[part])
}
