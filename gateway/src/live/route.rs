//! Routes as they are served: each with its service and its plugins, and how one is found.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use carbyne_engine::http::Request;

use super::chain::Chain;
use crate::plan::route::Route;
use crate::plan::service::Service;
use crate::plugins::prometheus::series::RouteSeries;
use crate::proxy::arrival::Arrival;
use crate::proxy::upstream::Upstream;
use crate::router::{Captures, Http, Lookup, Protocol, Router, Rules, uri};

/// A route with everything that its requests need.
#[derive(Debug)]
pub struct LiveRoute {
    pub plan: Arc<Route>,
    pub service: Option<Arc<LiveService>>,
    pub chain: Arc<Chain>,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
    /// What prometheus counts its requests in, once there was one; none where there are too many series.
    pub series: OnceLock<Option<Arc<RouteSeries>>>,
}

/// A service with the way to it.
#[derive(Debug)]
pub struct LiveService {
    pub plan: Arc<Service>,
    pub upstream: Upstream,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
}

/// Every route, and the router that finds them.
#[derive(Debug, Default)]
pub struct Routes {
    router: Option<Arc<Router<u32>>>,
    /// What the router's numbers mean.
    all: Vec<Arc<LiveRoute>>,
}

/// What a request is matched by.
#[derive(Debug)]
pub struct Asked<'a> {
    pub request: &'a Request,
    pub arrival: &'a Arrival,
    pub server_name: Option<&'a str>,
    pub server: Option<SocketAddr>,
}

/// The route that wants a request.
#[derive(Debug)]
pub struct Matched {
    pub route: Arc<LiveRoute>,
    /// The path that the service sees, unescaped.
    pub path: Bytes,
    /// What was taken off the front of the path.
    pub prefix: Option<Bytes>,
    pub captures: Option<Captures>,
}

impl Routes {
    /// Compiles the router, or takes over that of `before` where the routes are the same. A route that cannot be
    /// matched is left out, and the log says why.
    pub fn new(rules: Rules, all: Vec<Arc<LiveRoute>>, before: &Self) -> Self {
        let same = before.all.len() == all.len()
            && std::iter::zip(&before.all, &all)
                .all(|(before, now)| Arc::ptr_eq(&before.plan, &now.plan));
        if same && let Some(router) = &before.router {
            return Self {
                router: Some(router.clone()),
                all,
            };
        }
        let numbered = (0..)
            .zip(&all)
            .map(|(number, route)| (&*route.plan, number));
        let (router, rejected) = Router::build(rules, numbered);
        for rejected in rejected {
            tracing::error!(id = %rejected.id, "{rejected}");
        }
        Self {
            router: Some(Arc::new(router)),
            all,
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The route that wants a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Matched> {
        let request = asked.request;
        let end = request.path_only().len();
        let path = match uri::normalize(&request.path[..end]) {
            Cow::Borrowed(_) => request.path.slice(..end),
            Cow::Owned(path) => path.into(),
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let arrival = asked.arrival;
        let lookup = Lookup {
            protocol: if arrival.secure {
                Protocol::Https
            } else {
                Protocol::Http
            },
            sni: asked.server_name,
            source: SocketAddr::new(arrival.client, arrival.client_port),
            destination: asked.server.unwrap_or(nowhere),
            http: Some(Http {
                method: &request.method,
                host: &request.host,
                port: port_of(&request.authority),
                path: &path,
                query: request.query(),
                headers: &request.headers,
                authority: &request.authority,
            }),
        };
        let found = self.router.as_ref()?.find(&lookup)?;
        let route = self.all.get(*found.payload as usize)?;
        let strips = route.plan.strip_path;
        let prefix = strips
            .then(|| found.path())
            .flatten()
            .map(|prefix| prefix.len());
        let service = route
            .service
            .as_ref()
            .and_then(|service| service.plan.path.as_deref());
        let stripped = uri::stripped(strips, prefix);
        let joined = uri::upstream(service.unwrap_or_default().as_bytes(), &path, stripped);
        let upstream = match joined {
            Cow::Borrowed(part) if is_part(&path, part) => path.slice_ref(part),
            joined => Bytes::from(joined.into_owned()),
        };
        Some(Matched {
            route: route.clone(),
            path: upstream,
            prefix: prefix
                .and_then(|prefix| path.get(..prefix).map(|prefix| path.slice_ref(prefix))),
            captures: found.captures(),
        })
    }
}

/// Whether these bytes lie in those.
fn is_part(whole: &Bytes, part: &[u8]) -> bool {
    let range = whole.as_ptr_range();
    let part = part.as_ptr_range();
    range.start <= part.start && part.end <= range.end
}

/// The port in an authority.
fn port_of(authority: &[u8]) -> Option<u16> {
    let colon = memchr::memrchr(b':', authority)?;
    std::str::from_utf8(&authority[colon + 1..])
        .ok()?
        .parse()
        .ok()
}
