//! A proxy that fails on purpose: it forwards requests to a port of this machine, and now and then it does not, or
//! keeps the answer to itself.
//!
//! What goes wrong is drawn from a seed, so the same requests in the same order meet the same faults.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It arrives late.
    Delay,
    /// It is answered 503 with `Retry-After`, and never forwarded.
    Busy,
    /// The connection ends before it is forwarded.
    CutBefore,
    /// It is carried out, and the connection ends before the answer.
    CutAfter,
    /// It is carried out, and the answer breaks off half way.
    HalfAnswer,
}

const ALL: [Fault; 5] = [
    Fault::Delay,
    Fault::Busy,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::HalfAnswer,
];

const DELAY: Duration = Duration::from_millis(40);

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: String,
    client: reqwest::Client,
    /// One request in so many goes wrong; none when 0.
    fault_in: AtomicU64,
    dice: Mutex<u64>,
    /// What the next requests meet, and how many of them.
    next: Mutex<Option<(Fault, u64)>>,
    faults: AtomicU64,
    requests: AtomicU64,
    /// Operations of transactions.
    operations: AtomicU64,
}

impl Proxy {
    /// A proxy before a port of this machine; nothing goes wrong yet.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(upstream: u16, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let state = Arc::new(State {
            upstream: format!("http://127.0.0.1:{upstream}"),
            client: reqwest::Client::new(),
            fault_in: AtomicU64::new(0),
            dice: Mutex::new(seed),
            next: Mutex::new(None),
            faults: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            operations: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, task }
    }

    /// A proxy with a runtime of its own, which lasts as long as this program: that of a test ends with the test. One
    /// request in so many goes wrong. Returns its port.
    ///
    /// # Panics
    /// There is no free port, or no runtime.
    pub fn lasting(upstream: u16, seed: u64, fail_one_in: u64) -> u16 {
        let (port, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new();
            let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
            runtime.block_on(async {
                let proxy = Self::start(upstream, seed).await;
                proxy.fail_one_in(fail_one_in);
                // Whoever waits for the port is still there.
                let _ = port.send(proxy.port());
                std::future::pending::<()>().await;
            });
        });
        let port = started.recv();
        port.unwrap_or_else(|error| panic!("the proxy does not start: {error}"))
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on one request in so many goes wrong; none when 0.
    pub fn fail_one_in(&self, requests: u64) {
        self.state.fault_in.store(requests, Ordering::Relaxed);
    }

    /// The next request meets this fault.
    pub fn fail_next(&self, fault: Fault) {
        self.fail_many(fault, 1);
    }

    /// The next requests, so many, meet this fault.
    pub fn fail_many(&self, fault: Fault, requests: u64) {
        *self.state.next() = Some((fault, requests));
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many entities the transactions of the requests wrote or deleted, those that were refused included.
    pub fn operations(&self) -> u64 {
        self.state.operations.load(Ordering::Relaxed)
    }

    /// How many requests went wrong.
    pub fn faults(&self) -> u64 {
        self.state.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(|request| state.answer(request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A connection that ends with an error is what this program is for.
            let _ = serving.await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The connection is to end here.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

type Body = http_body_util::combinators::BoxBody<Bytes, Cut>;

impl State {
    fn roll(&self) -> u64 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        // SplitMix64
        *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<(Fault, u64)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> Option<Fault> {
        let mut next = self.next();
        let (fault, left) = next.take()?;
        *next = (left > 1).then_some((fault, left - 1));
        Some(fault)
    }

    fn fault(&self) -> Option<Fault> {
        let asked = self.asked();
        let fault_in = self.fault_in.load(Ordering::Relaxed);
        let drawn = || {
            let index = usize::try_from(self.roll() % 5).unwrap_or(0);
            (fault_in > 0 && self.roll().is_multiple_of(fault_in)).then_some(ALL[index])
        };
        let fault = asked.or_else(drawn)?;
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault();
        match fault {
            None | Some(Fault::CutAfter | Fault::HalfAnswer) => {}
            Some(Fault::Delay) => tokio::time::sleep(DELAY).await,
            Some(Fault::Busy) => return Ok(busy()),
            Some(Fault::CutBefore) => return Err(Cut),
        }
        let (head, body) = self.forward(request).await?.into_parts();
        match fault {
            None | Some(Fault::Delay | Fault::Busy | Fault::CutBefore) => {
                Ok(Response::from_parts(head, whole(body)))
            }
            Some(Fault::CutAfter) => Err(Cut),
            Some(Fault::HalfAnswer) => Ok(Response::from_parts(head, half(&body))),
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Bytes>, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let part = b"Content-Type: application/http\r\n";
        let parts = body.windows(part.len()).filter(|it| it == part).count();
        self.operations
            .fetch_add(u64::try_from(parts).unwrap_or(0), Ordering::Relaxed);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers;
        headers.remove(http::header::HOST);
        let sent = self
            .client
            .request(head.method, format!("{}{path}", self.upstream))
            .headers(headers)
            .body(body)
            .send();
        let answer = sent.await.map_err(|_| Cut)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        for of_connection in ["transfer-encoding", "connection", "content-length"] {
            response.headers_mut().remove(of_connection);
        }
        *response.body_mut() = answer.bytes().await.map_err(|_| Cut)?;
        Ok(response)
    }
}

fn busy() -> Response<Body> {
    let mut response = Response::new(whole(Bytes::from_static(b"busy on purpose")));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let seconds = HeaderValue::from_static("1");
    response.headers_mut().insert("retry-after", seconds);
    response
}

fn whole(body: Bytes) -> Body {
    let never = |never: Infallible| match never {};
    Full::new(body).map_err(never).boxed()
}

/// The first half of a body, and then the end of the connection.
fn half(body: &Bytes) -> Body {
    let first = body.slice(..body.len() / 2);
    let frames = [Ok(hyper::body::Frame::data(first)), Err(Cut)];
    http_body_util::StreamBody::new(futures_util::stream::iter(frames)).boxed()
}
