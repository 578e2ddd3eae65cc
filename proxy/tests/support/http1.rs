//! A client that sends bytes as they are and reads one HTTP/1 response at a time.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Any stream with two directions: TCP, or TLS over it.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A connection with what has been read and not yet used.
pub struct Connection {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    buffer: Vec<u8>,
    ended: bool,
    /// A write has learnt of a reset: the kernel tells it once, and what is read then looks like an orderly end.
    reset: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({:?})", self.socket.peer_addr())
    }
}

/// One response. Header names and values are as they came.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Status codes of the interim responses before it.
    pub interim: Vec<u16>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// Why there was no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed before the first byte.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Nothing came in time.
    Silent,
    /// What came is no response, or its body ended too early; the text says which.
    Broken(String),
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("closed"),
            Self::Reset => formatter.write_str("reset"),
            Self::Silent => formatter.write_str("silent"),
            Self::Broken(text) => write!(formatter, "broken: {text}"),
        }
    }
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        // Without a timeout: with one, a reset right behind the handshake is an error of the connect itself.
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let stream = Box::new(socket.try_clone()?);
        Ok(Self::over(stream, socket))
    }

    /// Over a stream that somebody else opened; `socket` is the TCP connection under it.
    pub fn over(stream: Box<dyn Stream>, socket: TcpStream) -> Self {
        // A peer that no longer reads must not hold the suite.
        socket
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        Self {
            stream,
            socket,
            buffer: Vec::new(),
            ended: false,
            reset: false,
        }
    }

    /// Sends, and does not mind a peer that has closed: what it answered is still there to read.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
        self.reset |= sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        sent.is_ok()
    }

    /// Ends our direction only.
    pub fn finish(&mut self) {
        // A peer that is gone has ended both already.
        self.socket.shutdown(Shutdown::Write).unwrap_or_default();
    }

    /// Resets instead of closing.
    pub fn reset(self) {
        reset_on_close(&self.socket);
    }

    /// The next response; `bodiless` for the answer to HEAD.
    pub fn response(&mut self, bodiless: bool) -> Result<Response, End> {
        self.response_within(bodiless, PATIENCE)
    }

    pub fn response_within(&mut self, bodiless: bool, limit: Duration) -> Result<Response, End> {
        let end = Instant::now() + limit;
        let mut interim = Vec::new();
        loop {
            let head = self.read_head(end)?;
            let mut response = parse_head(&head).ok_or_else(|| {
                End::Broken(format!(
                    "no response head: {:?}",
                    String::from_utf8_lossy(&head)
                ))
            })?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response.status);
                continue;
            }
            response.interim = interim;
            if !(bodiless || matches!(response.status, 101 | 204 | 304)) {
                self.read_body(&mut response, end)?;
            }
            return Ok(response);
        }
    }

    /// Does the peer close in time? Bytes that come before are kept aside and counted as not closed.
    pub fn closes(&mut self, limit: Duration) -> Result<(), End> {
        let end = Instant::now() + limit;
        loop {
            if !self.buffer.is_empty() {
                return Err(End::Broken(
                    String::from_utf8_lossy(&self.buffer).into_owned(),
                ));
            }
            match self.fill(end) {
                Ok(()) => {}
                Err(End::Closed | End::Reset) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// Exactly so many bytes.
    pub fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        self.read_exactly_within(count, PATIENCE)
    }

    pub fn read_exactly_within(&mut self, count: usize, limit: Duration) -> Result<Vec<u8>, End> {
        let end = Instant::now() + limit;
        while self.buffer.len() < count {
            self.fill(end)?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything until the peer closes, resets or is silent for the limit.
    pub fn read_to_end(&mut self, limit: Duration) -> (Vec<u8>, End) {
        let end = Instant::now() + limit;
        loop {
            if let Err(reason) = self.fill(end) {
                return (std::mem::take(&mut self.buffer), reason);
            }
        }
    }

    /// Reads once more into the buffer.
    fn fill(&mut self, end: Instant) -> Result<(), End> {
        if self.ended {
            return Err(End::Closed);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(End::Silent);
        }
        self.socket
            .set_read_timeout(Some(left))
            .map_err(|_| End::Reset)?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                self.ended = true;
                Err(if self.reset { End::Reset } else { End::Closed })
            }
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(End::Silent),
                // TLS peers that close without an alert.
                io::ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    Err(End::Closed)
                }
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(End::Reset),
            },
        }
    }

    fn read_head(&mut self, end: Instant) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = find_bytes(&self.buffer, b"\r\n\r\n") {
                return Ok(self.buffer.drain(..at + 4).collect());
            }
            self.fill(end).map_err(|reason| self.unless_begun(reason))?;
        }
    }

    /// A peer that closes in the middle of a head has answered something, only not a response.
    fn unless_begun(&self, reason: End) -> End {
        if self.buffer.is_empty() {
            return reason;
        }
        End::Broken(format!(
            "{reason} after {:?}",
            String::from_utf8_lossy(&self.buffer)
        ))
    }

    fn read_body(&mut self, response: &mut Response, end: Instant) -> Result<(), End> {
        let broken =
            |reason: End| End::Broken(format!("status {}, body {reason}", response.status));
        if response
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
        {
            loop {
                let line = self.read_line(end).map_err(broken)?;
                let size =
                    usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                        .map_err(|_| End::Broken(format!("chunk size {line:?}")))?;
                if size == 0 {
                    break;
                }
                while self.buffer.len() < size + 2 {
                    self.fill(end).map_err(broken)?;
                }
                response.body.extend(self.buffer.drain(..size));
                self.buffer.drain(..2);
            }
            loop {
                let line = self
                    .read_line(end)
                    .map_err(|reason| End::Broken(format!("trailers {reason}")))?;
                if line.is_empty() {
                    return Ok(());
                }
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                response
                    .trailers
                    .push((name.to_owned(), value.trim().to_owned()));
            }
        }
        if let Some(length) = response.header("content-length") {
            let length: usize = length
                .parse()
                .map_err(|_| End::Broken(format!("content-length {length:?}")))?;
            while self.buffer.len() < length {
                self.fill(end).map_err(broken)?;
            }
            response.body = self.buffer.drain(..length).collect();
            return Ok(());
        }
        loop {
            match self.fill(end) {
                Ok(()) => {}
                Err(End::Closed) => break,
                Err(reason) => return Err(broken(reason)),
            }
        }
        response.body = std::mem::take(&mut self.buffer);
        Ok(())
    }

    fn read_line(&mut self, end: Instant) -> Result<String, End> {
        loop {
            if let Some(at) = find_bytes(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill(end)?;
        }
    }
}

/// A request in few words; [`Request::bytes`] writes it as it will go out.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    target: String,
    version: &'static str,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub fn get(target: &str) -> Request {
    request("GET", target)
}

pub fn post(target: &str, body: &str) -> Request {
    request("POST", target).body(body)
}

pub fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        version: "HTTP/1.1",
        host: Some("a.test".to_owned()),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Request {
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub fn no_host(mut self) -> Self {
        self.host = None;
        self
    }

    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with its length.
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self.header("content-length", &body.len().to_string())
    }

    /// A body in these chunks, with these lines of trailers.
    pub fn chunks(mut self, chunks: &[&str], trailers: &[&str]) -> Self {
        for chunk in chunks {
            self.body
                .extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
        }
        self.body.extend_from_slice(b"0\r\n");
        for line in trailers {
            self.body
                .extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        self.body.extend_from_slice(b"\r\n");
        self.header("transfer-encoding", "chunked")
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if let Some(host) = &self.host {
            text += &format!("host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// The first value of a header.
pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// Where a text begins in bytes.
pub fn find_bytes(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The lines of a head as pairs, behind its first line.
pub fn header_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, "(no colon)"));
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        })
        .collect()
}

/// Makes the close of this socket a reset; every clone of it must be dropped.
pub fn reset_on_close(socket: &TcpStream) {
    socket2::SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap_or_default();
}

fn parse_head(head: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.splitn(3, ' ');
    let version = words.next()?.to_owned();
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let status = words.next()?.parse().ok()?;
    let reason = words.next().unwrap_or_default().to_owned();
    Some(Response {
        version,
        status,
        reason,
        headers: header_lines(lines),
        ..Response::default()
    })
}
