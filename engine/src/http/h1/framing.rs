//! How long a message is (RFC 9112 §6).

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body at all.
    None,
    /// Exactly that many bytes; may be 0.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Responses only: everything until the peer closes.
    UntilClose,
}
