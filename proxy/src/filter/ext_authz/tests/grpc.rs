//! A service that speaks gRPC.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use carbyne_engine::forward::Protocol;
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

use super::super::*;
use super::original;
use crate::filter::testing::{
    OneHost, downstream, exchange_on, mtls, respond, run, served, told, values,
};

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
