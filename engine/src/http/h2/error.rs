//! Error codes, and how streams and connections end early.

use std::fmt;
use std::io;

/// An error code (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke a rule that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The sender could not go on.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More came than the window allowed, or the window grew too large.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame for a stream that was over.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has a length that its type cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nothing was done about the request.
    pub const REFUSED_STREAM: Self = Self(7);
    /// Nobody needs the stream any more.
    pub const CANCEL: Self = Self(8);
    /// The compression state is lost.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The connection behind a CONNECT broke.
    pub const CONNECT_ERROR: Self = Self(10);
    /// Too much of something.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    /// TLS is not good enough.
    pub const INADEQUATE_SECURITY: Self = Self(12);
    /// HTTP/1.1 shall be used instead.
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    /// The name that the standard has for it.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::CONNECT_ERROR => "CONNECT_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
            Self::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Who ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// We did, mostly because the peer broke a rule.
    Us,
    /// The peer did.
    Peer,
}

/// Why a stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only this stream ended.
    #[error("stream reset: {0}")]
    Reset(Reason, By),
    /// The connection ended, or went away before the stream was looked at.
    #[error("connection ended: {0}")]
    GoAway(Reason, By),
    /// The transport failed or was closed.
    #[error("connection lost: {0}")]
    Io(io::ErrorKind),
}

impl Error {
    /// The code that came with it.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Reset(reason, _) | Self::GoAway(reason, _) => Some(reason),
            Self::Io(_) => None,
        }
    }
}

/// What a frame makes of the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The stream is reset, the connection goes on.
    Stream(Reason),
    /// GOAWAY.
    Connection(Reason),
    /// GOAWAY, because of too much of something.
    Violation(super::budget::Violation),
}

impl From<super::budget::Violation> for Fault {
    fn from(violation: super::budget::Violation) -> Self {
        Self::Violation(violation)
    }
}
