//! Spans: whose trace a request belongs to, told on by W3C `traceparent` and by B3 fields.

use http::{HeaderName, HeaderValue};

use carbyne_engine::http::Headers;

/// The span of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    sampled: bool,
}

impl Span {
    /// The first span of a new trace.
    pub fn root(sampled: bool) -> Self {
        Self {
            // An id of zeros means none (W3C Trace Context, section 3.2.2.3).
            trace_id: fastrand::u128(1..).to_be_bytes(),
            span_id: fastrand::u64(1..).to_be_bytes(),
            parent: None,
            sampled,
        }
    }

    /// A span below the one that the fields tell of: `traceparent`, else B3 in one field, else B3 in several. `None` where they tell of none or
    /// are malformed. Whoever began the trace decided whether it is sampled; `undecided` where the fields do not say.
    pub fn child(headers: &Headers, undecided: bool) -> Option<Self> {
        let (trace_id, parent, sampled) = headers
            .text(&TRACEPARENT)
            .and_then(traceparent)
            .or_else(|| headers.text(&B3).and_then(b3))
            .or_else(|| several(headers))?;
        Some(Self {
            trace_id,
            span_id: fastrand::u64(1..).to_be_bytes(),
            parent: Some(parent),
            sampled: sampled.unwrap_or(undecided),
        })
    }

    /// Whether it is exported.
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace's id.
    pub const fn trace_id(&self) -> &[u8; 16] {
        &self.trace_id
    }

    /// Its own id.
    pub const fn span_id(&self) -> &[u8; 8] {
        &self.span_id
    }

    /// The id of the span above it.
    pub const fn parent(&self) -> Option<&[u8; 8]> {
        self.parent.as_ref()
    }

    /// Tells the next one by `traceparent`; `tracestate` goes on as it is.
    pub fn inject_w3c(&self, headers: &mut Headers) {
        let mut value = Vec::with_capacity(55);
        value.extend_from_slice(b"00-");
        hexadecimal(&self.trace_id, &mut value);
        value.push(b'-');
        hexadecimal(&self.span_id, &mut value);
        value.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
        set(headers, TRACEPARENT, &value);
    }

    /// Tells the next one by B3 in several fields, as Envoy's Zipkin tracer does.
    pub fn inject_b3(&self, headers: &mut Headers) {
        let mut value = Vec::with_capacity(32);
        hexadecimal(&self.trace_id, &mut value);
        set(headers, B3_TRACE, &value);
        value.clear();
        hexadecimal(&self.span_id, &mut value);
        set(headers, B3_SPAN, &value);
        if let Some(parent) = &self.parent {
            value.clear();
            hexadecimal(parent, &mut value);
            set(headers, B3_PARENT, &value);
        }
        set(headers, B3_SAMPLED, if self.sampled { b"1" } else { b"0" });
    }

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

type Parent = ([u8; 16], [u8; 8], Option<bool>);

/// `00-TRACE-SPAN-FLAGS` (W3C Trace Context, section 3.2); later versions may have more behind it.
fn traceparent(text: &str) -> Option<Parent> {
    let mut parts = text.split('-');
    let [version] = bytes::<1>(parts.next()?)?;
    let trace = bytes::<16>(parts.next()?)?;
    let span = bytes::<8>(parts.next()?)?;
    let [flags] = bytes::<1>(parts.next()?)?;
    let valid = version != 0xff
        && (version > 0 || parts.next().is_none())
        && trace != [0; 16]
        && span != [0; 8];
    valid.then_some((trace, span, Some(flags & 1 == 1)))
}

/// `TRACE-SPAN-SAMPLED-PARENT`, the last two optional.
fn b3(text: &str) -> Option<Parent> {
    let mut parts = text.split('-');
    let (trace, span) = (trace_id(parts.next()?)?, bytes::<8>(parts.next()?)?);
    let sampled = parts.next().and_then(sampling);
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span, sampled))
}

/// `x-b3-traceid` and its like.
fn several(headers: &Headers) -> Option<Parent> {
    let (trace, span) = (
        trace_id(headers.text(&B3_TRACE)?)?,
        bytes::<8>(headers.text(&B3_SPAN)?)?,
    );
    let forced = headers.text(&B3_FLAGS) == Some("1");
    let sampled = if forced {
        Some(true)
    } else {
        headers.text(&B3_SAMPLED).and_then(sampling)
    };
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span, sampled))
}

fn sampling(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// 128 or 64 bits; short ids are filled up in front.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() == 16 {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&bytes::<8>(text)?);
        return Some(id);
    }
    bytes(text)
}

/// Lower-case hexadecimal of exactly this length.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |letter: u8| match letter {
            b'0'..=b'9' => Some(letter - b'0'),
            b'a'..=b'f' => Some(letter - b'a' + 10),
            _ => None,
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn set(headers: &mut Headers, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> Headers {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn parents() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let cases: &[(&[(&'static str, &'static str)], Option<bool>)] = &[
            (&[("traceparent", w3c)], Some(true)),
            (
                &[(
                    "traceparent",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
                )],
                Some(false),
            ),
            (
                &[(
                    "traceparent",
                    "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                )],
                Some(true),
            ),
            (
                &[(
                    "traceparent",
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                )],
                None,
            ),
            (
                &[(
                    "traceparent",
                    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                )],
                None,
            ),
            (
                &[(
                    "traceparent",
                    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                )],
                None,
            ),
            (
                &[(
                    "traceparent",
                    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                )],
                None,
            ),
            (
                &[("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1")],
                Some(true),
            ),
            (
                &[("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7")],
                Some(false),
            ),
            (
                &[
                    ("x-b3-traceid", TRACE),
                    ("x-b3-spanid", "00f067aa0ba902b7"),
                    ("x-b3-sampled", "1"),
                ],
                Some(true),
            ),
            (
                &[
                    ("x-b3-traceid", TRACE),
                    ("x-b3-spanid", "00f067aa0ba902b7"),
                    ("x-b3-flags", "1"),
                ],
                Some(true),
            ),
            (&[("x-b3-traceid", TRACE)], None),
            (&[("b3", "0")], None),
            (&[], None),
        ];
        for (fields, expected) in cases {
            let span = Span::child(&headers(fields), false);
            assert_eq!(span.as_ref().map(Span::is_sampled), *expected, "{fields:?}");
            if let Some(span) = span {
                let mut id = Vec::new();
                span.write_trace_id(&mut id);
                assert_eq!(id, TRACE.as_bytes());
                assert_eq!(span.parent().map(|parent| parent[0]), Some(0));
            }
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        for inject in [Span::inject_w3c, Span::inject_b3] {
            let span = Span::root(true);
            let mut headers = Headers::new();
            inject(&span, &mut headers);
            let next = Span::child(&headers, false).unwrap();
            assert_eq!(
                (next.trace_id(), next.parent(), next.is_sampled()),
                (span.trace_id(), Some(span.span_id()), true)
            );
            assert_ne!(next.span_id(), span.span_id());
        }
    }
}
