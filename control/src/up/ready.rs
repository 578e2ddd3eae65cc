//! Waiting for sidecars: ready is what their admin port's `/ready` says.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;

use crate::fetch::fetch;

/// Waits until the sidecar with this admin port is ready; for ever if it never is.
pub async fn ready(admin: SocketAddr) {
    loop {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = http::Uri::from_static("/ready");
        if let Ok(host) = http::HeaderValue::from_str(&admin.to_string()) {
            request.headers_mut().insert(http::header::HOST, host);
        }
        if fetch(admin, request, ANSWER)
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
