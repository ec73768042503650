//! Leads Microsoft's crate to the endpoint of the connection string.
//!
//! The crate knows but `https://{namespace}.servicebus.windows.net/`. Addresses are rewritten below it, on the way out
//! and, in `Location`, on the way back, so that what it signs and follows stays its own. Connections are kept, which
//! the crate's own client does not do.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind, ResultExt as _};
use azure_core::headers::LOCATION;
use azure_core::{HttpClient, Request, Response, Url};

use crate::connection::Connection;

/// Longer than the longest wait for a message.
const ANSWER: Duration = Duration::from_secs(70);
const CONNECT: Duration = Duration::from_secs(5);

/// An HTTP client for one namespace, wherever that is.
#[derive(Debug)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    cloud: String,
    endpoint: String,
}

impl Endpoint {
    pub(crate) fn new(connection: &Connection) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            cloud: connection.cloud(),
            endpoint: connection.endpoint.to_string(),
        })
    }

    /// Whether anything answers there; what it answers does not matter.
    pub(crate) async fn reach(&self) -> Result<(), String> {
        let asked = self
            .client
            .get(&self.endpoint)
            .timeout(CONNECT)
            .send()
            .await;
        match asked {
            Ok(answer) if !answer.status().is_server_error() => Ok(()),
            Ok(answer) => Err(format!("{} answers {}", self.endpoint, answer.status())),
            Err(error) => Err(format!(
                "{} does not answer ({}): correct LUCIUS_SERVICEBUS_CONNECTION, or wait until it is reachable",
                self.endpoint,
                error.without_url()
            )),
        }
    }
}

#[async_trait]
impl HttpClient for Endpoint {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<Response> {
        let mut request = request.clone();
        let address = moved(request.url().as_str(), &self.cloud, &self.endpoint)?;
        *request.url_mut() = Url::parse(&address).map_kind(ErrorKind::DataConversion)?;
        escape(&mut request);
        let answer = self.client.execute_request(&request).await?;
        let (status, mut headers, body) = answer.deconstruct();
        if let Some(location) = headers.get_optional_string(&LOCATION) {
            // The namespace may be known by another name behind a proxy; then the lock cannot be settled and ends.
            if let Ok(location) = moved(&location, &self.endpoint, &self.cloud) {
                headers.insert(LOCATION, location);
            }
        }
        Ok(Response::new(status, headers, Box::pin(body)))
    }
}

/// Headers carry ASCII. All of ours with other characters are JSON, where an escape says the same.
fn escape(request: &mut Request) {
    let headers = request.headers().clone();
    for (name, value) in headers.iter() {
        if !value.as_str().is_ascii() {
            let escaped = crate::message::ascii_json(value.as_str());
            request.insert_header(name.clone(), escaped);
        }
    }
}

fn moved(address: &str, from: &str, to: &str) -> azure_core::Result<String> {
    let rest = address.strip_prefix(from).ok_or_else(|| {
        Error::with_message(ErrorKind::Other, || {
            format!("the namespace names an address that is not below {from}")
        })
    })?;
    Ok(format!("{to}{rest}"))
}
