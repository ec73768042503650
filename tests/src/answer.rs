//! What came back over HTTP.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// One answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Answer {
    /// Reads a response to its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self {
            status,
            headers,
            text,
            body,
        })
    }

    /// A header's text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// A problem's code; empty when this is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// This answer, which has this status.
    ///
    /// # Panics
    /// It has another; the text shows the whole answer.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// This answer, which is a problem document with this status and code.
    ///
    /// # Panics
    /// It is another answer, or its problem document lacks what each must have.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        for member in ["type", "title", "detail", "request_id"] {
            assert!(self.body[member].is_string(), "no {member}: {}", self.text);
        }
        self
    }

    /// The violations as `pointer code source`, sorted.
    pub fn violations(&self) -> Vec<String> {
        let list = self.body["violations"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text =
            |violation: &Value, name: &str| violation[name].as_str().unwrap_or("?").to_owned();
        let mut lines: Vec<String> = list
            .iter()
            .map(|one| {
                ["pointer", "code", "source"]
                    .map(|name| text(one, name))
                    .join(" ")
            })
            .collect();
        lines.sort();
        lines
    }
}
