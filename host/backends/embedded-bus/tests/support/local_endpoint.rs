//! Leads the Azure crate to another endpoint. It knows but `https://{namespace}.servicebus.windows.net/`, so the address
//! is rewritten below it, on the way out and, in `Location`, on the way back: what it signs and follows stays its own.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind, ResultExt as _};
use azure_core::headers::LOCATION;
use azure_core::{HttpClient, Request, Response, Url};

/// A client for one namespace that lives elsewhere.
#[derive(Debug)]
pub(crate) struct LocalEndpoint {
    inner: Arc<dyn HttpClient>,
    /// `https://{namespace}.servicebus.windows.net/`
    cloud: String,
    /// With a slash at its end.
    local: String,
}

impl LocalEndpoint {
    /// What goes to the namespace goes to `endpoint` instead.
    pub(crate) fn new(inner: Arc<dyn HttpClient>, namespace: &str, endpoint: &str) -> Self {
        let cloud = format!("https://{namespace}.servicebus.windows.net/");
        Self {
            inner,
            cloud,
            local: format!("{}/", endpoint.trim_end_matches('/')),
        }
    }
}

#[async_trait]
impl HttpClient for LocalEndpoint {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<Response> {
        let mut request = request.clone();
        let address = moved(request.url().as_str(), &self.cloud, &self.local)?;
        *request.url_mut() = Url::parse(&address).map_kind(ErrorKind::DataConversion)?;
        let answer = self.inner.execute_request(&request).await?;
        let (status, mut headers, body) = answer.deconstruct();
        if let Some(location) = headers.get_optional_string(&LOCATION) {
            headers.insert(LOCATION, moved(&location, &self.local, &self.cloud)?);
        }
        Ok(Response::new(status, headers, Box::pin(body)))
    }
}

fn moved(address: &str, from: &str, to: &str) -> azure_core::Result<String> {
    let rest = address.strip_prefix(from).ok_or_else(|| {
        Error::with_message(ErrorKind::Other, || {
            format!("{address} is not below {from}")
        })
    })?;
    Ok(format!("{to}{rest}"))
}
