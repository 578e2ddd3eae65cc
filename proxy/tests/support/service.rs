//! A sample service over HTTP/1.1 and WebSocket that describes what reached it, and a line echo over TCP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::http1::header_lines;
use super::network::Namespace;

/// A service that runs until its program ends.
///
/// `GET /status/CODE` answers with that status; everything else with a description of the request in JSON.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    /// What every request gets, unless 200.
    status: AtomicU16,
    requests: AtomicUsize,
}

impl Service {
    pub fn http(namespace: &Namespace, name: &str, port: u16) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            status: AtomicU16::new(200),
            requests: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        accept(namespace, port, move |socket| serving.serve(socket));
        Self(shared)
    }

    /// Answers everything with this status from now on.
    pub fn answer(&self, status: u16) {
        self.0.status.store(status, Ordering::SeqCst);
    }

    /// Requests that came so far.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }
}

/// A service that answers each line with `NAME PEER: LINE`; with `greeting` it speaks first.
pub fn lines(namespace: &Namespace, name: &str, port: u16, greeting: Option<&'static str>) {
    let name = name.to_owned();
    accept(namespace, port, move |mut socket| {
        if let Some(greeting) = greeting {
            socket.write_all(greeting.as_bytes())?;
        }
        let peer = socket.peer_addr()?.ip();
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            socket.write_all(format!("{name} {peer}: {line}").as_bytes())?;
            line.clear();
        }
        Ok(())
    });
}

/// Serves every connection to a port on a thread of its own.
pub fn accept(
    namespace: &Namespace,
    port: u16,
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) {
    let any = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = namespace
        .inside(|| TcpListener::bind(any))
        .unwrap_or_else(|error| panic!("{}: port {port}: {error}", namespace.name));
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || {
                // A peer that goes away ends its connection, nothing else.
                serve(socket).unwrap_or_default();
            });
        }
    });
}

/// One request as it came.
#[derive(Debug)]
pub struct Arrived {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Arrived {
    pub fn header(&self, name: &str) -> Option<&str> {
        super::http1::find(&self.headers, name)
    }

    /// Reads the next request of a connection.
    pub fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(None);
            }
        }
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (method, path) = (word(), word());
        let mut arrived = Self {
            method,
            path,
            headers: header_lines(lines),
            body: Vec::new(),
        };
        let length = arrived.header("content-length").map(str::parse);
        if let Some(Ok(length)) = length {
            arrived.body = vec![0; length];
            reader.read_exact(&mut arrived.body)?;
        } else if arrived.header("transfer-encoding").is_some() {
            arrived.read_chunks(reader)?;
        }
        Ok(Some(arrived))
    }

    fn read_chunks(&mut self, reader: &mut BufReader<TcpStream>) -> io::Result<()> {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            let start = self.body.len();
            self.body.resize(start + size, 0);
            reader.read_exact(&mut self.body[start..])?;
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

impl Shared {
    fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let peer = socket.peer_addr()?.ip();
        let mut reader = BufReader::new(socket.try_clone()?);
        while let Some(request) = Arrived::read(&mut reader)? {
            self.requests.fetch_add(1, Ordering::SeqCst);
            if let Some(key) = request.header("sec-websocket-key") {
                return echo_frames(reader, socket, key);
            }
            let status = match request.path.strip_prefix("/status/").map(str::parse) {
                Some(Ok(status)) => status,
                _ => self.status.load(Ordering::SeqCst),
            };
            let headers: Map<String, Value> = request
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().into()))
                .collect();
            let body = json!({
                "service": self.name,
                "peer": peer.to_string(),
                "method": request.method,
                "path": request.path,
                "headers": headers,
                "body": String::from_utf8_lossy(&request.body),
            })
            .to_string();
            let head = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes())?;
        }
        Ok(())
    }
}

/// RFC 6455, as far as an echo goes: short frames, unmasked and sent back until one closes.
fn echo_frames(
    mut reader: BufReader<TcpStream>,
    mut socket: TcpStream,
    key: &str,
) -> io::Result<()> {
    let accepted = websocket_accept(key);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accepted}\r\n\r\n"
    );
    socket.write_all(head.as_bytes())?;
    loop {
        let mut start = [0; 2];
        reader.read_exact(&mut start)?;
        let length = start[1] & 0x7f;
        assert!(start[1] & 0x80 != 0 && length < 126, "a short masked frame");
        let mut mask = [0; 4];
        reader.read_exact(&mut mask)?;
        let mut payload = vec![0; usize::from(length)];
        reader.read_exact(&mut payload)?;
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[index % 4];
        }
        socket.write_all(&[start[0], length])?;
        socket.write_all(&payload)?;
        if start[0] & 0x0f == CLOSE {
            return Ok(());
        }
    }
}

/// The answer to a key of a WebSocket's handshake.
pub fn websocket_accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Opcode of a frame that closes.
const CLOSE: u8 = 8;
