//! Answers that are the gateway's own.

use std::net::TcpListener;

use crate::gateway::{
    Ask, Body, Case, Gateway, Reply, SEEN, Start, Upstream, ask, get, run, run_with,
};

/// An address that nobody listens on.
fn nobody() -> String {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    taken.local_addr().expect("a bound socket").to_string()
}

#[test]
fn errors_are_kongs() {
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: plain, paths: [/plain]}
  - {name: secure, paths: [/secure], protocols: [https]}
  - {name: moved, paths: [/moved], protocols: [https], https_redirect_status_code: 301}
  - {name: grpc, paths: [/grpc.], protocols: [grpc]}
- name: refused
  url: "http://{nobody}"
  retries: 1
  routes: [{paths: [/refused]}]
- name: unknown
  url: "http://nobody.invalid"
  routes: [{paths: [/unknown]}]
- name: disabled
  url: "{upstream}"
  enabled: false
  routes: [{paths: [/disabled]}]
routes:
- {name: alone, paths: [/alone]}
"#
    .replace("{nobody}", &nobody());
    let case = |name, ask: Ask, status, headers, body| Case {
        name,
        ask,
        status,
        headers,
        body,
        seen: None,
    };
    let json: &[_] = &[("content-type", Some("application/json; charset=utf-8"))];
    run(
        "errors",
        &yaml,
        &[
            Case {
                name: "no route",
                ask: get("/nowhere"),
                status: 404,
                headers: &[
                    ("content-type", Some("application/json; charset=utf-8")),
                    ("server", Some("kong/3.9.3")),
                    ("x-kong-response-latency", Some("*")),
                    ("x-kong-request-id", Some("*")),
                    ("x-kong-upstream-latency", None),
                    ("via", None),
                    ("date", Some("*")),
                ],
                body: Body::Error("no Route matched with those values"),
                seen: None,
            },
            case(
                "as HTML",
                get("/nowhere").header("accept", "text/html"),
                404,
                &[("content-type", Some("text/html; charset=utf-8"))],
                Body::Holds(
                    "<h1>Error</h1>\n    <p>no Route matched with those values.</p>\n    <p>request_id: ",
                ),
            ),
            case(
                "as XML",
                get("/nowhere").header("accept", "text/html;q=0.5, application/xml"),
                404,
                &[("content-type", Some("application/xml; charset=utf-8"))],
                Body::Holds(
                    "<error>\n  <message>no Route matched with those values</message>\n  <requestid>",
                ),
            ),
            case(
                "as text",
                get("/nowhere").header("accept", "text/plain"),
                404,
                &[("content-type", Some("text/plain; charset=utf-8"))],
                Body::Holds("no Route matched with those values\nrequest_id: "),
            ),
            case(
                "for what is called gRPC and is no HTTP/2",
                ask("POST", "/nowhere").header("content-type", "application/grpc"),
                404,
                json,
                Body::Error("no Route matched with those values"),
            ),
            case(
                "a route without a service",
                get("/alone"),
                503,
                json,
                Body::Error("no Service found with those values"),
            ),
            case(
                "a service that is off",
                get("/disabled"),
                404,
                json,
                Body::Any,
            ),
            case(
                "HTTPS only",
                get("/secure"),
                426,
                &[("upgrade", Some("TLS/1.2, HTTP/1.1"))],
                Body::Error("Please use HTTPS protocol"),
            ),
            case(
                "HTTPS by redirect",
                get("/moved/x?a=1").header("host", "Example.com:8000"),
                301,
                &[("location", Some("https://example.com/moved/x?a=1"))],
                Body::Is(""),
            ),
            case(
                "no gRPC on a gRPC route",
                get("/grpc.S/M"),
                415,
                json,
                Body::Error("Non-gRPC request matched gRPC route"),
            ),
            case(
                "nobody listens",
                get("/refused"),
                502,
                &[
                    // nginx's rule: without an Accept the node's default.
                    ("content-type", Some("text/plain; charset=utf-8")),
                    ("via", Some("1.1 kong/3.9.3")),
                    ("server", Some("kong/3.9.3")),
                ],
                Body::Holds(
                    "An invalid response was received from the upstream server\nrequest_id: ",
                ),
            ),
            case(
                "nobody listens, for a client that wants JSON",
                get("/refused").header("accept", "application/json"),
                502,
                json,
                Body::Error("An invalid response was received from the upstream server"),
            ),
            case(
                "no address",
                get("/unknown"),
                503,
                json,
                Body::Error("name resolution failed"),
            ),
            case(
                "TRACE",
                ask("TRACE", "/plain"),
                405,
                &[("content-type", Some("text/plain; charset=utf-8"))],
                Body::Any,
            ),
            case(
                "CONNECT",
                ask("CONNECT", "plain:80").header("host", "plain:80"),
                405,
                &[],
                Body::Any,
            ),
        ],
    );
}

#[test]
fn services_that_fail() {
    let upstream = Upstream::answering(|message| match message.asked() {
        "GET /silent" => {
            std::thread::sleep(std::time::Duration::from_secs(20));
            Reply {
                bytes: Vec::new(),
                close: true,
            }
        }
        "GET /garbage" => Reply {
            bytes: b"nonsense\r\n\r\n".to_vec(),
            close: true,
        },
        _ => Reply {
            bytes: Vec::new(),
            close: true,
        },
    });
    let yaml = r#"
_format_version: "3.0"
services:
- {name: s, url: "{upstream}", read_timeout: 200, retries: 0, routes: [{paths: [/], strip_path: false}]}
"#;
    let case = |name, target, status, text| Case {
        name,
        ask: get(target).header("accept", "application/json"),
        status,
        headers: &[("x-kong-request-id", Some("*"))],
        body: Body::Error(text),
        seen: Some(SEEN),
    };
    let invalid = "An invalid response was received from the upstream server";
    run_with(
        "services that fail",
        yaml,
        &upstream,
        &[
            case("closes", "/closes", 502, invalid),
            case("speaks something else", "/garbage", 502, invalid),
        ],
    );
    // Seen only when the upstream has slept, so that it is not in the table.
    let gateway = Gateway::declarative(&yaml.replace("{upstream}", &upstream.url()));
    let answer = gateway.send(&get("/silent").header("accept", "application/json"));
    assert_eq!(answer.status(), 504, "{answer:?}");
    assert_eq!(
        answer.json()["message"],
        "The upstream server is timing out"
    );
}

#[test]
fn requests_that_are_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(Start {
        yaml: Some(format!(
            "_format_version: \"3.0\"\nservices: [{{name: s, url: \"{}\", routes: [{{paths: [/]}}]}}]",
            upstream.url()
        )),
        conf: vec![("nginx_http_client_max_body_size", "10".to_owned())],
        ..Start::default()
    });
    let long = "x".repeat(70_000);
    let cases: [(&str, Vec<u8>, u16, &str); 12] = [
        ("no request", b"nonsense\r\n\r\n".to_vec(), 400, "Bad request"),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(), 400, "Bad request"),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400, "Bad request"),
        (
            "two framings",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
            400,
            "Bad request",
        ),
        ("a path that may end early", b"GET /a%00/b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "Bad request"),
        ("a dot segment behind %2F", b"GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "Bad request"),
        ("a dot segment behind a backslash", b"GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "Bad request"),
        ("a dot segment behind %5C", b"GET /a%5C..%5Cb HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "Bad request"),
        ("a dot segment with a parameter", b"GET /a/..;x=y/b HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), 400, "Bad request"),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), 414, "URI too long"),
        (
            "a long field",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").into_bytes(),
            400,
            "Bad request",
        ),
        (
            "a long body, told in advance",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890".to_vec(),
            413,
            "Payload too large",
        ),
    ];
    let all = cases.len() + 2;
    for (name, bytes, status, text) in cases {
        let mut client = gateway.client();
        client.write(&bytes);
        let answer = client
            .read(false)
            .unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(answer.status(), status, "{name}: {answer:?}");
        assert!(answer.text().contains(text), "{name}: {answer:?}");
        assert!(
            answer.header("x-kong-request-id").is_some(),
            "{name}: {answer:?}"
        );
        assert_eq!(answer.header("server"), Some("kong/3.9.3"), "{name}");
    }
    let answer = gateway.send(&ask("POST", "/").body("01234567890").chunked());
    assert_eq!(answer.status(), 413, "{answer:?}");
    let answer = gateway.send(&ask("POST", "/").body("0123456789").chunked());
    assert_eq!(answer.status(), 200, "{answer:?}");
    crate::cases::report("refused requests", all, all);
}
