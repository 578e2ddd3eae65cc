//! Finds the end of a head while its bytes arrive.
use super::error::HeadError;

/// What a head may cost before it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole head with its empty line; more → 431. Envoy: `max_request_headers_kb`.
    pub head_bytes: usize,
    /// Header fields; more → 431. Envoy: `max_headers_count`.
    pub fields: usize,
    /// Bytes of the request line without CRLF; more → 414.
    pub request_line_bytes: usize,
    /// Whether bytes above 0x7F may stand in a request target; nginx lets them, Envoy does not.
    pub non_ascii_target: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 60 * 1024, fields: 100, request_line_bytes: 8 * 1024, non_ascii_target: false }
    }
}

/// Incremental search for the empty line that ends a head; one per head.
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    position: usize,
}

impl HeadScan {
    /// Looks at the bytes that arrived since the last call. `buffer` starts at the first byte of the head and only
    /// ever grows. Returns the length of the head including its empty line, or `None` when it is not complete.
    pub fn find_end(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, HeadError> {
        let _ = (buffer, limits, self.position);
        todo!()
    }
}
