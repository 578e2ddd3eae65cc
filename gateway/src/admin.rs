//! The Admin API: endpoints generated from the schemas, and Kong's own.
//!
//! [`server`] accepts connections, [`routes`] is the table of endpoints, [`request`] reads what was
//! asked, [`answer`] is what goes back. [`entities`] serves every kind of entity; [`core`],
//! [`config`], [`health`], [`node`] and [`targets`] the rest.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::balance::Balancers;
use crate::conf::Conf;
use crate::declarative::Loaded;
use crate::entity::Entities;
use crate::error::KONG_VERSION;
use crate::node::Node;
use crate::shipping::Watch;
use crate::store::told::AUTHOR;

mod answer;
mod audit;
mod config;
mod core;
mod entities;
mod form;
mod health;
mod metrics;
mod node;
pub mod openapi;
mod request;
mod routes;
mod server;
mod targets;

pub use server::{Listener, Served};

use answer::Answer;
use audit::{Caller, Operation};
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
    /// Who knows of the health of upstreams.
    balancers: Option<Arc<Balancers>>,
    table: Table,
    status_table: Table,
    /// Origins whose pages may call; none: any.
    origins: Vec<HeaderValue>,
    /// What is dangerous about how the node was told to listen.
    warnings: Vec<String>,
    draining: AtomicBool,
    counters: Counters,
    /// The data path, where there is one.
    node: Option<Arc<Node>>,
    /// The shipper of its events, where it has one.
    shipping: Option<Watch>,
}

/// What `GET /status` says of the node's own server.
#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    active: AtomicU64,
    requests: AtomicU64,
}

impl Admin {
    pub fn new(entities: Entities, declarative: Option<Loaded>, conf: Conf, node_id: &str) -> Self {
        let origins = conf.admin_gui_origins();
        Self {
            entities,
            declarative,
            node_id: node_id.to_owned(),
            balancers: None,
            table: Table::admin(),
            status_table: Table::status(),
            origins: origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok())
                .collect(),
            warnings: server::warnings(&conf),
            draining: AtomicBool::new(false),
            counters: Counters::default(),
            conf,
            node: None,
            shipping: None,
        }
    }

    /// With a data path, whose metrics it tells.
    #[must_use]
    pub fn with_node(mut self, node: Arc<Node>) -> Self {
        self.node = Some(node);
        self
    }

    /// Tells how it goes with shipping the node's events.
    #[must_use]
    pub fn with_shipping(mut self, shipping: Option<Watch>) -> Self {
        self.shipping = shipping;
        self
    }

    /// Tells of the health of upstreams what these know.
    #[must_use]
    pub fn with_balancers(mut self, balancers: Arc<Balancers>) -> Self {
        self.balancers = Some(balancers);
        self
    }

    /// From now on `GET /status/ready` sends load balancers elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        served: Served,
        caller: &Caller,
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
        let largest = self.conf.admin_max_body_size().unwrap_or(u64::MAX);
        let largest = usize::try_from(largest).unwrap_or(usize::MAX);
        let answer = match http_body_util::Limited::new(body, largest).collect().await {
            Ok(body) => {
                self.answer(&parts, body.to_bytes(), wanted, served, caller)
                    .await
            }
            Err(_) => Answer::message(413, "Payload Too Large"),
        };
        let mut response = answer.into_response(is_head);
        let headers = response.headers_mut();
        headers.insert(header::SERVER, SERVER.clone());
        if served == Served::Admin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin(origin));
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        let latency = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        headers.insert("x-kong-admin-latency", latency.into());
        Ok(response)
    }

    /// The origin whose pages may read the answer: the one that asks, where `admin_gui_url` names
    /// it or names none; else the first that it names.
    fn origin(&self, asking: Option<HeaderValue>) -> HeaderValue {
        match self.origins.first() {
            None => asking.unwrap_or(HeaderValue::from_static("*")),
            Some(first) => asking
                .filter(|origin| self.origins.contains(origin))
                .unwrap_or_else(|| first.clone()),
        }
    }

    async fn answer(
        &self,
        parts: &http::request::Parts,
        body: Bytes,
        wanted: Option<HeaderValue>,
        served: Served,
        caller: &Caller,
    ) -> Answer {
        let table = match served {
            Served::Admin => &self.table,
            Served::Status => &self.status_table,
        };
        let Some(found) = table.find(parts.uri.path()) else {
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
        let query = parts.uri.query();
        let asked = match Asked::new(&parts.method, found.parameters, query, body) {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let events = self.node.as_ref().and_then(|node| node.events.as_ref());
        let operation =
            events.and_then(|events| Operation::of(events, parts, found.endpoint, &asked, caller));
        let Some(operation) = operation else {
            let answered = self.dispatch(&found.endpoint.action, asked).await;
            return answered.unwrap_or_else(|refused| refused);
        };
        if let Err(refused) = operation.requested().await {
            return refused;
        }
        let done = self.dispatch(&found.endpoint.action, asked);
        let answered = AUTHOR.scope(operation.author(), done).await;
        let answer = answered.unwrap_or_else(|refused| refused);
        operation.completed(answer.status()).await;
        answer
    }
}

static SERVER: std::sync::LazyLock<HeaderValue> = std::sync::LazyLock::new(|| {
    HeaderValue::from_str(&format!("kong/{KONG_VERSION}"))
        .unwrap_or_else(|_| HeaderValue::from_static("kong"))
});
