//! Spans.

/// The span of one request.
#[derive(Debug)]
pub struct Span {
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl Span {
    /// Appends the trace's id in hexadecimal.
    pub fn write_trace_id(&self, out: &mut Vec<u8>) -> bool {
        hexadecimal(&self.trace_id, out);
        true
    }

    /// Appends the span's id in hexadecimal.
    pub fn write_span_id(&self, out: &mut Vec<u8>) -> bool {
        hexadecimal(&self.span_id, out);
        true
    }
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
