//! HTTP/2 through the engine: streams side by side, bodies both ways, trailers, drain, floods.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking; not every test uses all of the support"
)]

use std::net::SocketAddr;

use bytes::Bytes;
use carbyne_engine::forward::Protocol;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};

use self::gateway::{Running, gateway};

#[path = "support/gateway.rs"]
mod gateway;

/// An HTTP/2 host that sends every request's body back, with trailers that say how much it was.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let path = request.uri().path().to_owned();
                        let mut body = request.into_body();
                        let mut response = Response::new(());
                        let path = HeaderValue::from_str(&path).unwrap();
                        response.headers_mut().insert("x-path", path);
                        let mut send = respond.send_response(response, false).unwrap();
                        let mut length = 0_usize;
                        while let Some(Ok(bytes)) = body.data().await {
                            length += bytes.len();
                            body.flow_control().release_capacity(bytes.len()).unwrap();
                            send.send_data(bytes, false).unwrap();
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("x-length", HeaderValue::from(length));
                        send.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    address
}

async fn connect(running: &Running) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        // Ends with the test.
        drop(connection.await);
    });
    send.ready().await.unwrap()
}

/// One request with `body`; its status, body and trailers.
async fn exchange(
    send: &SendRequest<Bytes>,
    path: &str,
    body: Bytes,
) -> (StatusCode, Vec<u8>, HeaderMap) {
    let mut send = send.clone().ready().await.unwrap();
    let request = Request::get(format!("http://host.example{path}"))
        .body(())
        .unwrap();
    let (response, mut stream) = send.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body, true).unwrap();
    }
    let response = response.await.unwrap();
    let status = response.status();
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(bytes) = body.data().await {
        let bytes = bytes.unwrap();
        body.flow_control().release_capacity(bytes.len()).unwrap();
        read.extend_from_slice(&bytes);
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    (status, read, trailers)
}

#[tokio::test]
async fn bodies_and_trailers_come_through() {
    let running = gateway(&[echo().await], Protocol::Http2);
    let send = connect(&running).await;
    let body = Bytes::from(vec![b'x'; 300_000]);
    let (status, read, trailers) = exchange(&send, "/a", body.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(read, body);
    assert_eq!(trailers["x-length"], "300000");
}

#[tokio::test]
async fn streams_run_side_by_side_on_one_connection() {
    let running = gateway(&[echo().await], Protocol::Http2);
    let send = connect(&running).await;
    let exchanges = (0..50).map(|number| {
        let send = send.clone();
        tokio::spawn(async move {
            let body = Bytes::from(format!("body {number}"));
            let (status, read, _) = exchange(&send, "/", body.clone()).await;
            assert_eq!((status, read), (StatusCode::OK, body.to_vec()));
        })
    });
    for exchange in exchanges.collect::<Vec<_>>() {
        exchange.await.unwrap();
    }
}

#[tokio::test]
async fn errors_are_answers_of_the_handler() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let running = gateway(&[nobody], Protocol::Http2);
    let send = connect(&running).await;
    let (status, body, _) = exchange(&send, "/", Bytes::new()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, b"{\"message\":\"no healthy upstream host\"}");
}

#[tokio::test]
async fn a_drain_ends_the_connection_after_its_streams() {
    let running = gateway(&[echo().await], Protocol::Http2);
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let send = send.ready().await.unwrap();
    exchange(&send, "/", Bytes::from_static(b"x")).await;
    running.drain.start();
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn http2_clients_reach_http1_hosts() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.ends_with(b"body") {
            let length = stream.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..length]);
        }
        let answer =
            "HTTP/1.1 201 Created\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(read).unwrap()
    });
    let running = gateway(&[address], Protocol::Http1);
    let send = connect(&running).await;
    let (status, body, _) = exchange(&send, "/b?c=d", Bytes::from_static(b"body")).await;
    assert_eq!((status, &body[..]), (StatusCode::CREATED, &b"ok"[..]));
    let head = host.await.unwrap();
    assert!(
        head.starts_with("GET /b?c=d HTTP/1.1\r\nhost: host.example\r\n"),
        "{head}"
    );
}
