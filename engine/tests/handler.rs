//! The seam `forward::Handler`, proved over HTTP/1 by a handler of Kong's shape.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking; not every test uses all of the support"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use carbyne_engine::forward::Protocol;

use self::gateway::gateway;

#[path = "support/gateway.rs"]
mod gateway;

/// A host that answers every connection's requests with `answer`, and what it was sent.
fn host(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let record = seen.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let record = record.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    record.lock().unwrap().push_str(&text);
                    if text.contains("\r\n\r\n") && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Sends `request` and reads until `until` was seen or the connection closed.
fn ask(address: SocketAddr, request: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains(until) {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => answer.push_str(&String::from_utf8_lossy(&buffer[..length])),
            _ => break,
        }
    }
    answer
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKS: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_request_goes_through_and_comes_back() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target], Protocol::Http1);
    let answer = ask(
        running.address,
        "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        "hello",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-request-length: 0\r\n"), "{answer}");
    assert!(answer.contains("\r\ndate: "), "{answer}");
    assert!(
        seen.lock()
            .unwrap()
            .starts_with("GET /a?b HTTP/1.1\r\nhost: x\r\n")
    );
}

#[test]
fn chunks_come_through_as_chunks() {
    let (target, _) = host(CHUNKS);
    let running = gateway(&[target], Protocol::Http1);
    let answer = ask(
        running.address,
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "0\r\n\r\n",
    );
    assert!(
        answer.contains("transfer-encoding: chunked\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn the_next_target_is_tried_and_the_body_sent_again() {
    let (bad, _) = host(BAD_GATEWAY);
    let (good, seen) = host(HELLO);
    let running = gateway(&[nobody(), bad, good], Protocol::Http1);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    let answer = ask(running.address, request, "hello");
    assert!(answer.contains("x-request-length: 4\r\n"), "{answer}");
    assert!(seen.lock().unwrap().ends_with("\r\n\r\nbody"));
    let line = running.log.recv_timeout(Duration::from_secs(10));
    assert_eq!(line.as_deref(), Ok("Some(200) 3 tries"));
}

#[test]
fn the_handler_words_the_error() {
    let running = gateway(&[nobody()], Protocol::Http1);
    let answer = ask(running.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "}");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("{\"message\":\"no healthy upstream host\"}"),
        "{answer}"
    );
}

#[test]
fn a_filter_answers_a_body_above_its_limit_and_the_connection_closes() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target], Protocol::Http1);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n{}",
        "x".repeat(2000)
    );
    let answer = ask(running.address, &request, "too large");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (target, _) = host(HELLO);
    let running = gateway(&[target], Protocol::Http1);
    let request = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while answer.matches("hello").count() < 3 {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[test]
fn what_is_no_request_is_refused_and_closed() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target], Protocol::Http1);
    let answer = ask(
        running.address,
        "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "never",
    );
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let accepted =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(accepted.as_bytes()).unwrap();
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"ping");
        stream.write_all(b"pong").unwrap();
        String::from_utf8(head).unwrap()
    });
    let running = gateway(&[target], Protocol::Http1);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request =
        "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\npong"), "{answer}");
    let head = echo.join().unwrap();
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
}
