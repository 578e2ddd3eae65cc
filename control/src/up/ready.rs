//! Waiting for programs: ready is what they say themselves.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use carbyne_events::broker::alone;
use http::{Request, StatusCode, header};
use http_body_util::Empty;

use super::process::Probe;
use crate::fetch::fetch;

/// Waits until a program says that it is ready; for ever if it never does.
pub async fn ready(probe: Probe) {
    loop {
        let is_ready = match probe {
            Probe::Http { address, path } => says_ok(address, path).await,
            Probe::Kafka { address } => broker_answers(address).await,
        };
        if is_ready {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// True if a Kafka broker answers there, within a few seconds.
pub async fn broker_answers(address: SocketAddr) -> bool {
    let asked = tokio::task::spawn_blocking(move || alone::answers(address));
    // A runtime that ends answers no more.
    asked.await.unwrap_or(false)
}

async fn says_ok(address: SocketAddr, path: &str) -> bool {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else {
        return false;
    };
    let answer = fetch(address, request, ANSWER).await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
