//! Keys that are fetched, from a host on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carbyne_engine::forward::Protocol;
use serde_json::json;

use super::super::*;
use super::signing::{Signer, set};
use crate::filter::testing::{Nobody, OneHost, exchange, request, run, served};

/// An issuer that answers every request with this, and how often it was asked.
fn issuer(status: &'static str, body: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 2048];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
                assert!(
                    head.starts_with("GET /keys?a HTTP/1.1\r\nhost: issuer.example\r\n"),
                    "{head}"
                );
                count.fetch_add(1, Ordering::SeqCst);
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, asked)
}

fn filter(cluster: &str) -> JwtAuthnFilter {
    let remote = json!({"http_uri": {"uri": "https://issuer.example/keys?a", "cluster": cluster, "timeout": "5s"}, "async_fetch": {}});
    let message = json!({"providers": {"a": {"issuer": "A", "remote_jwks": remote}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "a"}}]});
    served::<wire::JwtAuthentication, _>(message, JwtAuthnFilter::plan)
}

fn details(result: Result<(), Answer>) -> String {
    result.map_or_else(|answer| answer.details.into_owned(), |()| "ok".to_owned())
}

#[test]
fn keys_are_fetched_once_and_only_for_tokens() {
    let signer = Signer::new("ES256");
    let (address, asked) = issuer("200 OK", set(&[signer.jwk(&[])]));
    let clusters = OneHost::at(address, Protocol::Http1);
    let filter = filter("service");
    let token = signer.token(&json!({"iss": "A"}));
    run(async {
        let mut missing = exchange(request("GET", "/", &[]));
        assert_eq!(
            details(filter.request(&mut missing, None, &clusters).await),
            "jwt_authn_access_denied{Jwt_is_missing}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        for _ in 0..3 {
            let mut good = exchange(request(
                "GET",
                "/",
                &[("authorization", &format!("Bearer {token}"))],
            ));
            assert_eq!(
                details(filter.request(&mut good, None, &clusters).await),
                "ok"
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let keys = filter.remote_keys().next().unwrap();
        assert!(keys.wants_refresh());
        assert_eq!((keys.fetched.value(), keys.fetch_failed.value()), (1, 0));
    });
}

#[test]
fn without_keys_every_token_is_refused() {
    let signer = Signer::new("ES256");
    let token = signer.token(&json!({"iss": "A"}));
    let refused = "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}";
    let ask = |filter: &JwtAuthnFilter, clusters: &OneHost| {
        let mut exchange = exchange(request(
            "GET",
            "/",
            &[("authorization", &format!("Bearer {token}"))],
        ));
        details(run(filter.request(&mut exchange, None, clusters)))
    };
    let good = set(&[signer.jwk(&[])]);
    for (status, body, expected) in [
        ("500 Oops", good.clone(), refused),
        ("302 Found", good.clone(), refused),
        ("200 OK", "nonsense".to_owned(), refused),
        ("200 OK", "x".repeat((1 << 20) + 1), refused),
        (
            "200 OK",
            set(&[]),
            "jwt_authn_access_denied{Jwks_doesn't_have_any_valid_public_key}",
        ),
        ("200 OK", good.clone(), "ok"),
    ] {
        let (address, _) = issuer(status, body);
        assert_eq!(
            ask(&filter("service"), &OneHost::at(address, Protocol::Http1)),
            expected,
            "{status}"
        );
    }
    let (address, _) = issuer("200 OK", good);
    assert_eq!(
        ask(&filter("another"), &OneHost::at(address, Protocol::Http1)),
        refused
    );
    let mut exchange = exchange(request(
        "GET",
        "/",
        &[("authorization", &format!("Bearer {token}"))],
    ));
    assert_eq!(
        details(run(filter("service").request(&mut exchange, None, &Nobody))),
        refused
    );
}

#[test]
fn who_waits_for_a_failing_fetch_shares_its_failure() {
    let (address, asked) = issuer("500 Oops", String::new());
    let clusters = OneHost::at(address, Protocol::Http1);
    let filter = filter("service");
    let keys = filter.remote_keys().next().unwrap();
    run(async {
        let worker = exchange(request("GET", "/", &[])).worker;
        let ask = || keys.ensure(&clusters, &worker);
        let results = tokio::join!(ask(), ask(), ask(), ask());
        assert_eq!(
            results,
            (
                Err(Failure::Fetch),
                Err(Failure::Fetch),
                Err(Failure::Fetch),
                Err(Failure::Fetch)
            )
        );
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
