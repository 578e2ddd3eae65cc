//! Where a try goes: a host of the service, and how it is spoken to.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carbyne_engine::cluster::Cluster;
use carbyne_engine::cluster::settings::{self, Thresholds};
use carbyne_engine::forward::{Error, Protocol, RetryPolicy, Target, TlsTarget};
use carbyne_engine::tls::ClientTls;
use http::Method;
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use super::context::Exchange;
use super::handler::retry_policy;
use super::settings::Keepalive;
use crate::balance::{Affinity, Balancer, Keys, Outcome, PickError, Picked};
use crate::plan::service::Service;

/// The way to a service.
#[derive(Debug)]
pub struct Upstream {
    /// Who picks hosts. That of the service's own host begins with the first request: most of many services wait long
    /// for theirs.
    balancer: OnceLock<Arc<Balancer>>,
    /// What connections are told to be; the hosts are the balancer's.
    cluster: Arc<Cluster>,
    tls: Option<Arc<ClientTls>>,
    /// Tells connections apart that lead to one host and are not the same: another protocol, other certificates.
    variant: u64,
    /// `Host` for the service's own host, where the route does not keep the client's.
    authority: Bytes,
    retry: Option<Arc<Retry>>,
}

/// For requests that may be repeated, and for those that may not.
#[derive(Debug)]
struct Retry([Arc<RetryPolicy>; 2]);

/// What services with the same settings share.
#[derive(Debug, Default)]
pub struct Transports {
    clusters: FxHashMap<(Duration, bool), Arc<Cluster>>,
    retries: FxHashMap<u32, Arc<Retry>>,
}

impl Transports {
    /// What a service's connections are told to be.
    fn cluster(&mut self, service: &Service, keepalive: Keepalive) -> Arc<Cluster> {
        let key = (service.connect_timeout, service.is_grpc());
        let make = || {
            let mut settings = settings::Settings::named("services");
            settings.connect_timeout = service.connect_timeout;
            settings.idle_timeout = keepalive.idle_timeout;
            settings.max_requests_per_connection = match keepalive.pool_size {
                0 => Some(1),
                _ => keepalive.max_requests,
            };
            settings.max_idle_connections = Some(keepalive.pool_size);
            settings.http1_trailers = true;
            settings.thresholds = [Thresholds::without_limits(), Thresholds::without_limits()];
            if service.is_grpc() {
                settings.protocol = settings::Protocol::Http2(settings::Http2Settings::default());
            }
            Cluster::new(settings, Instant::now())
        };
        self.clusters.entry(key).or_insert_with(make).clone()
    }

    /// When a service's requests are tried again.
    fn retry(&mut self, service: &Service) -> Option<Arc<Retry>> {
        let make = || {
            let policies = [true, false];
            let policies = policies.map(|idempotent| retry_policy(service.retries, idempotent));
            Arc::new(Retry(policies.map(Arc::new)))
        };
        let known = self.retries.entry(service.retries);
        (service.retries > 0).then(|| known.or_insert_with(make).clone())
    }
}

impl Upstream {
    /// The way to a service: over the balancer of an upstream, or to the service's own host.
    pub fn new(
        service: &Service,
        upstream: Option<Arc<Balancer>>,
        tls: Option<Arc<ClientTls>>,
        transports: &mut Transports,
        keepalive: Keepalive,
    ) -> Self {
        let mut variant = FxHasher::default();
        service.is_grpc().hash(&mut variant);
        if tls.is_some() {
            // Every service shows and believes what it was told; they share no connections.
            service.id.hash(&mut variant);
        }
        Self {
            balancer: upstream.map_or_else(OnceLock::new, OnceLock::from),
            cluster: transports.cluster(service, keepalive),
            tls,
            variant: variant.finish(),
            authority: authority(&service.host, service.port, service),
            retry: transports.retry(service),
        }
    }

    /// Whether its hosts are this upstream's, or of none where there is none.
    pub fn is_over(&self, upstream: Option<&Arc<Balancer>>) -> bool {
        match (self.balancer.get(), upstream) {
            (Some(own), Some(upstream)) => Arc::ptr_eq(own, upstream),
            (own, None) => own.is_none_or(|own| own.is_direct()),
            (None, Some(_)) => false,
        }
    }

    /// What makes a request of this method be tried again.
    pub fn retries(&self, method: &Method) -> Option<Arc<RetryPolicy>> {
        // nginx's list of what it does not repeat unless told so.
        let once = [Method::POST, Method::PATCH].contains(method) || method.as_str() == "LOCK";
        let Retry(policies) = self.retry.as_deref()?;
        Some(policies[usize::from(once)].clone())
    }

    /// The target of a try; the request's `Host` is settled with it.
    pub async fn target(
        &self,
        exchange: &mut Exchange,
        service: &Service,
    ) -> Result<Target, Error> {
        let balancers = &exchange.context.local.node.balancers;
        let other = exchange.context.upstream.target.as_ref();
        let other = other.map(|(host, port)| balancers.of(host, *port));
        let own = || balancers.of(&service.host, service.port);
        let balancer = other
            .as_ref()
            .unwrap_or_else(|| self.balancer.get_or_init(own));
        balancer.ready().await;
        if exchange.context.affinity.is_none() {
            exchange.context.affinity = Some(affinity(balancer, exchange));
        }
        let affinity = exchange.context.affinity.get_or_insert_default();
        let picked = balancer
            .pick(affinity, &exchange.upstream.tried)
            .map_err(|error| {
                exchange.context.unresolved = error == PickError::Unresolved;
                Error::NoHealthyHost
            })?;
        self.settle_host(exchange, service, &picked);
        let (variant, tls) = match &self.tls {
            None => (self.variant, None),
            Some(client) => {
                let name = host_of(&exchange.request.authority);
                let mut variant = FxHasher::default();
                (self.variant, &name).hash(&mut variant);
                let tls = TlsTarget {
                    client: client.clone(),
                    // An address is not sent, as it is no server name (RFC 6066 §3); the certificate must be for it.
                    server_name: name,
                    alpn: None,
                    verify_name: None,
                };
                (variant.finish(), Some(tls))
            }
        };
        Ok(Target {
            cluster: self.cluster.clone(),
            host: picked.host,
            tls,
            protocol: if service.is_grpc() {
                Protocol::Http2
            } else {
                Protocol::Http1
            },
            timeout: Some(service.read_timeout),
            source: None,
            variant,
        })
    }

    /// A plugin's word, else the client's where the route keeps it, else the target's name.
    fn settle_host(&self, exchange: &mut Exchange, service: &Service, picked: &Picked) {
        let context = &exchange.context;
        let preserve = context
            .route
            .as_ref()
            .is_some_and(|route| route.plan.preserve_host);
        exchange.request.authority = match &context.upstream.host {
            Some(chosen) => chosen.clone(),
            None if preserve => context.original.authority.clone(),
            None if *picked.name == *service.host && picked.port == service.port => {
                self.authority.clone()
            }
            None => authority(&picked.name, picked.port, service),
        };
    }

    /// Tells the balancer how a try ended: its health checks count it.
    pub fn report(&self, exchange: &Exchange, outcome: Outcome) {
        if let Some(host) = &exchange.upstream.host
            && exchange.context.upstream.target.is_none()
            && let Some(balancer) = self.balancer.get()
        {
            balancer.report(host, outcome);
        }
    }
}

/// Where the request belongs, by what the balancer hashes.
fn affinity(balancer: &Balancer, exchange: &Exchange) -> Affinity {
    let context = &exchange.context;
    let captures = context.captures.iter().flat_map(|captures| captures.iter());
    let captures: SmallVec<[(&str, &str); 4]> = captures.collect();
    let consumer = context.consumer.as_ref().map(|consumer| &*consumer.id);
    let credential = || {
        context
            .credential
            .as_ref()
            .map(|credential| &*credential.id)
    };
    let original = &context.original.path;
    let end = memchr::memchr(b'?', original).unwrap_or(original.len());
    balancer.affinity(&Keys {
        consumer: consumer.or_else(credential),
        headers: &exchange.request.headers,
        ip: context.arrival.client,
        path: std::str::from_utf8(&original[..end]).unwrap_or_default(),
        query: original
            .get(end + 1..)
            .and_then(|query| std::str::from_utf8(query).ok()),
        captures: &captures,
    })
}

/// `Host` as Kong words it: without the port that the scheme implies.
fn authority(host: &str, port: u16, service: &Service) -> Bytes {
    let implied = if service.is_secure() { 443 } else { 80 };
    let text = if port == implied {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    text.into()
}

/// The host in an authority.
fn host_of(authority: &Bytes) -> Option<Arc<str>> {
    let text = std::str::from_utf8(authority).ok()?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    Some(Arc::from(host))
}
