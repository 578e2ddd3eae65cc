use carbyne_engine::http::{Request, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::context::Metadata;
use crate::observe::peer::Peer;

#[test]
fn expressions() {
    let mut request = Request::get("a.example", "/items/7?q=1");
    request.headers.append(
        HeaderName::from_static("x-tenant"),
        HeaderValue::from_static("gold"),
    );
    let response = Response::new(StatusCode::NOT_FOUND);
    let mut metadata = Metadata::default();
    metadata.merge(
        "jwt",
        json!({"sub": "me", "roles": ["a", "b"], "n": 3})
            .as_object()
            .unwrap()
            .clone(),
    );
    let peer = std::sync::Arc::new(Peer {
        workload: "w".into(),
        ..Peer::default()
    });
    let facts = Facts {
        request: Some(&request),
        response: Some(&response),
        metadata: Some(&metadata),
        upstream_peer: Some(&peer),
        ..Facts::default()
    };
    let cases: &[(&str, bool)] = &[
        ("response.code >= 400", true),
        ("response.code < 400", false),
        ("response.code >= 400 && response.code != 404", false),
        (
            "request.method == 'GET' || nope_is_never_read.x == 1",
            false,
        ),
        ("!(request.method == \"POST\")", true),
        ("!!true", true),
        (
            "request.path.startsWith('/items') && request.url_path.endsWith('7')",
            true,
        ),
        ("request.url_path.matches('^/items/[0-9]+$')", true),
        ("matches(request.host, 'exam')", true),
        ("request.headers['x-tenant'] == 'gold'", true),
        ("request.headers['x-none'] == 'gold'", false),
        ("has(request.headers['x-none'])", false),
        ("has(request.headers['x-tenant'])", true),
        ("'x-tenant' in request.headers", true),
        ("request.method in ['GET', 'HEAD']", true),
        ("metadata.filter_metadata['jwt']['sub'] == 'me'", true),
        ("'b' in metadata.filter_metadata.jwt.roles", true),
        ("metadata.filter_metadata.jwt.n == 3", true),
        ("filter_state['upstream_peer'].workload == 'w'", true),
        ("filter_state.downstream_peer.workload == 'w'", false),
        ("upstream_peer.workload.contains('w')", true),
        // An error on one side does not hide a decision on the other.
        (
            "connection.tls_version == 'TLSv1.3' || response.code == 404",
            true,
        ),
        (
            "connection.tls_version == 'TLSv1.3' && response.code == 404",
            false,
        ),
        ("response.code == 404 ? true : false", true),
        ("size(request.method) == 3", true),
        ("int('7') + 1 == 8 && -1 < 0 && 1.5 > 1", true),
        ("duration('1.5s') > duration('100ms')", true),
        ("'a' == 1", false),
        ("xds.route_name == ''", false),
    ];
    for (text, expected) in cases {
        match Expression::parse(text) {
            Ok(expression) => assert_eq!(expression.is_true(&facts), *expected, "{text}"),
            Err(_) => assert!(!expected, "{text}"),
        }
    }
    let mut out = Vec::new();
    assert!(
        Expression::parse("request.method")
            .unwrap()
            .write(&facts, &mut out)
    );
    assert!(
        !Expression::parse("request.headers")
            .unwrap()
            .write(&facts, &mut out)
    );
    assert_eq!(out, b"GET");
}

#[test]
fn faults() {
    for text in [
        "",
        "a",
        "request.",
        "request.method ==",
        "(1",
        "[1",
        "'a",
        "f(1)",
        "1 - 1",
        "request.path.matches(request.host)",
        "1 1",
        "request.method.nope('x')",
        &"(".repeat(200),
    ] {
        assert!(Expression::parse(text).is_err(), "{text}");
    }
}
