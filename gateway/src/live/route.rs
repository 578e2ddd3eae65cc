//! Routes as they are served: each with its service and its plugins, and how one is found.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use carbyne_engine::http::Request;

use super::chain::Chain;
use crate::plan::route::Route;
use crate::plan::service::Service;
use crate::proxy::upstream::Upstream;

/// A route with everything that its requests need.
#[derive(Debug)]
pub struct LiveRoute {
    pub plan: Arc<Route>,
    pub service: Option<Arc<LiveService>>,
    pub chain: Arc<Chain>,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
}

/// A service with the way to it.
#[derive(Debug)]
pub struct LiveService {
    pub plan: Arc<Service>,
    pub upstream: Upstream,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
}

/// Every route.
#[derive(Debug, Default)]
pub struct Routes {
    all: Vec<Arc<LiveRoute>>,
}

/// What a request is matched by.
#[derive(Debug)]
pub struct Asked<'a> {
    pub request: &'a Request,
    /// Whether the connection is TLS.
    pub secure: bool,
    pub server_name: Option<&'a str>,
    pub client: Option<SocketAddr>,
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
    /// What the route's regular expression captured, by number and by name.
    pub captures: Vec<(Box<str>, Box<str>)>,
}

impl Routes {
    pub fn new(all: Vec<Arc<LiveRoute>>) -> Self {
        Self { all }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The route that wants a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Matched> {
        let path = String::from_utf8_lossy(asked.request.path_only());
        let path = crate::schema::normalize_path(&path);
        let host = std::str::from_utf8(&asked.request.host).unwrap_or_default();
        let mut best: Option<(usize, &Arc<LiveRoute>, &str)> = None;
        for route in &self.all {
            let plan = &route.plan;
            let wanted = |list: &[Box<str>], value: &str| {
                list.is_empty() || list.iter().any(|known| **known == *value)
            };
            if !wanted(&plan.hosts, host) || !wanted(&plan.methods, asked.request.method.as_str()) {
                continue;
            }
            let prefix = plan
                .paths
                .iter()
                .filter(|known| path.starts_with(&***known));
            let prefix = prefix.max_by_key(|known| known.len());
            if prefix.is_none() && !plan.paths.is_empty() {
                continue;
            }
            let prefix = prefix.map_or("", |prefix| prefix);
            let weight = prefix.len() + 1000 * plan.hosts.len().min(1);
            if best.is_none_or(|(known, ..)| weight > known) {
                best = Some((weight, route, prefix));
            }
        }
        let (_, route, prefix) = best?;
        let base = route
            .service
            .as_ref()
            .and_then(|service| service.plan.path.as_deref());
        let strip = route.plan.strip_path;
        let path = upstream_path(
            base.unwrap_or("/"),
            &path,
            if strip { prefix } else { "" },
            strip,
        );
        Some(Matched {
            route: route.clone(),
            path: path.into(),
            prefix: strip.then(|| Bytes::copy_from_slice(prefix.as_bytes())),
            captures: Vec::new(),
        })
    }
}

/// Joins the service's path and the rest of the request's (kong.md 5.4).
fn upstream_path(base: &str, path: &str, prefix: &str, strip: bool) -> String {
    let rest = if strip { &path[prefix.len()..] } else { path };
    let (base_ends, rest_begins) = (base.ends_with('/'), rest.starts_with('/'));
    match (base_ends, rest_begins) {
        (true, true) => format!("{}{}", base, &rest[1..]),
        (true, false) | (false, true) => {
            if rest == "/" && !strip {
                base.to_owned()
            } else {
                format!("{base}{rest}")
            }
        }
        (false, false) if rest.is_empty() => base.to_owned(),
        (false, false) => format!("{base}/{rest}"),
    }
}
