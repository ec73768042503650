//! Traces: what a collector gets.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use lucius_tests::host::Setup;
use lucius_tests::orders::{order, with};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A collector that keeps every span.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let spans = Arc::default();
        let keeps = Arc::clone(&spans);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&keeps)));
            }
        });
        Ok(Self { url, spans })
    }

    fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }
}

/// Takes exports off a connection until it ends.
async fn take(mut stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        anyhow::ensure!(text.starts_with("post /v1/traces "), "{text}");
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or_default().parse()?;
        while bytes.len() < head + length {
            stream.read_buf(&mut bytes).await?;
        }
        let export = ExportTraceServiceRequest::decode(&bytes[head..head + length])?;
        let of_scopes = export
            .resource_spans
            .into_iter()
            .flat_map(|it| it.scope_spans);
        let new: Vec<Span> = of_scopes.flat_map(|it| it.spans).collect();
        spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(new);
        bytes.drain(..head + length);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_trace_runs_from_the_post_through_bus_worker_plugins_and_callbacks()
-> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let setup = Setup::dev()
        .with("TELEMETRY_OTLP_ENDPOINT", &collector.url)
        .with("LOG_FORMAT", "json")
        .with("LOG_FILTER", "lucius=debug");
    let mut host = setup.start().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = "b7ad6b7169203331";
    let command = with(
        order("traced", "OCR"),
        json!({
            "traceparent": format!("00-{trace}-{parent}-01"),
            "input_ref": "file:///no/such/document.pdf",
        }),
    );
    let client = host.client();
    let job = client.submit(&command).await;
    let over = client.job_over(&job).await;
    assert_eq!(over["state"], "FAILED_FINAL", "{over}");
    assert!(host.terminate().await.success());

    let all = collector.spans();
    let ours: Vec<&Span> = all
        .iter()
        .filter(|span| hex(&span.trace_id) == trace)
        .collect();
    let names: BTreeSet<&str> = ours.iter().map(|span| span.name.as_str()).collect();
    for name in [
        "POST /v1/commands",
        "publish",
        "attempt",
        "POST /v1/callbacks/ack",
        "POST /v1/callbacks/result",
        "plugin",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let ids: BTreeSet<String> = ours.iter().map(|span| hex(&span.span_id)).collect();
    for span in &ours {
        let above = hex(&span.parent_span_id);
        assert!(
            above == parent || ids.contains(&above),
            "{} hangs in the air",
            span.name
        );
    }
    let of_client = ours
        .iter()
        .filter(|span| hex(&span.parent_span_id) == parent);
    let of_client: Vec<&str> = of_client.map(|span| span.name.as_str()).collect();
    assert_eq!(
        of_client,
        ["POST /v1/commands"],
        "the client's own is above it"
    );

    // What the worker logs names the attempt, too.
    let output = host.output();
    let lines = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_attempt =
        lines.filter_map(|line| Some(line["span"].clone()).filter(|it| it["name"] == "attempt"));
    let span = of_attempt.next().unwrap_or_default();
    assert_eq!(
        [
            &span["jobId"],
            &span["stepId"],
            &span["attempt"],
            &span["tenant"]
        ],
        [&json!(job), &json!("ocr"), &json!(1), &json!("traced")]
    );
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_stops_nothing() -> anyhow::Result<()> {
    let nobody = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", nobody.local_addr()?);
    drop(nobody);
    let mut host = Setup::quick()
        .with("TELEMETRY_OTLP_ENDPOINT", &url)
        .start()
        .await;
    let client = host.client();
    let job = client.submit(&order("acme", "OCR")).await;
    host.worker("platform-ocr").succeed("acme").await;
    client.job_in(&job, "SUCCEEDED").await;
    assert!(host.terminate().await.success());
    Ok(())
}
