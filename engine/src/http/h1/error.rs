//! Why a message was refused, and with which status.

use http::StatusCode;

/// Why a head was refused. The connection closes after the answer: its framing cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// A line ends in LF without CR (RFC 9112 §2.2 lets a recipient take it; it is the root of many splits).
    #[error("line feed without carriage return")]
    BareLineFeed,
    /// The bytes end before the empty line, or go on after it: the caller cut them in the wrong place.
    #[error("head is not one complete head")]
    Incomplete,
    /// Not `method SP target SP version`; HTTP/0.9 ends up here too.
    #[error("malformed request line")]
    RequestLine,
    /// The method is not a token.
    #[error("method is not a token")]
    Method,
    /// The target fits none of the four forms of RFC 9112 §3.2, or holds bytes that no target holds.
    #[error("malformed request target")]
    Target,
    /// An absolute target of another scheme than `http` and `https`.
    #[error("scheme of the request target not supported")]
    Scheme,
    /// The version is not `HTTP/` digit `.` digit.
    #[error("malformed version")]
    Version,
    /// A well-formed version other than 1.0 and 1.1, or 1.0 where that is not served.
    #[error("version not supported")]
    VersionNotSupported,
    /// Not `version SP three digits [SP reason]`.
    #[error("malformed status line")]
    StatusLine,
    /// A field name that is empty, no token, or followed by whitespace (RFC 9112 §5.1).
    #[error("malformed field name")]
    FieldName,
    /// A control byte in a field value, a lone CR among them.
    #[error("control byte in a field value")]
    FieldValue,
    /// A line that continues the one before (obs-fold, RFC 9112 §5.2).
    #[error("folded field line")]
    Folded,
    /// Two Host fields.
    #[error("more than one Host")]
    HostRepeated,
    /// Host names another authority than the target does.
    #[error("Host differs from the request target")]
    HostMismatch,
    /// Content-Length is not digits only, too large, or says two things.
    #[error("malformed Content-Length")]
    ContentLength,
    /// Transfer-Encoding is not exactly `chunked`, once.
    #[error("malformed Transfer-Encoding")]
    TransferEncoding,
    /// A transfer coding that exists but is not served.
    #[error("transfer coding not supported")]
    TransferEncodingNotSupported,
    /// Transfer-Encoding in HTTP/1.0, or in a CONNECT request.
    #[error("Transfer-Encoding is not allowed here")]
    TransferEncodingNotAllowed,
    /// A body announced for a CONNECT request.
    #[error("Content-Length is not allowed here")]
    ContentLengthNotAllowed,
    /// Content-Length and Transfer-Encoding in one request (RFC 9112 §6.1).
    #[error("Content-Length and Transfer-Encoding together")]
    LengthAndEncoding,
    /// Connection is no token list, or names a field that must not be removed on a peer's word.
    #[error("Connection names a protected field or is malformed")]
    Connection,
    /// Upgrade fields that contradict each other.
    #[error("malformed Upgrade")]
    Upgrade,
    /// The request line is longer than its limit.
    #[error("request line too long")]
    RequestLineTooLong,
    /// The head is larger than its limit.
    #[error("head too large")]
    HeadTooLarge,
    /// More fields than the limit.
    #[error("too many fields")]
    TooManyFields,
}

impl HeadError {
    /// What a server answers to a request; whoever reads a response answers 502 to its own client instead.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferEncodingNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::RequestLineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name for logs: Envoy's response code detail where Envoy has one for the case.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BareLineFeed
            | Self::Incomplete
            | Self::RequestLine
            | Self::Method
            | Self::Version
            | Self::VersionNotSupported
            | Self::StatusLine
            | Self::FieldName
            | Self::Folded
            | Self::Upgrade
            | Self::Target
            | Self::ContentLength => "http1.codec_error",
            Self::FieldValue => "http1.invalid_characters",
            Self::Scheme => "http1.invalid_scheme",
            Self::HostRepeated | Self::HostMismatch => "http1.invalid_host",
            Self::ContentLengthNotAllowed => "http1.content_length_not_allowed",
            Self::TransferEncoding | Self::TransferEncodingNotSupported => {
                "http1.invalid_transfer_encoding"
            }
            Self::TransferEncodingNotAllowed => "http1.transfer_encoding_not_allowed",
            Self::LengthAndEncoding => "http1.content_length_and_chunked_not_allowed",
            Self::Connection => "http1.connection_header_rejected",
            Self::RequestLineTooLong => "http1.request_line_too_long",
            Self::HeadTooLarge => "http1.headers_too_large",
            Self::TooManyFields => "http1.too_many_headers",
        }
    }
}
