//! The applications of the platform: at any address and port they speak what they are spoken to (HTTP/1.1, HTTP/2, lines;
//! each plain or over mutual TLS) and keep what arrived.
//!
//! A request for `/status/CODE` is answered with that status, `/close` with the end of the connection, `/hang` never.

use std::collections::HashMap;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::http1::{Connection, End, Stream, find, header_lines};
use crate::support::http2::{Frames, PREFACE, data, headers, kind, settings};
use crate::support::network::Namespace;
use crate::support::service::accept;
use crate::support::tls::ServerIdentity;
use crate::support::upstream::{Log, Seen};

/// Serves a port at every address of a namespace; `name` stands before the port where the address shall not be told.
pub fn serve(
    namespace: &Namespace,
    port: u16,
    name: Option<&'static str>,
    log: &Log,
    identity: ServerIdentity,
) {
    let log = Log::clone(log);
    accept(namespace, port, move |socket| {
        // A peer that goes away ends its connection, nothing else.
        converse(socket, name, &log, &identity)
            .map_err(|end| std::io::Error::other(end.to_string()))
    });
}

fn converse(
    socket: TcpStream,
    name: Option<&str>,
    log: &Log,
    identity: &ServerIdentity,
) -> Result<(), End> {
    let gone = |_| End::Closed;
    socket.set_nodelay(true).map_err(gone)?;
    let local = socket.local_addr().map_err(gone)?;
    let mut first = [0];
    socket.peek(&mut first).map_err(gone)?;
    let clone = socket.try_clone().map_err(gone)?;
    let (stream, tls): (Box<dyn Stream>, _) = if first[0] == HANDSHAKE {
        let (stream, text) = identity.accept(clone).map_err(gone)?;
        (Box::new(stream), Some(text))
    } else {
        (Box::new(clone), None)
    };
    let mut conversation = Conversation {
        here: Here {
            endpoint: name.map_or_else(
                || local.to_string(),
                |name| format!("{name}:{}", local.port()),
            ),
            tls,
            log: Log::clone(log),
        },
        connection: Connection::over(stream, socket),
    };
    let start = conversation.connection.read_exactly_within(4, FOR_EVER)?;
    match &*start {
        b"PRI " => conversation.http2(),
        b"GET " | b"POST" | b"HEAD" | b"PUT " | b"OPTI" | b"DELE" => conversation.http1(start),
        _ => conversation.lines(&start),
    }
}

/// Where a connection ended, and who hears of what came on it.
struct Here {
    endpoint: String,
    tls: Option<String>,
    log: Log,
}

/// One connection.
struct Conversation {
    here: Here,
    connection: Connection,
}

impl Here {
    fn keep(&self, seen: Seen) {
        let seen = Seen {
            endpoint: self.endpoint.clone(),
            tls: self.tls.clone(),
            ..seen
        };
        self.log.lock().unwrap().push(seen);
    }
}

impl Conversation {
    fn http1(mut self, start: Vec<u8>) -> Result<(), End> {
        let mut head = start;
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                head.extend(self.connection.read_exactly_within(1, FOR_EVER)?);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let mut lines = text.split("\r\n");
            let line = lines.next().unwrap_or_default().to_owned();
            let headers = header_lines(lines);
            let body = self.body(&headers)?;
            let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let bodiless = line.starts_with("HEAD ");
            self.here.keep(Seen {
                line,
                headers,
                body,
                ..Seen::default()
            });
            let Some(status) = asked(&target) else {
                return Ok(());
            };
            let body = format!("{} {target}", self.here.endpoint);
            let answer = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: text/plain\r\nserver-timing: app\r\nx-total: 7\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let sent = if bodiless { answer } else { answer + &body };
            self.connection.send(sent.as_bytes());
            head = Vec::new();
        }
    }

    fn body(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, End> {
        if let Some(length) = find(headers, "content-length") {
            let length = length.parse().unwrap_or_default();
            return self.connection.read_exactly(length);
        }
        let mut body = Vec::new();
        if find(headers, "transfer-encoding").is_none() {
            return Ok(body);
        }
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.connection.read_exactly(1)?);
            }
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(&text, 16)
                .map_err(|error| End::Broken(format!("chunk {text:?}: {error}")))?;
            body.extend(self.connection.read_exactly(size)?);
            self.connection.read_exactly(2)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn http2(mut self) -> Result<(), End> {
        self.connection.read_exactly(PREFACE.len() - 4)?;
        let Self { here, connection } = self;
        let mut frames = Frames::new(connection);
        frames.send(&settings(&[(3, 1000), (4, 1 << 20)]));
        let mut open: HashMap<u32, Seen> = HashMap::new();
        loop {
            let found = frames.next_of_stream(FOR_EVER)?;
            match found.kind {
                kind::HEADERS => {
                    let fields = frames.fields(&found)?;
                    let seen = open.entry(found.stream).or_default();
                    if seen.headers.is_empty() {
                        let of = |name| find(&fields, name).unwrap_or_default().to_owned();
                        seen.line = format!("{} {} HTTP/2", of(":method"), of(":path"));
                        seen.headers = fields;
                    } else {
                        seen.trailers = fields;
                    }
                }
                kind::DATA => {
                    if let Some(seen) = open.get_mut(&found.stream) {
                        seen.body.extend_from_slice(found.content());
                    }
                }
                kind::RST_STREAM => drop(open.remove(&found.stream)),
                _ => {}
            }
            if !found.ends_stream() {
                continue;
            }
            let Some(seen) = open.remove(&found.stream) else {
                continue;
            };
            let target = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let grpc = find(&seen.headers, "content-type")
                .is_some_and(|kind| kind.starts_with("application/grpc"));
            here.keep(seen);
            let Some(status) = asked(&target) else {
                return Ok(());
            };
            let status = status.to_string();
            let content_type = if grpc {
                "application/grpc"
            } else {
                "text/plain"
            };
            frames.send(&headers(
                found.stream,
                false,
                &[(":status", &status), ("content-type", content_type)],
            ));
            let body = format!("{} {target}", here.endpoint);
            frames.send(&data(found.stream, !grpc, body.as_bytes()));
            if grpc {
                frames.send(&headers(found.stream, true, &[("grpc-status", "0")]));
            }
        }
    }

    /// Answers every line with where it came to.
    fn lines(mut self, start: &[u8]) -> Result<(), End> {
        let mut line = start.to_vec();
        loop {
            while !line.ends_with(b"\n") {
                line.extend(self.connection.read_exactly_within(1, FOR_EVER)?);
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            self.here.keep(Seen {
                line: text.trim_end().to_owned(),
                ..Seen::default()
            });
            let answer = format!("{}: {text}", self.here.endpoint);
            self.connection.send(answer.as_bytes());
            line.clear();
        }
    }
}

/// The status that a path asks for; none where it asks for the end of the connection.
fn asked(target: &str) -> Option<u16> {
    let path = target.split('?').next().unwrap_or_default();
    if path.ends_with("/hang") {
        std::thread::sleep(FOR_EVER);
    }
    if path.ends_with("/close") {
        return None;
    }
    let status = path
        .rsplit_once("/status/")
        .map(|(_, status)| status.parse());
    match status {
        Some(Ok(status)) => Some(status),
        _ => Some(200),
    }
}

/// A connection of a proxy stays open as long as the proxy likes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
