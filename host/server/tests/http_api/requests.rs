//! What is the same for all requests: bodies, methods, paths, ids, headers.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use lucius_server::http::Settings;
use serde_json::json;

use crate::host::{Answer, Host, command, json_request, limits};

async fn post_text(host: &Host, body: impl Into<Body>) -> Answer {
    host.send(json_request("/v1/commands", body)).await
}

#[tokio::test]
async fn what_is_not_json_is_refused_with_its_place_and_not_quoted() {
    let host = Host::start().await;
    for text in [
        "",
        "{",
        "{\n  \"secret\": }",
        "{} secret",
        "\"\\x\"",
        "nul",
        "[1,]",
    ] {
        let problem = post_text(&host, text).await.problem(400, "INVALID_JSON");
        assert!(
            problem["line"].is_u64() && problem["column"].is_u64(),
            "{problem}"
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let problem = post_text(&host, "{\n  \"secret\": }")
        .await
        .problem(400, "INVALID_JSON");
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(2), &json!(13))
    );
    post_text(&host, Bytes::from_static(b"{\"tenant_id\":\"\xff\xfe\"}"))
        .await
        .problem(400, "INVALID_JSON");
}

#[tokio::test]
async fn members_with_the_same_name_are_refused() {
    let host = Host::start().await;
    let text = command()
        .to_string()
        .replacen('{', "{\"tenant_id\":\"other\",", 1);
    let problem = post_text(&host, text).await.problem(400, "INVALID_JSON");
    assert!(
        problem["detail"].as_str().unwrap().contains("same name"),
        "{problem}"
    );
}

#[tokio::test]
async fn deep_and_crowded_documents_are_refused() {
    let host = Host::start().await;
    post_text(&host, "[".repeat(500_000))
        .await
        .problem(400, "INVALID_JSON");
    post_text(&host, "{\"a\":".repeat(100_000))
        .await
        .problem(400, "INVALID_JSON");
    post_text(&host, format!("[{}0]", "0,".repeat(100_000)))
        .await
        .problem(400, "INVALID_JSON");
}

#[tokio::test]
async fn only_json_is_a_body() {
    let host = Host::start().await;
    let body = command().to_string();
    let wrong = [
        vec![],
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/x-www-form-urlencoded")],
        vec![("content-type", "application/json; charset=latin1")],
        vec![
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
    ];
    for headers in wrong {
        let mut request = Request::post("/v1/commands");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = host
            .send(request.body(Body::from(body.clone())).unwrap())
            .await;
        answer.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let utf8 =
        Request::post("/v1/commands").header("content-type", "Application/JSON; charset=UTF-8");
    let answer = host.send(utf8.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_also_when_it_does_not_say_how_long_it_is() {
    let settings = Settings {
        body_bytes: 1_000,
        ..Settings::default()
    };
    let host = Host::with(limits(), settings).await;
    let padded = |bytes: usize| {
        let text = command().to_string();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    assert_eq!(
        post_text(&host, padded(1_000)).await.status,
        StatusCode::ACCEPTED
    );
    post_text(&host, padded(1_001))
        .await
        .problem(413, "BODY_TOO_LARGE");
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 100])));
    let chunked = Body::from_stream(stream::iter(chunks));
    post_text(&host, chunked)
        .await
        .problem(413, "BODY_TOO_LARGE");
    let endless =
        stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 65_536])));
    post_text(&host, Body::from_stream(endless))
        .await
        .problem(413, "BODY_TOO_LARGE");
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let body_timeout = std::time::Duration::from_millis(10);
    let host = Host::with(
        limits(),
        Settings {
            body_timeout,
            ..Settings::default()
        },
    )
    .await;
    let stuck = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    post_text(&host, stuck)
        .await
        .problem(408, "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let host = Host::start().await;
    let broken = stream::iter([
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("gone")),
    ]);
    post_text(&host, Body::from_stream(broken))
        .await
        .problem(400, "BODY_BROKEN_OFF");
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_too() {
    let host = Host::start().await;
    let paths = [
        "/",
        "/v1",
        "/v1/command",
        "/v1/commands/",
        "/v2/commands",
        "/v1/registry:plans",
        "/v1/dead-letter",
        "/consoles",
        "/console/%ff",
        "/bus",
        "/%ff",
    ];
    for path in paths {
        host.get(path).await.problem(404, "NOT_FOUND");
    }
    host.bare(Method::POST, "/v1/registry:rollbacks")
        .await
        .problem(404, "NOT_FOUND");
    host.bare(Method::POST, "/v1/jobs/x:explode")
        .await
        .problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let host = Host::start().await;
    let job = "/v1/jobs/018bcfe5-6800-7000-8000-000000000000";
    let wrong = [
        (Method::GET, "/v1/commands".to_owned(), "POST"),
        (Method::DELETE, "/v1/jobs".to_owned(), "GET,HEAD"),
        (Method::DELETE, job.to_owned(), "GET,HEAD,POST"),
        (Method::POST, job.to_owned(), "GET,HEAD"),
        (Method::GET, format!("{job}:cancel"), "POST"),
        (Method::GET, "/v1/registry:reload".to_owned(), "POST"),
        (
            Method::GET,
            "/bus/global-bus-p0/messages".to_owned(),
            "POST",
        ),
        (
            Method::from_bytes(b"BREW").unwrap(),
            "/healthz".to_owned(),
            "GET,HEAD",
        ),
    ];
    for (method, path, allowed) in wrong {
        let answer = host.bare(method, &path).await;
        answer.problem(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_replaced() {
    let host = Host::start().await;
    let ask = async |id: &str| {
        let request = Request::get("/healthz").header("x-request-id", id);
        host.send(request.body(Body::empty()).unwrap())
            .await
            .header("x-request-id")
            .to_owned()
    };
    assert_eq!(ask("a.B_9-z").await, "a.B_9-z");
    assert_eq!(ask(&"x".repeat(64)).await, "x".repeat(64));
    let mut made = Vec::new();
    for id in ["", "a b", "a\"b", &"x".repeat(65)] {
        made.push(ask(id).await);
    }
    made.push(host.get("/healthz").await.header("x-request-id").to_owned());
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 5, "each request has an id of its own: {made:?}");
    assert!(
        made.iter()
            .all(|id| !id.is_empty() && id.len() <= 64 && !id.contains(['"', ' ']))
    );
}

#[tokio::test]
async fn no_answer_is_cached_sniffed_or_open_to_foreign_pages() {
    let host = Host::start().await;
    for path in [
        "/v1/jobs",
        "/v1/nothing",
        "/v1/registry",
        "/healthz",
        "/nothing",
    ] {
        let request = Request::get(path).header("origin", "https://elsewhere.example");
        let answer = host.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        if path.starts_with("/v1/") {
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let mut names = answer.headers.keys().map(axum::http::HeaderName::as_str);
        assert!(!names.any(|name| name.starts_with("access-control")));
    }
}

#[tokio::test]
async fn the_embedded_bus_is_below_its_path() {
    let host = Host::start().await;
    let answer = host.bare(Method::POST, "/bus/global-bus-p0/messages").await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "bus")
    );
}
