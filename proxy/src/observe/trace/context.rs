//! Whose trace a request belongs to: read from its fields and told to the next one, by W3C `traceparent` and by B3.

use http::{HeaderName, HeaderValue};

use carbyne_engine::http::Headers;

use super::sampler::Sampler;

/// The identity of one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    sampled: bool,
    /// The trace's id has 64 bits; the others are zero and not told.
    short: bool,
    /// The parent is in another process.
    remote: bool,
    form: Form,
    /// `tracestate`, told on as it came.
    state: Option<HeaderValue>,
}

/// How a context is told on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    W3c,
    /// `b3`, or `x-b3-*`; and `traceparent` beside it.
    B3 {
        single: bool,
        w3c: bool,
    },
}

/// How Zipkin's tracer makes contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct B3Rules {
    /// New traces have ids of 128 bits.
    pub wide: bool,
    /// The server's span is the client's span (`shared_span_context`).
    pub shared: bool,
    /// `traceparent` is read where B3 says nothing, and told beside it.
    pub w3c: bool,
}

/// Fields that are there and tell nothing that could be understood: the request goes on as it is, without a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What the fields tell of the span above.
struct Above {
    trace_id: [u8; 16],
    short: bool,
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    sampled: Option<bool>,
}

impl SpanContext {
    /// The first span of a new trace.
    pub fn root(sampled: bool) -> Self {
        Self {
            // An id of zeros means none (W3C Trace Context, section 3.2.2.3).
            trace_id: fastrand::u128(1..).to_be_bytes(),
            span_id: new_span_id(),
            parent: None,
            sampled,
            short: false,
            remote: false,
            form: Form::W3c,
            state: None,
        }
    }

    /// The span of a request as OpenTelemetry has it: below `traceparent`, else the first of a trace. It is sampled where the request was
    /// `chosen` and its parent, or the provider's sampler, agrees.
    pub fn from_w3c(
        headers: &Headers,
        chosen: bool,
        sampler: Option<&Sampler>,
    ) -> Result<Self, Malformed> {
        let mut span = Self::root(chosen);
        let mut told = None;
        if let Some(text) = headers.get(&TRACEPARENT) {
            let above = traceparent(text.as_bytes()).ok_or(Malformed)?;
            told = above.sampled;
            span.below(&above);
            span.state = tracestate(headers);
        }
        span.sampled = chosen
            && match sampler {
                Some(sampler) => sampler.samples(&span, told),
                None => told.unwrap_or(true),
            };
        Ok(span)
    }

    /// The span of a request as Zipkin has it: `b3`, else `x-b3-*`. What they say of sampling wins over what was `chosen` here.
    pub fn from_b3(headers: &Headers, chosen: bool, rules: B3Rules) -> Result<Self, Malformed> {
        let single = headers.get(&B3);
        let (above, mut sampled) = match single {
            Some(text) => b3(text.as_bytes())?,
            None => several(headers)?,
        };
        let mut above = above;
        if above.is_none() && single.is_none() && rules.w3c {
            above = headers
                .get(&TRACEPARENT)
                .and_then(|text| traceparent(text.as_bytes()));
            sampled = above.as_ref().and_then(|above| above.sampled).or(sampled);
        }
        let mut span = Self::root(sampled.unwrap_or(chosen));
        span.form = Form::B3 {
            single: single.is_some(),
            w3c: rules.w3c,
        };
        match above {
            Some(above) if rules.shared => {
                span.trace_id = above.trace_id;
                span.short = above.short;
                span.span_id = above.span_id;
                span.parent = above.parent;
                span.remote = true;
            }
            Some(above) => span.below(&above),
            None => {
                // Envoy's Zipkin tracer begins a trace with the id of its first span.
                span.trace_id[8..].copy_from_slice(&span.span_id);
                if !rules.wide {
                    span.trace_id[..8].fill(0);
                    span.short = true;
                }
            }
        }
        Ok(span)
    }

    /// A span below this one, in this process.
    pub fn child(&self) -> Self {
        Self {
            span_id: new_span_id(),
            parent: Some(self.span_id),
            remote: false,
            ..self.clone()
        }
    }

    /// A span below this one that nobody is told of.
    pub fn unsampled_child(&self) -> Self {
        Self {
            sampled: false,
            ..self.child()
        }
    }

    fn below(&mut self, above: &Above) {
        self.trace_id = above.trace_id;
        self.short = above.short;
        self.parent = Some(above.span_id);
        self.remote = true;
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

    /// Whether the span above it is in another process.
    pub const fn has_remote_parent(&self) -> bool {
        self.remote
    }

    /// `tracestate`; empty for none.
    pub fn state(&self) -> &[u8] {
        self.state.as_ref().map_or(b"", HeaderValue::as_bytes)
    }

    /// Tells the next one.
    pub fn inject(&self, headers: &mut Headers) {
        match self.form {
            Form::W3c => {
                self.inject_w3c(headers);
                match &self.state {
                    // Several fields become one.
                    Some(state) => headers.insert(TRACESTATE, state.clone()),
                    // Without the `traceparent` that it belonged to it means nothing.
                    None => drop(headers.remove(&TRACESTATE)),
                }
            }
            Form::B3 { single, w3c } => {
                if single {
                    self.inject_b3(headers);
                } else {
                    self.inject_several(headers);
                }
                if w3c {
                    self.inject_w3c(headers);
                }
            }
        }
    }

    fn inject_w3c(&self, headers: &mut Headers) {
        let mut value = Vec::with_capacity(TRACEPARENT_LENGTH);
        value.extend_from_slice(b"00-");
        hexadecimal(&self.trace_id, &mut value);
        value.push(b'-');
        hexadecimal(&self.span_id, &mut value);
        value.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
        set(headers, TRACEPARENT, &value);
    }

    fn inject_b3(&self, headers: &mut Headers) {
        let mut value = Vec::with_capacity(68);
        self.write_trace_id(&mut value);
        value.push(b'-');
        hexadecimal(&self.span_id, &mut value);
        value.extend_from_slice(if self.sampled { b"-1" } else { b"-0" });
        if let Some(parent) = &self.parent {
            value.push(b'-');
            hexadecimal(parent, &mut value);
        }
        set(headers, B3, &value);
    }

    fn inject_several(&self, headers: &mut Headers) {
        let mut value = Vec::with_capacity(32);
        self.write_trace_id(&mut value);
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
    pub fn write_trace_id(&self, out: &mut Vec<u8>) {
        let start = if self.short { 8 } else { 0 };
        hexadecimal(&self.trace_id[start..], out);
    }

    /// Appends the id of the span above it in hexadecimal.
    pub fn write_parent(&self, out: &mut Vec<u8>) {
        if let Some(parent) = &self.parent {
            hexadecimal(parent, out);
        }
    }

    /// Appends the span's id in hexadecimal.
    pub fn write_span_id(&self, out: &mut Vec<u8>) {
        hexadecimal(&self.span_id, out);
    }
}

fn new_span_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

/// `VERSION-TRACE-SPAN-FLAGS` (W3C Trace Context, section 3.2), of any version, as long as it has nothing behind the flags.
fn traceparent(text: &[u8]) -> Option<Above> {
    if text.len() != TRACEPARENT_LENGTH {
        return None;
    }
    let mut parts = text.split(|byte| *byte == b'-');
    bytes::<1>(parts.next()?)?;
    let trace_id = bytes::<16>(parts.next()?)?;
    let span_id = bytes::<8>(parts.next()?)?;
    let [flags] = bytes::<1>(parts.next()?)?;
    (trace_id != [0; 16] && span_id != [0; 8]).then_some(Above {
        trace_id,
        short: false,
        span_id,
        parent: None,
        sampled: Some(flags & 1 == 1),
    })
}

/// All of `tracestate`, in one value.
fn tracestate(headers: &Headers) -> Option<HeaderValue> {
    let name = TRACESTATE;
    let mut all = headers.all(&name);
    let first = all.next()?;
    let Some(second) = all.next() else {
        return Some(first.clone());
    };
    let mut joined = first.as_bytes().to_vec();
    for more in std::iter::once(second).chain(all) {
        joined.push(b',');
        joined.extend_from_slice(more.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok()
}

/// `TRACE-SPAN-SAMPLED-PARENT`, the last two optional; or the decision alone.
fn b3(text: &[u8]) -> Result<(Option<Above>, Option<bool>), Malformed> {
    if let [flag] = text {
        return Ok((None, Some(sampling(*flag)?)));
    }
    let mut parts = text.split(|byte| *byte == b'-');
    let mut next = || parts.next().ok_or(Malformed);
    let (trace_id, short) = trace_id(next()?).ok_or(Malformed)?;
    let span_id = bytes::<8>(next()?).ok_or(Malformed)?;
    let sampled = match parts.next() {
        None => None,
        Some([flag]) => Some(sampling(*flag)?),
        Some(_) => return Err(Malformed),
    };
    let parent = match parts.next() {
        None => None,
        Some(parent) => Some(bytes::<8>(parent).ok_or(Malformed)?),
    };
    if parts.next().is_some() {
        return Err(Malformed);
    }
    let above = Above {
        trace_id,
        short,
        span_id,
        parent,
        sampled,
    };
    Ok((Some(above), sampled))
}

const fn sampling(flag: u8) -> Result<bool, Malformed> {
    match flag {
        b'1' | b'd' => Ok(true),
        b'0' => Ok(false),
        _ => Err(Malformed),
    }
}

/// `x-b3-traceid` and its like. Without both ids they tell of no span.
fn several(headers: &Headers) -> Result<(Option<Above>, Option<bool>), Malformed> {
    let sampled = headers
        .get(&B3_SAMPLED)
        .map(|value| matches!(value.as_bytes(), b"1" | b"true"));
    let (Some(trace), Some(span)) = (headers.get(&B3_TRACE), headers.get(&B3_SPAN)) else {
        return Ok((None, sampled));
    };
    let (trace_id, short) = trace_id(trace.as_bytes()).ok_or(Malformed)?;
    let span_id = bytes::<8>(span.as_bytes()).ok_or(Malformed)?;
    let parent = match headers.get(&B3_PARENT) {
        Some(parent) if !parent.is_empty() => Some(bytes::<8>(parent.as_bytes()).ok_or(Malformed)?),
        _ => None,
    };
    let above = Above {
        trace_id,
        short,
        span_id,
        parent,
        sampled,
    };
    Ok((Some(above), sampled))
}

/// 128 or 64 bits; short ids are filled up in front.
fn trace_id(text: &[u8]) -> Option<([u8; 16], bool)> {
    if text.len() == 32 {
        return Some((bytes(text)?, false));
    }
    let mut id = [0; 16];
    id[8..].copy_from_slice(&bytes::<8>(text)?);
    Some((id, true))
}

/// Hexadecimal of exactly this length.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |letter: u8| char::from(letter).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
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

const TRACEPARENT_LENGTH: usize = 55;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn headers(fields: Fields<'_>) -> Headers {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        write(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn traceparents() {
        let ids = format!("{TRACE}-{SPAN}");
        let upper = ids.to_uppercase();
        let zeros = format!("{}-{SPAN}", "0".repeat(32));
        // Whether the parent was sampled; `None` is malformed.
        let cases: &[(String, Option<bool>)] = &[
            (format!("00-{ids}-01"), Some(true)),
            (format!("00-{ids}-00"), Some(false)),
            (format!("01-{ids}-03"), Some(true)),
            (format!("00-{upper}-01"), Some(true)),
            (format!("01-{ids}-01-more"), None),
            (format!("00-{zeros}-01"), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{ids}-0g"), None),
            ("garbage".to_owned(), None),
            (String::new(), None),
        ];
        for (value, expected) in cases {
            let fields = headers(&[("traceparent", value), ("tracestate", "a=1")]);
            for chosen in [true, false] {
                let span = SpanContext::from_w3c(&fields, chosen, None);
                let sampled = span.as_ref().ok().map(SpanContext::is_sampled);
                assert_eq!(sampled, expected.map(|told| told && chosen), "{value}");
                let Ok(span) = span else { continue };
                assert_eq!(text(|out| span.write_trace_id(out)), TRACE);
                assert_eq!(text(|out| hexadecimal(span.parent().unwrap(), out)), SPAN);
                assert!(span.has_remote_parent());
                assert_eq!(span.state(), b"a=1");
            }
        }
        let alone = headers(&[("tracestate", "a=1"), ("b3", "0")]);
        let root = SpanContext::from_w3c(&alone, true, None).unwrap();
        assert_eq!(
            (root.parent(), root.state(), root.is_sampled()),
            (None, &b""[..], true)
        );
    }

    #[test]
    fn states_are_told_on_in_one_field() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let mut fields = headers(&[
            ("traceparent", &parent),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]);
        let span = SpanContext::from_w3c(&fields, true, None).unwrap();
        span.inject(&mut fields);
        assert_eq!(fields.text(&TRACESTATE), Some("a=1,b=2"));
        let told = fields.text(&TRACEPARENT).unwrap();
        let own = text(|out| span.write_span_id(out));
        assert_eq!(told, format!("00-{TRACE}-{own}-01"));
        let mut stray = headers(&[("tracestate", "a=1")]);
        SpanContext::root(true).inject(&mut stray);
        assert_eq!(stray.text(&TRACESTATE), None);
    }

    #[test]
    fn b3_in_both_forms() {
        enum Is {
            Malformed,
            Root(bool),
            Below(bool),
        }
        use Is::{Below, Root};
        let short = &TRACE[16..];
        let full = format!("{TRACE}-{SPAN}");
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let several = |rest: Fields<'static>| -> Vec<(&'static str, String)> {
            let mut fields = vec![
                ("x-b3-traceid", TRACE.to_owned()),
                ("x-b3-spanid", SPAN.to_owned()),
            ];
            fields.extend(
                rest.iter()
                    .map(|(name, value)| (*name, (*value).to_owned())),
            );
            fields
        };
        let one = |name: &'static str, value: &str| vec![(name, value.to_owned())];
        // With a local decision of no.
        let cases: Vec<(Vec<(&'static str, String)>, Is)> = vec![
            (vec![], Root(false)),
            (one("b3", &full), Below(false)),
            (one("b3", &format!("{full}-1")), Below(true)),
            (
                one("b3", &format!("{full}-d-1111111111111111")),
                Below(true),
            ),
            (one("b3", &format!("{short}-{SPAN}-0")), Below(false)),
            (one("b3", "1"), Root(true)),
            (one("b3", "0"), Root(false)),
            (one("b3", "garbage"), Is::Malformed),
            (one("b3", &format!("{full}-x")), Is::Malformed),
            (several(&[]), Below(false)),
            (several(&[("x-b3-sampled", "1")]), Below(true)),
            (several(&[("x-b3-sampled", "true")]), Below(true)),
            (several(&[("x-b3-sampled", "0")]), Below(false)),
            (several(&[("x-b3-parentspanid", "zz")]), Is::Malformed),
            (one("x-b3-traceid", TRACE), Root(false)),
            (one("x-b3-sampled", "1"), Root(true)),
            (one("traceparent", &w3c), Below(true)),
            (one("traceparent", "garbage"), Root(false)),
        ];
        for (fields, expected) in cases {
            for shared in [true, false] {
                let rules = B3Rules {
                    wide: true,
                    shared,
                    w3c: true,
                };
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let headers = headers(&fields);
                let span = SpanContext::from_b3(&headers, false, rules);
                let Ok(span) = span else {
                    assert!(matches!(expected, Is::Malformed), "{fields:?}");
                    continue;
                };
                match expected {
                    Is::Malformed => panic!("{fields:?} is understood"),
                    Root(sampled) => {
                        assert_eq!(span.is_sampled(), sampled, "{fields:?}");
                        assert_eq!(span.trace_id()[8..], *span.span_id());
                        assert!(span.parent().is_none() && !span.has_remote_parent());
                    }
                    Below(sampled) => {
                        assert_eq!(span.is_sampled(), sampled, "{fields:?}");
                        assert!(TRACE.ends_with(&text(|out| span.write_trace_id(out))));
                        let own = text(|out| span.write_span_id(out));
                        assert_eq!(own == SPAN, shared, "{fields:?}");
                        if !shared {
                            let parent = text(|out| hexadecimal(span.parent().unwrap(), out));
                            assert_eq!(parent, SPAN);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        for (first, w3c) in [("", false), ("b3", false), ("", true)] {
            for wide in [true, false] {
                let rules = B3Rules {
                    wide,
                    shared: false,
                    w3c,
                };
                let fields: Fields<'_> = if first.is_empty() {
                    &[]
                } else {
                    &[("b3", "1")]
                };
                let mut fields = headers(fields);
                let span = SpanContext::from_b3(&fields, true, rules).unwrap().child();
                span.inject(&mut fields);
                assert_eq!(fields.contains(&TRACEPARENT), w3c);
                let next = SpanContext::from_b3(&fields, false, rules).unwrap();
                assert_eq!(next.trace_id(), span.trace_id());
                assert_eq!(next.parent(), Some(span.span_id()));
                assert!(next.is_sampled());
                assert_eq!(
                    text(|out| next.write_trace_id(out)).len(),
                    if wide { 32 } else { 16 }
                );
            }
        }
    }
}
