//! The upstream behind every peer: one fixed answer, an echo, a stream; on the load generator's thread.
//!
//! It shares a thread with the load so that core 1 never switches between the two, and so that both
//! see the same clock. It answers 400 to a request that lost its host or its marker on the way, which
//! the load generator counts as wrong.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};

use crate::certificates::HOST;
use crate::error::BenchError;
use crate::load::{FILL, GET_BYTES, MARKER, MEGABYTE};
use crate::scenario::Door;

/// Listens on the three ports of the backend and serves until the runtime ends. Must be called inside
/// a `LocalSet`.
///
/// # Errors
/// When a port is taken.
pub async fn start() -> Result<(), BenchError> {
    serve(Door::Plain.direct(), http1).await?;
    serve(Door::Http2.direct(), http2).await?;
    serve(Door::Tcp.direct(), stream).await
}

/// Answers health checks and notes when they came.
#[derive(Debug)]
pub struct Checks {
    seen: Rc<RefCell<Seen>>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    longest: Duration,
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Listens until it is dropped.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn listen(address: SocketAddr) -> Result<Self, BenchError> {
        // The one before was aborted when it was dropped: its task lets go of the port when it has its turn.
        tokio::task::yield_now().await;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| BenchError::Listen { address, source })?;
        let seen = Rc::new(RefCell::new(Seen {
            last: Instant::now(),
            longest: Duration::ZERO,
        }));
        let noting = Rc::clone(&seen);
        let task = spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                spawn_local(checked(socket, Rc::clone(&noting)));
            }
        });
        Ok(Self {
            seen,
            task: task.abort_handle(),
        })
    }

    /// Forgets what came before.
    pub fn restart(&self) {
        self.seen.borrow_mut().longest = Duration::ZERO;
    }

    /// The longest time between two checks, the one that is awaited included.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let seen = self.seen.borrow();
        seen.longest.max(seen.last.elapsed())
    }
}

async fn checked(mut socket: TcpStream, seen: Rc<RefCell<Seen>>) {
    let mut buffer = Vec::new();
    while let Ok(1..) = socket.read_buf(&mut buffer).await {
        if !buffer.ends_with(b"\r\n\r\n") {
            continue;
        }
        buffer.clear();
        {
            let mut seen = seen.borrow_mut();
            seen.longest = seen.longest.max(seen.last.elapsed());
            seen.last = Instant::now();
        }
        if socket.write_all(HEALTHY).await.is_err() {
            return;
        }
    }
}

const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn serve<F, Fut>(address: SocketAddr, connection: F) -> Result<(), BenchError>
where
    F: Fn(TcpStream) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| BenchError::Listen { address, source })?;
    spawn_local(async move {
        loop {
            // A peer that resets before accept is its own problem: the load counts the answers.
            if let Ok((socket, _)) = listener.accept().await
                && socket.set_nodelay(true).is_ok()
            {
                spawn_local(connection(socket));
            }
        }
    });
    Ok(())
}

async fn http1(mut socket: TcpStream) {
    let ok = answer_head(StatusCode::OK, GET_BYTES);
    let mut fixed = ok.into_bytes();
    fixed.resize(fixed.len() + GET_BYTES, FILL);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some(request) = parse(&buffer) else {
            match socket.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let end = request.head + request.body;
        while buffer.len() < end {
            match socket.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let sent = match request.verdict {
            Verdict::Get => socket.write_all(&fixed).await,
            Verdict::Echo => {
                let mut answer = answer_head(StatusCode::OK, request.body).into_bytes();
                answer.extend_from_slice(&buffer[request.head..end]);
                socket.write_all(&answer).await
            }
            Verdict::Bad => {
                let answer = answer_head(StatusCode::BAD_REQUEST, 0);
                socket.write_all(answer.as_bytes()).await
            }
        };
        if sent.is_err() {
            return;
        }
        buffer.drain(..end);
    }
}

/// A complete request head: its length, the length of the body that follows, what to answer.
struct Incoming {
    head: usize,
    body: usize,
    verdict: Verdict,
}

enum Verdict {
    Bad,
    Echo,
    Get,
}

/// `None` while the head is incomplete.
fn parse(buffer: &[u8]) -> Option<Incoming> {
    if buffer.is_empty() {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(buffer) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => {
            return Some(Incoming {
                head: buffer.len(),
                body: 0,
                verdict: Verdict::Bad,
            });
        }
    };
    let (mut body, mut host, mut marker, mut plain_body) = (0, false, false, true);
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok();
            body = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        } else if header.name.eq_ignore_ascii_case("host") {
            host = header.value == HOST.as_bytes();
        } else if header.name.eq_ignore_ascii_case(MARKER) {
            marker = true;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            // The load sends Content-Length; a peer that turns it into chunks is not being compared fairly.
            plain_body = false;
        }
    }
    let verdict = match (request.method, request.path) {
        _ if !(host && marker && plain_body) => Verdict::Bad,
        (Some("GET"), Some("/1k")) => Verdict::Get,
        (Some("POST"), Some("/echo")) => Verdict::Echo,
        _ => Verdict::Bad,
    };
    Some(Incoming {
        head,
        body,
        verdict,
    })
}

fn answer_head(status: StatusCode, length: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/octet-stream\r\n{MARKER}: backend\r\n\
         content-length: {length}\r\n\r\n"
    )
}

async fn http2(socket: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        spawn_local(async move {
            // A stream that fails here fails at the load generator too, where it is counted.
            drop(unary(request, &mut answer).await);
        });
    }
}

async fn unary(
    request: http::Request<h2::RecvStream>,
    answer: &mut h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut received = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.remaining())?;
        received.extend_from_slice(&data);
    }
    // RFC 9113 8.3.1 lets a proxy say it in either place; nginx and HAProxy use Host.
    let host =
        head.uri.host() == Some(HOST) || head.headers.get("host").is_some_and(|host| host == HOST);
    let right = host && head.uri.path() == "/echo" && head.headers.contains_key(MARKER);
    let mut response = Response::new(());
    if !right {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    headers.insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    headers.insert(MARKER, http::HeaderValue::from_static("backend"));
    let mut stream = answer.send_response(response, false)?;
    stream.send_data(received.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Answers each byte of a connection with one megabyte.
async fn stream(mut socket: TcpStream) {
    let block: Rc<[u8]> = vec![FILL; 64 * 1024].into();
    while socket.read_u8().await.is_ok() {
        let mut left = MEGABYTE;
        while left > 0 {
            let now = left.min(block.len());
            if socket.write_all(&block[..now]).await.is_err() {
                return;
            }
            left -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_only_with_host_marker_and_length() {
        let cases = [
            (
                "GET /1k HTTP/1.1\r\nhost: bench.local\r\nx-bench: 1\r\n\r\n",
                "get",
            ),
            (
                "POST /echo HTTP/1.1\r\nHost: bench.local\r\nX-Bench: 1\r\nContent-Length: 3\r\n\r\nabc",
                "echo",
            ),
            (
                "GET /1k HTTP/1.1\r\nhost: other\r\nx-bench: 1\r\n\r\n",
                "bad",
            ),
            ("GET /1k HTTP/1.1\r\nhost: bench.local\r\n\r\n", "bad"),
            (
                "POST /echo HTTP/1.1\r\nhost: bench.local\r\nx-bench: 1\r\ntransfer-encoding: chunked\r\n\r\n",
                "bad",
            ),
            ("GET /1k HTTP/1.1\r\nhost: ben", "incomplete"),
            ("", "incomplete"),
        ];
        for (bytes, expected) in cases {
            let found = match parse(bytes.as_bytes()).map(|request| request.verdict) {
                None => "incomplete",
                Some(Verdict::Bad) => "bad",
                Some(Verdict::Echo) => "echo",
                Some(Verdict::Get) => "get",
            };
            assert_eq!(found, expected, "{bytes:?}");
        }
    }
}
