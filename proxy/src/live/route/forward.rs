//! What a forwarding route does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carbyne_engine::forward::{Priority, RetryPolicy};
use carbyne_engine::http::Request;
use http::{HeaderName, StatusCode};

use super::entry::FilterConfigs;
use super::hash::HashRule;
use super::headers::HeaderOperations;
use super::timeout::TimeoutRules;
use crate::live::clusters::{ClusterSlot, Clusters};
use crate::live::matcher::{Fraction, HeaderMatcher, PathMatcher, Substitution, TemplateRewrite};

/// A compiled forwarding action.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub target: ClusterTarget,
    /// The answer where the cluster does not exist.
    pub not_found: StatusCode,
    /// The new path.
    pub path_rewrite: Option<PathRewrite>,
    /// The new host.
    pub host_rewrite: Option<HostRewrite>,
    /// Keep the old host in `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// How long things may take.
    pub timeouts: TimeoutRules,
    /// When to try again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Requests that are tried again must meet one of these, if there are any.
    pub retriable_requests: Box<[HeaderMatcher]>,
    /// What consistent balancers hash.
    pub hash: Box<[HashRule]>,
    /// Where copies go.
    pub mirrors: Box<[MirrorRule]>,
    /// Which breaker limits apply.
    pub priority: Priority,
    /// Upgrades that differ from the listener's.
    pub upgrades: Box<[UpgradeRule]>,
}

/// Where a request goes.
#[derive(Debug)]
pub enum ClusterTarget {
    /// The cluster that a request field names.
    Header(HeaderName),
    /// One cluster.
    Single(Arc<ClusterSlot>),
    /// One of several.
    Weighted {
        /// Sum of the weights, not 0.
        total: u64,
        /// Where the number comes from.
        random: RandomSource,
        /// The clusters.
        clusters: Box<[WeightedCluster]>,
    },
}

/// Where the number comes from that picks one of several clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RandomSource {
    /// A request field with a decimal number; requests without it get the random number.
    Header(HeaderName),
    /// The hash of the route's hash rules; requests without one get the random number.
    Hash,
    /// The request's random number.
    Request,
}

/// One of several clusters.
#[derive(Debug)]
pub struct WeightedCluster {
    /// The cluster, or the field that names it.
    pub target: WeightedTarget,
    /// Its share.
    pub weight: u32,
    /// Request fields.
    pub request_headers: Option<Arc<HeaderOperations>>,
    /// Response fields.
    pub response_headers: Option<Arc<HeaderOperations>>,
    /// The new host.
    pub host_rewrite: Option<Bytes>,
    /// Configurations of filters.
    pub filters: FilterConfigs,
    /// One of them guards, and something of it was not understood: 503.
    pub refuse: Option<Arc<str>>,
}

/// The cluster of a share.
#[derive(Debug)]
pub enum WeightedTarget {
    /// The cluster that a request field names.
    Header(HeaderName),
    /// This one.
    Slot(Arc<ClusterSlot>),
}

/// The cluster of one request.
#[derive(Clone, Debug)]
pub struct ClusterPick<'a> {
    /// The cluster's place; `None` where a field names a cluster that is not there.
    pub slot: Option<Arc<ClusterSlot>>,
    /// The share that was drawn, with operations of its own.
    pub weighted: Option<&'a WeightedCluster>,
    /// The number of that share.
    pub number: usize,
}

/// The new path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replaces what the route's path rule matched.
    Prefix(Bytes),
    /// Replaces every match in the path without the query.
    Regex(Substitution),
    /// Made of what a template's names stood for.
    Template(TemplateRewrite),
}

/// The new host.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// That of the chosen endpoint.
    Auto,
    /// The value of a request field; nothing where it is missing.
    Header(HeaderName),
    /// This one.
    Literal(Bytes),
    /// Made of the path without the query.
    PathRegex(Substitution),
}

/// Where copies of requests go.
#[derive(Debug)]
pub struct MirrorRule {
    /// The cluster, or the field that names it.
    pub target: WeightedTarget,
    /// Share of the requests.
    pub fraction: Fraction,
    /// Append `-shadow` to the host.
    pub shadow_host: bool,
    /// Another host.
    pub host_rewrite: Option<Bytes>,
    /// Whether spans of copies are sampled; `None` as the request's.
    pub sampled: Option<bool>,
}

/// Whether an upgrade may go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRule {
    /// `websocket`, `CONNECT`, …; compared without case.
    pub protocol: Box<str>,
    /// Whether it may.
    pub enabled: bool,
}

impl Forward {
    /// The cluster of a request. `random` is the request's number, `hash` that of its hash rules.
    pub fn pick(
        &self,
        clusters: &Clusters,
        request: &Request,
        random: u64,
        hash: Option<u64>,
    ) -> ClusterPick<'_> {
        let named = |name: &HeaderName| {
            request
                .headers
                .get(name)
                .and_then(|value| clusters.find(value.as_bytes()))
        };
        match &self.target {
            ClusterTarget::Header(name) => ClusterPick {
                slot: named(name),
                weighted: None,
                number: 0,
            },
            ClusterTarget::Single(slot) => ClusterPick {
                slot: Some(Arc::clone(slot)),
                weighted: None,
                number: 0,
            },
            ClusterTarget::Weighted {
                total,
                random: source,
                clusters: shares,
            } => {
                let drawn = match source {
                    RandomSource::Header(name) => request
                        .headers
                        .text(name)
                        .and_then(|value| value.parse().ok()),
                    RandomSource::Hash => hash,
                    RandomSource::Request => None,
                };
                let number = draw(shares, drawn.unwrap_or(random) % total);
                let share = shares.get(number);
                ClusterPick {
                    slot: share.and_then(|share| share.target.resolve(clusters, request)),
                    weighted: share,
                    number,
                }
            }
        }
    }

    /// Whether an upgrade to `protocol` may go through, where the listener says `default`.
    pub fn allows_upgrade(&self, protocol: &[u8], default: bool) -> bool {
        self.upgrades
            .iter()
            .find(|rule| rule.protocol.as_bytes().eq_ignore_ascii_case(protocol))
            .map_or(default, |rule| rule.enabled)
    }

    /// The time that the global timeout has where the route says nothing.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
}

impl WeightedTarget {
    /// The cluster's place for a request.
    pub fn resolve(&self, clusters: &Clusters, request: &Request) -> Option<Arc<ClusterSlot>> {
        match self {
            Self::Header(name) => request
                .headers
                .get(name)
                .and_then(|value| clusters.find(value.as_bytes())),
            Self::Slot(slot) => Some(Arc::clone(slot)),
        }
    }
}

impl PathRewrite {
    /// The new path and query; `None` where nothing changes.
    pub fn apply(&self, rule: &PathMatcher, request: &Request) -> Option<Bytes> {
        let path = request.path_only();
        let rest = &request.path[path.len()..];
        Some(match self {
            Self::Prefix(prefix) => {
                let matched = rule.matched_length(path);
                [prefix, &path[matched..], rest].concat().into()
            }
            Self::Regex(substitution) => [&*substitution.apply(path), rest].concat().into(),
            Self::Template(rewrite) => {
                let mut rewritten = rewrite.apply(path)?;
                rewritten.extend_from_slice(rest);
                rewritten.into()
            }
        })
    }
}

impl MirrorRule {
    /// The host of a copy: `-shadow` goes before the port.
    pub fn host(&self, authority: &Bytes) -> Bytes {
        if let Some(host) = &self.host_rewrite {
            return host.clone();
        }
        if !self.shadow_host {
            return authority.clone();
        }
        let port = authority
            .iter()
            .rposition(|&byte| byte == b':')
            .filter(|colon| !authority[*colon..].contains(&b']'))
            .unwrap_or(authority.len());
        [&authority[..port], b"-shadow", &authority[port..]]
            .concat()
            .into()
    }
}

/// The share in whose part of the line `point` lies.
fn draw(shares: &[WeightedCluster], point: u64) -> usize {
    let mut end = 0;
    for (number, share) in shares.iter().enumerate() {
        end += u64::from(share.weight);
        if point < end {
            return number;
        }
    }
    0
}
