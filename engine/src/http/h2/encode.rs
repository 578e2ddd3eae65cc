//! Heads and trailers into frames.

use http::{Method, StatusCode};

use super::frame::{self, HEADER_BYTES, MAX_FRAME};
use super::head::{Special, is_path, special};
use super::hpack::{Encoder, Name};
use crate::http::{Headers, Request, Response};

/// The request cannot be said in pseudo-header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadTarget;

/// Whether a request can be written.
pub(super) fn check(request: &Request) -> Result<(), BadTarget> {
    let tunnel = request.method == Method::CONNECT && request.protocol.is_none();
    let authority = &request.authority;
    let bad_authority = authority.is_empty()
        || !authority
            .iter()
            .all(|byte| *byte > b' ' && *byte != 0x7f && !b"/?#".contains(byte));
    if bad_authority || !tunnel && !is_path(&request.path) {
        return Err(BadTarget);
    }
    Ok(())
}

/// Writes a request that [`check`] let pass; `secure` is the scheme of the connection.
pub(super) fn request(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    stream: u32,
    request: &Request,
    secure: bool,
    end: bool,
) {
    headers(encoder, out, stream, end, |encoder, out| {
        match request.method {
            Method::GET => Encoder::indexed(out, 2),
            Method::POST => Encoder::indexed(out, 3),
            _ => encoder.pseudo(out, &Name::Method, request.method.as_str().as_bytes()),
        }
        if request.method != Method::CONNECT || request.protocol.is_some() {
            // The client's scheme goes on, as in Envoy; a request of our own has that of the connection.
            Encoder::indexed(
                out,
                if request.secure.unwrap_or(secure) {
                    7
                } else {
                    6
                },
            );
            if request.path == "/" {
                Encoder::indexed(out, 4);
            } else {
                encoder.pseudo(out, &Name::Path, &request.path);
            }
        }
        encoder.pseudo(out, &Name::Authority, &request.authority);
        if let Some(protocol) = &request.protocol {
            encoder.pseudo(out, &Name::Protocol, protocol);
        }
        fields(encoder, out, &request.headers);
    });
}

/// Writes a response's head.
pub(super) fn response(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    stream: u32,
    response: &Response,
    end: bool,
) {
    headers(encoder, out, stream, end, |encoder, out| {
        let index = match response.status {
            StatusCode::OK => 8,
            StatusCode::NO_CONTENT => 9,
            StatusCode::PARTIAL_CONTENT => 10,
            StatusCode::NOT_MODIFIED => 11,
            StatusCode::BAD_REQUEST => 12,
            StatusCode::NOT_FOUND => 13,
            StatusCode::INTERNAL_SERVER_ERROR => 14,
            _ => 0,
        };
        if index > 0 {
            Encoder::indexed(out, index);
        } else {
            encoder.pseudo(out, &Name::Status, response.status.as_str().as_bytes());
        }
        fields(encoder, out, &response.headers);
    });
}

/// Writes trailers, which end the stream.
pub(super) fn trailers(encoder: &mut Encoder, out: &mut Vec<u8>, stream: u32, trailers: &Headers) {
    headers(encoder, out, stream, true, |encoder, out| {
        fields(encoder, out, trailers);
    });
}

fn fields(encoder: &mut Encoder, out: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers {
        // RFC 9113 §8.2.2: fields of the connection are not for HTTP/2.
        if special(name) != Special::Connection {
            encoder.field(out, name, value);
        }
    }
}

fn headers(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    stream: u32,
    end: bool,
    write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
) {
    let start = out.len();
    let mut flags = if end { frame::END_STREAM } else { 0 };
    out.extend_from_slice(&[0; HEADER_BYTES]);
    encoder.begin(out);
    write(encoder, out);
    let length = out.len() - start - HEADER_BYTES;
    if length <= MAX_FRAME {
        flags |= frame::END_HEADERS;
        let head = frame::head(length, frame::HEADERS, flags, stream);
        out[start..start + HEADER_BYTES].copy_from_slice(&head);
        return;
    }
    // Every peer takes frames of this size; the block goes on in further ones (RFC 9113 §6.10).
    let block = out.split_off(start + HEADER_BYTES);
    out.truncate(start);
    let mut kind = frame::HEADERS;
    let mut parts = block.chunks(MAX_FRAME).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= frame::END_HEADERS;
        }
        frame::put_head(out, part.len(), kind, flags, stream);
        out.extend_from_slice(part);
        (kind, flags) = (frame::CONTINUATION, 0);
    }
}
