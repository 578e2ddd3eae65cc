//! Connections to services: kept, and tried again.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use crate::gateway::{Gateway, Reply, Start, Upstream, ask, get, program, reply};

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

/// A service that counts its connections, and holds each answer until as many requests wait as it was told.
fn counting(together: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    let all = Arc::new(Barrier::new(together));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
            let all = all.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
                    all.wait();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    // The gateway may have let go of it.
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), accepted)
}

/// `upstream_keepalive_max_requests` and `upstream_keepalive_pool_size`.
#[test]
fn connections_are_kept_as_long_and_as_many_as_was_told() {
    // Key, value, requests at a time, times; connections that the service saw.
    let rows = [
        ("upstream_keepalive_max_requests", "3", 1, 7, 3),
        ("upstream_keepalive_max_requests", "0", 1, 7, 1),
        ("upstream_keepalive_pool_size", "0", 1, 7, 7),
        ("upstream_keepalive_pool_size", "1", 1, 7, 1),
        // Four at once need four; of those as many are kept as there is room for.
        ("upstream_keepalive_pool_size", "512", 4, 3, 4),
        ("upstream_keepalive_pool_size", "3", 4, 3, 6),
        ("upstream_keepalive_pool_size", "1", 4, 3, 10),
    ];
    for (key, value, together, times, wanted) in rows {
        let (url, accepted) = counting(together);
        let gateway = Gateway::start(Start {
            yaml: Some(YAML.replace("{upstream}", &url)),
            conf: vec![
                (key, value.to_owned()),
                ("nginx_worker_processes", "1".to_owned()),
            ],
            ..Start::default()
        });
        let mut clients: Vec<_> = (0..together).map(|_| gateway.client()).collect();
        for _ in 0..times {
            std::thread::scope(|scope| {
                for client in &mut clients {
                    scope.spawn(move || assert_eq!(client.send(&get("/")).text(), "ok"));
                }
            });
        }
        let connections = accepted.load(Ordering::Relaxed);
        assert_eq!(connections, wanted, "{key} = {value}, {together} at a time");
    }
    crate::cases::report("connections to services", rows.len(), rows.len());
}

/// `keepalive_requests`, over HTTP/1 and HTTP/2.
#[test]
fn connections_of_clients_carry_so_many_requests() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(Start {
        yaml: Some(YAML.replace("{upstream}", &upstream.url())),
        conf: vec![
            ("nginx_proxy_keepalive_requests", "3".to_owned()),
            (
                "proxy_listen",
                "127.0.0.1:0, 127.0.0.1:0 http2 ssl".to_owned(),
            ),
        ],
        ..Start::default()
    });
    let mut client = gateway.client();
    for last in [false, false, true] {
        let answer = client.send(&get("/"));
        assert_eq!(
            answer.header("connection"),
            last.then_some("close"),
            "{answer:?}"
        );
    }
    assert!(client.is_closed());
    let url = format!("https://{}/", gateway.proxy[1]);
    let mut arguments = vec!["-sk", "--http2", "-w", "%{num_connects}"];
    arguments.extend([url.as_str(); 7]);
    let told = program("curl", &arguments);
    assert_eq!(told, "hello1hello0hello0hello1hello0hello0hello1");
}

/// An upstream's targets take turns, one that is away is passed over, and what nobody serves has Kong's words.
#[test]
fn targets_share_the_load() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let away = {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("a bound socket")
    };
    let yaml = format!(
        r#"
_format_version: "3.0"
upstreams:
- name: both
  targets: [{{target: "{}"}}, {{target: "{}"}}]
- name: half
  host_header: given.example
  healthchecks: {{passive: {{unhealthy: {{tcp_failures: 1}}}}}}
  targets: [{{target: "{}"}}, {{target: "{away}"}}]
- name: nobody
- name: sticky
  algorithm: consistent-hashing
  hash_on: cookie
  hash_on_cookie: seat
  targets: [{{target: "{}"}}, {{target: "{}"}}]
services:
- {{name: both, host: both, routes: [{{paths: [/both]}}]}}
- {{name: half, host: half, routes: [{{paths: [/half]}}]}}
- {{name: nobody, host: nobody, routes: [{{paths: [/nobody]}}]}}
- {{name: sticky, host: sticky, routes: [{{paths: [/sticky]}}]}}
"#,
        one.address, two.address, one.address, one.address, two.address
    );
    let gateway = Gateway::declarative(&yaml);
    for _ in 0..10 {
        assert_eq!(gateway.send(&get("/both")).status(), 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (5, 5));
    for _ in 0..10 {
        assert_eq!(gateway.send(&get("/half")).status(), 200);
    }
    let seen = one.seen();
    assert_eq!(seen.len(), 10);
    let host = format!("given.example:{}", one.address.port());
    assert_eq!(seen[0].header("host"), Some(host.as_str()));
    let answer = gateway.send(&get("/nobody"));
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.json()["message"],
        "failure to get a peer from the ring-balancer"
    );
    let answer = gateway.send(&get("/sticky"));
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.starts_with("seat=") && cookie.ends_with("; HttpOnly"),
        "{cookie}"
    );
    one.seen();
    two.seen();
    let cookie = cookie.split(';').next().expect("a cookie");
    for _ in 0..6 {
        let answer = gateway.send(&get("/sticky").header("cookie", cookie));
        assert_eq!(answer.header("set-cookie"), None);
    }
    let seen = (one.seen().len(), two.seen().len());
    assert!(seen == (6, 0) || seen == (0, 6), "{seen:?}");
}

/// What the service's certificate must be, and whom it is asked as.
#[test]
fn services_over_tls() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(vec!["secure.test".to_owned(), "127.0.0.1".to_owned()])
            .expect("names");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, secret) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, certificate.pem()).expect("a file");
    std::fs::write(&secret, key.serialize_pem()).expect("a file");
    let port = {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("a bound socket").port()
    };
    let mut server = std::process::Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ])
        .arg("-cert")
        .arg(&cert)
        .arg("-key")
        .arg(&secret)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is needed: install it");
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            server.try_wait().expect("a child").is_none(),
            "openssl s_server ended"
        );
        std::thread::yield_now();
    }
    let pem: String = certificate
        .pem()
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let gateway = Gateway::declarative(&format!(
        r#"
_format_version: "3.0"
ca_certificates:
- id: 4e3ad2e4-0bc4-4638-8e34-c84a417ba39b
  cert: |
{pem}
services:
- {{name: careless, url: "https://127.0.0.1:{port}", routes: [{{paths: [/careless]}}]}}
- {{name: careful, url: "https://127.0.0.1:{port}", tls_verify: true, ca_certificates: [4e3ad2e4-0bc4-4638-8e34-c84a417ba39b], routes: [{{paths: [/careful]}}]}}
- {{name: other, url: "https://127.0.0.1:{port}", tls_verify: true, routes: [{{paths: [/other]}}]}}
"#
    ));
    let statuses =
        ["/careless", "/careful", "/other"].map(|path| gateway.send(&get(path)).status());
    drop(server.kill());
    drop(server.wait());
    // A certificate of an authority that nobody trusts is as good as none.
    assert_eq!((statuses[0], statuses[2]), (200, 502));
    assert_eq!(statuses[1], 200);
}
