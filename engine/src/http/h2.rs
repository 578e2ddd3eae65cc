//! HTTP/2: a strict codec without I/O, and the connections over it (RFC 9113).
//!
//! | file | what it holds |
//! |---|---|
//! | [`server`] | connections that requests are accepted from |
//! | [`client`] | connections that carry many requests at a time |
//! | [`body`] | bodies in and out of one stream |
//! | `driver` | moves a connection's bytes; keepalive, and the way out |
//! | `connection` | one connection without I/O: frames in and out, windows, resets, GOAWAY |
//! | `stream` | what a connection keeps of one stream |
//! | [`budget`] | how much of each kind of frame a peer may send |
//! | `head` | heads and trailers out of fields, strictly |
//! | `encode` | heads and trailers into frames |
//! | `hpack` | header compression (RFC 7541) |
//! | `frame` | frames on the wire |
//! | `outbox` | bytes on their way out |
//! | [`fuzz`] | what the fuzz programs call |
//! | [`error`] | error codes, and how streams end early |

pub mod body;
pub mod budget;
pub mod client;
mod connection;
mod driver;
mod encode;
pub mod error;
mod frame;
pub mod fuzz;
mod head;
mod hpack;
mod outbox;
pub mod server;
mod stream;

#[cfg(test)]
mod tests;

pub use self::body::{Incoming, Outgoing};
pub use self::budget::Budgets;
pub use self::error::{By, Error, Reason};

use std::time::Duration;

/// Limits of one HTTP/2 connection, either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that the peer may have open at once.
    pub max_concurrent_streams: u32,
    /// Flow-control window of a stream in bytes.
    pub stream_window: u32,
    /// Flow-control window of the connection in bytes.
    pub connection_window: u32,
    /// Decoded header list limit in bytes, 32 a field included (RFC 9113 §6.5.2).
    pub max_header_list: u32,
    /// Bytes of one stream that may wait to be sent.
    pub max_send_buffer: usize,
    /// Whether extended CONNECT (RFC 8441) is offered.
    pub connect_protocol: bool,
    /// Time between keepalive pings; `None` sends none.
    pub keepalive_interval: Option<Duration>,
    /// How long an answer to a ping may take.
    pub keepalive_timeout: Duration,
}

impl Default for Settings {
    /// The safe defaults of docs/architecture.md, which are Envoy's edge recommendations.
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            max_header_list: 60 * 1024,
            max_send_buffer: 256 * 1024,
            connect_protocol: true,
            keepalive_interval: None,
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}
