//! The service's own management calls, which are Atom entries and feeds over HTTPS. They need the right *Manage*.

use std::time::Duration;

use lucius_domain::time::Timestamp;
use reqwest::{Method, StatusCode};

use crate::connection::Connection;
use crate::sas;

const API_VERSION: &str = "api-version=2021-05";
const ATOM: &str = "application/atom+xml;type=entry;charset=utf-8";
const ANSWER: Duration = Duration::from_secs(30);

/// Why the namespace does not say, or does not do it.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The key has not the right.
    #[error(
        "the key \"{key_name}\" may not manage the namespace ({status}): ask its owner for a policy with the right Manage, or to deploy docs/deploy/azure.bicep"
    )]
    Denied {
        /// The policy of the connection string.
        key_name: String,
        /// What was answered.
        status: u16,
    },
    /// Nothing answers.
    #[error(
        "{endpoint} does not answer ({reason}): correct LUCIUS_SERVICEBUS_CONNECTION, or wait until it is reachable"
    )]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What was seen.
        reason: String,
    },
    /// It says no.
    #[error("{path} is answered {status}: {detail}")]
    Refused {
        /// Which entity.
        path: String,
        /// What was answered.
        status: u16,
        /// The service's words.
        detail: String,
    },
}

/// Makes the calls, each with a token of its own.
#[derive(Debug)]
pub(crate) struct Manager {
    client: reqwest::Client,
    connection: Connection,
}

impl Manager {
    pub(crate) fn new(connection: Connection) -> Result<Self, ManageError> {
        let client = reqwest::Client::builder().timeout(ANSWER).build();
        let client = client.map_err(|error| unreachable(&connection, error))?;
        Ok(Self { client, connection })
    }

    /// What is at a path; `None` when nothing is. `options` are those of the call besides the version.
    pub(crate) async fn read(
        &self,
        path: &str,
        options: &str,
        now: Timestamp,
    ) -> Result<Option<String>, ManageError> {
        let (status, body) = self.call(Method::GET, path, options, None, now).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.refused(path, status, &body)),
        }
    }

    /// Puts an entity at a path; it does no harm when one is there.
    pub(crate) async fn put(
        &self,
        path: &str,
        content: &str,
        now: Timestamp,
    ) -> Result<(), ManageError> {
        let entry = format!(
            "<entry xmlns=\"http://www.w3.org/2005/Atom\"><content type=\"application/xml\">{content}</content></entry>"
        );
        let (status, detail) = self.call(Method::PUT, path, "", Some(entry), now).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::CONFLICT => Ok(()),
            status => Err(self.refused(path, status, &detail)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        options: &str,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<(StatusCode, String), ManageError> {
        let url = format!("{}{path}", self.connection.endpoint);
        let fail = |error| unreachable(&self.connection, error);
        let token = sas::token(&self.connection, &url, now);
        let token = token.map_err(|error| ManageError::Unreachable {
            endpoint: self.connection.endpoint().to_owned(),
            reason: error.to_string(),
        })?;
        let mut request = self
            .client
            .request(method, format!("{url}?{API_VERSION}{options}"))
            .header("Authorization", token);
        if let Some(body) = body {
            request = request.header("Content-Type", ATOM).body(body);
        }
        let answer = request.send().await.map_err(fail)?;
        let status = answer.status();
        Ok((status, answer.text().await.map_err(fail)?))
    }

    fn refused(&self, path: &str, status: StatusCode, body: &str) -> ManageError {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ManageError::Denied {
                key_name: self.connection.key_name.clone(),
                status: status.as_u16(),
            },
            status => ManageError::Refused {
                path: path.to_owned(),
                status: status.as_u16(),
                detail: element(body, "Detail").unwrap_or_default().to_owned(),
            },
        }
    }
}

fn unreachable(connection: &Connection, error: reqwest::Error) -> ManageError {
    ManageError::Unreachable {
        endpoint: connection.endpoint().to_owned(),
        reason: error.without_url().to_string(),
    }
}

/// The text of the first element that begins so, whatever attributes it has: `LockDuration`, `title`.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .or_else(|| xml.split_once(&format!("<{name} "))?.1.split_once('>'))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}
