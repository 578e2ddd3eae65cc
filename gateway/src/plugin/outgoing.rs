//! HTTP calls of a plugin's own, such as a batch of log lines: over the worker's own connections to clusters that live as
//! long as somebody holds the [`Endpoint`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use carbyne_engine::cluster::dns::{Resolve, SystemResolver};
use carbyne_engine::cluster::settings::{self, AddressFamily, Settings, Thresholds};
use carbyne_engine::cluster::{
    Assignment, Cluster, Endpoint as Host, LocalityEndpoints, PickContext,
};
use carbyne_engine::forward::{Error, Protocol, Target, TlsTarget, client};
use carbyne_engine::http::{Body, Request, Response};
use carbyne_engine::runtime::Worker;
use carbyne_engine::tls::{
    AlpnList, ClientTls, ClientTlsPlan, PeerRules, TlsParameters, TrustSlot,
};
use tokio::sync::Mutex;

use crate::node::Node;

/// Somewhere that a plugin sends requests to.
#[derive(Debug)]
pub struct Endpoint {
    cluster: Arc<Cluster>,
    tls: Option<Arc<ClientTls>>,
    host: Box<str>,
    port: u16,
    authority: Bytes,
    /// Path and query of the URL.
    path: Bytes,
    timeout: Duration,
    resolved: Mutex<Option<Instant>>,
}

/// Why a URL is none that can be called.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EndpointError {
    #[error("is no http or https URL")]
    Url,
    #[error("TLS cannot be spoken: {0}")]
    Tls(String),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no answer in time")]
    Timeout,
    #[error("the host has no address")]
    Unresolved,
    #[error(transparent)]
    Forward(#[from] Error),
    #[error("the answer broke off")]
    Truncated,
}

/// The longest answer that is read; what is behind it is not looked at.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// How long addresses are taken to be good.
const REFRESH: Duration = Duration::from_secs(30);

impl Endpoint {
    /// The endpoint of a URL. `verify` wants a certificate of an authority that the node trusts.
    pub fn new(
        url: &str,
        timeout: Duration,
        idle: Duration,
        verify: bool,
        node: &Node,
    ) -> Result<Self, EndpointError> {
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(EndpointError::Url),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority
            .rsplit_once('@')
            .map_or(authority, |(_, behind)| behind);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EndpointError::Url)?)
            }
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let host: Box<str> = host.trim_matches(['[', ']']).into();
        if host.is_empty() {
            return Err(EndpointError::Url);
        }
        let mut cluster = Settings::named(url);
        cluster.connect_timeout = timeout;
        cluster.idle_timeout = Some(idle);
        cluster.protocol = settings::Protocol::Http1;
        cluster.thresholds = [Thresholds::without_limits(), Thresholds::without_limits()];
        let tls = secure
            .then(|| client_tls(&host, verify, node))
            .transpose()?;
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            cluster: Cluster::new(cluster, Instant::now()),
            tls,
            host,
            port,
            authority: authority.to_owned().into(),
            path: path.into(),
            timeout,
            resolved: Mutex::new(None),
        })
    }

    /// A request for this URL: a `GET` to be changed.
    pub fn request(&self) -> Request {
        Request::get(self.authority.clone(), self.path.clone())
    }

    /// Sends a request and reads its answer whole.
    pub async fn call(
        &self,
        worker: &Worker,
        request: Request,
        body: Bytes,
    ) -> Result<(Response, Bytes), CallError> {
        let answered = tokio::time::timeout(self.timeout, self.send(worker, request, body));
        answered.await.unwrap_or(Err(CallError::Timeout))
    }

    async fn send(
        &self,
        worker: &Worker,
        request: Request,
        body: Bytes,
    ) -> Result<(Response, Bytes), CallError> {
        self.resolve().await;
        let host = worker
            .pickers
            .pick(&self.cluster, &PickContext::first(Instant::now()))
            .ok_or(CallError::Unresolved)?;
        let target = Target {
            cluster: self.cluster.clone(),
            host,
            tls: self.tls.clone().map(|client| TlsTarget {
                client,
                server_name: None,
                alpn: None,
                verify_name: None,
            }),
            protocol: Protocol::Http1,
            timeout: None,
            source: None,
            variant: 0,
        };
        let mut reply = client::send(worker, &target, request, Body::full(body)).await?;
        let mut read = Vec::new();
        while let Some(frame) = reply.body.frame().await {
            if let carbyne_engine::http::Frame::Data(bytes) =
                frame.map_err(|_| CallError::Truncated)?
                && read.len() < LONGEST_ANSWER
            {
                read.extend_from_slice(&bytes);
            }
        }
        let response = reply.response.clone();
        reply.finish(worker, &target);
        Ok((response, read.into()))
    }

    async fn resolve(&self) {
        let mut resolved = self.resolved.lock().await;
        if resolved.is_some_and(|at| at.elapsed() < REFRESH) {
            return;
        }
        let addresses: Vec<IpAddr> = match self.host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let name = Arc::from(&*self.host);
                let found = SystemResolver
                    .resolve(name, AddressFamily::V4Preferred)
                    .await;
                found.map(|found| found.addresses).unwrap_or_default()
            }
        };
        if addresses.is_empty() {
            return;
        }
        let endpoints = addresses.iter().map(|ip| Host::at((*ip, self.port).into()));
        let locality = LocalityEndpoints {
            weight: 1,
            endpoints: endpoints.collect(),
            ..LocalityEndpoints::default()
        };
        self.cluster
            .update_endpoints(Assignment::of(vec![locality]), Instant::now());
        *resolved = Some(Instant::now());
    }
}

fn client_tls(host: &str, verify: bool, node: &Node) -> Result<Arc<ClientTls>, EndpointError> {
    let failed = |error: &dyn std::fmt::Display| EndpointError::Tls(error.to_string());
    let trust = verify.then(|| match node.settings.trusted_certificates() {
        Some(trust) => TrustSlot::filled(host, trust),
        None => TrustSlot::new(host),
    });
    let plan = ClientTlsPlan {
        identity: None,
        peer: PeerRules {
            trust,
            ..PeerRules::default()
        },
        verifies_host: verify,
        sni: Some(host.into()),
        alpn: AlpnList::new(["http/1.1"]).map_err(|error| failed(&error))?,
        parameters: TlsParameters::default(),
        resumed_names: 1,
    };
    ClientTls::new(plan)
        .map(Arc::new)
        .map_err(|error| failed(&error))
}
