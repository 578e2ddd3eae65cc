//! Checks against servers of the test's own.

use std::sync::Mutex;

use carbyne_engine::tls::{Identity, IdentitySlot, Trust};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;

use super::super::balancer::Balancer;
use super::super::health::State;
use super::*;
use crate::balance::{Planned, SwitchError};
use crate::plan::upstream::Target;
use crate::value::{Object, Value};

fn object(text: &str) -> Object {
    match Value::from_json(text.as_bytes()) {
        Ok(Value::Object(object)) => object,
        other => panic!("{text}: {other:?}"),
    }
}

/// An upstream whose active checks have these fields, with one target.
fn balancer(active: &str, port: u16, secrets: Secrets) -> Balancer {
    let upstream = format!(
        r#"{{"id":"u","name":"u","host_header":"checked.test","healthchecks":{{"active":{{"timeout":5,"healthy":{{"interval":1,"successes":1}},"unhealthy":{{"interval":1,"http_failures":1,"tcp_failures":1,"timeouts":1}},{active}}}}}}}"#
    );
    let target = format!(r#"{{"id":"t","target":"127.0.0.1:{port}","upstream":{{"id":"u"}}}}"#);
    Balancer::of_upstream(Planned {
        upstream: Arc::new(Upstream::read(&object(&upstream)).unwrap()),
        targets: vec![Arc::new(Target::read(&object(&target)).unwrap())],
        secrets,
    })
}

/// Checks the only target once and takes what came of it.
async fn check(balancer: &Balancer, healthy: bool) -> Observed {
    let checks = balancer.checks().unwrap();
    let address = balancer.to_check(healthy).pop().unwrap();
    let observed = checks.check(&address).await;
    balancer.checked(&checks, &address, observed);
    observed
}

/// A server that answers every connection alike, and the requests that it saw.
async fn server(answer: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let writing = seen.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") && stream.read_buf(&mut read).await.unwrap() > 0 {}
            writing
                .lock()
                .unwrap()
                .push(String::from_utf8(read).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, seen)
}

#[tokio::test]
async fn answers_are_judged_by_their_status() {
    for (answer, expected, state) in [
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            Observed::Status(200),
            State::Healthy,
        ),
        ("HTTP/1.0 302\r\n", Observed::Status(302), State::Healthy),
        (
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            Observed::Status(500),
            State::Unhealthy,
        ),
        (
            "HTTP/1.1 401 No\r\n\r\n",
            Observed::Status(401),
            State::Healthy,
        ),
        ("SSH-2.0-server\r\n", Observed::Malformed, State::Unhealthy),
        ("", Observed::TcpFailure, State::Unhealthy),
        ("HTTP/1.1 200", Observed::TcpFailure, State::Unhealthy),
    ] {
        let (port, _) = server(answer).await;
        let balancer = balancer(r#""type":"http""#, port, Secrets::default());
        let address = balancer.to_check(true).pop().unwrap();
        assert_eq!(check(&balancer, true).await, expected, "{answer:?}");
        assert_eq!(address.learnt.health.state(), state, "{answer:?}");
    }
}

#[tokio::test]
async fn the_request_is_what_the_upstream_says() {
    let (port, seen) = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let fields = r#""http_path":"/status?deep=1","headers":{"X-Check":["a","b"]}"#;
    check(&balancer(fields, port, Secrets::default()), true).await;
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "GET /status?deep=1 HTTP/1.1\r\nHost: checked.test\r\nConnection: close\r\nx-check: a\r\nx-check: b\r\n\r\n"
        ]
    );
}

#[tokio::test]
async fn who_does_not_answer_is_down_until_he_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for kind in ["http", "tcp"] {
        let balancer = balancer(&format!(r#""type":"{kind}""#), port, Secrets::default());
        assert_eq!(check(&balancer, true).await, Observed::TcpFailure);
        assert!(balancer.to_check(true).is_empty());
        assert_eq!(balancer.to_check(false).len(), 1);
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        if kind == "tcp" {
            assert_eq!(check(&balancer, false).await, Observed::Connected);
            assert_eq!(balancer.to_check(true).len(), 1);
        }
        drop(listener);
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let hasty = balancer(r#""timeout":0.05,"type":"http""#, port, Secrets::default());
    assert_eq!(check(&hasty, true).await, Observed::Timeout);
}

#[tokio::test]
async fn tls_is_verified_where_wanted() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["checked.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    let port = tls_server(&pem, &key).await;
    let trusting = || Secrets {
        identity: None,
        trust: Some(TrustSlot::filled(
            "roots",
            Trust::from_pem(pem.as_bytes(), None).unwrap(),
        )),
    };
    for (fields, secrets, expected) in [
        (r#""type":"https""#, trusting(), Observed::Status(204)),
        // Nobody is trusted.
        (
            r#""type":"https""#,
            Secrets::default(),
            Observed::TcpFailure,
        ),
        (
            r#""type":"https","https_sni":"other.test""#,
            trusting(),
            Observed::TcpFailure,
        ),
        (
            r#""type":"https","https_verify_certificate":false"#,
            Secrets::default(),
            Observed::Status(204),
        ),
        (
            r#""type":"https","https_verify_certificate":false,"https_sni":"other.test""#,
            Secrets::default(),
            Observed::Status(204),
        ),
    ] {
        let balancer = balancer(fields, port, secrets);
        assert_eq!(check(&balancer, true).await, expected, "{fields}");
    }
}

/// A server with this certificate, for any name, that answers 204.
async fn tls_server(certificate: &str, key: &str) -> u16 {
    use carbyne_engine::tls::{
        ClientCertificate, Resumption, ServerIdentity, ServerNames, ServerTls, ServerTlsPlan,
    };
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let plan = ServerTlsPlan {
        identities: vec![ServerIdentity {
            slot: IdentitySlot::filled("server", identity),
            names: ServerNames::Listed(vec!["*".to_owned()]),
        }],
        alpn: AlpnList::new(["http/1.1"]).unwrap(),
        client_certificate: ClientCertificate::None,
        peer: PeerRules::default(),
        parameters: TlsParameters::default(),
        resumption: Resumption::Tickets,
    };
    let tls = ServerTls::new(plan).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = tls.accept(stream, None).await {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n")
                    && stream.read_buf(&mut read).await.is_ok_and(|read| read > 0)
                {}
                drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await);
                drop(stream.shutdown().await);
            }
        }
    });
    port
}

#[tokio::test]
async fn checks_are_made_when_they_are_due() {
    use crate::balance::Balancers;
    use crate::dns::{Resolver, Settings};
    let (port, seen) = server("HTTP/1.1 200 OK\r\n\r\n").await;
    let balancers = Balancers::new(Arc::new(Resolver::new(Settings::default())));
    let upstream = r#"{"id":"u","name":"u","healthchecks":{"active":{"healthy":{"successes":1},"unhealthy":{"interval":0.1,"tcp_failures":1}}}}"#;
    let target = format!(r#"{{"id":"t","target":"127.0.0.1:{port}","upstream":{{"id":"u"}}}}"#);
    balancers.update(vec![Planned {
        upstream: Arc::new(Upstream::read(&object(upstream)).unwrap()),
        targets: vec![Arc::new(Target::read(&object(&target)).unwrap())],
        secrets: Secrets::default(),
    }]);
    let running = balancers.clone();
    let task = tokio::spawn(async move { running.run().await });
    let balancer = balancers.of("u", 80);
    // Only those that are down are checked; the first check that passes brings it back.
    assert_eq!(
        balancer.switch("127.0.0.1", port, None, false),
        Ok::<(), SwitchError>(())
    );
    let back = async {
        while balancer.to_check(true).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back)
        .await
        .unwrap();
    assert!(seen.lock().unwrap()[0].starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"));
    task.abort();
}

#[test]
fn status_lines_are_read_as_kong_reads_them() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK\r", Some(200)),
        ("HTTP/1.0  404", Some(404)),
        ("HTTP/2 200", None),
        ("HTTP/1.1 OK", None),
        ("ICY 200 OK", None),
        ("", None),
    ] {
        assert_eq!(status(line.as_bytes()), expected, "{line}");
    }
}
