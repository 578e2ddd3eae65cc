//! WebSockets: a real client and a real service, in TLS and without on either side; and what is none.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::tls::{certificate, indented};
use crate::gateway::{Gateway, PATIENCE, Peer, Start, Upstream, ask, program, python, reply};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/proxy/python")
        .join(name)
}

/// A service on a free port.
fn serve(arguments: &[&Path]) -> (Peer, u16) {
    let mut command = Command::new(python());
    command.arg("-u").arg(script("websocket_server.py"));
    let mut peer = Peer::start(command.args(arguments));
    let line = peer.line();
    let port = line.strip_prefix("ready ");
    let port = port.and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("the service says {line:?}"));
    (peer, port)
}

/// What the client makes of it, by case.
fn call(arguments: &[&str]) -> BTreeMap<String, Value> {
    let (interpreter, script) = (python(), script("websocket_client.py"));
    let mut all = vec![script.to_str().expect("a path")];
    all.extend(arguments);
    let told = program(interpreter.to_str().expect("a path"), &all);
    let lines = told.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{told}")))
        .collect()
}

fn wanted(scheme: &str) -> BTreeMap<String, Value> {
    let deflate = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let handshake = json!({
        "path": "/echo?a=1", "x-mine": "1", "upgrade": "websocket", "connection": "Upgrade",
        "x-forwarded-path": "/ws/echo", "x-forwarded-proto": scheme, "sec-websocket-version": "13",
    });
    let answer = json!({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Extensions": deflate});
    let rows = [
        ("handshake", handshake),
        ("answer", answer),
        ("subprotocol", json!("chat")),
        ("in order", json!(["text", "00ff"])),
        ("fragments", json!("in three frames")),
        ("two MiB", json!(true)),
        ("ping", json!("pong")),
        ("closed by the client", json!([4000, "done"])),
        ("without compression", json!("plain")),
        ("closed by the service", json!([4001, "enough"])),
        ("nobody says anything for read_timeout", json!("broken off")),
        ("somebody always says something", json!("open")),
        ("refused by the service", json!([403, "no!"])),
        (
            "no route",
            json!([404, "{\n  \"message\":\"no Route matched with tho"]),
        ),
        (
            "no service",
            json!([502, "An invalid response was received from th"]),
        ),
        (
            "no key",
            json!([401, "{\n  \"message\":\"No API key found in reque"]),
        ),
        ("a key", json!("opened")),
    ];
    rows.map(|(case, told)| (case.to_owned(), told)).into()
}

#[test]
fn frames_go_both_ways_in_tls_and_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file in the folder");
        path
    };
    let (served, served_key) = certificate("localhost");
    let (shown, shown_key) = certificate("shown.example");
    let chain = file("chain.pem", &served);
    let shown_chain = file("shown.pem", &shown);
    let (_plain, plain) = serve(&[]);
    let (_secure, secure) = serve(&[&chain, &file("key.pem", &served_key)]);
    let log = folder.path().join("file.log");
    let mut ran = 0;
    for service in [
        format!("http://localhost:{plain}"),
        format!("https://localhost:{secure}"),
    ] {
        let gateway = Gateway::start(Start {
            yaml: Some(format!(
                r#"
_format_version: "3.0"
services:
- name: s
  url: "{service}"
  routes:
  - {{name: ws, paths: [/ws], plugins: [{{name: file-log, config: {{path: "{}"}}}}]}}
  - {{name: guarded, paths: [/guarded], plugins: [{{name: key-auth}}]}}
- name: short
  url: "{service}"
  read_timeout: 2000
  write_timeout: 2000
  routes: [{{paths: [/short]}}]
- name: away
  url: http://127.0.0.1:1
  retries: 0
  routes: [{{paths: [/away]}}]
consumers:
- username: c
  keyauth_credentials: [{{key: k}}]
certificates:
- cert: |
{}  key: |
{}  snis: [{{name: shown.example}}]
"#,
                log.display(),
                indented(&shown, 4),
                indented(&shown_key, 4),
            )),
            conf: vec![
                (
                    "proxy_listen",
                    "127.0.0.1:0, 127.0.0.1:0 http2 ssl".to_owned(),
                ),
                ("lua_ssl_trusted_certificate", chain.display().to_string()),
                ("nginx_proxy_proxy_ssl_verify", "on".to_owned()),
            ],
            ..Start::default()
        });
        let trusted = shown_chain.to_str().expect("a path");
        let plain = format!("ws://{}", gateway.proxy[0]);
        let secure = format!("wss://{}", gateway.proxy[1]);
        for (arguments, scheme) in [
            (vec![plain.as_str()], "http"),
            (vec![secure.as_str(), trusted], "https"),
        ] {
            let told = call(&arguments);
            assert_eq!(
                told,
                wanted(scheme),
                "{scheme} to {service}\n{}",
                gateway.log()
            );
            ran += told.len();
        }
        // A connection is written down when it is over, as what it became.
        let lines = || std::fs::read_to_string(&log).unwrap_or_default();
        let began = std::time::Instant::now();
        while lines().lines().count() < 8 {
            assert!(began.elapsed() < PATIENCE, "{}", lines());
            std::thread::yield_now();
        }
        let records = lines();
        std::fs::remove_file(&log).expect("the log");
        let records = records.lines().map(serde_json::from_str);
        let records: Vec<Value> = records.map(|record| record.expect("JSON")).collect();
        let of = |uri: &str, status: u16| {
            let is = |record: &&Value| {
                record["upstream_uri"] == uri && record["response"]["status"] == status
            };
            records.iter().filter(is).count()
        };
        let counts = [("/echo?a=1", 101), ("/close", 101), ("/refused", 403)];
        let counts = counts.map(|(uri, status)| of(uri, status));
        assert_eq!(counts, [2, 2, 2], "{records:?}");
    }
    crate::cases::report("websockets", ran, ran);
}

/// A service that speaks after the handshake, and a client that has said it is there.
fn tunnel() -> (Gateway, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let gateway = Gateway::declarative(&format!(
        "_format_version: \"3.0\"\nservices: [{{name: s, url: \"http://{address}\", routes: [{{paths: [/]}}]}}]\n"
    ));
    let mut client = TcpStream::connect(gateway.proxy[0]).expect("the gateway takes connections");
    // What follows the handshake belongs to what comes of it.
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly")
        .expect("a socket");
    let (mut service, _) = listener.accept().expect("the gateway comes");
    for stream in [&client, &service] {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    }
    let head = head_of(&mut service);
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    service
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("the gateway reads");
    let head = head_of(&mut client);
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    let mut early = [0; 5];
    service.read_exact(&mut early).expect("what came early");
    assert_eq!(&early, b"early");
    (gateway, client, service)
}

/// A head in lower case.
fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).to_ascii_lowercase()
}

/// Who has said everything still hears what the other side has to say.
#[test]
fn either_side_may_end_first() {
    for client_first in [true, false] {
        let (_gateway, client, service) = tunnel();
        let (mut first, mut second) = if client_first {
            (client, service)
        } else {
            (service, client)
        };
        first.write_all(b"the end").expect("a socket");
        first.shutdown(Shutdown::Write).expect("a socket");
        let mut heard = String::new();
        second.read_to_string(&mut heard).expect("all, and the end");
        assert_eq!(heard, "the end", "{client_first}");
        second.write_all(b"and the answer").expect("a socket");
        drop(second);
        heard.clear();
        first.read_to_string(&mut heard).expect("all, and the end");
        assert_eq!(heard, "and the answer", "{client_first}");
    }
}

/// A request that only says `Upgrade` is an ordinary one, and nothing that follows it is a request.
#[test]
fn what_is_no_handshake_opens_nothing() {
    let upstream = Upstream::answering(|_| reply(200, &[], "hello"));
    let gateway = Gateway::declarative(&format!(
        "_format_version: \"3.0\"\nservices: [{{name: s, url: \"{}\", routes: [{{paths: [/]}}]}}]\n",
        upstream.url()
    ));
    let rows = [
        (
            "GET",
            "Upgrade: something\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
        ),
        ("GET", "Upgrade: websocket\r\n"),
        ("GET", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        ("GET", "Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
        (
            "DELETE",
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
        ),
    ];
    for (method, fields) in rows {
        let mut client = gateway.client();
        let text = format!(
            "{method} /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n{fields}\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        client.write(text.as_bytes());
        let answer = client.read(false).expect("an answer");
        assert_eq!(answer.status(), 200, "{fields}: {answer:?}");
        assert!(client.is_closed(), "{fields}");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1, "{fields}: {seen:?}");
        assert_eq!(seen[0].header("upgrade"), None, "{fields}");
        assert_eq!(seen[0].text(), "", "{fields}");
    }
    crate::cases::report("no handshakes", rows.len(), rows.len());
}

/// Services and routes of `ws` and `wss` are Kong Enterprise's; here as in its open edition those of `http` and `https`
/// carry WebSockets.
#[test]
fn protocols_of_their_own_are_refused() {
    let gateway = Gateway::embedded();
    for protocol in ["ws", "wss"] {
        let service = format!(r#"{{"host": "a", "protocol": "{protocol}"}}"#);
        let route = format!(r#"{{"paths": ["/"], "protocols": ["{protocol}"]}}"#);
        let among = "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp";
        let unknown = format!("unknown type: {protocol}");
        for (path, body, field, why) in [
            ("/services", service, "/fields/protocol", among),
            ("/routes", route, "/fields/protocols", &unknown),
        ] {
            let answer = gateway.ask_admin(&ask("POST", path).json(&body));
            assert_eq!(answer.status(), 400, "{body}: {answer:?}");
            let json = answer.json();
            let told = json.pointer(field).and_then(Value::as_str);
            assert_eq!(told, Some(why), "{body}: {json}");
        }
    }
}
