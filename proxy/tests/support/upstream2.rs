//! A scripted HTTP/2 server over plain TCP or TLS: one request at a time in the order in which they end.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http1::{Connection, End, Stream};
use super::http2::{
    Frame, Frames, PREFACE, data, frame, goaway, headers, kind, reset, settings, window_update,
};
use super::tls::ServerIdentity;
use super::upstream::{Log, Seen};

/// One step of what the server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    Headers(Vec<(&'static str, &'static str)>, bool),
    Data(Vec<u8>, bool),
    Reset(u32),
    GoAway(u32),
    /// A frame that is none of the above, on the stream of the request.
    Frame {
        kind: u8,
        flags: u8,
        payload: Vec<u8>,
    },
    Wait(Duration),
    Hang,
    Close,
}

/// A server on a port of its own. Its threads end with the process.
#[derive(Clone, Debug)]
pub struct Upstream2 {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    log: Log,
    scripts: Mutex<VecDeque<Vec<Act>>>,
    identity: Option<ServerIdentity>,
    /// Answers with the method and the target that it was asked for, not with its name.
    telling: bool,
}

impl Upstream2 {
    /// A server that answers 200 with its name as the body, unless a script says otherwise.
    pub fn plain(name: &str, log: &Log) -> Self {
        Self::bind(name, log, None, false)
    }

    pub fn telling(name: &str, log: &Log) -> Self {
        Self::bind(name, log, None, true)
    }

    pub fn tls(name: &str, log: &Log, identity: ServerIdentity) -> Self {
        Self::bind(name, log, Some(identity), false)
    }

    fn bind(name: &str, log: &Log, identity: Option<ServerIdentity>, telling: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            log: Arc::clone(log),
            scripts: Mutex::default(),
            identity,
            telling,
        });
        let inside = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                let shared = Arc::clone(&inside);
                // A peer that goes away ends its connection, nothing else.
                std::thread::spawn(move || serve(&shared, number, socket).unwrap_or_default());
            }
        });
        Self { address, shared }
    }

    pub fn name(&self) -> String {
        self.shared.name.clone()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What to do with the next requests, one script each.
    pub fn script(&self, scripts: &[Vec<Act>]) {
        *self.shared.scripts.lock().unwrap() = scripts.iter().cloned().collect();
    }
}

/// A connection of a proxy stays open as long as the proxy likes.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn serve(shared: &Shared, number: usize, socket: TcpStream) -> Result<(), End> {
    let gone = |_| End::Closed;
    socket.set_nodelay(true).map_err(gone)?;
    let mut description = None;
    let stream: Box<dyn Stream> = match &shared.identity {
        None => Box::new(socket.try_clone().map_err(gone)?),
        Some(identity) => {
            let (stream, text) = identity
                .accept(socket.try_clone().map_err(gone)?)
                .map_err(gone)?;
            description = Some(text);
            Box::new(stream)
        }
    };
    let mut connection = Connection::over(stream, socket);
    let preface = connection.read_exactly_within(PREFACE.len(), FOR_EVER)?;
    if preface != PREFACE {
        return Err(End::Broken("no preface".into()));
    }
    let mut frames = Frames::new(connection);
    frames.send(&settings(&[(3, 1000), (4, 1 << 20)]));
    frames.send(&window_update(0, 1 << 20));
    let mut open: HashMap<u32, Seen> = HashMap::new();
    loop {
        let found = frames.next_of_stream(FOR_EVER)?;
        match found.kind {
            kind::HEADERS => {
                let fields = frames.fields(&found)?;
                let seen = open.entry(found.stream).or_insert_with(|| Seen {
                    endpoint: shared.name.clone(),
                    connection: number,
                    tls: description.clone(),
                    ..Seen::default()
                });
                if seen.headers.is_empty() {
                    seen.line = request_line(&fields);
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
            kind::RST_STREAM => {
                if let Some(mut seen) = open.remove(&found.stream) {
                    seen.cut = true;
                    shared.log.lock().unwrap().push(seen);
                }
                continue;
            }
            _ => continue,
        }
        if !found.ends_stream() {
            continue;
        }
        let Some(seen) = open.remove(&found.stream) else {
            continue;
        };
        let line = seen.line.clone();
        shared.log.lock().unwrap().push(seen);
        let script = shared.scripts.lock().unwrap().pop_front();
        if !perform(shared, &mut frames, found.stream, script, &line)? {
            return Ok(());
        }
    }
}

/// Whether the connection goes on after these.
fn perform(
    shared: &Shared,
    frames: &mut Frames,
    stream: u32,
    script: Option<Vec<Act>>,
    line: &str,
) -> Result<bool, End> {
    let Some(script) = script else {
        let is_head = line.starts_with("HEAD ");
        let told = line.rsplit_once(' ').map_or(line, |(front, _)| front);
        let body = if shared.telling { told } else { &shared.name };
        frames.send(&headers(
            stream,
            is_head,
            &[(":status", "200"), ("content-type", "text/plain")],
        ));
        if !is_head {
            frames.send(&data(stream, true, body.as_bytes()));
        }
        return Ok(true);
    };
    for act in script {
        match act {
            Act::Headers(fields, end) => {
                frames.send(&headers(stream, end, &fields));
            }
            Act::Data(bytes, end) => {
                frames.send(&data(stream, end, &bytes));
            }
            Act::Reset(code) => {
                frames.send(&reset(stream, code));
            }
            Act::GoAway(code) => {
                frames.send(&goaway(stream, code));
            }
            Act::Frame {
                kind,
                flags,
                payload,
            } => {
                frames.send(&frame(kind, flags, stream, &payload));
            }
            Act::Wait(time) => std::thread::sleep(time),
            Act::Hang => {
                // Until the peer gives this stream up.
                while !matches!(frames.next_of_stream(FOR_EVER)?, Frame { kind: kind::RST_STREAM, stream: other, .. } if other == stream)
                {
                }
            }
            Act::Close => return Ok(false),
        }
    }
    Ok(true)
}

fn request_line(fields: &[(String, String)]) -> String {
    let of = |name: &str| {
        fields
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value)
    };
    format!("{} {} HTTP/2", of(":method"), of(":path"))
}
