//! Reading a request's body ahead, without taking it away.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use carbyne_engine::forward::{Answer, Event, Exchange};
use carbyne_engine::http::{Body, BodyError, Frame};
use http::{Method, StatusCode};

use crate::context::Context;

/// What was read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Its first bytes, at most as many as were asked for.
    pub(super) bytes: Bytes,
    /// Whether these are all of them.
    pub(super) complete: bool,
}

/// Reads the body until its end or until more than `limit` bytes are there, and puts everything back.
pub(super) async fn read_ahead(
    exchange: &mut Exchange<Context>,
    limit: usize,
) -> Result<Ahead, Answer> {
    let mut body = std::mem::take(&mut exchange.body);
    let mut frames = VecDeque::new();
    let mut bytes = BytesMut::new();
    let mut complete = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Frame::Data(data) = &frame {
                    let room = limit - bytes.len();
                    bytes.extend_from_slice(&data[..data.len().min(room)]);
                    complete = data.len() <= room;
                }
                frames.push_back(frame);
                if !complete {
                    break;
                }
            }
            Err(error) => return Err(broken(exchange, &error)),
        }
    }
    if complete {
        body = Body::empty();
    }
    exchange.body = Body::chain(frames, body);
    Ok(Ahead {
        bytes: bytes.freeze(),
        complete,
    })
}

/// Whether what follows the head is a tunnel's traffic and not a body.
pub(super) fn is_tunnel(exchange: &Exchange<Context>) -> bool {
    exchange.upgrade.is_some()
        || exchange.request.protocol.is_some()
        || exchange.request.method == Method::CONNECT
}

/// The answer to a body above its limit, as Envoy words it.
pub(super) fn too_large() -> Answer {
    Answer::text(
        StatusCode::PAYLOAD_TOO_LARGE,
        "Payload Too Large",
        "request_payload_too_large",
    )
}

fn broken(exchange: &mut Exchange<Context>, error: &BodyError) -> Answer {
    match error {
        BodyError::Malformed(_) => {
            exchange.events.insert(Event::ClientProtocol);
            Answer::text(StatusCode::BAD_REQUEST, "Bad Request", "http1.codec_error")
        }
        // Nobody will read it.
        _ => {
            exchange.events.insert(Event::ClientGone);
            Answer::text(StatusCode::BAD_REQUEST, "", "downstream_remote_disconnect")
        }
    }
}
