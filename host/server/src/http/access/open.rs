//! What an open host answers to.
//!
//! It listens on loopback only, but a browser on the same machine reaches loopback too. A foreign page that sends a
//! request names itself as its `Origin`; a page that has made its own name point at this machine (DNS rebinding)
//! names that as `Host`. Both are refused. A request without these headers does not come from a browser.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::super::problem::Problem;

/// The names of an open host besides those of loopback.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// With the host of this URL as one more name: the one that services reach the host under.
    pub fn with_url(url: &str) -> Self {
        let name = url::Url::parse(url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        Self(name.into_iter().collect())
    }

    /// # Errors
    /// HOST_NOT_ALLOWED, ORIGIN_NOT_ALLOWED.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let host = headers.get(HOST).map(text);
        if host.is_some_and(|host| !self.is_own(name_of(host))) {
            let detail = "this host asks for no credentials, so it answers only to its own names: call it as \
                127.0.0.1 or localhost, or as in public_url";
            return Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "HOST_NOT_ALLOWED",
                detail,
            ));
        }
        let Some(origin) = headers.get(ORIGIN).map(text) else {
            return Ok(());
        };
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_some() && authority == host {
            return Ok(());
        }
        let detail =
            "this host asks for no credentials, so it takes no requests from other web pages";
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "ORIGIN_NOT_ALLOWED",
            detail,
        ))
    }

    fn is_own(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = address.parse().is_ok_and(|it: IpAddr| it.is_loopback());
        is_loopback || name == "localhost" || name.ends_with(".localhost") || self.0.contains(&name)
    }
}

/// What is no text is no name either.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    let end = authority.rfind(']').map_or(0, |end| end + 1);
    let port = authority[end..]
        .find(':')
        .map_or(authority.len(), |at| end + at);
    &authority[..port]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &'static str)]) -> Result<(), &'static str> {
        let pairs = headers.iter().map(|(name, value)| {
            (
                axum::http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let headers = pairs.collect();
        Names::with_url("http://Lucius.internal:80/x")
            .check(&headers)
            .map_err(|problem| problem.code())
    }

    #[test]
    fn an_open_host_answers_to_its_own_names() {
        for host in [
            "127.0.0.1:7420",
            "127.8.8.8",
            "[::1]:7420",
            "localhost",
            "LOCALHOST:1",
            "a.localhost:1",
            "lucius.internal",
        ] {
            assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(checked(&[]), Ok(()));
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused() {
        for host in [
            "evil.example:7420",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]:7420",
            "",
        ] {
            assert_eq!(
                checked(&[("host", host)]),
                Err("HOST_NOT_ALLOWED"),
                "{host}"
            );
        }
    }

    #[test]
    fn a_page_of_the_host_itself_may_call_and_no_other() {
        let host = ("host", "127.0.0.1:7420");
        assert_eq!(
            checked(&[host, ("origin", "http://127.0.0.1:7420")]),
            Ok(())
        );
        for origin in ["null", "http://127.0.0.1:8080", "https://evil.example", ""] {
            assert_eq!(
                checked(&[host, ("origin", origin)]),
                Err("ORIGIN_NOT_ALLOWED"),
                "{origin}"
            );
        }
        assert_eq!(
            checked(&[("origin", "http://a")]),
            Err("ORIGIN_NOT_ALLOWED")
        );
    }
}
