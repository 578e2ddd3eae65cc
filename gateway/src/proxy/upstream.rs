//! Where a try goes: a host of the service, and how it is spoken to.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use carbyne_engine::cluster::dns::{Resolve, SystemResolver};
use carbyne_engine::cluster::settings::{self, AddressFamily, Thresholds};
use carbyne_engine::cluster::{
    Assignment, Cluster, Endpoint, Locality, LocalityEndpoints, PickContext,
};
use carbyne_engine::forward::{Error, Protocol, RetryPolicy, Target, TlsTarget};
use carbyne_engine::tls::ClientTls;
use http::Method;

use super::context::Exchange;
use super::handler::retry_policy;
use super::settings::Keepalive;
use crate::plan::service::Service;

/// The way to a service.
#[derive(Debug)]
pub struct Upstream {
    cluster: Arc<Cluster>,
    tls: Option<Arc<ClientTls>>,
    /// `Host` for the service where the route does not keep the client's.
    authority: Bytes,
    server_name: Option<Arc<str>>,
    resolved: ArcSwapOption<Instant>,
    resolving: AtomicBool,
    /// For requests that may be repeated, and for those that may not.
    retry: [Option<Arc<RetryPolicy>>; 2],
}

impl Upstream {
    /// The way to a service, with the TLS settings that its certificates make.
    pub fn new(service: &Service, keepalive: Keepalive, tls: Option<Arc<ClientTls>>) -> Self {
        let mut settings = settings::Settings::named(&service.id);
        settings.connect_timeout = service.connect_timeout;
        settings.idle_timeout = keepalive.idle_timeout;
        settings.max_requests_per_connection = keepalive.max_requests;
        settings.http1_trailers = true;
        settings.thresholds = [Thresholds::without_limits(), Thresholds::without_limits()];
        if service.is_grpc() {
            settings.protocol = settings::Protocol::Http2(settings::Http2Settings::default());
        }
        let cluster = Cluster::new(settings, Instant::now());
        let upstream = Self {
            tls,
            authority: authority(service),
            server_name: service.is_secure().then(|| Arc::from(&*service.host)),
            resolved: ArcSwapOption::empty(),
            resolving: AtomicBool::new(false),
            retry: [true, false].map(|idempotent| {
                let policy = retry_policy(service.retries, idempotent);
                (service.retries > 0).then(|| Arc::new(policy))
            }),
            cluster,
        };
        if let Ok(address) = service.host.trim_matches(['[', ']']).parse() {
            upstream.assign(&[address], service);
            upstream.resolved.store(None);
        }
        upstream
    }

    /// What makes a request of this method be tried again.
    pub fn retries(&self, method: &Method) -> Option<Arc<RetryPolicy>> {
        // nginx's list of what it repeats unless told otherwise.
        let once = [Method::POST, Method::PATCH].contains(method) || method.as_str() == "LOCK";
        self.retry[usize::from(once)].clone()
    }

    /// Whether nobody knows an address of the service.
    pub fn is_unresolved(&self) -> bool {
        !self.cluster.is_assigned()
    }

    /// The target of a try, and the `Host` for it.
    pub async fn target(
        &self,
        exchange: &Exchange,
        service: &Service,
        _number: u32,
    ) -> Result<(Target, Bytes), Error> {
        self.resolve(service).await;
        let context = PickContext {
            tried: &exchange.upstream.tried,
            reselections: 2,
            ..PickContext::first(Instant::now())
        };
        let host = exchange.worker.pickers.pick(&self.cluster, &context);
        let host = host.ok_or(Error::NoHealthyHost)?;
        let tls = self.tls.as_ref().map(|client| TlsTarget {
            client: client.clone(),
            server_name: self.server_name.clone(),
            alpn: None,
            verify_name: None,
        });
        let target = Target {
            cluster: self.cluster.clone(),
            host,
            tls,
            protocol: if service.is_grpc() {
                Protocol::Http2
            } else {
                Protocol::Http1
            },
            timeout: Some(service.read_timeout),
            source: None,
            variant: 0,
        };
        Ok((target, self.authority.clone()))
    }

    /// Asks for the addresses of the service's host where they are not known, or not known lately.
    async fn resolve(&self, service: &Service) {
        let age = self.resolved.load().as_ref().map(|at| at.elapsed());
        let fresh = match age {
            None => self.cluster.is_assigned(),
            Some(age) => age < REFRESH,
        };
        if fresh || self.cluster.is_assigned() && self.resolving.swap(true, Ordering::AcqRel) {
            return;
        }
        let found = SystemResolver
            .resolve(Arc::from(&*service.host), AddressFamily::V4Preferred)
            .await;
        self.resolving.store(false, Ordering::Release);
        match found {
            Ok(found) if !found.addresses.is_empty() => self.assign(&found.addresses, service),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(host = %service.host, %error, "a service's host has no address")
            }
        }
    }

    fn assign(&self, addresses: &[IpAddr], service: &Service) {
        let endpoints = addresses.iter().map(|ip| Endpoint {
            hostname: Arc::from(&*service.host),
            ..Endpoint::at((*ip, service.port).into())
        });
        let locality = LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: 1,
            endpoints: endpoints.collect(),
        };
        self.resolved.store(Some(Arc::new(Instant::now())));
        self.cluster
            .update_endpoints(Assignment::of(vec![locality]), Instant::now());
    }
}

/// `Host` as Kong words it: without the port that the scheme implies.
pub(super) fn authority(service: &Service) -> Bytes {
    let implied = if service.is_secure() { 443 } else { 80 };
    let text = if service.port == implied {
        service.host.to_string()
    } else {
        format!("{}:{}", service.host, service.port)
    };
    text.into()
}

/// How long addresses are taken to be good.
const REFRESH: Duration = Duration::from_secs(5);
