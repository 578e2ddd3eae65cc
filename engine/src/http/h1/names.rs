//! Field names without the work: most names are among a few dozen that everybody sends.
//!
//! `HeaderName::from_bytes` maps every byte, then compares, and copies what it does not know. This looks at the length
//! and three letters, compares once, and hands out a name that is never copied.

use http::header::HeaderName;

use super::words::equals;

/// The name if it is a frequent end-to-end one, in any case of letters.
pub(in crate::http) fn frequent(name: &[u8]) -> Option<&'static HeaderName> {
    if name.is_empty() {
        return None;
    }
    let found = NAMES.get(usize::from(SLOTS[slot(name)]))?;
    equals(name, found.as_str().as_bytes()).then_some(found)
}

/// Spreads the names without a clash, which [`SLOTS`] checks; the factors were found by trial.
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    let fourth_last = if length > 3 { length - 4 } else { 0 };
    (length * 293
        + lower(name[length / 2]) * 431
        + lower(name[fourth_last]) * 187
        + lower(name[length - 1]) * 127)
        % SLOT_COUNT
}

/// Letters in lower case. Other bytes may fall together: the comparison tells them apart.
const fn lower(byte: u8) -> usize {
    (byte | 0x20) as usize
}

const SLOT_COUNT: usize = 512;

/// Where in [`NAMES`] the name of a slot is; 255 where there is none.
static SLOTS: [u8; SLOT_COUNT] = {
    let mut slots = [255; SLOT_COUNT];
    let mut index = 0;
    while index < TEXTS.len() {
        let slot = slot(TEXTS[index].as_bytes());
        assert!(slots[slot] == 255, "two frequent names share a slot");
        slots[slot] = index as u8;
        index += 1;
    }
    slots
};

/// One list twice over: as text for the table of slots, and as names.
macro_rules! names {
    ($($text:literal),* $(,)?) => {
        const TEXTS: &[&str] = &[$($text),*];
        static NAMES: [HeaderName; TEXTS.len()] = [$(HeaderName::from_static($text)),*];
    };
}

names![
    "accept",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "age",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "etag",
    "expires",
    "if-modified-since",
    "if-none-match",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "referrer-policy",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "traceparent",
    "tracestate",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-content-type-options",
    "x-correlation-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-upstream-service-time",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-frame-options",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-xss-protection",
    "apikey",
    "x-api-key",
    "x-kong-proxy-latency",
    "x-kong-upstream-latency",
    "x-kong-request-id",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "baggage",
    "grpc-status",
    "grpc-message",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_names_are_found_in_any_case() {
        for text in TEXTS {
            assert_eq!(
                frequent(text.as_bytes()).map(HeaderName::as_str),
                Some(*text)
            );
            let upper = text.to_ascii_uppercase();
            assert_eq!(
                frequent(upper.as_bytes()).map(HeaderName::as_str),
                Some(*text)
            );
        }
    }

    #[test]
    fn others_are_not() {
        let cases = [
            "",
            "a",
            "accepu",
            "accept ",
            "connection",
            "host",
            "te",
            "\u{e4}",
        ];
        for text in cases {
            assert_eq!(frequent(text.as_bytes()), None, "{text}");
        }
        // The bit that tells the cases of letters apart tells these apart too, which are no letters.
        for text in [
            "x\rrequest-id",
            "X\rREQUEST\rID",
            "x_request_id",
            "x-request\0id",
        ] {
            assert_eq!(frequent(text.as_bytes()), None, "{text:?}");
        }
    }
}
