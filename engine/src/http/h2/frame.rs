//! Frames on the wire (RFC 9113 §4 and §6).

use super::error::Reason;

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    #[inline]
    pub(super) const fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, d, e, f, g] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The reserved bit means nothing (RFC 9113 §4.1).
            stream: u32::from_be_bytes([d & 0x7f, e, f, g]),
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub(super) const PRIORITY_UPDATE: u8 = 16;

pub(super) const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
/// Of HEADERS.
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const HEADER_BYTES: usize = 9;
/// The largest payload where no SETTINGS say otherwise; ours never do.
pub(super) const MAX_FRAME: usize = 16 * 1024;
pub(super) const MAX_WINDOW: i32 = i32::MAX;
/// The window of stream and connection where nothing says otherwise.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
pub(super) const MAX_STREAM: u32 = 0x7fff_ffff;
/// What a client begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Parameters of SETTINGS (RFC 9113 §6.5.2 and RFC 8441 §3).
pub(super) mod setting {
    pub(in crate::http::h2) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in crate::http::h2) const ENABLE_PUSH: u16 = 2;
    pub(in crate::http::h2) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in crate::http::h2) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in crate::http::h2) const MAX_FRAME_SIZE: u16 = 5;
    pub(in crate::http::h2) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in crate::http::h2) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head(length, kind, flags, stream));
}

#[inline]
pub(super) const fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "payloads are shorter than 2^24"
    )]
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    put_head(out, 8, PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn put_goaway(out: &mut Vec<u8>, last: u32, reason: Reason) {
    put_head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub(super) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (parameter, value) in settings {
        out.extend_from_slice(&parameter.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// What is left of a payload without padding (RFC 9113 §6.1); `None` where there is more padding than payload.
pub(super) fn without_padding(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A number of four bytes in front of `payload`.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    payload
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}
