//! HTTP/2 without TLS, by prior knowledge: one unary call, one checked answer with its trailers.

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use tokio::net::TcpStream;

use super::{Call, Fault, MARKER};
use crate::certificates::HOST;

/// One stream at a time of a connection that others may share.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
}

impl Http2 {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Fault> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::handshake(socket).await?;
        // Its error reaches every stream, where it is counted.
        tokio::task::spawn_local(connection);
        Ok(Self { sender })
    }

    pub(super) async fn exchange(&mut self, call: &Call) -> Result<(), Fault> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{HOST}/echo"))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "carbyne-bench")
            .header(MARKER, "1")
            .body(())
            .map_err(|error| Fault::Wrong(error.to_string()))?;
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(call.request_body.clone(), true)?;
        let answer = answer.await?;
        if answer.status() != StatusCode::OK {
            return Err(Fault::Wrong(format!("status {}", answer.status())));
        }
        if !answer.headers().contains_key(MARKER) {
            return Err(Fault::Wrong(format!("header {MARKER} is missing")));
        }
        let mut stream = answer.into_body();
        let mut rest = &call.answer_body[..];
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.remaining())?;
            let Some(after) = rest.strip_prefix(&data[..]) else {
                return Err(Fault::Wrong("the body differs".to_owned()));
            };
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Fault::Wrong(format!("the body lacks {} bytes", rest.len())));
        }
        let trailers = stream.trailers().await?;
        let status = trailers.as_ref().and_then(|map| map.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(Fault::Wrong("grpc-status is missing or wrong".to_owned()));
        }
        Ok(())
    }
}
