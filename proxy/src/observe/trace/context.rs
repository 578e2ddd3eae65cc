//! Whose trace a request belongs to: read from its fields and told to the next one, by W3C `traceparent` and by B3.

use http::{HeaderName, HeaderValue};

use carbyne_engine::http::Headers;

use super::sampler::Sampler;

#[cfg(test)]
mod tests;

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
