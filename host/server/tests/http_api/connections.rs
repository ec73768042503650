//! Connections: what a client can do to a socket.

use std::net::SocketAddr;
use std::time::Duration;

use lucius_server::http::{Settings, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::host::{Host, command, limits};

/// Longer than any of this takes; only a test that hangs gets here.
const FOREVER: Duration = Duration::from_secs(60);

/// The head of a command, but for what says how long its body is.
const COMMAND: &str =
    "POST /v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

pub(crate) struct Served {
    address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
    host: Host,
}

pub(crate) async fn served(settings: Settings) -> Served {
    let host = Host::with(limits(), settings).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let api = host.api.clone();
    let task = tokio::spawn(serve(listener, api, async {
        let _stop = stopped.await;
    }));
    Served {
        address,
        stop,
        task,
        host,
    }
}

async fn with_small_bodies() -> Served {
    served(Settings {
        body_bytes: 1_000,
        ..Settings::default()
    })
    .await
}

pub(crate) async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

pub(crate) async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// All that comes until the other side closes.
pub(crate) async fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(FOREVER, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One answer with a body of known length, the connection staying open.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4_096];
        let read = tokio::time::timeout(FOREVER, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "the connection was closed after {text:?}");
        text += std::str::from_utf8(&buffer[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if body.len() >= length.parse().unwrap() {
            return text;
        }
    }
}

fn problem_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_cut_off() {
    let head_timeout = Duration::from_millis(50);
    let served = served(Settings {
        head_timeout,
        ..Settings::default()
    })
    .await;
    let mut slow = connect(&served).await;
    write(&mut slow, "GET /healthz HTTP/1.1\r\nHost: ").await;
    assert!(!read_all(slow).await.contains("200 OK"));
    assert_eq!(
        read_all(connect(&served).await).await,
        "",
        "one that says nothing is cut off too"
    );
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_answered_and_not_swallowed() {
    let served = with_small_bodies().await;
    let mut stream = connect(&served).await;
    write(
        &mut stream,
        &format!("{COMMAND}Transfer-Encoding: chunked\r\n\r\n"),
    )
    .await;
    for _ in 0..100 {
        write(&mut stream, &format!("3e8\r\n{}\r\n", " ".repeat(1_000))).await;
    }
    write(&mut stream, "0\r\n\r\n").await;
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(problem_of(&answer)["code"], "BODY_TOO_LARGE");
    // The body was read to its end, so the connection is good for more.
    write(
        &mut stream,
        &format!("{COMMAND}Content-Length: 2\r\n\r\n{{}}"),
    )
    .await;
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 422 "));
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_made_to_send_what_is_too_large() {
    let served = with_small_bodies().await;
    let mut stream = connect(&served).await;
    write(
        &mut stream,
        &format!("{COMMAND}Content-Length: 999999\r\nExpect: 100-continue\r\n\r\n"),
    )
    .await;
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_or_has_too_long_a_head_is_answered_and_closed() {
    let served = served(Settings::default()).await;
    let mut junk = connect(&served).await;
    write(&mut junk, "what is this\r\n\r\n").await;
    assert!(read_all(junk).await.starts_with("HTTP/1.1 400 Bad Request"));
    let mut long = connect(&served).await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    // The other side may close before all is written.
    let _written = long.write_all(head.as_bytes()).await;
    let mut answer = [0; 16];
    tokio::time::timeout(FOREVER, long.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn more_connections_than_places_wait_for_one() {
    let served = served(Settings {
        connections: 1,
        worker_connections: 1,
        ..Settings::default()
    })
    .await;
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first = connect(&served).await;
    write(&mut first, ask).await;
    read_answer(&mut first).await;
    let mut of_workers = connect(&served).await;
    write(&mut of_workers, ask).await;
    read_answer(&mut of_workers).await;
    let mut second = connect(&served).await;
    write(&mut second, ask).await;
    let mut byte = [0];
    // The first connection still answers, and nothing was read from the second.
    write(&mut first, ask).await;
    read_answer(&mut first).await;
    assert!(second.try_read(&mut byte).is_err());
    drop(first);
    assert!(
        read_answer(&mut second)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_place() {
    let stall_timeout = Duration::from_millis(50);
    let served = served(Settings {
        connections: 1,
        stall_timeout,
        ..Settings::default()
    })
    .await;
    let mut deaf = connect(&served).await;
    write(
        &mut deaf,
        &"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500),
    )
    .await;
    let mut second = connect(&served).await;
    write(
        &mut second,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(
        read_answer(&mut second)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
    drop(deaf);
}

#[tokio::test]
async fn stopping_lets_a_request_under_way_end_and_closes_idle_connections() {
    let served = served(Settings::default()).await;
    let mut idle = connect(&served).await;
    write(
        &mut idle,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    read_answer(&mut idle).await;
    let mut busy = connect(&served).await;
    let body = command().to_string();
    let length = body.len();
    write(
        &mut busy,
        &format!("{COMMAND}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"),
    )
    .await;
    // The host asks for the body, so the request is under way.
    let mut interim = [0; 25];
    tokio::time::timeout(FOREVER, busy.read_exact(&mut interim))
        .await
        .unwrap()
        .unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    served.stop.send(()).unwrap();
    assert_eq!(read_all(idle).await, "");
    write(&mut busy, &body).await;
    let answer = read_all(busy).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    tokio::time::timeout(FOREVER, served.task)
        .await
        .unwrap()
        .unwrap();
    assert!(
        TcpStream::connect(served.address).await.is_err(),
        "nobody listens any more"
    );
    assert_eq!(
        served.host.get("/v1/jobs").await.json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let drain = Duration::from_millis(50);
    let served = served(Settings {
        drain,
        ..Settings::default()
    })
    .await;
    let mut stuck = connect(&served).await;
    write(
        &mut stuck,
        &format!("{COMMAND}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
    )
    .await;
    let mut interim = [0; 25];
    tokio::time::timeout(FOREVER, stuck.read_exact(&mut interim))
        .await
        .unwrap()
        .unwrap();
    served.stop.send(()).unwrap();
    tokio::time::timeout(FOREVER, served.task)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read_all(stuck).await, "");
}
