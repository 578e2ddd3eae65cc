//! Whether a request is traced, by Envoy's rules, and how its id carries the decision to the next proxy.

use carbyne_engine::http::Request;
use carbyne_engine::observe::metrics::Counter;
use http::{HeaderName, HeaderValue};

use crate::live::matcher::Fraction;
use crate::observe::request_id::{self, TraceReason};

/// Shares of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of those whose client asks for it (`x-client-trace-id`).
    pub client: Fraction,
    /// Of those that nobody asked about.
    pub random: Fraction,
    /// Of all that would be traced.
    pub overall: Fraction,
}

/// What the connection manager says about `x-request-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRules {
    /// The decision is written into the id (`pack_trace_reason`).
    pub pack: bool,
    /// The decision is drawn by the id (`use_request_id_for_trace_sampling`).
    pub sample: bool,
}

/// How often what was decided, and why.
#[derive(Debug, Default)]
pub struct Reasons {
    /// `tracing.random_sampling`
    pub random_sampling: Counter,
    /// `tracing.service_forced`
    pub service_forced: Counter,
    /// `tracing.client_enabled`
    pub client_enabled: Counter,
    /// `tracing.not_traceable`
    pub not_traceable: Counter,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            client: Fraction::ALL,
            random: Fraction::ALL,
            overall: Fraction::ALL,
        }
    }
}

impl Reasons {
    /// Counts one.
    pub fn count(&self, reason: TraceReason) {
        match reason {
            TraceReason::None => &self.not_traceable,
            TraceReason::Sampled => &self.random_sampling,
            TraceReason::Forced => &self.service_forced,
            TraceReason::Client => &self.client_enabled,
        }
        .increment();
    }
}

/// Decides and packs the decision into the id (Envoy: `mutateTracingRequestHeader`). `random` is a number of the request's own.
pub fn decide(
    request: &mut Request,
    sampling: &Sampling,
    rules: IdRules,
    random: u64,
) -> TraceReason {
    if !rules.sample {
        // Then the sampler of the provider decides alone.
        return TraceReason::Sampled;
    }
    let headers = &request.headers;
    let Some(id) = headers.get(&REQUEST_ID).map(HeaderValue::as_bytes) else {
        return TraceReason::None;
    };
    let Some(number) = request_id::number(id) else {
        return TraceReason::None;
    };
    // All proxies on the way draw by the same number, so they draw alike.
    let number = number % 10_000;
    let told = request_id::reason(id);
    let mut reason = told;
    if reason == TraceReason::None {
        if headers.contains(&CLIENT_TRACE_ID) && sampling.client.holds(random) {
            reason = TraceReason::Client;
        } else if headers.contains(&FORCE_TRACE) {
            reason = TraceReason::Forced;
        } else if sampling.random.holds(number) {
            reason = TraceReason::Sampled;
        }
    }
    if reason != TraceReason::None && !sampling.overall.holds(number) {
        reason = TraceReason::None;
    }
    if reason != told && rules.pack {
        let mut packed = id.to_vec();
        request_id::pack(&mut packed, reason);
        if let Ok(value) = HeaderValue::from_bytes(&packed) {
            request.headers.insert(REQUEST_ID, value);
        }
    }
    reason
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Set by clients that want their requests traced.
pub const CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");
const FORCE_TRACE: HeaderName = HeaderName::from_static("x-envoy-force-trace");

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling {
        client: Fraction::ALL,
        random: Fraction::ALL,
        overall: Fraction::ALL,
    };
    const NO_RANDOM: Sampling = Sampling {
        random: Fraction::NONE,
        ..ALL
    };
    const NO_CLIENT: Sampling = Sampling {
        client: Fraction::NONE,
        ..NO_RANDOM
    };
    const NOTHING: Sampling = Sampling {
        overall: Fraction::NONE,
        ..ALL
    };
    /// 0x00000a00 is 2560, 0x00000a01 is 2561.
    const QUARTER: Sampling = Sampling {
        random: Fraction::new(2561, 10_000),
        ..ALL
    };

    #[test]
    fn decisions_and_ids() {
        use TraceReason::{Client, Forced, None as Not, Sampled};
        let plain = "00000a00-0000-4000-8000-000000000000";
        let beyond = "00000a01-0000-4000-8000-000000000000";
        let forced = "00000a00-0000-a000-8000-000000000000";
        let cases: &[(&str, &Sampling, &str, TraceReason, &str)] = &[
            ("", &ALL, plain, Sampled, "9"),
            ("", &NO_RANDOM, plain, Not, "4"),
            ("", &QUARTER, plain, Sampled, "9"),
            ("", &QUARTER, beyond, Not, "4"),
            ("x-envoy-force-trace", &NO_RANDOM, plain, Forced, "a"),
            ("x-client-trace-id", &NO_RANDOM, plain, Client, "b"),
            ("x-client-trace-id", &NO_CLIENT, plain, Not, "4"),
            ("x-client-trace-id", &ALL, plain, Client, "b"),
            ("", &NO_RANDOM, forced, Forced, "a"),
            ("x-client-trace-id", &NO_RANDOM, forced, Forced, "a"),
            ("", &NOTHING, forced, Not, "4"),
            ("", &NOTHING, plain, Not, "4"),
            ("", &ALL, "abc", Not, ""),
            ("", &ALL, "0000000g-0000-4000-8000-000000000000", Not, "4"),
            // No UUID, yet a number: drawn, and left as it is.
            ("", &ALL, "12345678", Sampled, ""),
        ];
        for (field, sampling, id, expected, nibble) in cases {
            for pack in [true, false] {
                let mut request = Request::get("h", "/");
                let value = HeaderValue::from_str(id).unwrap();
                request.headers.insert(REQUEST_ID, value);
                if !field.is_empty() {
                    let name = HeaderName::from_static(field);
                    request.headers.insert(name, HeaderValue::from_static("1"));
                }
                let rules = IdRules { pack, sample: true };
                let decided = decide(&mut request, sampling, rules, 7);
                assert_eq!(decided, *expected, "{field} {sampling:?} {id}");
                let after = request.headers.text(&REQUEST_ID).unwrap();
                let wanted = if pack {
                    *nibble
                } else {
                    id.get(14..15).unwrap_or_default()
                };
                assert_eq!(
                    after.get(14..15).unwrap_or_default(),
                    wanted,
                    "{id} {field}"
                );
                assert_eq!(after.get(..14), id.get(..14));
            }
        }
    }

    #[test]
    fn without_the_id_the_provider_decides() {
        let rules = IdRules {
            pack: true,
            sample: false,
        };
        let mut request = Request::get("h", "/");
        assert_eq!(
            decide(&mut request, &NO_RANDOM, rules, 0),
            TraceReason::Sampled
        );
        let rules = IdRules {
            sample: true,
            ..rules
        };
        assert_eq!(decide(&mut request, &ALL, rules, 0), TraceReason::None);
    }
}
