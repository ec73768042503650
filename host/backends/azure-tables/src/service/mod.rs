//! The REST interface of Table Storage, as much of it as the ledger needs.
//!
//! Every write is an entity group transaction and names the state it replaces. A read is tried again here. A write is
//! sent once by [`Tables::transact`]: an answer that did not come means *unknown*, and only its caller knows how to
//! find out. [`Tables::again`] is the wait between its tries.

mod batch;
mod entity;
mod repeat;
mod retry;
mod sign;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use lucius_ports::clock::Clock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::connection::{Connection, Credential};
use retry::Budget;

pub(crate) use batch::{Done, Expected, Failed, Operation};
pub(crate) use entity::{ETag, Entity, Key, Stored, Value};
pub use retry::Retry;
pub use transport::{Network, NoAnswer, Transport};

/// The version of the interface that is spoken.
const VERSION: &str = "2019-02-02";
/// The largest body of a transaction.
const BATCH_BYTES: usize = 4 << 20;
/// The most operations of a transaction.
pub(crate) const BATCH_OPERATIONS: usize = 100;
/// The most entities of a page.
pub(crate) const PAGE_ENTITIES: usize = 1_000;

const NEXT_PARTITION: HeaderName = HeaderName::from_static("x-ms-continuation-nextpartitionkey");
const NEXT_ROW: HeaderName = HeaderName::from_static("x-ms-continuation-nextrowkey");

/// Why the service did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It may have happened or not; the wait is what the service asked for.
    #[error("Table Storage does not answer: {reason}")]
    Unknown {
        /// What was seen.
        reason: String,
        /// How long the service wants to be left alone.
        wait: Option<Duration>,
    },
    /// The key or the signature does not allow it.
    #[error("Table Storage does not allow it: {0}")]
    Denied(String),
    /// There is no such table.
    #[error("there is no table {0}")]
    NoTable(String),
    /// It is more than the service takes.
    #[error("it is too large for Table Storage: {0}")]
    TooLarge(String),
    /// The request is wrong.
    #[error("Table Storage refuses the request: {0}")]
    Refused(String),
}

/// What is asked of one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// The condition, in OData.
    pub(crate) filter: String,
    /// The properties wanted; all when empty.
    pub(crate) select: &'static str,
    /// The most entities of one page; the service's own limit when 0.
    pub(crate) top: usize,
}

/// Where the next page begins. A page may be empty and still have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    partition: String,
    row: Option<String>,
}

/// A part of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// In the order of their keys.
    pub(crate) entities: Vec<Stored>,
    /// `None` once there is no more.
    pub(crate) next: Option<Continuation>,
}

/// Numbers that nobody can guess, as many as are wanted.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What the client stands on.
#[derive(Clone)]
pub struct Means {
    /// Sends requests.
    pub transport: Arc<dyn Transport>,
    /// Dates requests and waits between tries.
    pub clock: Arc<dyn Clock>,
    /// For waits, and for names that are used once.
    pub random: Random,
}

/// A client of one account's tables.
pub(crate) struct Tables {
    connection: Connection,
    means: Means,
    retry: Retry,
    budget: Budget,
}

impl Tables {
    pub(crate) fn new(connection: Connection, means: Means, retry: Retry) -> Self {
        let budget = Budget::new(retry.budget);
        Self {
            connection,
            means,
            retry,
            budget,
        }
    }

    pub(crate) fn means(&self) -> &Means {
        &self.means
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// One entity, or those of its properties that are selected; `None` when it is not there.
    pub(crate) async fn get(
        &self,
        table: &str,
        key: &Key,
        select: &'static str,
    ) -> Result<Option<Stored>, Error> {
        let mut url = batch::entity_address(self.connection.endpoint(), table, key);
        if !select.is_empty() {
            url.push_str(&format!("?$select={select}"));
        }
        match self.read(table, &url).await {
            Ok(answer) => {
                let json = serde_json::from_slice(answer.body()).unwrap_or_default();
                let stored = Stored::from_json(json);
                stored.map(Some).ok_or_else(|| not_understood(&answer))
            }
            Err(Missing::Entity) => Ok(None),
            Err(Missing::Other(error)) => Err(error),
        }
    }

    /// One page of an answer.
    pub(crate) async fn page(
        &self,
        table: &str,
        query: &Query,
        from: Option<&Continuation>,
    ) -> Result<Page, Error> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut url = format!(
            "{}/{table}()?$filter={}",
            self.connection.endpoint(),
            encoded(&query.filter)
        );
        if !query.select.is_empty() {
            url.push_str(&format!("&$select={}", query.select));
        }
        if query.top > 0 {
            url.push_str(&format!("&$top={}", query.top.min(PAGE_ENTITIES)));
        }
        if let Some(Continuation { partition, row }) = from {
            url.push_str(&format!("&NextPartitionKey={}", encoded(partition)));
            if let Some(row) = row {
                url.push_str(&format!("&NextRowKey={}", encoded(row)));
            }
        }
        let answer = match self.read(table, &url).await {
            Ok(answer) => answer,
            Err(Missing::Entity) => return Err(Error::NoTable(table.to_owned())),
            Err(Missing::Other(error)) => return Err(error),
        };
        let header = |name| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let next = header(NEXT_PARTITION).map(|partition| Continuation {
            partition,
            row: header(NEXT_ROW),
        });
        let mut json: Json = serde_json::from_slice(answer.body()).unwrap_or_default();
        let Json::Array(values) = json["value"].take() else {
            return Err(not_understood(&answer));
        };
        let entities = values.into_iter().map(Stored::from_json).collect();
        let entities: Option<Vec<_>> = entities;
        Ok(Page {
            entities: entities.ok_or_else(|| not_understood(&answer))?,
            next,
        })
    }

    /// All entities of an answer, however many pages it takes.
    pub(crate) async fn all(&self, table: &str, query: &Query) -> Result<Vec<Stored>, Error> {
        let mut page = self.page(table, query, None).await?;
        let mut entities = page.entities;
        while let Some(next) = page.next {
            page = self.page(table, query, Some(&next)).await?;
            entities.append(&mut page.entities);
        }
        Ok(entities)
    }

    /// Refuses a transaction that the service would not take. [`Tables::transact`] does so too; a caller with other
    /// writes to make first wants to know before those.
    pub(crate) fn check_fits(&self, table: &str, operations: &[Operation]) -> Result<(), Error> {
        let batch = batch::encode(self.connection.endpoint(), table, operations, 0);
        check_size(operations.len(), batch.body.len())
    }

    /// Does all of the operations or none of them; they are of one partition and name each entity once. Sent once.
    pub(crate) async fn transact(
        &self,
        table: &str,
        operations: &[Operation],
    ) -> Result<Result<Done, Failed>, Error> {
        let endpoint = self.connection.endpoint();
        let batch = batch::encode(endpoint, table, operations, (self.means.random)());
        check_size(operations.len(), batch.body.len())?;
        let request = self
            .request(Method::POST, &format!("{endpoint}/$batch"))
            .header(CONTENT_TYPE, &batch.content_type)
            .body(Bytes::from(batch.body));
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(error_of(&answer, table));
        }
        let body = String::from_utf8_lossy(answer.body());
        let outcome = batch::decode(&body, operations.len()).ok_or_else(|| Error::Unknown {
            reason: "the answer breaks off".to_owned(),
            wait: None,
        })?;
        match outcome {
            Err(failed) if is_unknown(failed.status) => Err(Error::Unknown {
                reason: failed.code,
                wait: None,
            }),
            Err(failed) if failed.code == "TableNotFound" => Err(Error::NoTable(table.to_owned())),
            Err(failed) if is_too_large(&failed.code) => Err(Error::TooLarge(failed.message)),
            Err(failed) => match failed.status {
                StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND => {
                    Ok(Err(failed))
                }
                _ => Err(Error::Refused(format!(
                    "{} {}: {}",
                    failed.status, failed.code, failed.message
                ))),
            },
            Ok(done) => Ok(Ok(done)),
        }
    }

    /// Makes a table; false when it is there.
    pub(crate) async fn create_table(&self, table: &str) -> Result<bool, Error> {
        let body = serde_json::json!({ "TableName": table }).to_string();
        let request = self
            .request(
                Method::POST,
                &format!("{}/Tables", self.connection.endpoint()),
            )
            .header(CONTENT_TYPE, "application/json")
            .header("Prefer", "return-no-content")
            .body(Bytes::from(body));
        let answer = self.send(request).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(error_of(&answer, table)),
        }
    }

    /// Waits before the next try after `failed` tries in a row; the error comes back when there is to be no further
    /// one.
    pub(crate) async fn again(&self, failed: u32, error: Error) -> Result<(), Error> {
        let Error::Unknown { reason, wait } = &error else {
            return Err(error);
        };
        if failed >= self.retry.tries || !self.budget.take() {
            return Err(error);
        }
        let wait = self.retry.wait(failed, *wait, (self.means.random)());
        tracing::debug!(%reason, ?wait, failed, "Table Storage is asked again");
        self.means.clock.sleep(wait).await;
        Ok(())
    }

    /// A GET, tried again while the service does not answer.
    async fn read(&self, table: &str, url: &str) -> Result<Response<Bytes>, Missing> {
        let mut failed = 0;
        loop {
            let request = self.request(Method::GET, url).body(Bytes::new());
            let error = match self.send(request).await {
                Ok(answer) if answer.status() == StatusCode::OK => return Ok(answer),
                Ok(answer) => {
                    let error = error_of(&answer, table);
                    let missing = answer.status() == StatusCode::NOT_FOUND;
                    if missing && !matches!(error, Error::NoTable(_)) {
                        return Err(Missing::Entity);
                    }
                    error
                }
                Err(error) => error,
            };
            failed += 1;
            self.again(failed, error).await.map_err(Missing::Other)?;
        }
    }

    fn request(&self, method: Method, url: &str) -> http::request::Builder {
        let url = match &self.connection.credential {
            Credential::Key { .. } => url.to_owned(),
            Credential::Signature(query) if url.contains('?') => format!("{url}&{query}"),
            Credential::Signature(query) => format!("{url}?{query}"),
        };
        Request::builder()
            .method(method)
            .uri(url)
            .header(ACCEPT, "application/json;odata=minimalmetadata")
            .header("DataServiceVersion", "3.0")
            .header("MaxDataServiceVersion", "3.0;NetFx")
            .header("x-ms-version", VERSION)
    }

    async fn send(&self, request: http::Result<Request<Bytes>>) -> Result<Response<Bytes>, Error> {
        let mut request = request.map_err(|error| Error::Refused(error.to_string()))?;
        let now = self.means.clock.now();
        sign::sign(&mut request, &self.connection.credential, now);
        let answer = self.means.transport.send(request).await;
        let answer = answer.map_err(|NoAnswer(reason)| Error::Unknown { reason, wait: None })?;
        if answer.status().is_success() {
            self.budget.refill();
        }
        Ok(answer)
    }
}

fn check_size(operations: usize, bytes: usize) -> Result<(), Error> {
    if operations <= BATCH_OPERATIONS && bytes <= BATCH_BYTES {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "{operations} changes with {bytes} bytes at once, where {BATCH_OPERATIONS} and {BATCH_BYTES} are the limit"
    )))
}

/// Why a read found nothing.
enum Missing {
    Entity,
    Other(Error),
}

/// True when the request may have been carried out all the same, or may be later.
fn is_unknown(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
}

fn is_too_large(code: &str) -> bool {
    matches!(
        code,
        "EntityTooLarge"
            | "PropertyValueTooLarge"
            | "RequestBodyTooLarge"
            | "ContentLengthExceeded"
    )
}

/// What an answer that is no success means.
fn error_of(answer: &Response<Bytes>, table: &str) -> Error {
    let status = answer.status();
    let (code, message) = batch::error_text(&String::from_utf8_lossy(answer.body()));
    let wait = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match status {
        _ if is_unknown(status) => Error::Unknown {
            reason: format!("{status} {code}").trim_end().to_owned(),
            wait,
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::Denied(format!("{status} {code}").trim_end().to_owned())
        }
        StatusCode::NOT_FOUND if code == "TableNotFound" => Error::NoTable(table.to_owned()),
        StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge(message),
        _ if is_too_large(&code) => Error::TooLarge(message),
        _ => Error::Refused(format!("{status} {code}: {message}")),
    }
}

fn not_understood(answer: &Response<Bytes>) -> Error {
    Error::Unknown {
        reason: format!("{} with a body that is none", answer.status()),
        wait: None,
    }
}
