//! HTTP/2 as frames: a writer that refuses nothing, a reader, and a client over both.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::hpack::{Decoder, Fields, block};
use super::http1::{Connection, End, Stream};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// Error codes (RFC 9113 section 7).
pub const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error code.
pub fn code_name(code: u32) -> String {
    CODES
        .get(code as usize)
        .map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// The payload without padding and priority.
    pub fn content(&self) -> &[u8] {
        let mut payload = self.payload.as_slice();
        let mut padding = 0;
        if matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::PADDED != 0 {
            padding = usize::from(payload[0]);
            payload = &payload[1..];
        }
        if self.kind == kind::HEADERS && self.flags & flag::PRIORITY != 0 {
            payload = &payload[5..];
        }
        &payload[..payload.len().saturating_sub(padding)]
    }

    /// The 32 bits at a place of the payload.
    pub fn number(&self, at: usize) -> u32 {
        self.payload
            .get(at..at + 4)
            .map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    }
}

/// The bytes of a frame, whatever it says.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these pairs.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// HEADERS in one frame.
pub fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    headers_block(stream, end, &block(fields))
}

pub fn headers_block(stream: u32, end: bool, block: &[u8]) -> Vec<u8> {
    frame(
        kind::HEADERS,
        flag::END_HEADERS | u8::from(end),
        stream,
        block,
    )
}

pub fn data(stream: u32, end: bool, body: &[u8]) -> Vec<u8> {
    frame(kind::DATA, u8::from(end), stream, body)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&code.to_be_bytes());
    frame(kind::GOAWAY, 0, 0, &payload)
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// How a stream of ours ended.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub interim: Vec<u16>,
}

/// Why a stream of ours had no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Reset(u32),
    GoAway(u32),
    End(End),
}

/// Frames over a connection, whichever side we are.
#[derive(Debug)]
pub struct Frames {
    pub connection: Connection,
    decoder: Decoder,
}

impl Frames {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            decoder: Decoder::default(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.connection.send(bytes)
    }

    /// The next frame, as it is.
    pub fn next(&mut self, limit: Duration) -> Result<Frame, End> {
        let head = self.connection.read_exactly_within(9, limit)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.connection.read_exactly_within(length, limit)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    /// The next frame that a program above cares for: settings and pings are answered here, windows kept open.
    pub fn next_of_stream(&mut self, limit: Duration) -> Result<Frame, End> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let found = self.next(left)?;
            match found.kind {
                kind::SETTINGS if found.flags & flag::ACK == 0 => {
                    self.send(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
                }
                kind::PING if found.flags & flag::ACK == 0 => {
                    self.send(&frame(kind::PING, flag::ACK, 0, &found.payload));
                }
                kind::DATA => {
                    let size = found.payload.len() as u32;
                    if size > 0 {
                        self.send(&window_update(0, size));
                        if !found.ends_stream() {
                            self.send(&window_update(found.stream, size));
                        }
                    }
                    return Ok(found);
                }
                kind::SETTINGS | kind::PING | kind::WINDOW_UPDATE | kind::PRIORITY => {}
                _ => return Ok(found),
            }
        }
    }

    /// The fields of a HEADERS frame and the CONTINUATION frames behind it.
    pub fn fields(&mut self, first: &Frame) -> Result<Fields, End> {
        let mut block = first.content().to_vec();
        let mut flags = first.flags;
        while flags & flag::END_HEADERS == 0 {
            let more = self.next(super::PATIENCE)?;
            flags = more.flags;
            block.extend_from_slice(&more.payload);
        }
        self.decoder.decode(&block).map_err(End::Broken)
    }
}

/// A client of one connection.
#[derive(Debug)]
pub struct Client {
    pub frames: Frames,
    /// The last stream that a GOAWAY without an error said would be answered.
    pub goodbye: Option<u32>,
}

impl Client {
    /// Opens with prior knowledge: the preface and these settings.
    pub fn open(address: SocketAddr, pairs: &[(u16, u32)]) -> io::Result<Self> {
        let mut client = Self::silent(address)?;
        client.send(&[PREFACE, &settings(pairs)].concat());
        Ok(client)
    }

    /// Opens and sends nothing yet.
    pub fn silent(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            frames: Frames::new(Connection::open(address)?),
            goodbye: None,
        })
    }

    /// Over a stream that somebody else opened.
    pub fn over(stream: Box<dyn Stream>, socket: TcpStream) -> Self {
        let mut client = Self {
            frames: Frames::new(Connection::over(stream, socket)),
            goodbye: None,
        };
        client.send(&[PREFACE, &settings(&[])].concat());
        client
    }

    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.frames.send(bytes)
    }

    /// The whole answer of one stream; frames of other streams are passed over.
    pub fn answer(&mut self, stream: u32, limit: Duration) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        self.answer_into(&mut answer, stream, limit)?;
        Ok(answer)
    }

    /// The same, with what came of it before it failed.
    pub fn answer_into(
        &mut self,
        answer: &mut Answer,
        stream: u32,
        limit: Duration,
    ) -> Result<(), Failure> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let found = self.frames.next_of_stream(left).map_err(Failure::End)?;
            match found.kind {
                kind::GOAWAY if found.number(4) != 0 => {
                    return Err(Failure::GoAway(found.number(4)));
                }
                kind::GOAWAY => self.goodbye = Some(found.number(0)),
                kind::HEADERS => {
                    let fields = self.frames.fields(&found).map_err(Failure::End)?;
                    if found.stream != stream {
                        continue;
                    }
                    let status = fields.iter().find(|(name, _)| name == ":status");
                    let status = status.and_then(|(_, value)| value.parse::<u16>().ok());
                    match status {
                        Some(code) if (100..200).contains(&code) => answer.interim.push(code),
                        Some(code) => (answer.status, answer.headers) = (code, fields),
                        None => answer.trailers = fields,
                    }
                }
                kind::DATA if found.stream == stream => {
                    answer.body.extend_from_slice(found.content())
                }
                kind::RST_STREAM if found.stream == stream => {
                    return Err(Failure::Reset(found.number(0)));
                }
                _ => continue,
            }
            if found.stream == stream && found.ends_stream() {
                return Ok(());
            }
        }
    }
}
