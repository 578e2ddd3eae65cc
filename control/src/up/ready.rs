//! Waiting for programs: ready is what they say themselves.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;

use super::process::Probe;
use crate::fetch::fetch;

/// Waits until a program says that it is ready; for ever if it never does.
pub async fn ready(probe: Probe) {
    loop {
        let request = Request::get(probe.path)
            .header(header::HOST, probe.address.to_string())
            .body(Empty::<Bytes>::new());
        let Ok(request) = request else {
            return std::future::pending().await;
        };
        if fetch(probe.address, request, ANSWER)
            .await
            .is_ok_and(|answer| answer.status() == StatusCode::OK)
        {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
