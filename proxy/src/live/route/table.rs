//! One route configuration.

use std::sync::Arc;

use carbyne_engine::http::Request;
use smallvec::SmallVec;

use super::domain::Domains;
use super::entry::RouteEntry;
use super::index::RouteIndex;
use crate::context::Metadata;
use crate::live::matcher::{
    Fraction, HeaderMatcher, MetadataMatcher, PathMatcher, PathRule, QueryMatcher,
};

/// A compiled route configuration.
#[derive(Debug)]
pub struct RouteTable {
    /// Its name.
    pub name: Arc<str>,
    domains: Domains,
    hosts: Vec<VirtualHost>,
    ignore_port: bool,
}

/// Routes of some domains.
#[derive(Debug)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// Whether requests have to come by TLS.
    pub require_tls: TlsRequirement,
    routes: Vec<(RouteMatch, Arc<RouteEntry>)>,
    index: Option<RouteIndex>,
}

/// Whether requests have to come by TLS; those that did not are sent there (301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRequirement {
    /// No.
    #[default]
    None,
    /// Those from outside.
    External,
    /// All.
    All,
}

/// What a route asks of a request.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// Path.
    pub path: PathMatcher,
    /// Fields, all of them.
    pub headers: Box<[HeaderMatcher]>,
    /// Parameters, all of them.
    pub query: Box<[QueryMatcher]>,
    /// Dynamic metadata, all of it.
    pub metadata: Box<[MetadataMatcher]>,
    /// Content type of gRPC.
    pub grpc: bool,
    /// A share of the requests.
    pub fraction: Option<Fraction>,
    /// The client's certificate.
    pub tls: Option<TlsMatch>,
}

/// What a route asks of the client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsMatch {
    /// Whether there is one.
    pub presented: Option<bool>,
    /// Whether it satisfied the listener's rules.
    pub validated: Option<bool>,
}

/// What is known when a route is chosen.
#[derive(Clone, Copy, Debug)]
pub struct RouteFacts<'a> {
    /// The request, canonical.
    pub request: &'a Request,
    /// The request's random number: the same for fractions and weights, however often a route is chosen.
    pub random: u64,
    /// What filters found out.
    pub metadata: &'a Metadata,
    /// The client showed a certificate.
    pub certificate_presented: bool,
    /// It satisfied the rules.
    pub certificate_validated: bool,
}

/// What was chosen.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// This route.
    Route(&'a Arc<RouteEntry>),
    /// The virtual host wants TLS: 301 to the same address with `https`.
    RequiresTls(&'a VirtualHost),
    /// No route of the virtual host matches: 404.
    NoRoute(&'a VirtualHost),
    /// No virtual host: 404.
    NoVirtualHost,
}

impl RouteTable {
    /// A table without virtual hosts.
    pub fn new(name: Arc<str>, ignore_port: bool) -> Self {
        Self {
            name,
            domains: Domains::default(),
            hosts: Vec::new(),
            ignore_port,
        }
    }

    /// Adds a virtual host; the domains that were taken are returned.
    pub fn add<'a>(
        &mut self,
        host: VirtualHost,
        domains: impl IntoIterator<Item = &'a String>,
    ) -> Vec<&'a str> {
        // A table of four thousand million hosts does not fit into a message.
        let number = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.hosts.push(host);
        domains
            .into_iter()
            .filter(|domain| !self.domains.insert(domain, number))
            .map(String::as_str)
            .collect()
    }

    /// The virtual hosts in their order.
    pub fn hosts(&self) -> &[VirtualHost] {
        &self.hosts
    }

    /// The route of a request.
    pub fn choose(&self, facts: &RouteFacts<'_>) -> Choice<'_> {
        match self.virtual_host(facts.request) {
            Some(host) => host.choose(facts),
            None => Choice::NoVirtualHost,
        }
    }

    /// The virtual host of a request.
    pub fn virtual_host(&self, request: &Request) -> Option<&VirtualHost> {
        let number = if self.ignore_port || request.authority.len() == request.host.len() {
            self.domains.find(&request.host)
        } else {
            let lower: SmallVec<[u8; 128]> = request
                .authority
                .iter()
                .map(u8::to_ascii_lowercase)
                .collect();
            self.domains.find(&lower)
        }?;
        self.hosts.get(number as usize)
    }
}

impl VirtualHost {
    /// A virtual host of routes in their order.
    pub fn new(
        name: Arc<str>,
        require_tls: TlsRequirement,
        routes: Vec<(RouteMatch, Arc<RouteEntry>)>,
    ) -> Self {
        let index = RouteIndex::new(routes.iter().map(|(wanted, _)| &wanted.path));
        Self {
            name,
            require_tls,
            routes,
            index,
        }
    }

    /// Its routes in their order.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Arc<RouteEntry>> {
        self.routes.iter().map(|(_, entry)| entry)
    }

    /// The route of a request that belongs to this virtual host.
    pub fn choose(&self, facts: &RouteFacts<'_>) -> Choice<'_> {
        let request = facts.request;
        if self.require_tls != TlsRequirement::None && !came_by_tls(request) {
            let internal = || request.headers.text(&X_ENVOY_INTERNAL) == Some("true");
            if self.require_tls == TlsRequirement::All || !internal() {
                return Choice::RequiresTls(self);
            }
        }
        let path = request.path_only();
        let found = match &self.index {
            Some(index) => index
                .candidates(path)
                .map(|number| &self.routes[number])
                .find(|(wanted, _)| wanted.matches(path, facts)),
            None => self
                .routes
                .iter()
                .find(|(wanted, _)| wanted.matches(path, facts)),
        };
        match found {
            Some((_, entry)) => Choice::Route(entry),
            None => Choice::NoRoute(self),
        }
    }
}

impl RouteMatch {
    /// Only a path.
    pub fn path(path: PathMatcher) -> Self {
        Self {
            path,
            headers: Box::default(),
            query: Box::default(),
            metadata: Box::default(),
            grpc: false,
            fraction: None,
            tls: None,
        }
    }

    /// Whether the request meets all of it. A `CONNECT` without a path is met only by routes made for it, and by the prefix `/`-less ones.
    fn matches(&self, path: &[u8], facts: &RouteFacts<'_>) -> bool {
        let request = facts.request;
        let path_matches = match self.path.rule() {
            PathRule::Connect => request.method == http::Method::CONNECT,
            _ => self.path.matches(path),
        };
        path_matches
            && self.headers.iter().all(|wanted| wanted.matches(request))
            && (self.query.is_empty() || {
                let query = request.query();
                self.query.iter().all(|wanted| wanted.matches(query))
            })
            && (!self.grpc || is_grpc(request))
            && self
                .fraction
                .is_none_or(|fraction| fraction.holds(facts.random))
            && self
                .metadata
                .iter()
                .all(|wanted| wanted.matches(facts.metadata))
            && self.tls.is_none_or(|wanted| {
                wanted
                    .presented
                    .is_none_or(|wanted| wanted == facts.certificate_presented)
                    && wanted
                        .validated
                        .is_none_or(|wanted| wanted == facts.certificate_validated)
            })
    }
}

/// Whether the content type is one of gRPC.
pub fn is_grpc(request: &Request) -> bool {
    request
        .headers
        .get(&http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

/// What `x-forwarded-proto` says; it is set, or kept from a trusted peer, before a route is chosen.
fn came_by_tls(request: &Request) -> bool {
    request
        .headers
        .get(&X_FORWARDED_PROTO)
        .is_some_and(|value| value == "https")
}

const X_ENVOY_INTERNAL: http::HeaderName = http::HeaderName::from_static("x-envoy-internal");
pub(super) const X_FORWARDED_PROTO: http::HeaderName =
    http::HeaderName::from_static("x-forwarded-proto");
