//! One kept-alive connection to the host, as cheap as a client can be.
//!
//! The load generator shares the machine with what it measures, so what a request costs here is missing there. A
//! general client costs several times the system calls it makes; this one speaks just the HTTP/1.1 that the host
//! answers with: a head, and a body of a length that is told. Anything else is an error and never a guess.

use std::io::ErrorKind;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// More headers than the host ever sends.
const MAX_HEADERS: usize = 64;
/// The room for an answer to begin with.
const FIRST_BYTES: usize = 4 << 10;

/// Where the host is, and who calls.
#[derive(Clone)]
pub(super) struct Address {
    /// What follows `http://`.
    authority: String,
    /// Sent with every request that has no token of its own.
    key: Option<String>,
}

impl Address {
    /// Reads a base URL; only plain HTTP without a path, since that is what a host speaks itself.
    pub(super) fn of(url: &str) -> anyhow::Result<Self> {
        let authority = url.trim_end_matches('/').strip_prefix("http://");
        let authority = authority.filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let authority = authority
            .with_context(|| format!("\"{url}\" is not of the form http://HOST:PORT: give that"))?;
        Ok(Self {
            authority: authority.to_owned(),
            key: None,
        })
    }

    /// The same, called with an API key.
    pub(super) fn with_key(self, key: Option<&str>) -> Self {
        let key = key.map(str::to_owned);
        Self { key, ..self }
    }
}

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) bearer: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The `Location` header as a path.
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// A connection; it is made when it is needed, and made anew after it broke.
pub(super) struct Connection {
    address: Address,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    pub(super) fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            stream: None,
            out: Vec::new(),
            input: Vec::with_capacity(FIRST_BYTES),
        }
    }

    /// Sends a request and reads the answer. A host closes connections that were idle; one that was closed before
    /// anything was answered is made anew, once: every request of a bench may be sent again.
    pub(super) async fn call(&mut self, request: Request<'_>) -> anyhow::Result<Answer> {
        let reused = self.stream.is_some();
        match self.attempt(request).await {
            Err(error) if reused && self.input.is_empty() && is_closed(&error) => {
                self.stream = None;
                self.attempt(request).await
            }
            outcome => outcome,
        }
        .inspect_err(|_| self.stream = None)
    }

    async fn attempt(&mut self, request: Request<'_>) -> anyhow::Result<Answer> {
        self.input.clear();
        self.write_out(request);
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(&self.address.authority)
                    .await
                    .with_context(|| format!("nothing answers at {}", self.address.authority))?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(&self.out).await?;
        loop {
            let read = stream.read_buf(&mut self.input).await?;
            if read == 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            if let Some(answer) = parse(&self.input)? {
                return Ok(answer);
            }
        }
    }

    fn write_out(&mut self, request: Request<'_>) {
        let Request {
            method,
            path,
            bearer,
            body,
        } = request;
        let out = &mut self.out;
        out.clear();
        for part in [
            method,
            " ",
            path,
            " HTTP/1.1\r\nhost: ",
            &self.address.authority,
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(token) = bearer.or(self.address.key.as_deref()) {
            out.extend_from_slice(b"\r\nauthorization: Bearer ");
            out.extend_from_slice(token.as_bytes());
        }
        if !body.is_empty() {
            out.extend_from_slice(b"\r\ncontent-type: application/json");
        }
        out.extend_from_slice(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
    }
}

/// The answer, once all of it is there.
fn parse(input: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = head.parse(input)? else {
        return Ok(None);
    };
    let status = head.code.context("an answer without a status")?;
    let mut length = 0;
    let mut location = None;
    for header in head.headers.iter() {
        let text = || std::str::from_utf8(header.value).map(str::trim);
        if header.name.eq_ignore_ascii_case("content-length") {
            length = text()?.parse()?;
        } else if header.name.eq_ignore_ascii_case("location") {
            location = Some(path_of(text()?).to_owned());
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the answer has no told length, which the bench does not read");
        }
    }
    let bytes = &input[head_bytes..];
    ensure!(bytes.len() <= length, "more was answered than announced");
    Ok((bytes.len() == length).then(|| Answer {
        status,
        location,
        body: bytes.to_vec(),
    }))
}

/// A URL without its origin.
pub(super) fn path_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|io| {
        [
            ErrorKind::UnexpectedEof,
            ErrorKind::ConnectionReset,
            ErrorKind::BrokenPipe,
        ]
        .contains(&io.kind())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_all_of_it_is_there() {
        let text = b"HTTP/1.1 201 Created\r\nLocation: http://h:1/bus/x/1/t\r\ncontent-length: 2\r\n\r\n{}";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let answer = parse(text).unwrap().unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(answer.location.as_deref(), Some("/bus/x/1/t"));
        assert_eq!(answer.body, b"{}");
    }

    #[test]
    fn an_answer_that_could_be_misread_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}").is_err());
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn only_a_hosts_own_address_is_taken() {
        assert!(Address::of("http://127.0.0.1:7420/").is_ok());
        for other in ["https://h:1", "h:1", "http://", "http://h/api"] {
            assert!(Address::of(other).is_err(), "{other}");
        }
    }
}
