//! Shared access signatures, for the calls that the crate has no part for.

use azure_core::hmac::hmac_sha256;
use lucius_domain::time::Timestamp;
use url::form_urlencoded::byte_serialize;

use crate::connection::Connection;

/// How long a token lasts; every request has its own.
const LIFE_MS: u64 = 3_600_000;

/// The `Authorization` header for a resource, made at this moment.
///
/// # Errors
/// The key cannot sign.
pub fn token(
    connection: &Connection,
    resource: &str,
    now: Timestamp,
) -> Result<String, azure_core::Error> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let resource = encoded(resource);
    let expiry = now.plus_ms(LIFE_MS).0 / 1_000;
    // The signing call takes the key as base64, whatever it is.
    let key = azure_core::base64::encode(&connection.key);
    let signature = hmac_sha256(&format!("{resource}\n{expiry}"), &key.into())?;
    Ok(format!(
        "SharedAccessSignature sr={resource}&sig={}&se={expiry}&skn={}",
        encoded(&signature),
        connection.key_name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_resource_and_its_end_and_not_the_key() {
        let text = "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=secret";
        let connection = Connection::parse(text).expect("it is whole");
        let token =
            token(&connection, "https://a/b", Timestamp(1_700_000_000_000)).expect("it signs");
        assert_eq!(
            token,
            "SharedAccessSignature sr=https%3A%2F%2Fa%2Fb\
             &sig=NjhvyD4FzGVCVWFnzs0O3pxtZP95pyVo2h4bt2lEV24%3D&se=1700003600&skn=n"
        );
    }
}
