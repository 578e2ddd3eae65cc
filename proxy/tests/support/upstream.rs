//! A scripted HTTP/1 server: keeps every request byte for byte and does what the case wrote down for it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http1::{Stream, find, find_bytes, header_lines, reset_on_close};
use super::tls::ServerIdentity;

/// One step of what an upstream does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Write these bytes one by one, each in its own segment.
    Dribble(Vec<u8>),
    /// First in a script: act before the body of the request has come.
    Early,
    /// A delay that the case is about, such as one longer than a timeout.
    Wait(Duration),
    /// Read so many bytes of whatever comes now, as after an upgrade.
    Expect(usize),
    /// Answer what comes with itself until the peer ends its direction, then end ours.
    Echo,
    /// End our direction, keep reading.
    Finish,
    /// Keep the connection open and silent until the peer goes away.
    Hang,
    Close,
    Reset,
}

/// What one request looked like when it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The name of the endpoint that it came to.
    pub endpoint: String,
    /// Which connection of this endpoint, from 0.
    pub connection: usize,
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The body did not come to its end.
    pub cut: bool,
    /// The server name of the TLS handshake and the protocol it agreed on.
    pub tls: Option<String>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// What all upstreams of a suite saw, in the order of arrival.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// A server on a port of its own. Its threads end with the process.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    log: Log,
    scripts: Mutex<VecDeque<Vec<Act>>>,
    /// Every byte that arrived at all, for the suites that look for smuggled ones.
    bytes: Mutex<Vec<u8>>,
    connections: Mutex<usize>,
    identity: Option<ServerIdentity>,
    kind: Kind,
}

/// What an upstream does without a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Answers with its name.
    Named,
    /// Answers with the request line's method and target.
    Telling,
    /// Speaks no HTTP: echoes bytes.
    Bytes,
}

impl Upstream {
    /// A server that answers 200 with its name as the body, unless a script says otherwise.
    pub fn http(name: &str, log: &Log) -> Self {
        Self::bind(name, log, None, Kind::Named)
    }

    /// A server that answers with the method and the target that it was asked for.
    pub fn telling(name: &str, log: &Log) -> Self {
        Self::bind(name, log, None, Kind::Telling)
    }

    /// The same behind TLS.
    pub fn https(name: &str, log: &Log, identity: ServerIdentity) -> Self {
        Self::bind(name, log, Some(identity), Kind::Named)
    }

    /// A server of plain bytes: the script runs once a connection; without one it echoes.
    pub fn tcp(name: &str, log: &Log) -> Self {
        Self::bind(name, log, None, Kind::Bytes)
    }

    fn bind(name: &str, log: &Log, identity: Option<ServerIdentity>, kind: Kind) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            log: Arc::clone(log),
            scripts: Mutex::default(),
            bytes: Mutex::default(),
            connections: Mutex::default(),
            identity,
            kind,
        });
        let inside = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&inside);
                let number = {
                    let mut connections = shared.connections.lock().unwrap();
                    *connections += 1;
                    *connections - 1
                };
                std::thread::spawn(move || {
                    // A peer that goes away ends its connection, nothing else.
                    Serving::new(shared, number, socket)
                        .map(Serving::run)
                        .unwrap_or_default();
                });
            }
        });
        Self {
            name: name.to_owned(),
            address,
            shared,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What to do with the next requests, one script each.
    pub fn script(&self, scripts: &[Vec<Act>]) {
        *self.shared.scripts.lock().unwrap() = scripts.iter().cloned().collect();
    }

    /// Takes all bytes that arrived since the last call.
    pub fn take_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.shared.bytes.lock().unwrap())
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

/// A response with its length.
pub fn reply(status: &str, headers: &[&str], body: &str) -> Act {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for line in headers {
        text += &format!("{line}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    Act::Send(text.into_bytes())
}

/// Bytes as they are.
pub fn raw(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

/// A port where nobody listens: bound once, and given back.
pub fn dead_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A port where a connection is never answered: its queue is full and nobody empties it.
#[derive(Debug)]
pub struct SilentPort {
    pub port: u16,
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl SilentPort {
    pub fn new() -> Self {
        let socket =
            || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        // Two fill the queue of length nought, the third proves that it is full.
        let queued: Vec<_> = (0..3)
            .map(|_| {
                let client = socket();
                client.set_nonblocking(true).unwrap();
                client.connect(&address).unwrap_or_default();
                client
            })
            .collect();
        Self {
            port: address.as_socket().unwrap().port(),
            _listener: listener,
            _queued: queued,
        }
    }
}

struct Serving {
    shared: Arc<Shared>,
    number: usize,
    stream: Box<dyn Stream>,
    socket: TcpStream,
    buffer: Vec<u8>,
    tls: Option<String>,
}

impl Serving {
    fn new(shared: Arc<Shared>, number: usize, socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut tls = None;
        let stream: Box<dyn Stream> = match &shared.identity {
            None => Box::new(socket.try_clone()?),
            Some(identity) => {
                let (stream, description) = identity.accept(socket.try_clone()?)?;
                tls = Some(description);
                Box::new(stream)
            }
        };
        Ok(Self {
            shared,
            number,
            stream,
            socket,
            buffer: Vec::new(),
            tls,
        })
    }

    fn run(mut self) {
        if self.shared.kind == Kind::Bytes {
            let script = self.next_script().unwrap_or_else(|| vec![Act::Echo]);
            self.perform(&script).map(drop).unwrap_or_default();
            return;
        }
        // Ends with the first read or write that fails.
        while self.serve_one().unwrap_or(false) {}
    }

    /// One request; whether the connection goes on.
    fn serve_one(&mut self) -> io::Result<bool> {
        let Some(head) = self.read_head()? else {
            return Ok(false);
        };
        let mut seen = self.parse(&head);
        let script = self.next_script().unwrap_or_else(|| self.usual(&seen));
        let early = matches!(script.first(), Some(Act::Early));
        if early {
            self.keep(seen.clone());
            if !self.perform(&script[1..])? {
                return Ok(false);
            }
            self.read_body(&mut seen)?;
            return Ok(true);
        }
        let whole = self.read_body(&mut seen);
        seen.cut = whole.is_err();
        self.keep(seen);
        whole?;
        self.perform(&script)
    }

    fn usual(&self, seen: &Seen) -> Vec<Act> {
        let body = match self.shared.kind {
            Kind::Telling => seen
                .line
                .rsplit_once(' ')
                .map_or(seen.line.as_str(), |(front, _)| front),
            _ => &self.shared.name,
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let body = if seen.line.starts_with("HEAD ") {
            ""
        } else {
            body
        };
        vec![Act::Send((head + body).into_bytes())]
    }

    /// Whether the connection goes on after these.
    fn perform(&mut self, script: &[Act]) -> io::Result<bool> {
        for act in script {
            match act {
                Act::Early => {}
                Act::Send(bytes) => self.write(bytes)?,
                Act::Dribble(bytes) => {
                    for byte in bytes {
                        self.write(&[*byte])?;
                    }
                }
                Act::Wait(time) => std::thread::sleep(*time),
                Act::Expect(count) => {
                    while self.buffer.len() < *count {
                        self.fill()?;
                    }
                    self.buffer.drain(..*count);
                }
                Act::Echo => {
                    loop {
                        let bytes = std::mem::take(&mut self.buffer);
                        self.write(&bytes)?;
                        if !self.more()? {
                            break;
                        }
                    }
                    self.socket.shutdown(Shutdown::Write)?;
                    return Ok(false);
                }
                Act::Finish => self.socket.shutdown(Shutdown::Write)?,
                Act::Hang => {
                    while self.more()? {}
                    return Ok(false);
                }
                Act::Close => return Ok(false),
                Act::Reset => {
                    reset_on_close(&self.socket);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn next_script(&self) -> Option<Vec<Act>> {
        self.shared.scripts.lock().unwrap().pop_front()
    }

    fn keep(&self, seen: Seen) {
        self.shared.log.lock().unwrap().push(seen);
    }

    fn parse(&self, head: &[u8]) -> Seen {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        Seen {
            endpoint: self.shared.name.clone(),
            connection: self.number,
            line: lines.next().unwrap_or_default().to_owned(),
            headers: header_lines(lines),
            tls: self.tls.clone(),
            ..Seen::default()
        }
    }

    fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = find_bytes(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..at + 4).collect()));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn read_body(&mut self, seen: &mut Seen) -> io::Result<()> {
        if seen
            .header("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"))
        {
            loop {
                let line = self.read_line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
                if size == 0 {
                    break;
                }
                while self.buffer.len() < size + 2 {
                    self.fill()?;
                }
                seen.body.extend(self.buffer.drain(..size));
                self.buffer.drain(..2);
            }
            loop {
                let line = self.read_line()?;
                if line.is_empty() {
                    return Ok(());
                }
                seen.trailers
                    .extend(header_lines(std::iter::once(line.as_str())));
            }
        }
        let length = seen
            .header("content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        while self.buffer.len() < length {
            self.fill()?;
        }
        seen.body = self.buffer.drain(..length).collect();
        Ok(())
    }

    fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find_bytes(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    /// Reads once; an end of the stream is an error here.
    fn fill(&mut self) -> io::Result<()> {
        if self.more()? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        self.shared
            .bytes
            .lock()
            .unwrap()
            .extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }
}
