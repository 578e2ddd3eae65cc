//! Why a message was refused, and with which status.
use http::StatusCode;

/// Why a head was refused. The connection closes after the answer: its framing cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF without CR (RFC 9112 §2.2).
    #[error("line feed without carriage return")]
    BareLineFeed,
}

impl HeadError {
    /// What a server answers: 400, 414, 417, 431, 501 or 505. A client maps every variant to 502.
    pub const fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    /// A stable name in the manner of Envoy's response code details, such as `http1.codec_error`.
    pub const fn detail(self) -> &'static str {
        "http1.codec_error"
    }
}
