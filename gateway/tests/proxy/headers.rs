//! Header fields, both ways.

use crate::gateway::{
    Body, Case, Gateway, SEEN, Seen, Start, Upstream, ask, get, reply, run, run_with,
};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}/base"
  routes:
  - {name: stripped, paths: [/stripped]}
  - {name: whole, paths: [/whole], strip_path: false}
  - {name: hosts, hosts: [kept.example], preserve_host: true}
  - {name: regex, paths: ["~/r/(?<id>\\d+)"]}
  - {name: first, paths: [/first], methods: [GET]}
"#;

#[test]
fn what_services_see() {
    let passes = |name, ask, seen| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(seen),
    };
    let line = |line| Seen {
        line: Some(line),
        ..SEEN
    };
    run(
        "what services see",
        YAML,
        &[
            passes(
                "who asked, and for what",
                get("/stripped/a%20b?x=1&y=%2F").header("host", "Test.Example:8000"),
                Seen {
                    line: Some("GET /base/a%20b?x=1&y=%2F"),
                    headers: &[
                        ("x-forwarded-for", Some("127.0.0.1")),
                        ("x-real-ip", Some("127.0.0.1")),
                        ("x-forwarded-proto", Some("http")),
                        ("x-forwarded-host", Some("test.example")),
                        ("x-forwarded-port", Some("*")),
                        ("x-forwarded-path", Some("/stripped/a%20b")),
                        ("x-forwarded-prefix", Some("/stripped")),
                        ("via", Some("1.1 kong/3.9.3")),
                        ("x-kong-request-id", Some("*")),
                        ("connection", None),
                    ],
                    body: Some(""),
                },
            ),
            passes(
                "a client that nobody trusts is not believed, but for where it says it comes from",
                get("/whole")
                    .header("X-Forwarded-For", "1.2.3.4")
                    .header("X-Forwarded-Proto", "https")
                    .header("X-Forwarded-Host", "evil.example")
                    .header("X-Forwarded-Prefix", "/evil")
                    .header("X-Real-IP", "1.2.3.4"),
                Seen {
                    line: Some("GET /base/whole"),
                    headers: &[
                        ("x-forwarded-for", Some("1.2.3.4, 127.0.0.1")),
                        ("x-forwarded-proto", Some("http")),
                        ("x-forwarded-host", Some("test.example")),
                        ("x-forwarded-prefix", None),
                        ("x-real-ip", Some("127.0.0.1")),
                    ],
                    body: None,
                },
            ),
            passes(
                "what speaks of one connection goes no further",
                get("/whole")
                    .header("Connection", "keep-alive, X-Mine")
                    .header("X-Mine", "1")
                    .header("Proxy", "http://evil")
                    .header("Keep-Alive", "5")
                    .header("TE", "trailers, gzip"),
                Seen {
                    headers: &[
                        ("x-mine", None),
                        ("proxy", None),
                        ("keep-alive", None),
                        ("te", Some("trailers")),
                    ],
                    ..SEEN
                },
            ),
            passes(
                "an underscore in a name",
                get("/whole").header("X_Mine", "1").header("X-Other", "2"),
                Seen {
                    headers: &[("x_mine", Some("1")), ("x-other", Some("2"))],
                    ..SEEN
                },
            ),
            passes(
                "what a service would read as a field that is said here, or twice",
                get("/whole")
                    .header("X_Consumer_ID", "evil")
                    .header("X_Forwarded-For", "1.2.3.4")
                    .header("x_anonymous_consumer", "true")
                    .header("X_Real_IP", "1.2.3.4")
                    .header("Authori_zation", "evil")
                    .header("X-Mine", "1")
                    .header("X_Mine", "2"),
                Seen {
                    headers: &[
                        ("x_consumer_id", None),
                        ("x_forwarded-for", None),
                        ("x-forwarded-for", Some("127.0.0.1")),
                        ("x_anonymous_consumer", None),
                        ("x_real_ip", None),
                        ("authori_zation", Some("evil")),
                        ("x-mine", Some("1")),
                        ("x_mine", None),
                    ],
                    ..SEEN
                },
            ),
            passes(
                "an encoded slash",
                get("/whole/%2f/group%2Fproject..x"),
                line("GET /base/whole/%2F/group%2Fproject..x"),
            ),
            passes(
                "what a prefix leaves is no dot segment",
                get("/stripped..%2fx"),
                line("GET /base/x"),
            ),
            passes(
                "the client's host",
                get("/").header("host", "Kept.example:8000"),
                Seen {
                    line: Some("GET /base"),
                    headers: &[("host", Some("Kept.example:8000"))],
                    body: None,
                },
            ),
            passes("a regular expression", get("/r/12/x"), line("GET /base/x")),
            passes(
                "nothing is left of the path",
                get("/stripped"),
                line("GET /base"),
            ),
            passes(
                "dot segments",
                get("/whole/a/../b/./c"),
                line("GET /base/whole/b/c"),
            ),
            passes(
                "an escape of nothing special",
                get("/whole/%61%2f"),
                line("GET /base/whole/a%2F"),
            ),
            passes(
                "a bare question mark",
                get("/whole?"),
                line("GET /base/whole?"),
            ),
            passes(
                "a body in chunks",
                ask("POST", "/whole").body("some body or other").chunked(),
                Seen {
                    body: Some("some body or other"),
                    ..SEEN
                },
            ),
            passes(
                "any method",
                ask("PURGE", "/whole").body("x"),
                Seen {
                    line: Some("PURGE /base/whole"),
                    headers: &[],
                    body: Some("x"),
                },
            ),
        ],
    );
}

#[test]
fn what_clients_see() {
    let upstream = Upstream::answering(|message| {
        if message.asked().starts_with("HEAD") {
            let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
            return crate::gateway::Reply {
                bytes,
                close: false,
            };
        }
        reply(
            503,
            &[
                ("Server", "mine"),
                ("Via", "1.0 other"),
                ("Keep-Alive", "timeout=5"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
            ],
            "{\"message\":\"my own\"}",
        )
    });
    let case = |name, ask, status, body| Case {
        name,
        ask,
        status,
        headers: &[
            ("x-kong-upstream-latency", Some("*")),
            ("x-kong-proxy-latency", Some("*")),
            ("x-kong-request-id", Some("*")),
            ("x-kong-response-latency", None),
            ("keep-alive", None),
            ("x-kong-upstream-status", None),
        ],
        body,
        seen: Some(SEEN),
    };
    run_with(
        "what clients see",
        YAML,
        &upstream,
        &[
            case(
                "an error of the service is the service's",
                get("/whole"),
                503,
                Body::Is("{\"message\":\"my own\"}"),
            ),
            Case {
                headers: &[
                    ("server", Some("mine")),
                    ("via", Some("1.0 other, 1.1 kong/3.9.3")),
                ],
                ..case("names", get("/whole"), 503, Body::Any)
            },
            Case {
                headers: &[("content-length", Some("5"))],
                ..case("HEAD", ask("HEAD", "/whole"), 200, Body::Is(""))
            },
        ],
    );
}

/// The `headers` key, and whom `trusted_ips` lets say who the client is.
#[test]
fn switches() {
    let upstream = Upstream::start();
    let yaml = YAML.replace("{upstream}", &upstream.url());
    let start = |conf: &[(&'static str, &str)]| {
        Gateway::start(Start {
            yaml: Some(yaml.clone()),
            conf: conf
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned()))
                .collect(),
            ..Start::default()
        })
    };
    let all = [
        "server",
        "via",
        "x-kong-proxy-latency",
        "x-kong-upstream-latency",
        "x-kong-upstream-status",
        "x-kong-response-latency",
        "x-kong-request-id",
    ];
    let rows: [(&str, &[&str], &[&str]); 5] = [
        ("off", &["server"], &[]),
        ("server_tokens", &["server", "via"], &["server"]),
        (
            "latency_tokens",
            &["server", "x-kong-proxy-latency", "x-kong-upstream-latency"],
            &["x-kong-response-latency"],
        ),
        (
            "X-Kong-Upstream-Status, x-kong-request-id",
            &["server", "x-kong-upstream-status", "x-kong-request-id"],
            &["x-kong-request-id"],
        ),
        ("Via", &["server", "via"], &[]),
    ];
    for (value, proxied, own) in rows {
        let gateway = start(&[("headers", value), ("headers_upstream", "off")]);
        for (target, wanted) in [("/whole", proxied), ("/nowhere", own)] {
            let answer = gateway.send(&get(target));
            let had: Vec<_> = all
                .iter()
                .filter(|name| answer.header(name).is_some())
                .collect();
            let wanted: Vec<_> = all.iter().filter(|name| wanted.contains(name)).collect();
            assert_eq!(had, wanted, "headers = {value}, {target}: {answer:?}");
        }
        assert_eq!(upstream.seen()[0].header("x-kong-request-id"), None);
    }
    let gateway = start(&[
        ("trusted_ips", "127.0.0.0/8, ::1"),
        ("real_ip_header", "X-Forwarded-For"),
        ("real_ip_recursive", "on"),
        ("port_maps", "443:8000"),
        ("allow_debug_header", "on"),
    ]);
    let answer = gateway.send(
        &get("/whole")
            .header("X-Forwarded-For", "9.9.9.9, 1.2.3.4, 127.0.0.7")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "shop.example")
            .header("X-Forwarded-Port", "443")
            .header("X-Forwarded-Path", "/given")
            .header("X-Forwarded-Prefix", "/front")
            .header("Kong-Debug", "1"),
    );
    assert_eq!(answer.header("kong-route-name"), Some("whole"));
    assert_eq!(answer.header("kong-service-name"), Some("s"));
    let seen = &upstream.seen()[0];
    for (name, value) in [
        ("x-forwarded-for", "9.9.9.9, 1.2.3.4, 127.0.0.7, 127.0.0.1"),
        ("x-real-ip", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-path", "/given"),
        ("x-forwarded-prefix", "/front"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}: {seen:?}");
    }
    let rows = rows.len() + 1;
    crate::cases::report("header switches", rows, rows);
}
