//! The bus as Azure Service Bus speaks it over HTTP: peek-lock, complete, abandon, renew.
//!
//! The embedded bus answers the same calls, so this one client serves both. A lock is only a wish
//! that nobody else works on the message: it may be lost at any time, and settling a lost lock is
//! answered 404. That is no error here, because the attempt's lease is what keeps callbacks apart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;

/// How many lanes the bus has.
pub const LANES: u8 = 16;

/// One of the [`LANES`] topics of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lane(u8);

impl Lane {
    /// Every lane.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..LANES).map(Self)
    }

    fn topic(self) -> String {
        format!("global-bus-p{}", self.0)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Gives the `Authorization` header for a resource of the bus, for example a SAS token.
pub trait Authorization: Send + Sync + 'static {
    /// The header's value; `None` sends no header.
    fn header(&self, resource: &Url) -> Option<String>;
}

/// No `Authorization` header: the embedded bus in open mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Authorization for Anonymous {
    fn header(&self, _resource: &Url) -> Option<String> {
        None
    }
}

/// An API key, as the embedded bus of a host takes it that asks for credentials.
#[derive(Clone)]
pub struct Bearer(String);

impl Bearer {
    /// With this key.
    pub fn new(key: &str) -> Self {
        Self(format!("Bearer {key}"))
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

impl Authorization for Bearer {
    fn header(&self, _resource: &Url) -> Option<String> {
        Some(self.0.clone())
    }
}

/// Why the bus did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or half of one.
    #[error("cannot reach the bus at {bus}: {source}")]
    Unreachable {
        /// The bus's address.
        bus: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// An answer that says no.
    #[error("the bus answered {status} to {call}; check --bus and the service's name and rights")]
    Refused {
        /// The status it gave.
        status: StatusCode,
        /// What was asked.
        call: String,
    },
    /// A message without a usable lock.
    #[error("the bus gave a message without a Location or BrokerProperties to settle it by")]
    NoLock,
}

/// A message that is locked for this worker.
#[derive(Clone)]
pub struct Delivery {
    lock: Url,
    /// The message's body.
    pub body: Bytes,
    /// The message's id, when the bus told it.
    pub message_id: Option<String>,
    /// How often the bus has handed it out, this time included.
    pub delivery_count: u32,
}

/// Without the lock's address and the body, which hold secrets of the attempt.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message_id", &self.message_id)
            .field("delivery_count", &self.delivery_count)
            .finish_non_exhaustive()
    }
}

/// What became of a call about a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Done as asked.
    Done,
    /// The lock was lost before: somebody else may have the message, or it is gone.
    LockLost,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct BrokerProperties {
    lock_token: Option<String>,
    sequence_number: Option<u64>,
    message_id: Option<String>,
    delivery_count: u32,
}

/// A client for one service's subscription in every lane.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    subscription: String,
    authorization: Arc<dyn Authorization>,
    call_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client for `subscription` on the bus at `base`, with `call_timeout` for each call beside
    /// the time that a long poll waits.
    pub fn new(
        http: reqwest::Client,
        mut base: Url,
        subscription: String,
        authorization: Arc<dyn Authorization>,
        call_timeout: Duration,
    ) -> Self {
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Self {
            http,
            base,
            subscription,
            authorization,
            call_timeout,
        }
    }

    /// Locks the next message of `lane`, waiting up to `wait` (whole seconds, at least one) for it.
    pub async fn receive(&self, lane: Lane, wait: Duration) -> Result<Option<Delivery>, Error> {
        let mut url = self.messages(lane, &["head"]);
        let wait = wait.max(Duration::from_secs(1));
        url.set_query(Some(&format!("timeout={}", wait.as_secs())));
        let request = self
            .request(Method::POST, &url)
            .timeout(wait + self.call_timeout);
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => self.read(lane, response).await.map(Some),
            StatusCode::NO_CONTENT => Ok(None),
            status => Err(Error::Refused {
                status,
                call: format!("receive on {}", url.path()),
            }),
        }
    }

    /// The message is dealt with and may go.
    pub async fn complete(&self, delivery: &Delivery) -> Result<Settled, Error> {
        self.settle(Method::DELETE, "complete", delivery).await
    }

    /// The message goes back and counts as delivered once more.
    pub async fn abandon(&self, delivery: &Delivery) -> Result<Settled, Error> {
        self.settle(Method::PUT, "abandon", delivery).await
    }

    /// The lock starts anew.
    pub async fn renew(&self, delivery: &Delivery) -> Result<Settled, Error> {
        self.settle(Method::POST, "renew", delivery).await
    }

    async fn read(&self, lane: Lane, response: Response) -> Result<Delivery, Error> {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let broker: BrokerProperties = header("BrokerProperties")
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let told = header(LOCATION.as_str()).and_then(|at| self.base.join(at).ok());
        // Behind a proxy the bus may name itself by another address; calls stay on the one given.
        let told = told.filter(|url| url.origin() == self.base.origin());
        let lock = match (told, &broker.sequence_number, &broker.lock_token) {
            (Some(url), _, _) => url,
            (None, Some(number), Some(token)) => self.messages(lane, &[&number.to_string(), token]),
            (None, _, _) => return Err(Error::NoLock),
        };
        let body = response.bytes().await.map_err(|e| self.unreachable(e))?;
        Ok(Delivery {
            lock,
            body,
            message_id: broker.message_id,
            delivery_count: broker.delivery_count,
        })
    }

    async fn settle(
        &self,
        method: Method,
        verb: &str,
        delivery: &Delivery,
    ) -> Result<Settled, Error> {
        let request = self
            .request(method, &delivery.lock)
            .timeout(self.call_timeout);
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        match response.status() {
            status if status.is_success() => Ok(Settled::Done),
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Settled::LockLost),
            status => Err(Error::Refused {
                status,
                call: format!("{verb} a message"),
            }),
        }
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self
            .http
            .request(method, url.clone())
            .header(CONTENT_LENGTH, "0");
        match self.authorization.header(url) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn messages(&self, lane: Lane, rest: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend([
                    lane.topic().as_str(),
                    "subscriptions",
                    &self.subscription,
                    "messages",
                ])
                .extend(rest);
        }
        url
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        // A lock's address is as good as the lock, so the error keeps the bus's address alone.
        Error::Unreachable {
            bus: self.base.to_string(),
            source: error.without_url(),
        }
    }
}
