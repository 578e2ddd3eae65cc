//! What an application of the platform sees when it calls others: routes, weights, rewrites, redirects, mutual TLS,
//! passthrough, TCP.

use std::net::Ipv4Addr;

use crate::case::{Case, From, calls, run, says};
use crate::support::http1::{get, post, request};
use crate::world::{OUTSIDE, OUTSIDE_TLS};

#[test]
fn frontend_calls() {
    run("frontend", |_| {
        [
            portal(),
            gms(),
            superset(),
            billing(),
            kong(),
            streams(),
            elsewhere(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
}

#[test]
fn superset_calls() {
    run("superset", |_| {
        vec![
            calls(
                "registry only: what it may not know",
                (PORTAL, 8080),
                get("/api").host(PORTAL_HOST),
                &["reached 0 times"],
            ),
            says(
                "registry only: somewhere else",
                From::Inside,
                (OUTSIDE, 9092),
                "hello",
                &["line \"\", closed", "reached 0 times"],
            ),
            calls(
                "what its Sidecar lets it know",
                (PROMETHEUS, 9090),
                get("/metrics").host("prometheus.monitoring.svc.cluster.local:9090"),
                &["status 200", "upstream 192.0.2.24:9090: GET /metrics"],
            ),
            says(
                "a stream that it may open",
                From::Inside,
                (POSTGRES, 5432),
                "select",
                &["line \"192.0.2.25:5432: select\", answered"],
            ),
        ]
    });
}

fn portal() -> Vec<Case> {
    let to = (PORTAL, 8080);
    let portal = |path: &str| get(path).host(PORTAL_HOST);
    vec![
        calls(
            "canary by header",
            to,
            portal("/api/x").header("x-canary", "true"),
            &[
                "status 200",
                "upstream 192.0.2.12:8080: GET /api/x",
                "upstream 192.0.2.12:8080 tls: sni=outbound_.8080_.v2_.portal-services",
            ],
        ),
        calls(
            "canary needs the path too",
            to,
            portal("/else").header("x-canary", "true"),
            &["status 200"],
        )
        .any_endpoint(),
        calls(
            "canary by parameter",
            to,
            portal("/else?canary=yes"),
            &["upstream 192.0.2.12:8080: GET /else?canary=yes"],
        ),
        calls(
            "canary by another parameter",
            to,
            portal("/else?canary=maybe"),
            &["status 200"],
        )
        .any_endpoint(),
        calls(
            "post",
            to,
            post("/api/x?canary=1", "the body").host(PORTAL_HOST),
            &["upstream 192.0.2.12:8080 body \"the body\""],
        ),
        calls(
            "head",
            to,
            request("HEAD", "/api/x?canary=1").host(PORTAL_HOST),
            &["status 200", "body \"\""],
        ),
        calls(
            "short name",
            to,
            get("/x?canary=1").host("portal-services:8080"),
            &["status 200"],
        ),
        calls(
            "name with its namespace",
            to,
            get("/x?canary=1").host("portal-services.data-platform"),
            &["status 200"],
        ),
        calls(
            "address as host",
            to,
            get("/x?canary=1").host("10.96.1.1:8080"),
            &["status 200"],
        ),
        calls(
            "host of nobody",
            to,
            get("/x").host("nobody.example"),
            &["reached "],
        ),
        calls(
            "retried three times",
            to,
            portal("/status/503"),
            &[
                "status 503",
                "reached 4 times",
                "log response_flags \"URX\"",
            ],
        )
        .any_endpoint(),
        calls(
            "retried for a conflict",
            to,
            portal("/status/409"),
            &["status 409", "reached 4 times"],
        )
        .any_endpoint(),
        calls(
            "not retried for 404",
            to,
            portal("/status/404"),
            &["status 404", "reached 1 times"],
        )
        .any_endpoint(),
        calls(
            "retried after a close",
            to,
            portal("/close"),
            &["status 503", "reached 4 times"],
        )
        .any_endpoint(),
        calls(
            "canary closes",
            to,
            portal("/close?canary=1"),
            &["status 503"],
        ),
    ]
}

fn gms() -> Vec<Case> {
    let to = (GMS, 8080);
    let gms = |path: &str| get(path).host(GMS_HOST);
    vec![
        calls(
            "rewritten by pattern",
            to,
            gms("/entities/v2/abc?x=1"),
            &[
                "status 200",
                "upstream 192.0.2.13:8080: GET /openapi/v2/abc?x=1",
            ],
        ),
        calls(
            "pattern in any case",
            to,
            gms("/ENTITIES/v1/abc"),
            &["status 200"],
        ),
        calls(
            "pattern for GET only",
            to,
            post("/entities/v2/abc", "x").host(GMS_HOST),
            &["upstream 192.0.2.13:8080: POST /entities/v2/abc"],
        ),
        calls(
            "retried as a gateway error",
            to,
            gms("/entities/v1/status/502"),
            &["status 502", "reached 4 times"],
        ),
        calls(
            "not retried for 500",
            to,
            gms("/entities/v1/status/500"),
            &["status 500", "reached 1 times"],
        ),
    ]
}

fn superset() -> Vec<Case> {
    let to = (SUPERSET, 8088);
    let host = "superset-web.data-platform.svc.cluster.local:8088";
    vec![
        calls(
            "nobody said",
            to,
            get("/").host(host),
            &[
                "status 401",
                "reached 0 times",
                "log response_code_details \"direct_response\"",
            ],
        ),
        calls(
            "somebody said",
            to,
            get("/").host(host).header("x-user", "ann"),
            &["status 200", "upstream 192.0.2.15:8088: GET / HTTP/2"],
        ),
        calls(
            "body over HTTP/2",
            to,
            post("/x", "body").host(host).header("x-user", "ann"),
            &["upstream 192.0.2.15:8088 body \"body\""],
        ),
        calls(
            "no retries",
            to,
            get("/status/503").host(host).header("x-user", "ann"),
            &["status 503", "reached 1 times"],
        ),
    ]
}

fn billing() -> Vec<Case> {
    let to = (BILLING, 80);
    let billing = |path: &str| get(path).host("legacy-billing.data-platform.svc.cluster.local");
    vec![
        calls(
            "with and without mutual TLS",
            to,
            billing("/x"),
            &["status 200"],
        )
        .any_endpoint(),
        calls(
            "retried for a listed status",
            to,
            billing("/status/503"),
            &["status 503", "reached 4 times"],
        )
        .any_endpoint(),
        calls(
            "not retried for another",
            to,
            billing("/status/500"),
            &["status 500", "reached 1 times"],
        )
        .any_endpoint(),
    ]
}

fn kong() -> Vec<Case> {
    vec![
        calls(
            "another port at the endpoint",
            (KONG, 80),
            get("/x").host("kong-proxy.kong.svc.cluster.local"),
            &["status 200"],
        )
        .any_endpoint(),
        calls(
            "prometheus in plain",
            (PROMETHEUS, 9090),
            get("/metrics").host("prometheus.monitoring.svc.cluster.local:9090"),
            &["status 200", "upstream 192.0.2.24:9090: GET /metrics"],
        ),
        calls(
            "a name outside, in TLS from here",
            (Ipv4Addr::new(240, 240, 0, 1), 80),
            get("/").host("api.partner.example"),
            &[
                "status 200",
                "upstream 198.18.0.11:443 tls: sni=api.partner.example",
            ],
        ),
    ]
}

fn streams() -> Vec<Case> {
    let inside = From::Inside;
    vec![
        says(
            "postgres",
            inside,
            (POSTGRES, 5432),
            "select 1",
            &[
                "line \"192.0.2.25:5432: select 1\", answered",
                "upstream 192.0.2.25:5432 tls: sni=outbound_.5432_._.postgres",
            ],
        ),
        says(
            "in plain by the rule of a port",
            inside,
            (GMS, 4318),
            "span",
            &["line \"192.0.2.13:4318: span\", answered"],
        ),
        says(
            "sniffed as a stream",
            inside,
            (SNIFFED, 7000),
            "hello",
            &["line \"192.0.2.27:7000: hello\", answered"],
        ),
        calls(
            "sniffed as HTTP",
            (SNIFFED, 7000),
            get("/x").host("sniffed.data-platform.svc.cluster.local:7000"),
            &["status 200", "upstream 192.0.2.27:7000: GET /x"],
        ),
        says(
            "original destination",
            inside,
            (Ipv4Addr::new(192, 0, 2, 41), 9092),
            "produce",
            &["line \"192.0.2.41:9092: produce\", answered"],
        ),
    ]
}

fn elsewhere() -> Vec<Case> {
    vec![
        says(
            "passthrough of a stream",
            From::Inside,
            (OUTSIDE, 7000),
            "hello",
            &[
                "line \"198.18.0.10:7000: hello\", answered",
                "log upstream_cluster \"PassthroughCluster\"",
            ],
        ),
        calls(
            "passthrough of HTTP",
            (OUTSIDE, 9002),
            get("/x").host("outside.example"),
            &["status 200", "upstream 198.18.0.10:9002: GET /x"],
        ),
        calls(
            "passthrough on a known port",
            (OUTSIDE, 8080),
            get("/x").host("outside.example"),
            &["status 200"],
        ),
        says(
            "passthrough to nobody",
            From::Inside,
            (OUTSIDE_TLS, 9),
            "hello",
            &["line \"\", closed"],
        ),
    ]
}

const PORTAL: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 1);
const GMS: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 2);
const SUPERSET: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 4);
const POSTGRES: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 5);
const SNIFFED: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 7);
const BILLING: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 8);
const KONG: Ipv4Addr = Ipv4Addr::new(10, 96, 2, 1);
const PROMETHEUS: Ipv4Addr = Ipv4Addr::new(10, 96, 3, 1);
const PORTAL_HOST: &str = "portal-services.data-platform.svc.cluster.local:8080";
const GMS_HOST: &str = "datahub-gms.data-platform.svc.cluster.local:8080";
