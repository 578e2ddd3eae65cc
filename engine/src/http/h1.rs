//! HTTP/1: a strict codec without I/O, and the connections over it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`scan`] | finds the end of a head while bytes arrive; refuses bare LF at once |
//! | [`head`] | request and response heads out of bytes |
//! | `fields` | one header line, and what the hop-by-hop fields of a head say |
//! | `names` | the names that everybody sends, found without work |
//! | [`framing`] | how long a message is (RFC 9112 §6) |
//! | `target` | the four forms of a request target (RFC 9112 §3.2) |
//! | `words` | short texts eight bytes at a time |
//! | [`chunked`] | the chunked coding, both ways (RFC 9112 §7.1) |
//! | [`encode`] | heads into bytes |
//! | [`error`] | why a message was refused, and with which status |

pub mod chunked;
pub mod client;
pub mod connection;
pub mod encode;
pub mod error;
mod fields;
pub mod framing;
pub mod head;
pub(super) mod names;
pub mod scan;
pub mod server;
mod target;
mod words;

pub use self::error::HeadError;
pub use self::framing::Framing;
pub use self::head::{RequestHead, ResponseHead, parse_request, parse_response};
pub use self::scan::{HeadScan, Limits};
