//! HTTP/2 through the engine: streams side by side, bodies both ways, trailers, drain, floods.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking; not every test uses all of the support"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    echo_with(&h2::server::Builder::new(), &Arc::default()).await
}

/// The same with other settings; counts its connections.
async fn echo_with(builder: &h2::server::Builder, count: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (builder, count) = (builder.clone(), count.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Small frames that wait for each other's acknowledgement are no test of ours.
            stream.set_nodelay(true).unwrap();
            let builder = builder.clone();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let path = request.uri().path().to_owned();
                        let (parts, mut body) = request.into_parts();
                        let mut response = Response::new(());
                        let path = HeaderValue::from_str(&path).unwrap();
                        response.headers_mut().insert("x-path", path);
                        for (name, value) in &parts.headers {
                            if name.as_str().starts_with("x-big") {
                                response.headers_mut().append(name, value.clone());
                            }
                        }
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

/// Windows of a thousand bytes on either side: everything has to be asked for again and again.
#[tokio::test]
async fn small_windows_let_large_bodies_through() {
    let mut host = h2::server::Builder::new();
    host.initial_window_size(1000)
        .initial_connection_window_size(70_000);
    let running = gateway(&[echo_with(&host, &Arc::default()).await], Protocol::Http2);
    let stream = TcpStream::connect(running.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = h2::client::Builder::new();
    client
        .initial_window_size(1000)
        .initial_connection_window_size(70_000);
    let (send, connection) = client.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let exchanges = (0..8_u8).map(|number| {
        let send = send.clone();
        tokio::spawn(async move {
            let body = Bytes::from(vec![number; 200_000]);
            let (status, read, trailers) = exchange(&send, "/", body.clone()).await;
            assert_eq!((status, read.len()), (StatusCode::OK, body.len()));
            assert!(read == body, "bodies are mixed up");
            assert_eq!(trailers["x-length"], "200000");
        })
    });
    for exchange in exchanges.collect::<Vec<_>>() {
        exchange.await.unwrap();
    }
}

/// Three frames on the way up, three on the way down.
#[tokio::test]
async fn heads_go_on_in_further_frames() {
    let running = gateway(&[echo().await], Protocol::Http2);
    let send = connect(&running).await;
    for _ in 0..3 {
        let mut send = send.clone().ready().await.unwrap();
        let mut request = Request::get("http://host.example/").body(()).unwrap();
        for number in 0..5 {
            let value = HeaderValue::from_str(&format!("{number}").repeat(8000)).unwrap();
            request.headers_mut().append("x-big", value);
        }
        let expected = request.headers().clone();
        let (response, _) = send.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        let came: Vec<_> = response.headers().get_all("x-big").iter().collect();
        let sent: Vec<_> = expected.get_all("x-big").iter().collect();
        assert_eq!(came, sent);
    }
}

/// What the host does not take on one connection goes on another.
#[tokio::test]
async fn a_host_says_how_many_streams_it_takes() {
    let count = Arc::default();
    let mut host = h2::server::Builder::new();
    host.max_concurrent_streams(2);
    let running = gateway(&[echo_with(&host, &count).await], Protocol::Http2);
    let send = connect(&running).await;
    // The host's settings are known from here on.
    exchange(&send, "/", Bytes::new()).await;
    let exchanges = (0..4).map(|_| {
        let send = send.clone();
        tokio::spawn(async move {
            let body = Bytes::from(vec![b'x'; 50_000]);
            let (status, read, _) = exchange(&send, "/", body.clone()).await;
            assert_eq!((status, read.len()), (StatusCode::OK, body.len()));
        })
    });
    for exchange in exchanges.collect::<Vec<_>>() {
        exchange.await.unwrap();
    }
    assert!(count.load(Ordering::Relaxed) > 1);
}

/// A host that goes away after each request: the next one finds another connection.
#[tokio::test]
async fn a_host_that_leaves_is_asked_again_on_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    connection.graceful_shutdown();
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"left"), true).unwrap();
                }
            });
        }
    });
    let running = gateway(&[address], Protocol::Http2);
    let send = connect(&running).await;
    for _ in 0..10 {
        let (status, body, _) = exchange(&send, "/", Bytes::new()).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, &b"left"[..]));
    }
}

/// A client that gives up is heard by the host.
#[tokio::test]
async fn a_reset_goes_through() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"begun"), false).unwrap();
        std::future::poll_fn(|cx| send.poll_reset(cx)).await
    });
    let running = gateway(&[address], Protocol::Http2);
    let mut send = connect(&running).await;
    let request = Request::get("http://host.example/").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "begun");
    drop(body);
    assert_eq!(host.await.unwrap().unwrap(), h2::Reason::CANCEL);
    // The connection goes on.
    assert!(send.ready().await.is_ok());
}
