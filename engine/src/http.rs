//! HTTP messages and the codecs that carry them.
//!
//! | file | what it holds |
//! |---|---|
//! | [`headers`] | the ordered header list and the names that we use |
//! | [`message`] | request and response heads |
//! | [`body`] | streaming bodies with trailers |
//! | [`canonical`] | one canonical host and path, computed once per request |
//! | [`h1`] | HTTP/1: strict sans-io codec and the connections over it |
//! | [`h2`] | HTTP/2: strict sans-io codec and the connections over it |

pub mod body;
pub mod canonical;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod message;

pub use self::body::{Body, BodyError, Frame, FrameSource};
pub use self::headers::Headers;
pub use self::message::{Request, Response};
