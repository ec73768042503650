//! The connection string of a namespace, as the Azure portal shows it.
//!
//! `Endpoint` may be `sb://`, which means https, or any http(s) address that speaks the same calls. What is wrong is
//! said by the part's name, never by its value.

use std::fmt;

use url::Url;

/// Where namespaces of the public cloud are.
const CLOUD: &str = ".servicebus.windows.net";

/// What is wrong with a connection string; its text holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// A part is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A part that is not `name=value`.
    #[error("a part of it is not of the form Name=Value")]
    NotAPair,
    /// The address is not one.
    #[error("its Endpoint is not an sb, http or https address")]
    BadEndpoint,
}

/// Where the namespace is, and the key to it.
#[derive(Clone)]
pub struct Connection {
    /// With a slash at its end.
    pub(crate) endpoint: Url,
    /// The namespace's name; of a local endpoint, a name for it.
    pub(crate) namespace: String,
    pub(crate) key_name: String,
    pub(crate) key: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads a connection string.
    ///
    /// # Errors
    /// Which part is wrong or missing.
    pub fn parse(text: &str) -> Result<Self, ConnectionError> {
        if text.trim().is_empty() {
            return Err(ConnectionError::Empty);
        }
        let (mut endpoint, mut key_name, mut key) = (None, None, None);
        for part in text.trim().split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(ConnectionError::NotAPair)?;
            let field = match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => &mut endpoint,
                "sharedaccesskeyname" => &mut key_name,
                "sharedaccesskey" => &mut key,
                _ => continue, // parts for other kinds of clients
            };
            *field = Some(value.trim().to_owned());
        }
        let endpoint = address(&endpoint.ok_or(ConnectionError::Missing("Endpoint"))?)?;
        let host = endpoint.host_str().ok_or(ConnectionError::BadEndpoint)?;
        let namespace = host.strip_suffix(CLOUD).unwrap_or("local").to_owned();
        Ok(Self {
            namespace,
            key_name: key_name.ok_or(ConnectionError::Missing("SharedAccessKeyName"))?,
            key: key.ok_or(ConnectionError::Missing("SharedAccessKey"))?,
            endpoint,
        })
    }

    /// The address, for messages.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// The address that the crate thinks it speaks to.
    pub(crate) fn cloud(&self) -> String {
        format!("https://{}{CLOUD}/", self.namespace)
    }
}

fn address(text: &str) -> Result<Url, ConnectionError> {
    let text = match text.strip_prefix("sb://") {
        Some(rest) => format!("https://{rest}"),
        None => text.to_owned(),
    };
    Url::parse(&format!("{}/", text.trim_end_matches('/')))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or(ConnectionError::BadEndpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0=";

    #[test]
    fn a_namespace_is_reached_over_https_by_its_name() {
        let text = format!("Endpoint=sb://acme.servicebus.windows.net/;{KEY}");
        let connection = Connection::parse(&text).expect("it is whole");
        assert_eq!(connection.endpoint(), "https://acme.servicebus.windows.net");
        assert_eq!(connection.namespace, "acme");
        assert_eq!(connection.cloud(), connection.endpoint.as_str());
        assert_eq!(connection.key, "c2VjcmV0=");
        assert!(!format!("{connection:?}").contains("c2Vjc"));
    }

    #[test]
    fn a_local_endpoint_is_taken_as_it_is() {
        let text = format!("Endpoint=http://127.0.0.1:7420/bus;{KEY}");
        let connection = Connection::parse(&text).expect("it is whole");
        assert_eq!(connection.endpoint(), "http://127.0.0.1:7420/bus");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            (" ", ConnectionError::Empty),
            ("x", ConnectionError::NotAPair),
            (KEY, ConnectionError::Missing("Endpoint")),
            (
                "Endpoint=sb://a/;SharedAccessKeyName=n",
                ConnectionError::Missing("SharedAccessKey"),
            ),
            (
                "Endpoint=sb://a/;SharedAccessKey=c2Vj",
                ConnectionError::Missing("SharedAccessKeyName"),
            ),
            ("Endpoint=amqp://a;x=y", ConnectionError::BadEndpoint),
        ] {
            assert_eq!(Connection::parse(text).expect_err(text), expected, "{text}");
        }
    }
}
