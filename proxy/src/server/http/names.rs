//! Field names of Envoy's protocol between proxies.

use http::HeaderName;

/// Declares names.
macro_rules! names {
    ($($constant:ident = $name:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub const $constant: HeaderName = HeaderName::from_static($name);
        )*
    };
}

names! {
    ATTEMPT_COUNT = "x-envoy-attempt-count";
    DECORATOR = "x-envoy-decorator-operation";
    DOWNSTREAM_CLUSTER = "x-envoy-downstream-service-cluster";
    DOWNSTREAM_NODE = "x-envoy-downstream-service-node";
    EXPECTED_TIMEOUT = "x-envoy-expected-rq-timeout-ms";
    EXTERNAL_ADDRESS = "x-envoy-external-address";
    FORCE_TRACE = "x-envoy-force-trace";
    FORWARDED_CLIENT_CERT = "x-forwarded-client-cert";
    FORWARDED_FOR = "x-forwarded-for";
    FORWARDED_PORT = "x-forwarded-port";
    FORWARDED_PROTO = "x-forwarded-proto";
    HEDGE_ON_TIMEOUT = "x-envoy-hedge-on-per-try-timeout";
    INTERNAL = "x-envoy-internal";
    IP_TAGS = "x-envoy-ip-tags";
    MAX_RETRIES = "x-envoy-max-retries";
    ORIGINAL_HOST = "x-envoy-original-host";
    ORIGINAL_PATH = "x-envoy-original-path";
    ORIGINAL_URL = "x-envoy-original-url";
    OVERLOADED = "x-envoy-overloaded";
    PER_TRY_TIMEOUT = "x-envoy-upstream-rq-per-try-timeout-ms";
    REQUEST_ID = "x-request-id";
    REQUEST_TIMEOUT = "x-envoy-upstream-rq-timeout-ms";
    RETRIABLE_HEADERS = "x-envoy-retriable-header-names";
    RETRIABLE_STATUSES = "x-envoy-retriable-status-codes";
    RETRY_GRPC_ON = "x-envoy-retry-grpc-on";
    RETRY_ON = "x-envoy-retry-on";
    TIMEOUT_ALT_RESPONSE = "x-envoy-upstream-rq-timeout-alt-response";
    UPSTREAM_ALT_STAT = "x-envoy-upstream-alt-stat-name";
    UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time";
}

/// What only internal clients may ask for; taken off everybody else's requests.
pub const INTERNAL_ONLY: [HeaderName; 14] = [
    EXPECTED_TIMEOUT,
    FORCE_TRACE,
    HEDGE_ON_TIMEOUT,
    INTERNAL,
    IP_TAGS,
    MAX_RETRIES,
    ORIGINAL_URL,
    PER_TRY_TIMEOUT,
    REQUEST_TIMEOUT,
    RETRIABLE_HEADERS,
    RETRIABLE_STATUSES,
    RETRY_GRPC_ON,
    RETRY_ON,
    TIMEOUT_ALT_RESPONSE,
];

/// What is taken off requests that come from outside at an edge.
pub const EDGE_ONLY: [HeaderName; 6] = [
    DECORATOR,
    DOWNSTREAM_CLUSTER,
    DOWNSTREAM_NODE,
    ORIGINAL_HOST,
    ORIGINAL_PATH,
    UPSTREAM_ALT_STAT,
];
