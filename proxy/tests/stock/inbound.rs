//! What others of the platform see when they call an application: PERMISSIVE, STRICT, ports of their own, access rules,
//! tokens, an authority, limits.

use std::net::Ipv4Addr;

use crate::case::{From, asks, run, says};
use crate::support::http1::{get, post, request};
use crate::support::tls::Identity;

#[test]
fn portal_is_called() {
    run("portal", |certificates| {
        let kong = certificates.client("kong", "kong");
        let frontend = certificates.client("data-platform", "datahub-frontend");
        let superset = certificates.client("data-platform", "superset");
        let monitoring = certificates.client("monitoring", "prometheus");
        let stranger = certificates.stranger();
        let to = (Ipv4Addr::new(192, 0, 2, 11), 8080);
        let name = "outbound_.8080_._.portal-services.data-platform.svc.cluster.local";
        let ask = |case: &str, who: &Identity, request, expect: &[&str]| {
            asks(case, From::Tls(Some(who), name, HTTP), to, request, expect)
        };
        let passes: &[&str] = &["status 200", "reached 1 times"];
        let denied: &[&str] = &[
            "status 403",
            "body \"RBAC: access denied\"",
            "reached 0 times",
            "log response_code_details \"rbac_access_denied",
        ];
        let by_deny: &[&str] = &[
            "status 403",
            "log response_code_details \"rbac_access_denied_matched_policy[ns[data-platform]-policy[portal-deny-admin]",
        ];
        vec![
            ask("kong may", &kong, get("/api/x"), passes).logs(0),
            ask("kong may post", &kong, post("/api/x", "y"), passes).logs(0),
            ask("kong may ask for health", &kong, request("HEAD", "/healthz"), passes).logs(0),
            ask("kong may not delete", &kong, request("DELETE", "/api/x"), denied),
            ask("kong may not see metrics", &kong, get("/metrics"), denied),
            ask("frontend may by its suffix", &frontend, get("/api/"), passes).logs(0),
            ask("superset may not", &superset, get("/api/x"), denied),
            ask("a namespace may", &monitoring, get("/metrics"), passes).logs(0),
            ask("a namespace may only read", &monitoring, post("/metrics", ""), denied),
            ask("anybody by a template and a header", &superset, get("/tenants/a/files/b/c").header("x-tenant", "acme"), passes).logs(0),
            ask("the header by its prefix", &superset, get("/tenants/a/files/b").header("x-tenant", "beta-1"), passes).logs(0),
            ask("the header of another", &superset, get("/tenants/a/files/b").header("x-tenant", "other"), denied),
            ask("a template that does not fit", &superset, get("/tenants/a/b/files/c").header("x-tenant", "acme"), denied),
            ask("administration is denied", &kong, get("/admin"), by_deny),
            ask("administration below is denied", &kong, get("/admin/x?y=1"), by_deny),
            ask("administration beside it", &superset, get("/admin"), denied),
            ask("slashes are merged before rules", &kong, get("//admin"), by_deny),
            ask("dots are resolved before rules", &kong, get("/api/../admin/x"), by_deny),
            ask("escapes are not resolved", &kong, get("/api/%2e%2e/admin/x"), &["status 403"]),
            asks("in plain nobody is known", From::Outside, to, get("/api/x"), denied),
            asks("in plain by a header", From::Outside, to, get("/tenants/a/files/b").header("x-tenant", "acme"), passes).logs(0),
            asks("a certificate of elsewhere", From::Tls(Some(&stranger), name, HTTP), to, get("/api/x"), &["no ", "reached 0 times"]).logs(0),
            asks("no certificate", From::Tls(None, name, HTTP), to, get("/api/x"), &["no ", "reached 0 times"]).logs(0),
            ask("a client's certificate is told on", &kong, get("/api/x").header("x-forwarded-client-cert", "By=x"), &[
                "status 200", "upstream application:8080 header x-forwarded-client-cert: By=x,By=spiffe://cluster.local/ns/data-platform/sa/portal;",
            ])
            .logs(0),
        ]
    });
}

#[test]
fn gms_is_called() {
    run("gms", |certificates| {
        let kong = certificates.client("kong", "kong");
        let to = (Ipv4Addr::new(192, 0, 2, 13), 8080);
        let name = "outbound_.8080_._.datahub-gms.data-platform.svc.cluster.local";
        let host = "datahub-gms.data-platform.svc.cluster.local:8080";
        let ask = |case: &str, request, expect: &[&str]| {
            asks(
                case,
                From::Tls(Some(&kong), name, HTTP),
                to,
                request,
                expect,
            )
        };
        vec![
            asks(
                "strict refuses plain text",
                From::Outside,
                to,
                get("/x").host(host),
                &["no response", "reached 0 times"],
            ),
            ask(
                "no token",
                get("/x").host(host),
                &["status 403", "body \"RBAC: access denied\""],
            ),
            ask(
                "no token at all in the header",
                get("/x").host(host).header("authorization", "Basic YTpi"),
                &["status 403"],
            ),
            ask(
                "a token of nonsense",
                get("/x").host(host).header("authorization", "Bearer x.y.z"),
                &["status 401"],
            ),
            ask(
                "a token in its other header",
                get("/x").host(host).header("x-jwt", "abc"),
                &["status 401"],
            ),
            ask(
                "a token in a parameter",
                get("/x?access_token=a.b.c").host(host),
                &["status 401"],
            ),
            ask(
                "a token of another issuer",
                get("/x")
                    .host(host)
                    .header("authorization", &format!("Bearer {OTHER_ISSUER}")),
                &["status "],
            ),
            ask(
                "a token of the issuer without a signature",
                get("/x")
                    .host(host)
                    .header("authorization", &format!("Bearer {NO_SIGNATURE}")),
                &["status 401"],
            ),
            says(
                "a port without TLS",
                From::Outside,
                (to.0, 4318),
                "span",
                &["line \"application:4318: span\", answered"],
            ),
        ]
    });
}

#[test]
fn postgres_is_called() {
    run("postgres", |certificates| {
        let gms = certificates.client("data-platform", "datahub-gms");
        let superset = certificates.client("data-platform", "superset");
        let kong = certificates.client("kong", "kong");
        let to = (Ipv4Addr::new(192, 0, 2, 25), 5432);
        let name = "outbound_.5432_._.postgres.data-platform.svc.cluster.local";
        let say = |case: &str, who: &Identity, expect: &[&str]| {
            says(
                case,
                From::Tls(Some(who), name, &["istio"]),
                to,
                "select",
                expect,
            )
        };
        vec![
            say(
                "gms may",
                &gms,
                &["line \"application:5432: select\", answered"],
            ),
            say(
                "superset may",
                &superset,
                &["line \"application:5432: select\", answered"],
            ),
            say(
                "kong may not",
                &kong,
                &[
                    "line \"\", closed",
                    "reached 0 times",
                    "log connection_termination_details \"rbac_access_denied",
                ],
            )
            .differs(DENIED_EARLY, DENIED),
            says(
                "in plain nobody is known",
                From::Outside,
                to,
                "select",
                &[
                    "line \"\", closed",
                    "log connection_termination_details \"rbac_access_denied",
                ],
            )
            .differs(DENIED_EARLY, DENIED),
        ]
    });
}

#[test]
fn frontend_is_called() {
    run("frontend", |certificates| {
        let kong = certificates.client("kong", "kong");
        let to = (Ipv4Addr::new(192, 0, 2, 14), 9002);
        let name = "outbound_.9002_._.datahub-frontend.data-platform.svc.cluster.local";
        vec![
            asks(
                "a dry run denies nobody",
                From::Tls(Some(&kong), name, HTTP),
                to,
                get("/x"),
                &["status 200", "reached 1 times"],
            ),
            asks(
                "permissive takes plain text",
                From::Outside,
                to,
                get("/x"),
                &["status 200"],
            ),
            asks(
                "permissive takes HTTP over TLS",
                From::Tls(Some(&kong), name, &["h2", "http/1.1"]),
                to,
                get("/x"),
                &["reached "],
            ),
            asks(
                "an application's error",
                From::Outside,
                to,
                get("/status/500"),
                &["status 500", "log response_code_details \"via_upstream\""],
            ),
            asks(
                "an application that closes",
                From::Outside,
                to,
                get("/close"),
                &["status 503"],
            ),
            asks(
                "a port that nobody declared",
                From::Outside,
                (to.0, 7000),
                get("/x"),
                &[
                    "status 200",
                    "log upstream_cluster \"InboundPassthroughCluster\"",
                ],
            ),
        ]
    });
}

#[test]
fn kong_is_called() {
    run("kong", |certificates| {
        let kong = certificates.client("kong", "kong");
        let portal = certificates.client("data-platform", "portal");
        let address = Ipv4Addr::new(192, 0, 2, 21);
        let name = "outbound_.8001_._.kong-admin.kong.svc.cluster.local";
        let ask = |case: &str, who: &Identity, expect: &[&str]| {
            asks(
                case,
                From::Tls(Some(who), name, HTTP),
                (address, 8001),
                get("/services"),
                expect,
            )
        };
        vec![
            ask("its own namespace may administer", &kong, &["status 200"]),
            ask(
                "another namespace may not",
                &portal,
                &["status 403", "reached 0 times"],
            ),
            asks(
                "one strict port",
                From::Outside,
                (address, 8001),
                get("/services"),
                &["no response", "reached 0 times"],
            ),
            asks(
                "the other port is permissive",
                From::Outside,
                (address, 8000),
                get("/x"),
                &["status 200", "upstream application:8000: GET /x"],
            ),
        ]
    });
}

#[test]
fn sniffed_is_called() {
    run("sniffed", |certificates| {
        let kong = certificates.client("kong", "kong");
        let to = (Ipv4Addr::new(192, 0, 2, 27), 7000);
        let name = "outbound_.7000_._.sniffed.data-platform.svc.cluster.local";
        vec![
            asks(
                "HTTP in plain",
                From::Outside,
                to,
                get("/x"),
                &["status 200", "upstream application:7000: GET /x"],
            ),
            says(
                "a stream in plain",
                From::Outside,
                to,
                "hello",
                &["line \"application:7000: hello\", answered"],
            ),
            asks(
                "HTTP over mutual TLS",
                From::Tls(Some(&kong), name, HTTP),
                to,
                get("/x"),
                &["status 200"],
            ),
            says(
                "a stream over mutual TLS",
                From::Tls(Some(&kong), name, &["istio"]),
                to,
                "hello",
                &["line \"application:7000: hello\", answered"],
            ),
        ]
    });
}

/// What istiod's chains of HTTP over mutual TLS ask for.
const HTTP: &[&str] = &["istio-http/1.1", "istio"];
const DENIED_EARLY: &str = "a client that is denied is not let to the application and hears nothing from it: Envoy connects first";
const DENIED: &[&str] = &[
    "line \"\", closed",
    "reached 0 times",
    "log connection_termination_details \"rbac_access_denied_matched_policy[none]\"",
    "log upstream_host null",
    "1 log lines",
];
/// `{"alg":"RS256","kid":"k1"}.{"iss":"https://other.example","aud":"portal"}.` and no signature worth the name.
const OTHER_ISSUER: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUiLCJhdWQiOiJwb3J0YWwifQ.AAAA";
/// The same of the issuer.
const NO_SIGNATURE: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoicG9ydGFsIn0.AAAA";
