//! Shared access signatures, as clients of Azure Service Bus send them:
//! `SharedAccessSignature sr=<resource>&sig=<signature>&se=<expiry>&skn=<rule>`.
//!
//! The rule's name is the id of an API key, and the key that signs is made from that id and the hosts' secret; see
//! `Keys::bus_key`. So any Service Bus client works here with `SharedAccessKeyName` and `SharedAccessKey`.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use lucius_domain::time::Timestamp;
use lucius_engine::access::keys::KeyId;
use sha2::Sha256;

const SCHEME: &str = "SharedAccessSignature";

/// A signature as it was sent; nothing is proven.
pub(super) struct Signature {
    /// As it was signed, still escaped.
    resource: String,
    expiry: String,
    tag: Vec<u8>,
    rule: String,
}

impl Signature {
    /// The signature of a request that has one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let fields = text.strip_prefix(SCHEME)?.strip_prefix(' ')?.trim();
        let field = |name: &str| {
            fields.split('&').find_map(|field| {
                let (key, value) = field.split_once('=')?;
                (key == name).then_some(value)
            })
        };
        Some(Self {
            resource: field("sr")?.to_owned(),
            expiry: field("se")?.to_owned(),
            tag: STANDARD.decode(unescaped(field("sig")?).as_bytes()).ok()?,
            rule: unescaped(field("skn")?).into_owned(),
        })
    }

    /// Whether it would be good for this path now, and the id of the key it has to be made with.
    pub(super) fn check_terms(&self, path: &str, now: Timestamp) -> Result<KeyId, &'static str> {
        let seconds: i64 = self.expiry.parse().map_err(|_| "se is no time")?;
        if now.0 >= seconds.saturating_mul(1_000) {
            return Err("the signature has expired");
        }
        if !covers(&unescaped(&self.resource), path) {
            return Err("the signature is for another resource");
        }
        KeyId::parse(&self.rule).ok_or("skn is not the id of a key")
    }

    /// Whether it was made with this key.
    pub(super) fn check(&self, key: &str) -> Result<(), &'static str> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| "the key is none")?;
        mac.update(self.resource.as_bytes());
        mac.update(b"\n");
        mac.update(self.expiry.as_bytes());
        mac.verify_slice(&self.tag)
            .map_err(|_| "the signature is wrong")
    }
}

/// True when the path is the resource or below it. Whose name the resource has is the client's affair: behind a proxy
/// it is not ours.
fn covers(resource: &str, path: &str) -> bool {
    let resource = resource.to_ascii_lowercase();
    let place = resource
        .split_once("://")
        .map_or(&*resource, |(_, rest)| rest);
    let place = place.split_once('/').map_or("", |(_, place)| place);
    let place = place.split('?').next().unwrap_or_default();
    let place = place.trim_matches('/');
    let place = match place.strip_prefix("bus") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_matches('/'),
        Some(_) | None => place,
    };
    let path = path.to_ascii_lowercase();
    let Some(below) = path.trim_start_matches('/').strip_prefix(place) else {
        return false;
    };
    place.is_empty() || below.is_empty() || below.starts_with('/')
}

fn unescaped(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/global-bus-p3/subscriptions/platform-ocr/messages/head";

    fn signature(resource: &str, expiry: &str, key: &str) -> Signature {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let tag = STANDARD.encode(mac.finalize().into_bytes());
        let tag: String = url::form_urlencoded::byte_serialize(tag.as_bytes()).collect();
        let text = format!(
            "SharedAccessSignature sr={resource}&sig={tag}&se={expiry}&skn=0123456789abcdef"
        );
        let headers = [(AUTHORIZATION, text.parse().unwrap())];
        Signature::of(&headers.into_iter().collect()).unwrap()
    }

    #[test]
    fn a_signature_is_good_with_its_key_for_its_resource_and_its_time() {
        let given = signature("https%3a%2f%2fns.example%2fglobal-bus-p3", "100", "secret");
        assert_eq!(given.check("secret"), Ok(()));
        assert!(given.check("other").is_err());
        let id = given.check_terms(PATH, Timestamp(99_999)).unwrap();
        assert_eq!(id.as_str(), "0123456789abcdef");
        assert!(given.check_terms(PATH, Timestamp(100_000)).is_err());
        let other = "/global-bus-p30/messages";
        assert!(given.check_terms(other, Timestamp(0)).is_err());
    }

    #[test]
    fn a_resource_covers_what_is_below_it() {
        for resource in [
            "http://127.0.0.1:7420/bus",
            "http://127.0.0.1:7420/bus/",
            "sb://ns.example/",
            "https://ns.example/global-bus-p3/subscriptions/platform-ocr",
            "ns.example/Global-Bus-P3",
        ] {
            assert!(covers(resource, PATH), "{resource}");
        }
        for resource in [
            "https://ns.example/global-bus-p",
            "https://ns.example/global-bus-p3/subscriptions/platform",
            "https://ns.example/business",
        ] {
            assert!(!covers(resource, PATH), "{resource}");
        }
    }
}
