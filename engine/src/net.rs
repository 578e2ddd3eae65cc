//! Sockets: listening, connecting, and the byte stream that codecs read and write.
//!
//! | file | what it holds |
//! |---|---|
//! | [`address`] | where a socket listens or connects to |
//! | [`stream`] | one type for TCP, Unix and TLS on both sides |
//! | [`listen`] | listening sockets, original destination |
//! | [`connect`] | outgoing sockets |
//! | [`proxy_protocol`] | what load balancers tell of the client |
//! | `scratch` | the worker's read buffer |

pub mod address;
pub mod connect;
pub mod listen;
pub mod proxy_protocol;
pub(crate) mod scratch;
pub mod stream;

pub use self::address::Address;
pub use self::stream::Stream;
