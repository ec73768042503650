//! The stores' requests over the HTTP client that the rest of the program has: one TLS library, one way to proxies.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, Result};

const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come before a request counts as dead; the store tries it again.
const SILENCE: Duration = Duration::from_secs(30);

/// Makes clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        // Not in the clear, unless the store's settings say so (AWS_ALLOW_HTTP, AZURE_ALLOW_HTTP, ...).
        let allows_http = options
            .get_config_value(&ClientConfigKey::AllowHttp)
            .is_some_and(|said| said.eq_ignore_ascii_case("true"));
        let client = reqwest::Client::builder()
            .https_only(!allows_http)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // A redirect would carry credentials to an address that nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let client = client.map_err(|source| object_store::Error::Generic {
            store: "HTTP",
            source: Box::new(source),
        })?;
        Ok(HttpClient::new(Client(client)))
    }
}

#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let sent = self
            .0
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(reqwest::Body::wrap(body))
            .send();
        let (head, body) = http::Response::from(sent.await.map_err(failed)?).into_parts();
        let body = HttpResponseBody::new(body.map_err(failed));
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// Without the URL, which may be signed.
fn failed(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_request() {
        HttpErrorKind::Request
    } else if error.is_body() {
        HttpErrorKind::Interrupted
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Unknown
    };
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(options: ClientOptions) -> String {
        let client = Connector.connect(&options).unwrap();
        // Nobody listens there.
        let request = http::Request::get("http://127.0.0.1:9/");
        let request = request.body(Vec::<u8>::new().into()).unwrap();
        format!("{:?}", client.execute(request).await.unwrap_err())
    }

    #[tokio::test]
    async fn credentials_do_not_go_out_in_the_clear_unless_that_is_asked_for() {
        let refused = asked(ClientOptions::default()).await;
        assert!(refused.contains("BadScheme"), "{refused}");
        let tried = asked(ClientOptions::default().with_allow_http(true)).await;
        assert!(!tried.contains("BadScheme"), "{tried}");
    }
}
