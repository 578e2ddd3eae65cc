//! Services on this machine, asked for real. What passes either way over HTTP was checked against Envoy 1.40.
#![expect(clippy::type_complexity, reason = "tables of cases")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use carbyne_engine::forward::{Exchange, Protocol};
use carbyne_engine::http::Body;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use carbyne_protos::envoy::config::core::v3::{
    HeaderValue as WireValue, HeaderValueOption, QueryParameter,
};
use carbyne_protos::envoy::service::auth::v3::check_response::HttpResponse;
use carbyne_protos::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use carbyne_protos::envoy::r#type::v3::HttpStatus;
use carbyne_protos::google::rpc::Status;
use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::filter::testing::{
    Nobody, OneHost, downstream, exchange, exchange_on, mtls, outcome, request, respond, run,
    served, told, values,
};

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

fn original() -> Exchange<Context> {
    exchange(request(
        "GET",
        "/a?q=1",
        &[
            ("authorization", "tok"),
            ("x-foo", "1"),
            ("x-foo", "2"),
            ("cookie", "q=1"),
            ("x-rm", "bye"),
            ("x-app", "orig"),
            ("x-up", "0"),
            ("x-envoy-auth-partial-body", "spoof"),
        ],
    ))
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
    let last = "x-envoy-internal: true\r\nx-envoy-expected-rq-timeout-ms: 2000\r\n\r\n";
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

/// What a gRPC service answers: status, its `grpc-status`, the message's frame.
type Said = (u16, &'static str, Vec<u8>);

/// A gRPC service on this worker; what it was sent.
async fn grpc_service(
    said: Said,
) -> (
    OneHost,
    Arc<Mutex<Vec<(http::request::Parts, CheckRequest)>>>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (said, record) = (said.clone(), Arc::clone(&record));
            tokio::task::spawn_local(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (said, record) = (said.clone(), Arc::clone(&record));
                    tokio::task::spawn_local(async move {
                        let (parts, mut body) = request.into_parts();
                        let mut bytes = Vec::new();
                        while let Some(Ok(data)) = body.data().await {
                            bytes.extend_from_slice(&data);
                        }
                        assert_eq!(
                            usize::try_from(u32::from_be_bytes(bytes[1..5].try_into().unwrap()))
                                .unwrap(),
                            bytes.len() - 5
                        );
                        record
                            .lock()
                            .unwrap()
                            .push((parts, CheckRequest::decode(&bytes[5..]).unwrap()));
                        let (status, grpc_status, message) = said;
                        let head = http::Response::builder()
                            .status(status)
                            .header("content-type", "application/grpc")
                            .body(())
                            .unwrap();
                        let mut stream = respond.send_response(head, false).unwrap();
                        stream.send_data(Bytes::from(message), false).unwrap();
                        let mut trailers = http::HeaderMap::new();
                        if !grpc_status.is_empty() {
                            trailers.insert("grpc-status", HeaderValue::from_static(grpc_status));
                        }
                        stream.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    (OneHost::at(address, Protocol::Http2), seen)
}

fn frame(response: &CheckResponse) -> Vec<u8> {
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

fn grpc_filter(more: Value) -> ExtAuthzFilter {
    let mut message = json!({"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "service"}, "timeout": "2s", "initial_metadata": [{"key": "x-m", "value": "v"}]}});
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    served::<wire::ExtAuthz, _>(message, ExtAuthzFilter::plan)
}

fn field(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(WireValue {
            key: name.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        ..HeaderValueOption::default()
    }
}

fn status(code: i32) -> Option<Status> {
    Some(Status {
        code,
        ..Status::default()
    })
}

#[test]
fn a_grpc_service_is_told_everything() {
    run(async {
        let yes = CheckResponse {
            status: status(0),
            ..CheckResponse::default()
        };
        let (clusters, seen) = grpc_service((200, "0", frame(&yes))).await;
        let filter = grpc_filter(json!({
            "include_peer_certificate": true,
            "metadata_context_namespaces": ["envoy.filters.http.jwt_authn", "absent"],
            "with_request_body": {"max_request_bytes": 5, "allow_partial_message": true},
        }));
        let mut connection = downstream();
        connection.tls = Some(mtls(
            &["spiffe://cluster.local/ns/a/sa/b"],
            &["b.example"],
            true,
        ));
        let mut exchange = exchange_on(connection, original().request);
        exchange.body = Body::full("helloworld");
        let Value::Object(object) = json!({"payload": {"iss": "A"}}) else {
            unreachable!()
        };
        exchange
            .context
            .metadata
            .merge("envoy.filters.http.jwt_authn", object);
        let route = ExtAuthzRoute::Settings {
            extensions: Arc::from([("k".into(), "v".into())]),
            body: None,
        };
        filter
            .request(&mut exchange, Some(&route), &clusters)
            .await
            .unwrap();
        let (head, check) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(
            head.uri.path(),
            "/envoy.service.auth.v3.Authorization/Check"
        );
        assert_eq!(head.uri.authority().unwrap().as_str(), "service");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["grpc-timeout"], "2000m");
        assert_eq!(head.headers["x-m"], "v");
        let attributes = carbyne_protos::json::to_json(&check)["attributes"].clone();
        assert_eq!(
            attributes["source"]["principal"],
            "spiffe://cluster.local/ns/a/sa/b"
        );
        assert!(
            attributes["source"]["certificate"]
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN%20CERTIFICATE-----%0A")
        );
        assert_eq!(
            attributes["source"]["address"]["socket_address"],
            json!({"address": "10.0.0.9", "port_value": 40000})
        );
        assert_eq!(
            attributes["destination"]["address"]["socket_address"],
            json!({"address": "10.0.0.1", "port_value": 8080})
        );
        assert_eq!(attributes["context_extensions"], json!({"k": "v"}));
        assert_eq!(
            attributes["metadata_context"]["filter_metadata"],
            json!({"envoy.filters.http.jwt_authn": {"payload": {"iss": "A"}}})
        );
        let http = &attributes["request"]["http"];
        let told = ["method", "path", "host", "scheme", "protocol", "body"]
            .map(|name| http[name].as_str().unwrap().to_owned());
        assert_eq!(
            told,
            ["GET", "/a?q=1", "a.example", "https", "HTTP/1.1", "hello"]
        );
        assert_eq!(http["size"], "10");
        assert_eq!(
            http["headers"],
            json!({
                ":authority": "a.example", ":method": "GET", ":path": "/a?q=1", ":scheme": "https", "authorization": "tok",
                "x-foo": "1,2", "cookie": "q=1", "x-rm": "bye", "x-app": "orig", "x-up": "0", "x-envoy-auth-partial-body": "true",
            })
        );
    });
}

#[test]
fn a_grpc_service_is_obeyed() {
    let ok = |ok: OkHttpResponse| CheckResponse {
        status: status(0),
        http_response: Some(HttpResponse::OkResponse(ok)),
        ..CheckResponse::default()
    };
    run(async {
        let changes = OkHttpResponse {
            headers: vec![
                field("x-up", "100%"),
                HeaderValueOption {
                    append: Some(true),
                    ..field("x-app", "a")
                },
                HeaderValueOption {
                    append_action: HeaderAppendAction::AddIfAbsent.into(),
                    ..field("x-foo", "3")
                },
            ],
            headers_to_remove: vec!["x-rm".to_owned(), ":path".to_owned(), "Host".to_owned()],
            response_headers_to_add: vec![field("x-client", "c")],
            query_parameters_to_set: vec![QueryParameter {
                key: "q".to_owned(),
                value: "2&3".to_owned(),
            }],
            query_parameters_to_remove: vec!["none".to_owned()],
            dynamic_metadata: None,
        };
        let mut response = ok(changes);
        response.dynamic_metadata = Some(carbyne_protos::json::struct_from_json(
            json!({"user": "u"}).as_object().unwrap(),
        ));
        let (clusters, _) = grpc_service((200, "0", frame(&response))).await;
        let mut exchange = original();
        let filter = grpc_filter(json!({"clear_route_cache": true}));
        filter
            .request(&mut exchange, None, &clusters)
            .await
            .unwrap();
        let headers = &exchange.request.headers;
        assert_eq!(values(headers, "x-up"), ["100%"]);
        assert_eq!(values(headers, "x-app"), ["orig", "a"]);
        assert_eq!(values(headers, "x-foo"), ["1", "2"]);
        assert_eq!(values(headers, "x-rm").len(), 0);
        assert_eq!(exchange.request.path, "/a?q=2%263");
        assert!(exchange.context.route_cleared);
        assert_eq!(
            exchange.context.metadata.value(NAME, ["user"].into_iter()),
            Some(&json!("u"))
        );
        respond(&mut exchange);
        filter.response(&mut exchange);
        assert_eq!(
            values(&exchange.response.as_ref().unwrap().headers, "x-client"),
            ["c"]
        );
    });
}

#[test]
fn what_a_grpc_service_says_decides() {
    let denied = |code: i32, headers: Vec<HeaderValueOption>| {
        HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: (code != 0).then_some(HttpStatus { code }),
            headers,
            body: "no!".to_owned(),
        })
    };
    let response = |code: i32, http_response: Option<HttpResponse>| {
        frame(&CheckResponse {
            status: status(code),
            http_response,
            ..CheckResponse::default()
        })
    };
    let ok = || HttpResponse::OkResponse(OkHttpResponse::default());
    let bad_field = HttpResponse::OkResponse(OkHttpResponse {
        headers: vec![field(":path", "/admin")],
        ..OkHttpResponse::default()
    });
    let framing = HttpResponse::OkResponse(OkHttpResponse {
        headers: vec![field("content-length", "0")],
        ..OkHttpResponse::default()
    });
    let mut compressed = response(0, None);
    compressed[0] = 1;
    let mut short = response(0, Some(ok()));
    short.push(0);
    let error = (403, "", "ext_authz_error");
    let cases: Vec<(&str, Said, Option<(u16, &str, &str)>)> = vec![
        ("yes", (200, "0", response(0, None)), None),
        ("yes with ok", (200, "0", response(0, Some(ok()))), None),
        (
            "no",
            (200, "0", response(7, None)),
            Some((403, "", "ext_authz_denied")),
        ),
        (
            "no with status",
            (
                200,
                "0",
                response(16, Some(denied(401, vec![field("x", "y")]))),
            ),
            Some((401, "no!", "ext_authz_denied")),
        ),
        (
            "no without status",
            (200, "0", response(16, Some(denied(0, vec![])))),
            Some((403, "no!", "ext_authz_denied")),
        ),
        (
            "no with a status that is none",
            (200, "0", response(16, Some(denied(99, vec![])))),
            Some(error),
        ),
        (
            "no with ok",
            (200, "0", response(7, Some(ok()))),
            Some(error),
        ),
        (
            "yes with denied",
            (200, "0", response(0, Some(denied(401, vec![])))),
            Some(error),
        ),
        (
            "a pseudo-header",
            (200, "0", response(0, Some(bad_field))),
            Some(error),
        ),
        (
            "a framing field",
            (200, "0", response(0, Some(framing))),
            Some(error),
        ),
        ("gRPC error", (200, "14", vec![]), Some(error)),
        ("no gRPC status", (200, "", response(0, None)), Some(error)),
        ("HTTP error", (503, "0", response(0, None)), Some(error)),
        ("no message", (200, "0", vec![]), Some(error)),
        ("compressed", (200, "0", compressed), Some(error)),
        ("longer than said", (200, "0", short), Some(error)),
        (
            "nonsense",
            (200, "0", vec![0, 0, 0, 0, 2, 0xff, 0xff]),
            Some(error),
        ),
    ];
    for (name, said, expected) in cases {
        run(async {
            let (clusters, _) = grpc_service(said).await;
            let result = grpc_filter(json!({}))
                .request(&mut original(), None, &clusters)
                .await;
            assert_eq!(result.as_ref().err().map(told), expected, "{name}");
        });
    }
}

#[test]
fn what_is_not_understood_refuses_and_what_is_wrong_is_rejected() {
    let grpc = json!({"envoy_grpc": {"cluster_name": "c"}});
    let with = |more: Value| {
        let mut message = json!({"transport_api_version": "V3", "grpc_service": grpc});
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    };
    let cases = vec![
        (with(json!({})), "served"),
        (
            with(json!({"transport_api_version": "V2"})),
            "refused: transport_api_version",
        ),
        (with(json!({"shadow_mode": true})), "refused: shadow_mode"),
        (
            with(json!({"decoder_header_mutation_rules": {}})),
            "refused: decoder_header_mutation_rules",
        ),
        (
            with(json!({"route_metadata_context_namespaces": ["x"]})),
            "refused: route_metadata_context_namespaces",
        ),
        (
            json!({"transport_api_version": "V3", "grpc_service": {"google_grpc": {"target_uri": "x", "stat_prefix": "y"}}}),
            "refused: grpc_service.google_grpc",
        ),
        (
            json!({"transport_api_version": "V3"}),
            "rejected: write `grpc_service` or `http_service`",
        ),
        (
            json!({"transport_api_version": "V3", "http_service": {}}),
            "rejected: http_service.server_uri.cluster: required",
        ),
        (
            json!({"transport_api_version": "V3", "http_service": {"server_uri": {"uri": "x", "cluster": "c", "timeout": "1s"}, "path_prefix": "x"}}),
            "rejected: http_service: `x` is not a path",
        ),
        (
            with(json!({"with_request_body": {}})),
            "rejected: with_request_body.max_request_bytes",
        ),
        (
            with(json!({"filter_enabled": {"runtime_key": "x"}})),
            "rejected: filter_enabled.default_value: required",
        ),
        (
            with(json!({"status_on_error": {"code": "Continue"}})),
            "rejected: status_on_error.code",
        ),
    ];
    for (message, expected) in cases {
        let found = outcome::<wire::ExtAuthz, _>(message.clone(), ExtAuthzFilter::plan);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
    let own_service = json!({"check_settings": {"grpc_service": grpc}});
    assert!(
        outcome::<wire::ExtAuthzPerRoute, _>(own_service, ExtAuthzFilter::plan_route)
            .starts_with("refused")
    );
    assert!(
        outcome::<wire::ExtAuthzPerRoute, _>(json!({}), ExtAuthzFilter::plan_route)
            .starts_with("rejected")
    );
}
