//! The Admin API: endpoints generated from the schemas, and Kong's own.
//!
//! [`routes`] is the table of endpoints, [`request`] reads what was asked, [`answer`] is what goes
//! back. [`entities`] serves every kind of entity; [`core`], [`config`] and [`targets`] the rest.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::conf::Conf;
use crate::declarative::Loaded;
use crate::entity::Entities;
use crate::error::KONG_VERSION;

mod answer;
mod config;
mod core;
mod entities;
mod form;
mod multipart;
mod request;
mod routes;
mod targets;

use answer::Answer;
use request::{Asked, Body};
use routes::Table;

/// The Admin API of one node.
#[derive(Debug)]
pub struct Admin {
    entities: Entities,
    /// Without a database: what a declarative configuration can be loaded into.
    declarative: Option<Loaded>,
    conf: Conf,
    node_id: String,
    table: Table,
    counters: Counters,
}

/// What `GET /status` says of the node's own server.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    active: AtomicU64,
    requests: AtomicU64,
}

/// Bodies above this are refused, as nginx does with Kong's default configuration.
const LARGEST_BODY: usize = 10 * 1024 * 1024;

impl Admin {
    pub fn new(entities: Entities, declarative: Option<Loaded>, conf: Conf, node_id: &str) -> Self {
        Self {
            entities,
            declarative,
            conf,
            node_id: node_id.to_owned(),
            table: Table::new(),
            counters: Counters::default(),
        }
    }

    /// Serves connections until the future is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "a connection to the Admin API was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                admin.counters.accepted.fetch_add(1, Ordering::Relaxed);
                admin.counters.active.fetch_add(1, Ordering::Relaxed);
                let service = hyper::service::service_fn(|request| admin.handle(request));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(hyper_util::rt::TokioTimer::new())
                    .header_read_timeout(std::time::Duration::from_secs(60))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection to the Admin API broke");
                }
                admin.counters.active.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let began = Instant::now();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let (parts, body) = request.into_parts();
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let wanted = parts
            .headers
            .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .cloned();
        let is_head = parts.method == Method::HEAD;
        let answer = match http_body_util::Limited::new(body, LARGEST_BODY)
            .collect()
            .await
        {
            Ok(body) => self.answer(&parts, body.to_bytes(), wanted).await,
            Err(_) => Answer::message(413, "Payload Too Large"),
        };
        let mut response = answer.into_response(is_head);
        let headers = response.headers_mut();
        headers.insert(header::SERVER, SERVER.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            origin.unwrap_or(HeaderValue::from_static("*")),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        let latency = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        headers.insert("x-kong-admin-latency", latency.into());
        Ok(response)
    }

    async fn answer(
        &self,
        parts: &http::request::Parts,
        body: Bytes,
        wanted: Option<HeaderValue>,
    ) -> Answer {
        let Some(found) = self.table.find(parts.uri.path()) else {
            return Answer::not_found();
        };
        let methods = found.endpoint.methods();
        if parts.method == Method::OPTIONS {
            return Answer::options(&methods, wanted);
        }
        if !methods.contains(&parts.method.as_str()) {
            return Answer::message(405, "Method not allowed");
        }
        let body = match Body::read(
            &parts.method,
            &parts.headers,
            body,
            found.endpoint.takes_yaml(),
        ) {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let asked = Asked::new(&parts.method, found.parameters, parts.uri.query(), body);
        let answered = self.dispatch(&found.endpoint.action, asked).await;
        answered.unwrap_or_else(|refused| refused)
    }
}

/// What connections fail with while the listener is sound.
fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    // Out of file descriptors (EMFILE, ENFILE) passes as well.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | WouldBlock
    ) || matches!(error.raw_os_error(), Some(23 | 24))
}

static SERVER: std::sync::LazyLock<HeaderValue> = std::sync::LazyLock::new(|| {
    HeaderValue::from_str(&format!("kong/{KONG_VERSION}"))
        .unwrap_or_else(|_| HeaderValue::from_static("kong"))
});
