//! A service that speaks plain HTTP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use carbyne_engine::forward::Protocol;
use carbyne_engine::http::Body;
use serde_json::{Value, json};

use super::super::*;
use super::original;
use crate::filter::testing::{Nobody, OneHost, respond, run, served, told, values};

/// A service that answers every request with this; what it was sent, each request as text.
fn service(answer: String) -> (OneHost, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                text.push_str(&String::from_utf8_lossy(&buffer[..length]));
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let wanted = head
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next())
                    .map_or(0, |length| length.parse().unwrap());
                if body.len() < wanted {
                    continue;
                }
                record.lock().unwrap().push(std::mem::take(&mut text));
                if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (OneHost::at(address, Protocol::Http1), seen)
}

fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text
}

fn http_filter(service: Value, more: Value) -> ExtAuthzFilter {
    let mut http = json!({"server_uri": {"uri": "http://authz", "cluster": "service", "timeout": "2s"}, "path_prefix": "/pre"});
    for (name, value) in service.as_object().unwrap() {
        http[name] = value.clone();
    }
    let mut message = json!({"transport_api_version": "V3", "http_service": http});
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    served::<wire::ExtAuthz, _>(message, ExtAuthzFilter::plan)
}

const SAID: &[(&str, &str)] = &[
    ("x-up", "1"),
    ("x-app", "a"),
    ("x-client", "c"),
    ("location", "/login"),
    ("www-authenticate", "Basic"),
    ("x-envoy-auth-headers-to-remove", "x-rm, x-none, host"),
    ("x-md-a", "m"),
    ("set-cookie", "a=b"),
    ("set-cookie", "c=d"),
    ("content-type", "text/x"),
];

#[test]
fn an_http_service_is_told_what_envoy_tells() {
    let (clusters, seen) = service(answer("200 OK", SAID, ""));
    let plain = http_filter(
        json!({"authorization_request": {"headers_to_add": [{"key": "x-add", "value": "added"}]}}),
        json!({}),
    );
    run(plain.request(&mut original(), None, &clusters)).unwrap();
    let wide = http_filter(
        json!({}),
        json!({"allowed_headers": {"patterns": [{"prefix": "x-"}, {"exact": "cookie"}]}, "disallowed_headers": {"patterns": [{"exact": "x-rm"}]}}),
    );
    run(wide.request(&mut original(), None, &clusters)).unwrap();
    let older = http_filter(
        json!({"path_prefix": "", "path_override": "/check", "authorization_request": {"allowed_headers": {"patterns": [{"exact": "x-rm"}]}}}),
        json!({}),
    );
    run(older.request(&mut original(), None, &clusters)).unwrap();
    let common = "host: a.example\r\nauthorization: tok\r\n";
    let last = "x-envoy-internal: true\r\nx-envoy-expected-rq-timeout-ms: 2000\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(
        *seen.lock().unwrap(),
        [
            format!("GET /pre/a?q=1 HTTP/1.1\r\n{common}x-add: added\r\n{last}"),
            // Several values of a field are told as one, so that none is hidden.
            format!(
                "GET /pre/a?q=1 HTTP/1.1\r\n{common}x-foo: 1,2\r\ncookie: q=1\r\nx-app: orig\r\nx-up: 0\r\n{last}"
            ),
            format!("GET /check HTTP/1.1\r\n{common}x-rm: bye\r\n{last}"),
        ]
    );
}

#[test]
fn consent_changes_the_request_and_the_response() {
    let (clusters, _) = service(answer("200 OK", SAID, "x"));
    let patterns = |names: &[&str]| json!({"patterns": names.iter().map(|name| json!({"exact": name})).collect::<Vec<_>>()});
    let filter = http_filter(
        json!({"authorization_response": {
            "allowed_upstream_headers": patterns(&["x-up"]),
            "allowed_upstream_headers_to_append": patterns(&["x-app"]),
            "allowed_client_headers_on_success": patterns(&["x-client", "set-cookie"]),
            "dynamic_metadata_from_headers": {"patterns": [{"prefix": "x-md-"}]}}}),
        json!({"clear_route_cache": true}),
    );
    let mut exchange = original();
    run(filter.request(&mut exchange, None, &clusters)).unwrap();
    let headers = &exchange.request.headers;
    assert_eq!(values(headers, "x-up"), ["1"]);
    assert_eq!(values(headers, "x-app"), ["orig", "a"]);
    assert_eq!(values(headers, "x-rm").len(), 0);
    assert_eq!(values(headers, "x-client").len(), 0);
    assert!(exchange.context.route_cleared);
    let written = exchange.context.metadata.namespace(NAME).unwrap();
    assert_eq!(Value::Object(written.clone()), json!({"x-md-a": "m"}));
    respond(&mut exchange);
    filter.response(&mut exchange);
    let headers = &exchange.response.as_ref().unwrap().headers;
    assert_eq!(values(headers, "x-client"), ["c"]);
    assert_eq!(values(headers, "set-cookie"), ["a=b", "c=d"]);
    assert_eq!(values(headers, "x-up").len(), 0);
}

#[test]
fn refusals_reach_the_client() {
    let only = json!({"authorization_response": {"allowed_client_headers": {"patterns": [{"exact": "x-client"}]}}});
    let all = [
        "x-up",
        "x-app",
        "x-client",
        "location",
        "www-authenticate",
        "x-envoy-auth-headers-to-remove",
        "x-md-a",
        "set-cookie",
        "set-cookie",
        "content-type",
    ];
    let cases: &[(&str, Value, &[&str])] = &[
        ("403 Forbidden", json!({}), &all),
        ("302 Found", json!({}), &all),
        ("201 Created", json!({}), &all),
        (
            "401 Unauthorized",
            only,
            &["x-client", "location", "www-authenticate", "content-type"],
        ),
    ];
    for (status, settings, fields) in cases {
        let (clusters, _) = service(answer(status, SAID, "denied!"));
        let filter = http_filter(settings.clone(), json!({}));
        let mut exchange = original();
        let answer = run(filter.request(&mut exchange, None, &clusters)).unwrap_err();
        assert_eq!(
            told(&answer),
            (status[..3].parse().unwrap(), "denied!", "ext_authz_denied")
        );
        let found: Vec<_> = answer
            .response
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(found, *fields, "{status}");
        assert!(exchange.events.contains(Event::Unauthorized));
        assert_eq!(exchange.context.denied_by.as_deref(), Some(NAME));
    }
}

#[test]
fn failures_fail_closed_unless_told_otherwise() {
    let (broken, _) = service(answer("503 Oops", &[], ""));
    let (mute, _) = service(String::new());
    let (nonsense, _) = service("nonsense\r\n\r\n".to_owned());
    let strict = http_filter(
        json!({}),
        json!({"status_on_error": {"code": "ServiceUnavailable"}}),
    );
    let lenient = http_filter(
        json!({}),
        json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true}),
    );
    for clusters in [&broken, &mute, &nonsense] {
        let mut exchange = original();
        let answer = run(strict.request(&mut exchange, None, clusters)).unwrap_err();
        assert_eq!(told(&answer), (503, "", "ext_authz_error"));
        assert!(exchange.events.contains(Event::Unauthorized));
        let mut exchange = original();
        run(lenient.request(&mut exchange, None, clusters)).unwrap();
        assert_eq!(
            values(
                &exchange.request.headers,
                "x-envoy-auth-failure-mode-allowed"
            ),
            ["true"]
        );
    }
    let mut spoofed = original();
    spoofed
        .request
        .headers
        .insert(FAILURE_ALLOWED, HeaderValue::from_static("true"));
    let (clusters, _) = service(answer("200 OK", &[], ""));
    run(lenient.request(&mut spoofed, None, &clusters)).unwrap();
    assert_eq!(
        values(
            &spoofed.request.headers,
            "x-envoy-auth-failure-mode-allowed"
        )
        .len(),
        0
    );
    let answer =
        run(http_filter(json!({}), json!({})).request(&mut original(), None, &Nobody)).unwrap_err();
    assert_eq!(told(&answer), (403, "", "ext_authz_error"));
}

#[test]
fn a_service_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clusters = OneHost::at(listener.local_addr().unwrap(), Protocol::Http1);
    let filter = http_filter(
        json!({"server_uri": {"uri": "http://x", "cluster": "service", "timeout": "0.02s"}}),
        json!({}),
    );
    let answer = run(filter.request(&mut original(), None, &clusters)).unwrap_err();
    assert_eq!(told(&answer), (403, "", "ext_authz_error"));
}

#[test]
fn bodies_are_told_and_stay() {
    let (clusters, seen) = service(answer("200 OK", &[], ""));
    let settings = |partial: bool| json!({"with_request_body": {"max_request_bytes": 5, "allow_partial_message": partial}});
    // Body, partial allowed, what is told, whether it is all.
    let cases: &[(&str, bool, Option<(&str, &str)>)] = &[
        ("hel", true, Some(("hel", "false"))),
        ("hello", true, Some(("hello", "false"))),
        ("helloworld", true, Some(("hello", "true"))),
        ("hello", false, Some(("hello", "false"))),
        ("helloworld", false, None),
    ];
    for (body, partial, expected) in cases {
        let filter = http_filter(json!({}), settings(*partial));
        let mut exchange = original();
        exchange.body = Body::full(*body);
        let result = run(filter.request(&mut exchange, None, &clusters));
        match expected {
            None => assert_eq!(
                told(&result.unwrap_err()),
                (413, "Payload Too Large", "request_payload_too_large")
            ),
            Some((bytes, whole)) => {
                result.unwrap();
                let sent = seen.lock().unwrap().pop().unwrap();
                assert!(sent.ends_with(&format!("\r\n\r\n{bytes}")), "{sent}");
                assert!(
                    sent.contains(&format!("content-length: {}\r\n", bytes.len())),
                    "{sent}"
                );
                assert!(
                    sent.contains(&format!("x-envoy-auth-partial-body: {whole}\r\n")),
                    "{sent}"
                );
                let (kept, _) = run(std::mem::take(&mut exchange.body).collect(100)).unwrap();
                assert_eq!(kept, *body);
            }
        }
    }
    let off = ExtAuthzRoute::Settings {
        extensions: Arc::from([]),
        body: Some(None),
    };
    let mut exchange = original();
    exchange.body = Body::full("helloworld");
    run(http_filter(json!({}), settings(false)).request(&mut exchange, Some(&off), &clusters))
        .unwrap();
    assert!(seen.lock().unwrap().pop().unwrap().ends_with("\r\n\r\n"));
}

#[test]
fn only_some_requests_are_asked_about() {
    let (clusters, seen) = service(answer("403 Forbidden", &[], ""));
    let by_metadata = json!({"filter_enabled_metadata": {"filter": "envoy.filters.http.rbac", "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}], "value": {"string_match": {"prefix": "istio-ext-authz"}}}});
    let cases: &[(Value, bool, Option<&str>)] = &[
        (json!({}), false, Some("ext_authz_denied")),
        (
            json!({"filter_enabled": {"default_value": {"numerator": 0}}}),
            false,
            None,
        ),
        (
            json!({"filter_enabled": {"default_value": {"numerator": 0}}, "deny_at_disable": {"default_value": true, "runtime_key": "x"}}),
            false,
            Some("ext_authz_error"),
        ),
        (by_metadata.clone(), false, None),
        (by_metadata, true, Some("ext_authz_denied")),
    ];
    for (settings, marked, expected) in cases {
        let filter = http_filter(json!({}), settings.clone());
        let mut exchange = original();
        if *marked {
            let Value::Object(object) = json!({"istio_ext_authz_shadow_effective_policy_id": "istio-ext-authz-ns[a]-policy[b]-rule[0]"})
            else {
                unreachable!()
            };
            exchange
                .context
                .metadata
                .merge("envoy.filters.http.rbac", object);
        }
        let result = run(filter.request(&mut exchange, None, &clusters));
        assert_eq!(
            result
                .err()
                .map(|answer| answer.details.into_owned())
                .as_deref(),
            *expected,
            "{settings}"
        );
        assert!(
            run(filter.request(&mut original(), Some(&ExtAuthzRoute::Disabled), &clusters)).is_ok()
        );
    }
    assert_eq!(seen.lock().unwrap().len(), 2);
}
