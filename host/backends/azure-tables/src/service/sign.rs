//! What makes the service believe a request: the Shared Key scheme for tables, or a signature in the query.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use lucius_domain::time::Timestamp;
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::connection::Credential;

const DATE: HeaderName = HeaderName::from_static("x-ms-date");
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The moment as HTTP writes it.
pub(super) fn http_date(now: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1_000));
    let text = at.ok().and_then(|at| at.format(HTTP_DATE).ok());
    text.unwrap_or_default() // a date beyond year 9999 is refused by the service, as it should be
}

/// Adds the date and, with a key, the signature.
pub(super) fn sign<B>(request: &mut http::Request<B>, credential: &Credential, now: Timestamp) {
    let date = http_date(now);
    if let Credential::Key { account, key } = credential {
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let text = format!(
            "{}\n\n{}\n{date}\n/{account}{}",
            request.method(),
            content_type.unwrap_or_default(),
            request.uri().path(),
        );
        let value = format!("SharedKey {account}:{}", signature(key, &text));
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }
    if let Ok(date) = HeaderValue::from_str(&date) {
        request.headers_mut().insert(DATE, date);
    }
}

fn signature(key: &[u8], text: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new(); // HMAC takes keys of any length
    };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_documented_text() {
        let mut request = http::Request::get("https://acme.table.core.windows.net/jobs()?$top=1")
            .body(())
            .expect("it is a request");
        let credential = Credential::Key {
            account: "acme".to_owned(),
            key: b"secret".to_vec(),
        };
        sign(&mut request, &credential, Timestamp(1_700_000_000_250));
        let headers = request.headers();
        assert_eq!(headers["x-ms-date"], "Tue, 14 Nov 2023 22:13:20 GMT");
        let text = "GET\n\n\nTue, 14 Nov 2023 22:13:20 GMT\n/acme/jobs()";
        let expected = format!("SharedKey acme:{}", signature(b"secret", text));
        assert_eq!(headers["authorization"], expected.as_str());
        assert!(headers["authorization"].is_sensitive());
    }
}
