//! Connections without I/O: what frames make of them, and two of ours with each other, cut anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::budget::Budget;
use super::connection::{Connection, Read, Side};
use super::error::{By, Error};
use super::frame::{self, Head, PREFACE};
use super::stream::{Event, Key};
use super::*;
use crate::http::{Headers, Request, Response};

mod keepalive;
mod pairs;
mod rules;

/// A frame of the peer's.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out, entries);
    out
}

fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(frame::WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// `POST / http` to `a`, as indexes and a literal.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'a'];
/// `:status: 200`.
const OK: &[u8] = &[0x88];

fn headers(stream: u32, end: bool, block: &[u8]) -> Vec<u8> {
    let flags = frame::END_HEADERS | if end { frame::END_STREAM } else { 0 };
    frame(frame::HEADERS, flags, stream, block)
}

fn data(stream: u32, end: bool, bytes: &[u8]) -> Vec<u8> {
    let flags = if end { frame::END_STREAM } else { 0 };
    frame(frame::DATA, flags, stream, bytes)
}

fn feed(connection: &mut Connection, bytes: &[u8]) {
    let shared = None;
    connection.receive(Read { bytes, shared }, Instant::now());
}

fn connection(side: Side, settings: &Settings) -> Connection {
    let mut connection = Connection::new(side, settings, Arc::default(), Instant::now());
    if side == Side::Server {
        feed(&mut connection, PREFACE);
    }
    connection
}

/// A server that the client greeted, and that greeted the client.
fn server() -> Connection {
    let mut server = connection(Side::Server, &Settings::default());
    feed(&mut server, &settings(&[]));
    written(&mut server);
    server
}

/// A client with one request, of which the body is to come.
fn client() -> (Connection, Key) {
    let mut client = connection(Side::Client, &Settings::default());
    let key = client.send_request(&Request::get("a", "/"), false, false);
    feed(&mut client, &settings(&[]));
    written(&mut client);
    (client, key)
}

fn written(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        connection.fill();
        if connection.out().is_empty() {
            return bytes;
        }
        assert!(connection.out().poll_write(&mut bytes, &mut cx).is_ready());
    }
}

/// The frames in what was written.
fn frames(mut bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let head = Head::parse(head);
        let (payload, rest) = rest.split_at(head.length as usize);
        frames.push((head, payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// Frames in a few words: kind, stream, flags or code.
fn summary(bytes: &[u8]) -> Vec<String> {
    let frames = frames(bytes);
    let words = frames.iter().map(|(head, payload)| {
        let code = |at: usize| Reason(frame::number(&payload[at..]).expect("a code"));
        let end = if head.has(frame::END_STREAM) {
            " end"
        } else {
            ""
        };
        match head.kind {
            frame::DATA => format!("data {} {}{end}", head.stream, head.length),
            frame::HEADERS => format!("headers {}{end}", head.stream),
            frame::RST_STREAM => format!("reset {} {}", head.stream, code(0)),
            frame::SETTINGS if head.has(frame::ACK) => "settings ack".to_owned(),
            frame::SETTINGS => "settings".to_owned(),
            frame::PING if head.has(frame::ACK) => "ping ack".to_owned(),
            frame::PING => "ping".to_owned(),
            frame::GOAWAY => {
                let last = frame::number(payload).expect("a number");
                format!("goaway {last} {}", code(4))
            }
            frame::WINDOW_UPDATE => format!("window {} {}", head.stream, code(0).0),
            frame::CONTINUATION => format!("continuation {}", head.stream),
            other => format!("kind {other}"),
        }
    });
    words.collect()
}

fn room(connection: &mut Connection, key: Key) -> Poll<Result<(), Error>> {
    connection.poll_room(key, &Context::from_waker(Waker::noop()))
}

fn ok() -> Response {
    Response::new(StatusCode::OK)
}
