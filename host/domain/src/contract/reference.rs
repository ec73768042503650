//! References to documents and artifacts. The host passes them on and never opens them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest URI a reference may hold.
pub const MAX_URI_CHARS: usize = 2_048;

/// A URI, alone or with what is known about what it points at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ref {
    /// The URI alone.
    Uri(String),
    /// The URI and more.
    Full(Box<FullRef>),
}

/// A URI with what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FullRef {
    /// The URI.
    pub uri: String,
    /// A checksum of the content, `algorithm:value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whatever its author notes about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Members this version does not know, passed on as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Ref {
    /// The URI.
    pub fn uri(&self) -> &str {
        match self {
            Self::Uri(uri) => uri,
            Self::Full(full) => &full.uri,
        }
    }

    /// The reference as a JSON value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Uri(uri) => Value::from(uri.as_str()),
            // A struct of strings, numbers and JSON always serializes.
            Self::Full(full) => serde_json::to_value(full).unwrap_or(Value::Null),
        }
    }
}

/// Which references the host lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefRules {
    /// The schemes that are allowed, in lower case.
    pub schemes: Vec<String>,
    /// The hosts that are allowed; every host when empty. Schemes without a host are not affected.
    pub hosts: Vec<String>,
}

impl Default for RefRules {
    fn default() -> Self {
        let schemes = ["file", "https", "az", "abfss", "s3", "gs"];
        Self {
            schemes: schemes.map(str::to_owned).to_vec(),
            hosts: Vec::new(),
        }
    }
}

/// Why a reference is not let in. The texts do not repeat the URI, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// Longer than [`MAX_URI_CHARS`].
    #[error("the reference is longer than 2,048 characters: use a shorter URI")]
    TooLong,
    /// Control characters, blanks, or no scheme.
    #[error("the reference is not a URI: write it as scheme://place without blanks")]
    NotAUri,
    /// A scheme that is not on the list.
    #[error("scheme \"{0}\" is not allowed here: use one of {1}")]
    Scheme(String, String),
    /// A name or password in the authority.
    #[error("the reference holds user info (name or password before @): leave it out")]
    UserInfo,
    /// A host that is not on the list.
    #[error("host \"{0}\" is not allowed here: ask the operator to add it to [refs] hosts")]
    Host(String),
    /// `..` as a path segment.
    #[error("the reference climbs with \"..\": write the path it means")]
    Climbs,
}

impl RefRules {
    /// Checks one reference.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self, reference: &Ref) -> Result<(), RefError> {
        let uri = reference.uri();
        if uri.chars().count() > MAX_URI_CHARS {
            return Err(RefError::TooLong);
        }
        if uri
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err(RefError::NotAUri);
        }
        let (scheme, rest) = uri.split_once("://").ok_or(RefError::NotAUri)?;
        let scheme = scheme.to_ascii_lowercase();
        if !self.schemes.contains(&scheme) {
            return Err(RefError::Scheme(scheme, self.schemes.join(", ")));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        self.check_authority(&scheme, authority)?;
        if path.is_empty() && scheme == "file" {
            return Err(RefError::NotAUri);
        }
        let path = path
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .replace("%2e", ".");
        if path
            .replace("%2E", ".")
            .split('/')
            .any(|segment| segment == "..")
        {
            return Err(RefError::Climbs);
        }
        Ok(())
    }

    fn check_authority(&self, scheme: &str, authority: &str) -> Result<(), RefError> {
        // abfss://container@account.host/path: here the part before @ is the container, not a user.
        let host = match authority.rsplit_once('@') {
            Some((container, host)) if scheme == "abfss" && !container.contains([':', '@']) => host,
            Some(_) => return Err(RefError::UserInfo),
            None => authority,
        };
        let host = without_port(host).to_ascii_lowercase();
        match scheme {
            "file" if host.is_empty() || host == "localhost" => Ok(()),
            "file" => Err(RefError::Host(host)),
            _ if host.is_empty() => Err(RefError::NotAUri),
            _ if self.hosts.is_empty() || self.hosts.contains(&host) => Ok(()),
            _ => Err(RefError::Host(host)),
        }
    }
}

/// The host of an authority. The colons within the brackets of an IPv6 address begin no port.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str) -> Result<(), RefError> {
        RefRules::default().check(&Ref::Uri(uri.to_owned()))
    }

    #[test]
    fn the_usual_places_are_let_in() {
        for uri in [
            "file:///data/in.pdf",
            "https://store.example/doc?sig=a@b",
            "az://container/blob",
            "abfss://container@account.dfs.core.windows.net/a/b",
            "s3://bucket/key",
            "gs://bucket/key with%20blank",
        ] {
            let expected = if uri.contains(' ') {
                Err(RefError::NotAUri)
            } else {
                Ok(())
            };
            assert_eq!(check(uri), expected, "{uri}");
        }
    }

    #[test]
    fn user_info_foreign_schemes_and_climbing_are_refused() {
        assert_eq!(
            check("https://user:pw@store.example/x"),
            Err(RefError::UserInfo)
        );
        assert_eq!(
            check("https://user@store.example/x"),
            Err(RefError::UserInfo)
        );
        assert_eq!(check("abfss://a:b@account/x"), Err(RefError::UserInfo));
        assert!(matches!(check("ftp://x/y"), Err(RefError::Scheme(..))));
        assert!(matches!(check("http://x/y"), Err(RefError::Scheme(..))));
        assert_eq!(check("file:///a/../etc/passwd"), Err(RefError::Climbs));
        assert_eq!(check("file:///a/%2E%2e/etc/passwd"), Err(RefError::Climbs));
        assert_eq!(
            check("file://elsewhere/x"),
            Err(RefError::Host("elsewhere".to_owned()))
        );
        assert_eq!(check("in.pdf"), Err(RefError::NotAUri));
        assert_eq!(check("https:///x"), Err(RefError::NotAUri));
        assert_eq!(
            check(&format!("s3://{}", "x".repeat(2_048))),
            Err(RefError::TooLong)
        );
    }

    #[test]
    fn a_host_list_admits_only_its_hosts() {
        let rules = RefRules {
            hosts: vec!["store.example".to_owned()],
            ..RefRules::default()
        };
        let check = |uri: &str| rules.check(&Ref::Uri(uri.to_owned()));
        assert_eq!(check("https://STORE.example:443/x"), Ok(()));
        let rules = RefRules {
            hosts: vec!["[::1]".to_owned()],
            ..RefRules::default()
        };
        for uri in ["https://[::1]/x", "https://[::1]:8443/x"] {
            assert_eq!(rules.check(&Ref::Uri(uri.to_owned())), Ok(()), "{uri}");
        }
        assert_eq!(
            check("https://other/x"),
            Err(RefError::Host("other".to_owned()))
        );
        assert_eq!(check("file:///x"), Ok(()));
    }
}
