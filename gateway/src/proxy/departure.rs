//! Header fields on their way out: to the service, and to the client.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use carbyne_engine::http::Headers;
use carbyne_engine::net::address::IpText;
use http::{HeaderName, HeaderValue, Version, header};
use smallvec::SmallVec;

use super::context::{Context, Exchange, FORWARDED_PROTO, Source};
use crate::error::KONG_VERSION;
use crate::plan::service::Service;
use crate::router::uri;

/// Makes the request what the service sees, but for the host, which is chosen with the target.
pub(super) fn to_service(exchange: &mut Exchange) {
    let path = upstream_path(exchange);
    let local = exchange.context.local.clone();
    let settings = &local.node.settings;
    let request = &mut exchange.request;
    let context = &exchange.context;
    let arrival = &context.arrival;
    let client = IpText::of(arrival.client);
    let forwarded = match request.headers.get(&FORWARDED_FOR) {
        Some(given) => {
            let address = IpText::of(arrival.direct);
            let mut all = Vec::with_capacity(given.len() + 2 + address.as_bytes().len());
            // Several fields are one list (RFC 9110 §5.3).
            for given in request.headers.all(&FORWARDED_FOR) {
                all.extend_from_slice(given.as_bytes());
                all.extend_from_slice(b", ");
            }
            all.extend_from_slice(address.as_bytes());
            Bytes::from(all)
        }
        None => Bytes::copy_from_slice(client.as_bytes()),
    };
    set(request, FORWARDED_FOR, forwarded);
    set(request, REAL_IP, Bytes::copy_from_slice(client.as_bytes()));
    let keeps = |name: &HeaderName, request: &carbyne_engine::http::Request| {
        arrival.trusted && request.headers.contains(name)
    };
    if !keeps(&FORWARDED_PROTO, request) {
        let scheme = HeaderValue::from_static(arrival.scheme());
        request.headers.insert(FORWARDED_PROTO, scheme);
    }
    if !keeps(&FORWARDED_HOST, request) {
        let host = request.host.clone();
        set(request, FORWARDED_HOST, host);
    }
    if !keeps(&FORWARDED_PORT, request) {
        request
            .headers
            .insert(FORWARDED_PORT, HeaderValue::from(arrival.port));
    }
    if !keeps(&FORWARDED_PATH, request) {
        let end = memchr::memchr(b'?', &context.original.path);
        let original = context
            .original
            .path
            .slice(..end.unwrap_or(context.original.path.len()));
        set(request, FORWARDED_PATH, original);
    }
    if !keeps(&FORWARDED_PREFIX, request) {
        match &context.upstream.prefix {
            Some(prefix) if !prefix.is_empty() && prefix != "/" => {
                let prefix = prefix.clone();
                set(request, FORWARDED_PREFIX, prefix);
            }
            _ => drop(request.headers.remove(&FORWARDED_PREFIX)),
        }
    }
    request.headers.remove(&PROXY);
    if settings.headers.via {
        add_via(&mut request.headers, request.version);
    }
    if settings.request_id_upstream {
        request.headers.insert(REQUEST_ID, context.id.to_header());
    }
    drop_twins(&mut request.headers);
    request.path = path;
}

/// Takes off what CGI and its kin (WSGI, PHP, Rack) read as a field that is said here: `x_consumer_id` for `X-Consumer-ID`.
/// Kong lets it through, for whoever comes behind to choose between.
fn drop_twins(headers: &mut Headers) {
    let has_underscore = |name: &HeaderName| memchr::memchr(b'_', name.as_str().as_bytes());
    if headers
        .iter()
        .all(|(name, _)| has_underscore(name).is_none())
    {
        return;
    }
    let mut twins: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for (name, _) in headers.iter() {
        let hyphenated = name.as_str().replace('_', "-");
        if hyphenated != name.as_str()
            && (is_vouched_for(&hyphenated)
                || headers
                    .iter()
                    .any(|(other, _)| *other.as_str() == *hyphenated))
        {
            twins.push(name.clone());
        }
    }
    headers.retain(|name, _| !twins.contains(name));
}

/// Whether services believe a field because it is the gateway that sends it, or leaves it out.
fn is_vouched_for(name: &str) -> bool {
    let starts = |prefix: &str| name.starts_with(prefix);
    starts("x-consumer-")
        || starts("x-forwarded-")
        || starts("x-authenticated-")
        || matches!(
            name,
            "x-anonymous-consumer" | "x-credential-identifier" | "x-real-ip" | "x-kong-request-id"
        )
}

/// The path that the service sees, as it is sent.
pub(crate) fn upstream_path(exchange: &Exchange) -> Bytes {
    let path = &exchange.context.upstream.path;
    let query = memchr::memchr(b'?', &exchange.request.path)
        .map(|at| exchange.request.path.slice(at..))
        .unwrap_or_default();
    let escaped = uri::escape(path);
    match escaped {
        Cow::Borrowed(_) if query.is_empty() => path.clone(),
        // Nothing was taken off or put before: what came goes on.
        Cow::Borrowed(path) if exchange.request.path_only() == path => {
            exchange.request.path.clone()
        }
        escaped => [&*escaped, &*query].concat().into(),
    }
}

/// What every response gets, whoever made it; after the plugins, so that none of them takes it off.
pub(super) fn to_client(exchange: &mut Exchange) {
    let local = exchange.context.local.clone();
    let switches = local.node.settings.headers;
    let debug = local.node.settings.debug_header && wants_debug(exchange);
    let elapsed = exchange.elapsed();
    let timing = exchange.timing;
    let asks_trailers = exchange.request.headers.contains(&header::TE);
    let context = &mut exchange.context;
    let Some(response) = &mut exchange.response else {
        return;
    };
    let headers = &mut response.headers;
    let proxied = context.source == Source::Service || !context.tries.is_empty();
    if proxied {
        if switches.upstream_status {
            let status = exchange.upstream.status.unwrap_or(response.status);
            headers.insert(UPSTREAM_STATUS, HeaderValue::from(status.as_u16()));
        }
        let sent = timing.upstream_start.unwrap_or(elapsed);
        if switches.upstream_latency {
            // Where nobody answered: until that was known.
            let answered = timing.response_start.unwrap_or(elapsed);
            let latency = answered.saturating_sub(sent);
            headers.insert(UPSTREAM_LATENCY, milliseconds(latency));
        }
        if switches.proxy_latency {
            headers.insert(PROXY_LATENCY, milliseconds(sent));
        }
        if !asks_trailers && headers.contains(&header::TRAILER) {
            headers.remove(&header::TRAILER);
        }
        if switches.via {
            // What was spoken with the service, whatever the client speaks.
            let version = if context.service().is_some_and(Service::is_grpc) {
                Version::HTTP_2
            } else {
                Version::HTTP_11
            };
            add_via(headers, version);
        }
    } else if switches.response_latency {
        headers.insert(RESPONSE_LATENCY, milliseconds(elapsed));
    }
    // A service that does not name itself is named after us, as in Kong.
    if switches.server && (context.source != Source::Service || !headers.contains(&header::SERVER))
    {
        headers.insert(header::SERVER, SERVER.clone());
    }
    if switches.request_id {
        headers.insert(REQUEST_ID, context.id.to_header());
    }
    if debug {
        add_debug(context, headers);
    }
}

fn wants_debug(exchange: &Exchange) -> bool {
    let asked = exchange
        .request
        .headers
        .text(&HeaderName::from_static("kong-debug"));
    asked == Some("1")
}

fn add_debug(context: &Context, headers: &mut Headers) {
    let Some(route) = &context.route else { return };
    let mut tell = |name, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    tell("kong-route-id", Some(&route.plan.id));
    tell("kong-route-name", route.plan.name.as_deref());
    let service = route.service.as_ref().map(|service| &service.plan);
    tell("kong-service-id", service.map(|service| &*service.id));
    tell(
        "kong-service-name",
        service.and_then(|service| service.name.as_deref()),
    );
}

fn set(request: &mut carbyne_engine::http::Request, name: HeaderName, value: Bytes) {
    // Made of what was a header value, a path or an address: none of them holds a line's end.
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        request.headers.insert(name, value);
    }
}

fn add_via(headers: &mut Headers, version: Version) {
    let own = match version {
        Version::HTTP_2 => &VIA_2,
        Version::HTTP_10 | Version::HTTP_09 => &VIA_10,
        _ => &VIA_11,
    };
    let Some(given) = headers.get(&header::VIA) else {
        headers.append(header::VIA, HeaderValue::clone(own));
        return;
    };
    let mut all = given.as_bytes().to_vec();
    all.extend_from_slice(b", ");
    all.extend_from_slice(own.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(header::VIA, value);
    }
}

fn milliseconds(time: std::time::Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn token(prefix: &str) -> HeaderValue {
    let text = format!("{prefix}kong/{KONG_VERSION}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("kong"))
}

/// What responses that are not a service's say of the server.
pub(super) fn server() -> HeaderValue {
    SERVER.clone()
}

static SERVER: LazyLock<HeaderValue> = LazyLock::new(|| token(""));
static VIA_10: LazyLock<HeaderValue> = LazyLock::new(|| token("1.0 "));
static VIA_11: LazyLock<HeaderValue> = LazyLock::new(|| token("1.1 "));
static VIA_2: LazyLock<HeaderValue> = LazyLock::new(|| token("2 "));

pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
const RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");
const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-kong-upstream-status");
