//! The connection string, as the Azure portal shows it.
//!
//! Three forms are understood: an account key, a shared access signature, and `UseDevelopmentStorage=true` for an
//! Azurite on its usual port. `TableEndpoint` may name any address, so a local service is no special case. What is
//! wrong is said by the part's name, never by its value.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

const DEVELOPMENT_ACCOUNT: &str = "devstoreaccount1";
/// The key that every Azurite has; it is published and protects nothing.
const DEVELOPMENT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const DEVELOPMENT_ENDPOINT: &str = "http://127.0.0.1:10002/devstoreaccount1";

/// What is wrong with a connection string; its text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// Neither a key nor a signature.
    #[error("it has neither AccountKey nor SharedAccessSignature")]
    NoCredential,
    /// No address, and no account to make one from.
    #[error("it has neither TableEndpoint nor AccountName")]
    NoEndpoint,
    /// A part that is not `name=value`.
    #[error("a part of it is not of the form Name=Value")]
    NotAPair,
    /// The key is not base64.
    #[error("its AccountKey is not base64")]
    BadKey,
    /// The address is not one, or not http(s).
    #[error("its TableEndpoint is not an http or https address")]
    BadEndpoint,
}

/// How requests are allowed.
#[derive(Clone)]
pub(crate) enum Credential {
    /// Each request is signed with the account's key.
    Key { account: String, key: Vec<u8> },
    /// A signature, made by someone else, goes into each query.
    Signature(String),
}

/// Where the tables are, and how requests are allowed.
#[derive(Clone)]
pub struct Connection {
    /// Without a slash at its end.
    pub(crate) endpoint: Url,
    pub(crate) credential: Credential,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut endpoint = self.endpoint.clone();
        endpoint.set_query(None);
        f.debug_struct("Connection")
            .field("endpoint", &endpoint.as_str())
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
        let mut parts = Parts::default();
        for part in text.trim().split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(ConnectionError::NotAPair)?;
            parts.take(name.trim(), value.trim());
        }
        if parts.development {
            parts.account = Some(DEVELOPMENT_ACCOUNT.to_owned());
            parts.key = Some(DEVELOPMENT_KEY.to_owned());
            parts
                .endpoint
                .get_or_insert_with(|| DEVELOPMENT_ENDPOINT.to_owned());
        }
        parts.connection()
    }

    /// The service's address without what is secret, for messages.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }
}

#[derive(Default)]
struct Parts {
    development: bool,
    protocol: Option<String>,
    suffix: Option<String>,
    account: Option<String>,
    key: Option<String>,
    signature: Option<String>,
    endpoint: Option<String>,
}

impl Parts {
    /// Parts for other services (`BlobEndpoint`) are common in these strings and mean nothing here.
    fn take(&mut self, name: &str, value: &str) {
        let field = match name.to_ascii_lowercase().as_str() {
            "usedevelopmentstorage" => {
                self.development = value.eq_ignore_ascii_case("true");
                return;
            }
            "defaultendpointsprotocol" => &mut self.protocol,
            "endpointsuffix" => &mut self.suffix,
            "accountname" => &mut self.account,
            "accountkey" => &mut self.key,
            "sharedaccesssignature" => &mut self.signature,
            "tableendpoint" => &mut self.endpoint,
            _ => return,
        };
        *field = Some(value.to_owned());
    }

    fn connection(self) -> Result<Connection, ConnectionError> {
        let endpoint = match (self.endpoint, &self.account) {
            (Some(endpoint), _) => endpoint,
            (None, Some(account)) => format!(
                "{}://{account}.table.{}",
                self.protocol.as_deref().unwrap_or("https"),
                self.suffix.as_deref().unwrap_or("core.windows.net"),
            ),
            (None, None) => return Err(ConnectionError::NoEndpoint),
        };
        let endpoint = Url::parse(endpoint.trim_end_matches('/'))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or(ConnectionError::BadEndpoint)?;
        let credential = match (self.key, self.signature) {
            (Some(key), _) => Credential::Key {
                account: self.account.ok_or(ConnectionError::NoEndpoint)?,
                key: STANDARD.decode(key).map_err(|_| ConnectionError::BadKey)?,
            },
            (None, Some(signature)) => {
                Credential::Signature(signature.trim_start_matches('?').to_owned())
            }
            (None, None) => return Err(ConnectionError::NoCredential),
        };
        Ok(Connection {
            endpoint,
            credential,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_with_its_key_is_reached_over_https() {
        let text = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net";
        let connection = Connection::parse(text).expect("it is whole");
        assert_eq!(connection.endpoint(), "https://acme.table.core.windows.net");
        assert!(
            matches!(connection.credential, Credential::Key { ref key, .. } if key == b"secret")
        );
    }

    #[test]
    fn a_local_endpoint_is_taken_as_it_is() {
        let text = "AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:7/a/";
        let connection = Connection::parse(text).expect("it is whole");
        assert_eq!(connection.endpoint(), "http://127.0.0.1:7/a");
        let development = Connection::parse("UseDevelopmentStorage=true").expect("it is known");
        assert_eq!(development.endpoint(), DEVELOPMENT_ENDPOINT);
    }

    #[test]
    fn a_signature_needs_no_account() {
        let text = "TableEndpoint=https://acme.table.core.windows.net/;SharedAccessSignature=sv=1&sig=a%3D";
        let connection = Connection::parse(text).expect("it is whole");
        assert!(
            matches!(connection.credential, Credential::Signature(ref query) if query == "sv=1&sig=a%3D")
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        for (text, expected) in [
            ("", ConnectionError::Empty),
            ("AccountName=a", ConnectionError::NoCredential),
            ("AccountKey=c2VjcmV0", ConnectionError::NoEndpoint),
            ("c2VjcmV0", ConnectionError::NotAPair),
            ("AccountName=a;AccountKey=!", ConnectionError::BadKey),
            (
                "AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=ftp://x",
                ConnectionError::BadEndpoint,
            ),
        ] {
            let error = Connection::parse(text).expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("c2VjcmV0"));
        }
        let whole = Connection::parse("AccountName=a;AccountKey=c2VjcmV0").expect("it is whole");
        assert!(!format!("{whole:?}").contains("c2Vjc"));
    }
}
