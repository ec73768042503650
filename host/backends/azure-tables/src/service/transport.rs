//! One HTTP request and its answer: the seam below which a test puts a model of the service, a counter or a fault.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

/// No answer came: what was asked may have happened or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Sends requests, each once: whether to try again is for those to say who know what was asked.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The whole answer, whatever its status.
    ///
    /// # Errors
    /// The connection failed, or the answer did not come in time.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer>;
}

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait for an answer. A write may still land for as long as the service gives it, 30 seconds; the
/// version guard makes that harmless.
const ANSWER: Duration = Duration::from_secs(15);

/// The network.
#[derive(Clone, Debug)]
pub struct Network(reqwest::Client);

impl Network {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// The TLS library does not start.
    pub fn new() -> Result<Self, NoAnswer> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        client.map(Self).map_err(no_answer)
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let request = reqwest::Request::try_from(request).map_err(no_answer)?;
        let answer = self.0.execute(request).await.map_err(no_answer)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await.map_err(no_answer)?;
        Ok(response)
    }
}

/// The address is left out, since its query may hold a signature.
fn no_answer(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    NoAnswer(text)
}
