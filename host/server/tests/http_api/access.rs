//! Who is let in.

use axum::body::Body;
use axum::http::Request;
use lucius_server::http::access::Needs;
use lucius_server::http::routes;

use crate::host::{Host, json_request};

/// A request that a route understands so far that it asks who calls.
fn request(route: &routes::Route) -> Request<Body> {
    let path = route
        .path
        .replace("{jobId}", &uuid::Uuid::nil().to_string())
        .replace("{keyId}", "0123456789abcdef")
        .replace("{file}", "console.js");
    let mut request = json_request(&path, "{}");
    *request.method_mut() = route.method.clone();
    request
}

#[tokio::test]
async fn an_open_host_answers_to_no_name_that_was_made_to_point_at_it() {
    let host = Host::start().await;
    for route in routes::table() {
        let mut rebound = request(&route);
        let name = "evil.example:7420".parse().unwrap();
        rebound.headers_mut().insert("host", name);
        host.send(rebound).await.problem(421, "HOST_NOT_ALLOWED");

        let mut foreign = request(&route);
        for (header, value) in [
            ("host", "127.0.0.1:7420"),
            ("origin", "http://evil.example"),
        ] {
            foreign.headers_mut().insert(header, value.parse().unwrap());
        }
        host.send(foreign).await.problem(403, "ORIGIN_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn an_open_host_lets_anybody_do_everything() {
    let host = Host::start().await;
    for route in routes::table() {
        let answer = host.send(request(&route)).await;
        let status = answer.status.as_u16();
        assert!(!matches!(status, 403 | 421), "{} {answer:?}", route.path);
        assert!(
            status != 401 || route.needs == Needs::AttemptToken,
            "{} {answer:?}",
            route.path
        );
    }
}
