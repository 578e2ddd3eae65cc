//! gRPC: real calls by grpcio through the gateway, and what clients are told where no service answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::tls::{certificate, indented};
use crate::gateway::{Gateway, Peer, Start, curl, program, python};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../proxy/tests/mesh/python")
        .join(name)
}

/// A service of grpcio's on a free port.
fn serve(arguments: &[&Path]) -> (Peer, u16) {
    let mut command = Command::new(python());
    command.arg("-u").arg(script("grpc_server.py")).arg("0");
    command.args(arguments);
    let mut peer = Peer::start(&mut command);
    let line = peer.line();
    let port = line
        .strip_prefix("ready ")
        .and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("the service says {line:?}"));
    (peer, port)
}

/// What grpcio's client makes of it, case by case.
fn call(arguments: &[&str]) -> Vec<Value> {
    let interpreter = python();
    let script = script("grpc_client.py");
    let mut all = vec![script.to_str().expect("a path")];
    all.extend(arguments);
    let told = program(interpreter.to_str().expect("a path"), &all);
    let lines: Vec<_> = told
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(!lines.is_empty(), "{told}");
    lines
}

fn expect_all(table: &str, told: &[Value], gateway: &Gateway) {
    let wanted = [
        ("unary", json!("hello")),
        (
            "metadata and trailers",
            json!({"response": "x", "initial": "python", "trailing": "end", "binary": "0001ff"}),
        ),
        (
            "an error with its trailers",
            json!({"code": "FAILED_PRECONDITION", "details": "it is: 100% no", "trailing": "end"}),
        ),
        (
            "a deadline that passes",
            json!({"over": true, "soon": true}),
        ),
        ("the server knows the deadline", json!("some")),
        (
            "a method that does not exist",
            json!({"code": "UNIMPLEMENTED", "details": "Method not found!"}),
        ),
        ("a stream from the server", json!(["a", "b", "c", "d"])),
        ("a stream from the client", json!("a b c")),
        (
            "streams both ways, in turn",
            json!(["0", "1", "2", "3", "4"]),
        ),
        (
            "a stream that is cancelled",
            json!({"first": "x", "code": "CANCELLED"}),
        ),
        ("a thousand messages", json!(5000)),
        ("a message of 5 MiB", json!(true)),
    ];
    for (name, wanted) in &wanted {
        let line = told.iter().find(|line| line["case"] == *name);
        let outcome = line.map(|line| &line["outcome"]);
        assert_eq!(outcome, Some(wanted), "{table}: {name}\n{}", gateway.log());
    }
    crate::cases::report(table, wanted.len(), wanted.len());
}

#[test]
fn calls_go_through() {
    let (_service, port) = serve(&[]);
    let gateway = Gateway::start(Start {
        yaml: Some(format!(
            r#"
_format_version: "3.0"
services:
- name: echo
  url: grpc://127.0.0.1:{port}
  routes: [{{protocols: [grpc], hosts: [echo.example], paths: [/test.Echo]}}]
plugins:
- {{name: prometheus, config: {{status_code_metrics: true}}}}
- {{name: correlation-id, config: {{header_name: x-id, echo_downstream: true}}}}
"#
        )),
        conf: vec![("proxy_listen", "127.0.0.1:0 http2".to_owned())],
        ..Start::default()
    });
    let told = call(&[&gateway.proxy[0].to_string(), "echo.example"]);
    expect_all("gRPC", &told, &gateway);
}

#[test]
fn calls_go_through_in_tls_on_both_sides() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file in the folder");
        path
    };
    let (served, served_key) = certificate("localhost");
    let (shown, shown_key) = certificate("echo.example");
    let (client, client_key) = certificate("gateway");
    let chain = file("chain.pem", &served);
    let key = file("key.pem", &served_key);
    let (_service, port) = serve(&[&chain, &key, &file("client.pem", &client)]);
    let block = |text: &str| indented(text, 4);
    let gateway = Gateway::start(Start {
        yaml: Some(format!(
            r#"
_format_version: "3.0"
services:
- name: echo
  url: grpcs://hosts
  routes: [{{protocols: [grpcs], hosts: [echo.example], snis: [echo.example]}}]
certificates:
- id: 10000000-0000-4000-8000-000000000001
  cert: |
{}  key: |
{}  snis: [{{name: echo.example}}]
- id: 10000000-0000-4000-8000-000000000002
  cert: |
{}  key: |
{}upstreams:
- name: hosts
  client_certificate: 10000000-0000-4000-8000-000000000002
  targets: [{{target: "localhost:{port}"}}]
"#,
            block(&shown),
            block(&shown_key),
            block(&client),
            block(&client_key)
        )),
        conf: vec![
            ("proxy_listen", "127.0.0.1:0 http2 ssl".to_owned()),
            ("lua_ssl_trusted_certificate", chain.display().to_string()),
            ("nginx_proxy_proxy_ssl_verify", "on".to_owned()),
        ],
        ..Start::default()
    });
    let told = call(&[
        &gateway.proxy[0].to_string(),
        "echo.example",
        file("shown.pem", &shown).to_str().expect("a path"),
    ]);
    expect_all("gRPC in TLS", &told, &gateway);
}

/// Where nobody answers: the status of HTTP stays as it is in Kong, gRPC's is beside it.
#[test]
fn what_clients_are_told_where_no_service_answers() {
    let gateway = Gateway::start(Start {
        yaml: Some(YAML.to_owned()),
        conf: vec![(
            "proxy_listen",
            "127.0.0.1:0 http2, 127.0.0.1:0 http2 ssl".to_owned(),
        )],
        ..Start::default()
    });
    let plain = format!("http://{}", gateway.proxy[0]);
    // Path, arguments; status, gRPC's status, gRPC's message, a part of the body.
    type Row = (
        &'static str,
        &'static [&'static str],
        u16,
        Option<&'static str>,
        Option<&'static str>,
        &'static str,
    );
    let rows: [Row; 16] = [
        (
            "/nowhere",
            &["-H", GRPC],
            404,
            Some("5"),
            Some("no Route matched with those values"),
            "",
        ),
        (
            "/bare",
            &["-H", GRPC],
            503,
            Some("14"),
            Some("no Service found with those values"),
            "",
        ),
        (
            "/dead",
            &["-H", GRPC],
            502,
            Some("13"),
            Some("An invalid response was received from the upstream server"),
            "",
        ),
        (
            "/empty",
            &["-H", GRPC],
            503,
            Some("14"),
            Some("failure to get a peer from the ring-balancer"),
            "",
        ),
        (
            "/keyed",
            &["-H", GRPC],
            401,
            Some("16"),
            Some("No API key found in request"),
            "",
        ),
        (
            "/tokens",
            &["-H", GRPC],
            401,
            Some("16"),
            Some("Unauthorized"),
            "",
        ),
        (
            "/claims",
            &["-H", GRPC, "-H", EXPIRED],
            401,
            Some("16"),
            Some("Unauthenticated"),
            "",
        ),
        (
            "/closed",
            &["-H", GRPC],
            503,
            Some("14"),
            Some("closed for the day"),
            "",
        ),
        (
            "/quiet",
            &["-H", GRPC],
            429,
            Some("8"),
            Some("ResourceExhausted"),
            "",
        ),
        ("/worded", &["-H", GRPC], 503, None, None, "{\"a\": 1}"),
        (
            "/limited",
            &["-H", GRPC],
            403,
            Some("7"),
            Some("IP address not allowed: 127.0.0.1"),
            "",
        ),
        // Others are told in their own form.
        (
            "/dead",
            &[],
            415,
            None,
            None,
            "Non-gRPC request matched gRPC route",
        ),
        (
            "/dead",
            &["-H", "content-type: application/json"],
            415,
            None,
            None,
            "Non-gRPC request matched gRPC route",
        ),
        (
            "/secure",
            &["-H", GRPC],
            200,
            Some("1"),
            Some("gRPC request matched gRPCs route"),
            "",
        ),
        (
            "/dead",
            &["--http1.1", "-H", GRPC],
            426,
            None,
            None,
            "Please use HTTP2 protocol",
        ),
        (
            "/nowhere",
            &["--http1.1", "-H", GRPC],
            404,
            None,
            None,
            "no Route matched with those values",
        ),
    ];
    for (path, arguments, status, code, message, body) in rows {
        let url = format!("{plain}{path}");
        let mut all = vec!["-X", "POST", "--http2-prior-knowledge", &url];
        all.extend(arguments);
        let answer = curl(&all);
        let told = (
            answer.status(),
            answer.header("grpc-status"),
            answer.header("grpc-message"),
        );
        assert_eq!(
            told,
            (status, code, message),
            "{path} {arguments:?}: {answer:?}"
        );
        assert!(
            answer.text().contains(body),
            "{path} {arguments:?}: {answer:?}"
        );
        let is_grpc = answer.header("content-type") == Some("application/grpc");
        assert_eq!(is_grpc, code.is_some(), "{path} {arguments:?}: {answer:?}");
        if code.is_some() {
            assert_eq!(answer.text(), "", "{path} {arguments:?}");
        }
    }
    crate::cases::report("gRPC errors", rows.len(), rows.len());
}

const GRPC: &str = "content-type: application/grpc+proto";
/// `{"iss":"issuer","exp":1}`, signed with `secret`.
const EXPIRED: &str = "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJpc3N1ZXIiLCJleHAiOjF9.XKrl7w39Yfc0yPDUrBBeOcPEyG5mXREBuHa_UHs1VJ4";

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: dead
  url: grpc://127.0.0.1:1
  retries: 0
  routes:
  - {name: dead, protocols: [grpc], paths: [/dead]}
  - {name: secure, protocols: [grpcs], paths: [/secure]}
  - name: keyed
    protocols: [grpc]
    paths: [/keyed]
    plugins: [{name: key-auth}]
  - name: tokens
    protocols: [grpc]
    paths: [/tokens]
    plugins: [{name: jwt}]
  - name: claims
    protocols: [grpc]
    paths: [/claims]
    plugins: [{name: jwt, config: {claims_to_verify: [exp]}}]
  - name: closed
    protocols: [grpc]
    paths: [/closed]
    plugins: [{name: request-termination, config: {message: closed for the day}}]
  - name: quiet
    protocols: [grpc]
    paths: [/quiet]
    plugins: [{name: request-termination, config: {status_code: 429}}]
  - name: worded
    protocols: [grpc]
    paths: [/worded]
    plugins: [{name: request-termination, config: {content_type: application/json, body: '{"a": 1}'}}]
  - name: limited
    protocols: [grpc]
    paths: [/limited]
    plugins: [{name: ip-restriction, config: {deny: [127.0.0.0/8]}}]
- name: empty
  url: grpc://empty
  routes: [{protocols: [grpc], paths: [/empty]}]
upstreams:
- name: empty
consumers:
- username: bob
  jwt_secrets: [{key: issuer, secret: secret, algorithm: HS256}]
routes:
- {name: bare, protocols: [grpc], paths: [/bare]}
"#;
