//! What can go wrong between accepting a request and finishing its response.

use std::borrow::Cow;
use std::io;

use super::exchange::Event;
use crate::http::{BodyError, h2};

/// An error of forwarding. Each front words its own answer, status and log flags from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No host of the cluster can be used.
    #[error("no healthy upstream host")]
    NoHealthyHost,
    /// The route names a cluster that does not exist.
    #[error("no such cluster")]
    NoCluster,
    /// A circuit breaker is open.
    #[error("circuit breaker open: {resource}")]
    Overflow {
        /// What ran out: connections, pending requests, requests or retries.
        resource: &'static str,
    },
    /// The connection could not be established.
    #[error("cannot connect: {reason}")]
    Connect {
        /// Reason in a few words, for the log.
        reason: Cow<'static, str>,
    },
    /// The connection was not established in time.
    #[error("connect timeout")]
    ConnectTimeout,
    /// The TLS handshake with the host failed.
    #[error("TLS handshake failed: {reason}")]
    Tls {
        /// Reason in a few words, for the log.
        reason: Cow<'static, str>,
    },
    /// The host closed or reset before a complete response head.
    #[error("upstream reset before the response: {reason}")]
    UpstreamReset {
        /// How.
        reset: Reset,
        /// Reason in a few words, for the log.
        reason: Cow<'static, str>,
        /// The host said that it did not process the request (HTTP/2 REFUSED_STREAM, GOAWAY), or it never
        /// saw it (an idle connection that it had closed).
        unprocessed: bool,
    },
    /// The host reset inside the response body.
    #[error("upstream reset inside the response")]
    UpstreamTruncated(Reset),
    /// The response cannot be understood, or ended in the middle of a message.
    #[error("malformed response: {0}")]
    UpstreamProtocol(&'static str),
    /// The try's time was up.
    #[error("per-try timeout")]
    TryTimeout,
    /// The route's time was up.
    #[error("request timeout")]
    Timeout,
    /// Nothing moved for the stream's idle time.
    #[error("stream idle timeout")]
    StreamIdle,
    /// The stream's longest duration was reached.
    #[error("stream duration exceeded")]
    MaxDuration,
    /// The client went away.
    #[error("client disconnected")]
    ClientGone,
    /// The request's head is not acceptable.
    #[error("request refused: {details}")]
    Refused {
        /// The status to answer with.
        status: http::StatusCode,
        /// Why, as Envoy's response code details.
        details: &'static str,
    },
    /// The client's request body is broken.
    #[error("malformed request body: {0}")]
    RequestBody(&'static str),
    /// The request body does not fit the buffer that a filter needs.
    #[error("request body exceeds {limit} bytes")]
    RequestTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request cannot be written in the upstream's protocol.
    #[error("request cannot be encoded: {0}")]
    RequestEncoding(&'static str),
}

/// How the host broke a response off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Its connection is gone.
    Connection,
    /// It reset the HTTP/2 stream.
    Stream,
    /// It refused the HTTP/2 stream (REFUSED_STREAM).
    Refused,
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client.
    Client,
    /// The configuration.
    Config,
    /// This proxy, or limits set on it.
    Proxy,
    /// The upstream host or the way to it.
    Upstream,
}

impl Error {
    /// Who is to blame.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::NoCluster => Fault::Config,
            Self::Overflow { .. } | Self::MaxDuration => Fault::Proxy,
            Self::ClientGone
            | Self::Refused { .. }
            | Self::RequestBody(_)
            | Self::RequestTooLarge { .. }
            | Self::RequestEncoding(_) => Fault::Client,
            Self::Connect { .. }
            | Self::ConnectTimeout
            | Self::NoHealthyHost
            | Self::StreamIdle
            | Self::Timeout
            | Self::Tls { .. }
            | Self::TryTimeout
            | Self::UpstreamProtocol(_)
            | Self::UpstreamReset { .. }
            | Self::UpstreamTruncated(_) => Fault::Upstream,
        }
    }

    /// What it is in the log; `None` where nothing but the answer tells of it.
    pub const fn event(&self) -> Option<Event> {
        Some(match self {
            Self::ClientGone => Event::ClientGone,
            Self::Connect { .. } | Self::ConnectTimeout | Self::Tls { .. } => Event::ConnectFailed,
            Self::NoCluster => Event::NoCluster,
            Self::NoHealthyHost => Event::NoHealthyHost,
            Self::Overflow { .. } => Event::Overflow,
            Self::RequestBody(_) => Event::ClientProtocol,
            Self::MaxDuration
            | Self::Refused { .. }
            | Self::RequestEncoding(_)
            | Self::RequestTooLarge { .. } => return None,
            Self::StreamIdle => Event::StreamIdle,
            Self::Timeout | Self::TryTimeout => Event::RequestTimeout,
            Self::UpstreamProtocol(_) => Event::UpstreamProtocol,
            Self::UpstreamReset { reset, .. } | Self::UpstreamTruncated(reset) => match reset {
                Reset::Connection => Event::UpstreamClosed,
                Reset::Stream | Reset::Refused => Event::UpstreamReset,
            },
        })
    }

    /// Whether the host certainly did not begin to process the request, so that another try cannot repeat
    /// an effect.
    pub const fn is_unprocessed(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::ConnectTimeout
                | Self::Tls { .. }
                | Self::NoHealthyHost
                | Self::Overflow { .. }
                | Self::UpstreamReset {
                    unprocessed: true,
                    ..
                }
        )
    }

    /// The error of a request body that could not be read.
    pub(crate) fn from_request_body(error: &BodyError) -> Self {
        match error {
            BodyError::Malformed(detail) => Self::RequestBody(detail),
            BodyError::TooLarge { limit } => Self::RequestTooLarge { limit: *limit },
            BodyError::Closed | BodyError::Io(_) | BodyError::Stream(_) => Self::ClientGone,
        }
    }

    /// The error of a response body that could not be read.
    pub(crate) fn from_response_body(error: &BodyError) -> Self {
        match error {
            BodyError::Malformed(detail) => Self::UpstreamProtocol(detail),
            // RFC 9112 §8: an end in order inside a message is no end of the message.
            BodyError::Closed => Self::UpstreamProtocol("http1.incomplete_body"),
            BodyError::Stream(error) => match Self::from_h2(*error) {
                Self::UpstreamReset { reset, .. } => Self::UpstreamTruncated(reset),
                other => other,
            },
            BodyError::Io(_) | BodyError::TooLarge { .. } => {
                Self::UpstreamTruncated(Reset::Connection)
            }
        }
    }

    /// The error of an HTTP/2 stream or connection.
    pub(crate) fn from_h2(error: h2::Error) -> Self {
        match error {
            h2::Error::Io(_) | h2::Error::GoAway(..) => Self::UpstreamReset {
                reset: Reset::Connection,
                reason: Cow::Borrowed("connection termination"),
                // The host names the last stream that it processed: this one came later.
                unprocessed: matches!(error, h2::Error::GoAway(_, h2::By::Peer)),
            },
            // The codec gave the stream up: what came is no HTTP/2.
            h2::Error::Reset(_, h2::By::Us) => Self::UpstreamProtocol("http2.protocol_error"),
            h2::Error::Reset(reason, h2::By::Peer) => {
                let refused = reason == h2::Reason::REFUSED_STREAM;
                Self::UpstreamReset {
                    reset: if refused {
                        Reset::Refused
                    } else {
                        Reset::Stream
                    },
                    reason: Cow::Owned(format!("remote reset: {reason}")),
                    unprocessed: refused,
                }
            }
        }
    }

    /// The error of a connection that broke while the request was written or before an answer came.
    pub(crate) fn from_transport(error: &io::Error) -> Self {
        Self::UpstreamReset {
            reset: Reset::Connection,
            reason: Cow::Borrowed(match error.kind() {
                io::ErrorKind::ConnectionReset => "connection reset",
                io::ErrorKind::BrokenPipe => "broken pipe",
                _ => "transport error",
            }),
            unprocessed: false,
        }
    }
}
