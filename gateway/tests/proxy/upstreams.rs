//! Connections to services: kept, tried again, upgraded.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::gateway::{Gateway, Reply, Upstream, ask, get, reply};

const YAML: &str = r#"
_format_version: "3.0"
services: [{name: s, url: "{upstream}", retries: 3, routes: [{paths: [/], strip_path: false}]}]
"#;

/// A connection that breaks before an answer is tried again where a repetition changes nothing.
#[test]
fn tries_again_what_may_be_repeated() {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let upstream =
        Upstream::answering(
            move |_| match counting.fetch_add(1, Ordering::Relaxed) % 3 {
                2 => reply(200, &[], "third"),
                _ => Reply {
                    bytes: Vec::new(),
                    close: true,
                },
            },
        );
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    for method in ["GET", "PUT", "DELETE"] {
        let answer = gateway.send(&ask(method, "/").body("some body"));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "third"),
            "{method}"
        );
        let seen = upstream.seen();
        assert_eq!(seen.len(), 3, "{method}");
        assert!(
            seen.iter().all(|seen| seen.text() == "some body"),
            "{method}: {seen:?}"
        );
    }
    count.store(0, Ordering::Relaxed);
    let answer = gateway.send(&ask("POST", "/").body("once"));
    assert_eq!(answer.status(), 502, "{answer:?}");
    assert_eq!(upstream.seen().len(), 1);
}

/// Statuses are the service's own: none of them is a reason to ask again.
#[test]
fn statuses_are_not_tried_again() {
    let upstream = Upstream::answering(|_| reply(503, &[], "busy"));
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    assert_eq!(gateway.send(&get("/")).text(), "busy");
    assert_eq!(upstream.seen().len(), 1);
}

/// One after another over one connection, both sides.
#[test]
fn connections_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counting = accepted.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counting.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).expect("the gateway reads");
                }
            });
        }
    });
    let url = format!("http://{address}");
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &url));
    let mut client = gateway.client();
    for _ in 0..50 {
        assert_eq!(client.send(&get("/")).text(), "ok");
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

/// A WebSocket's handshake goes through, and then bytes as they are.
#[test]
fn websockets_go_through() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0)
            {
                head.extend(byte);
            }
            let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
            assert!(head.contains("upgrade: websocket"), "{head}");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(answer).expect("the gateway reads");
            let mut bytes = [0; 64];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                bytes[..read].reverse();
                stream.write_all(&bytes[..read]).expect("the gateway reads");
            }
        }
    });
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &format!("http://{address}")));
    let mut stream =
        std::net::TcpStream::connect(gateway.proxy[0]).expect("the gateway takes connections");
    stream
        .write_all(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
        .expect("a socket");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(
            stream.read(&mut byte).expect("an answer"),
            1,
            "{}",
            String::from_utf8_lossy(&head)
        );
        head.extend(byte);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    for word in [b"abc", b"xyz"] {
        stream.write_all(word).expect("a socket");
        let mut back = [0; 3];
        stream.read_exact(&mut back).expect("an echo");
        back.reverse();
        assert_eq!(&back, word);
    }
}

/// Other upgrades are not passed on: the request is an ordinary one.
#[test]
fn other_upgrades_do_not() {
    let upstream = Upstream::start();
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    let answer = gateway.send(
        &get("/")
            .header("Connection", "Upgrade")
            .header("Upgrade", "something"),
    );
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(upstream.seen()[0].header("upgrade"), None);
}
