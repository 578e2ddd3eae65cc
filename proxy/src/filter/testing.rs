//! What the filters' tests share: requests, plans from JSON, clusters of one host.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use carbyne_engine::cluster::{Assignment, Cluster, Endpoint, LocalityEndpoints, Settings};
use carbyne_engine::forward::{
    Answer, Counts, Downstream, Events, Exchange, Protocol, Target, Timing, Upstream,
};
use carbyne_engine::http::{Body, Request, Response};
use carbyne_engine::net::Address;
use carbyne_engine::runtime::Worker;
use carbyne_engine::tls::{CertificateFacts, Negotiated, Version};
use carbyne_protos::json;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prost::{Message, Name};
use serde_json::Value;

use super::planned::Planned;
use super::upstream::ClusterLookup;
use crate::context::Context;
use crate::plan::Environment;
use crate::plan::error::Rejection;
use crate::plan::scope::{Room, Scope};

/// A request to `a.example`.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::get("a.example", Bytes::copy_from_slice(path.as_bytes()));
    request.method = Method::from_bytes(method.as_bytes()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// A plaintext connection from 10.0.0.9 to 10.0.0.1:8080.
pub(super) fn downstream() -> Downstream {
    let address = |text: &str| Address::Tcp(text.parse::<SocketAddr>().unwrap());
    Downstream {
        id: 7,
        local: address("10.0.0.1:8080"),
        remote: address("10.0.0.9:40000"),
        direct_remote: address("10.0.0.9:40000"),
        server_name: None,
        tls: None,
        accepted: Instant::now(),
    }
}

/// An exchange of that request on such a connection.
pub(super) fn exchange(request: Request) -> Exchange<Context> {
    exchange_on(downstream(), request)
}

pub(super) fn exchange_on(downstream: Downstream, request: Request) -> Exchange<Context> {
    Exchange {
        worker: worker(),
        downstream: Rc::new(downstream),
        request,
        body: Body::empty(),
        upgrade: None,
        response: None,
        response_body: Body::empty(),
        response_trailers: None,
        context: Context::default(),
        timing: Timing {
            start: Instant::now(),
            start_time: SystemTime::UNIX_EPOCH,
            request_end: None,
            upstream_start: None,
            upstream_end: None,
            response_start: None,
            response_end: None,
            end: None,
        },
        upstream: Upstream::default(),
        attempts: 0,
        events: Events::default(),
        details: "".into(),
        counts: Counts::default(),
    }
}

/// A worker whose housekeeping does not run.
fn worker() -> Rc<Worker> {
    let tasks = tokio::task::LocalSet::new();
    let _entered = tasks.enter();
    Worker::new(None)
}

/// Puts a response into an exchange.
pub(super) fn respond(exchange: &mut Exchange<Context>) {
    exchange.response = Some(Response::new(StatusCode::OK));
}

/// mTLS with a client certificate of these names.
pub(super) fn mtls(uris: &[&str], names: &[&str], verified: bool) -> Arc<Negotiated> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let text = |text: &&str| rcgen::string::Ia5String::try_from(*text).unwrap();
    parameters.subject_alt_names = uris
        .iter()
        .map(|uri| rcgen::SanType::URI(text(uri)))
        .collect();
    parameters
        .subject_alt_names
        .extend(names.iter().map(|name| rcgen::SanType::DnsName(text(name))));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    Arc::new(Negotiated {
        alpn: None,
        sni: None,
        version: Version::Tls13,
        cipher: "TLS_AES_128_GCM_SHA256",
        resumed: false,
        peer: Some(Arc::new(
            CertificateFacts::parse(certificate.der()).unwrap(),
        )),
        peer_verified: verified,
        local: None,
    })
}

/// Plans a message given as JSON.
pub(super) fn plan<M, F>(
    message: Value,
    plan: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
) -> Result<Planned<F>, Rejection>
where
    M: Message + Name + Default,
{
    let message: M = json::from_json(&message).unwrap_or_else(|error| panic!("{error}"));
    let environment = Environment::default();
    // Without a survey: these tests are about what the plans themselves find.
    let room = Room::new(&environment, Vec::new());
    let planned = plan(&message, &room.scope());
    room.finish(planned).map(|accepted| accepted.plan)
}

/// The same of a message whose plan is not a guard's, and which is served.
pub(super) fn plan_json<M, F>(message: Value, read: impl FnOnce(&M, &Scope<'_>) -> Option<F>) -> F
where
    M: Message + Name + Default,
{
    served(message, |message, scope| {
        read(message, scope).map(Planned::Serves)
    })
}

/// Plans a message that is served.
pub(super) fn served<M, F>(
    message: Value,
    read: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
) -> F
where
    M: Message + Name + Default,
{
    match plan(message, read) {
        Ok(Planned::Serves(filter)) => filter,
        Ok(Planned::Refuses(refuse)) => panic!("refuses: {}", refuse.reason),
        Err(rejection) => panic!("rejected: {rejection}"),
    }
}

/// What becomes of a message: `served`, `refused: …`, or `rejected: …`.
pub(super) fn outcome<M, F>(
    message: Value,
    read: impl FnOnce(&M, &Scope<'_>) -> Option<Planned<F>>,
) -> String
where
    M: Message + Name + Default,
{
    match plan(message, read) {
        Ok(Planned::Serves(_)) => "served".to_owned(),
        Ok(Planned::Refuses(refuse)) => format!("refused: {}", refuse.reason),
        Err(rejection) => format!("rejected: {rejection}"),
    }
}

/// Status, body and details of an answer.
pub(super) fn told(answer: &Answer) -> (u16, &str, &str) {
    (
        answer.response.status.as_u16(),
        std::str::from_utf8(&answer.body).unwrap(),
        &answer.details,
    )
}

/// The values of a field.
pub(super) fn values<'a>(headers: &'a carbyne_engine::http::Headers, name: &str) -> Vec<&'a str> {
    let found = headers.iter().filter(|(field, _)| field.as_str() == name);
    found.map(|(_, value)| value.to_str().unwrap()).collect()
}

/// No cluster at all.
#[derive(Debug)]
pub(super) struct Nobody;

impl ClusterLookup for Nobody {
    fn target(&self, _cluster: &str, _worker: &Worker) -> Option<Target> {
        None
    }
}

/// One cluster, `service`, of one host.
#[derive(Debug)]
pub(super) struct OneHost {
    cluster: Arc<Cluster>,
    protocol: Protocol,
}

impl OneHost {
    pub(super) fn at(address: SocketAddr, protocol: Protocol) -> Self {
        let cluster = Cluster::new(Settings::named("service"), Instant::now());
        let locality = LocalityEndpoints {
            endpoints: vec![Endpoint::at(address)],
            weight: 1,
            ..LocalityEndpoints::default()
        };
        cluster.update_endpoints(Assignment::of(vec![locality]), Instant::now());
        Self { cluster, protocol }
    }
}

impl ClusterLookup for OneHost {
    fn target(&self, cluster: &str, _worker: &Worker) -> Option<Target> {
        let hosts = self.cluster.endpoints();
        let host = hosts.hosts().next().filter(|_| cluster == "service")?;
        Some(Target {
            cluster: Arc::clone(&self.cluster),
            host: Arc::clone(host),
            tls: None,
            protocol: self.protocol,
            timeout: None,
            source: None,
            variant: 0,
        })
    }
}

/// Runs a future as a worker would.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
