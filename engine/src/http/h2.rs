//! HTTP/2 over the `h2` crate, with [`super::h2_guard`] between it and the stream.
//!
//! | file | what it holds |
//! |---|---|
//! | [`server`] | connections that requests are accepted from |
//! | [`client`] | connections that carry many requests at a time |
//! | [`stream`] | bodies in and out of one HTTP/2 stream |

pub mod client;
pub mod server;
pub mod stream;

pub use self::stream::Incoming;

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
