//! Containers and blobs of the emulator, by the service's own calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::{Method, Response};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::emulator::{self, ACCOUNT, KEY};

const VERSION: &str = "2021-08-06";

/// What a program is started with to reach the emulator, in the names that it knows.
pub async fn environment() -> Vec<(String, String)> {
    let endpoint = format!(
        "http://127.0.0.1:{}/{ACCOUNT}",
        emulator::blobs().await.port()
    );
    let variables = [
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ("AZURE_ALLOW_HTTP", "true"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Makes a container.
///
/// # Panics
/// It cannot be made.
pub async fn make_container(name: &str) {
    let answer = call(Method::PUT, name, "restype=container", Vec::new()).await;
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Writes a blob.
///
/// # Panics
/// It cannot be written.
pub async fn put(path: &str, bytes: Vec<u8>) {
    let answer = call(Method::PUT, path, "", bytes).await;
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Reads a blob, if it is there.
///
/// # Panics
/// The emulator does not answer.
pub async fn get(path: &str) -> Option<Vec<u8>> {
    let answer = call(Method::GET, path, "", Vec::new()).await;
    if !answer.status().is_success() {
        return None;
    }
    let bytes = answer.bytes().await;
    Some(bytes.unwrap_or_else(|error| panic!("{error}")).to_vec())
}

async fn call(method: Method, path: &str, query: &str, body: Vec<u8>) -> Response {
    let now = OffsetDateTime::now_utc().format(format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    ));
    let now = now.unwrap_or_else(|error| panic!("no date: {error}"));
    let is_blob = method == Method::PUT && query.is_empty();
    let length = match body.len() {
        0 => String::new(),
        length => length.to_string(),
    };
    let kind = if is_blob {
        "x-ms-blob-type:BlockBlob\n"
    } else {
        ""
    };
    let query_signed = match query.split_once('=') {
        Some((name, value)) => format!("\n{name}:{value}"),
        None => String::new(),
    };
    let text = format!(
        "{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{kind}x-ms-date:{now}\nx-ms-version:{VERSION}\n/{ACCOUNT}/{ACCOUNT}/{path}{query_signed}"
    );
    let port = emulator::blobs().await.port();
    let mut request = reqwest::Client::new()
        .request(
            method,
            format!("http://127.0.0.1:{port}/{ACCOUNT}/{path}?{query}"),
        )
        .header("x-ms-date", &now)
        .header("x-ms-version", VERSION)
        .header(
            "authorization",
            format!("SharedKey {ACCOUNT}:{}", signature(&text)),
        )
        .body(body);
    if is_blob {
        request = request.header("x-ms-blob-type", "BlockBlob");
    }
    let answer = request.send().await;
    answer.unwrap_or_else(|error| panic!("the emulator does not answer: {error}"))
}

fn signature(text: &str) -> String {
    let key = STANDARD.decode(KEY).unwrap_or_default();
    let mac = Hmac::<Sha256>::new_from_slice(&key);
    let mut mac = mac.unwrap_or_else(|error| panic!("no key: {error}"));
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
