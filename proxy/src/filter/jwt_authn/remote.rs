//! Keys that are fetched from the issuer, through a cluster of the proxy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use carbyne_engine::http::Request;
use carbyne_engine::observe::metrics::Counter;
use carbyne_engine::runtime::Worker;
use carbyne_protos::envoy::config::core::v3::http_uri::HttpUpstreamType;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::RemoteJwks;
use http::StatusCode;
use tokio::sync::Mutex;

use super::key::KeySet;
use super::status::Failure;
use crate::filter::upstream::{ClusterLookup, call};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::value;

/// Keys of one issuer, and where they come from. Without good keys every token is refused.
#[derive(Debug)]
pub struct RemoteKeys {
    cluster: Box<str>,
    authority: Bytes,
    path: Bytes,
    timeout: Duration,
    lifetime: Duration,
    /// Fetched ahead of time, after a failure again after this long; `None` only when a token asks.
    ahead: Option<Duration>,
    /// Further tries of one fetch, and the longest wait before the first of them.
    retries: u32,
    back_off: Duration,
    /// Somebody keeps them fresh.
    kept: AtomicBool,
    held: ArcSwapOption<Held>,
    /// One fetch at a time; in it, when the last one failed.
    failed: Mutex<Option<Instant>>,
    /// Fetches that brought keys.
    pub fetched: Counter,
    /// Fetches that did not.
    pub fetch_failed: Counter,
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    until: Instant,
}

impl RemoteKeys {
    pub(super) fn read(message: &RemoteJwks, scope: &Scope<'_>) -> Option<Self> {
        let Some(uri) = &message.http_uri else {
            scope.field("http_uri").missing();
            return None;
        };
        let http_uri = scope.field("http_uri");
        let Some(HttpUpstreamType::Cluster(cluster)) = uri
            .http_upstream_type
            .as_ref()
            .filter(|HttpUpstreamType::Cluster(name)| !name.is_empty())
        else {
            http_uri.field("cluster").missing();
            return None;
        };
        let timeout = value::duration(uri.timeout.as_ref(), &http_uri.field("timeout"));
        let rest = uri
            .uri
            .strip_prefix("https://")
            .or_else(|| uri.uri.strip_prefix("http://"));
        let Some(rest) = rest
            .filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
        else {
            http_uri
                .field("uri")
                .reject(Fault::Words("write `https://HOST/PATH`"));
            return None;
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let retry = message.retry_policy.as_ref();
        let back_off = retry.and_then(|retry| retry.retry_back_off.as_ref());
        let back_off = value::positive_duration(
            back_off.and_then(|back_off| back_off.base_interval.as_ref()),
            &scope
                .field("retry_policy")
                .field("retry_back_off")
                .field("base_interval"),
        );
        let ahead = message.async_fetch.as_ref().map(|ahead| {
            let scope = scope.field("async_fetch");
            value::duration(
                ahead.failed_refetch_duration.as_ref(),
                &scope.field("failed_refetch_duration"),
            )
            .unwrap_or(REFETCH)
        });
        Some(Self {
            cluster: cluster.as_str().into(),
            authority: Bytes::copy_from_slice(authority.as_bytes()),
            path: Bytes::copy_from_slice(if path.is_empty() {
                b"/"
            } else {
                path.as_bytes()
            }),
            timeout: timeout
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(TIMEOUT),
            lifetime: value::positive_duration(
                message.cache_duration.as_ref(),
                &scope.field("cache_duration"),
            )
            .unwrap_or(LIFETIME),
            ahead,
            // Envoy: a policy without a number tries once more.
            retries: retry.map_or(0, |retry| retry.num_retries.unwrap_or(1)),
            back_off: back_off.unwrap_or(BACK_OFF),
            kept: AtomicBool::new(false),
            held: ArcSwapOption::empty(),
            failed: Mutex::new(None),
            fetched: Counter::new(),
            fetch_failed: Counter::new(),
        })
    }

    /// Whether [`Self::keep_fresh`] shall run for these; true once.
    pub fn wants_refresh(&self) -> bool {
        self.ahead.is_some() && !self.kept.swap(true, Ordering::Relaxed)
    }

    /// Work with the keys, if there are any that did not expire.
    pub(super) fn with<T>(&self, work: impl FnOnce(&KeySet) -> T) -> Option<T> {
        let held = self.held.load();
        held.as_ref()
            .filter(|held| Instant::now() < held.until)
            .map(|held| work(&held.keys))
    }

    /// Fetches the keys if there are none. Who waited while a fetch failed shares its failure, so that a dead issuer is not asked by every request.
    pub(super) async fn ensure<L: ClusterLookup>(
        &self,
        clusters: &L,
        worker: &Worker,
    ) -> Result<(), Failure> {
        if self.with(|_| ()).is_some() {
            return Ok(());
        }
        let arrived = Instant::now();
        let mut failed = self.failed.lock().await;
        if self.with(|_| ()).is_some() {
            return Ok(());
        }
        if failed.is_some_and(|at| at >= arrived) {
            return Err(Failure::Fetch);
        }
        let result = self.fetch(clusters, worker).await;
        if result.is_err() {
            *failed = Some(Instant::now());
        }
        result
    }

    /// Fetches the keys again and again, before they expire, until nobody has them any more.
    pub async fn keep_fresh<L: ClusterLookup>(this: Weak<Self>, clusters: &L, worker: &Worker) {
        while let Some(keys) = this.upgrade() {
            let wait = match keys.fetch(clusters, worker).await {
                Ok(()) => keys.lifetime.saturating_sub(AHEAD).max(keys.lifetime / 2),
                Err(_) => keys.ahead.unwrap_or(REFETCH),
            };
            drop(keys);
            tokio::time::sleep(wait.max(REFETCH / 10)).await;
        }
    }

    /// One fetch, with its further tries: each waits up to twice as long as the one before.
    async fn fetch<L: ClusterLookup>(&self, clusters: &L, worker: &Worker) -> Result<(), Failure> {
        let mut back_off = self.back_off;
        for _ in 0..self.retries {
            if self.try_fetch(clusters, worker).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(back_off.mul_f64(fastrand::f64())).await;
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
        self.try_fetch(clusters, worker).await
    }

    async fn try_fetch<L: ClusterLookup>(
        &self,
        clusters: &L,
        worker: &Worker,
    ) -> Result<(), Failure> {
        let request = Request::get(self.authority.clone(), self.path.clone());
        let called = call(
            clusters,
            worker,
            &self.cluster,
            (request, Bytes::new()),
            Some(self.timeout),
            LARGEST,
        )
        .await;
        let keys = match called {
            Ok(called) if called.response.status == StatusCode::OK => {
                KeySet::parse(&called.body).map_err(|error| error.to_string())
            }
            Ok(called) => Err(format!("status {}", called.response.status.as_u16())),
            Err(error) => Err(error.to_string()),
        };
        match keys {
            Ok(keys) => {
                self.fetched.increment();
                let until = Instant::now() + self.lifetime;
                self.held.store(Some(Arc::new(Held { keys, until })));
                Ok(())
            }
            Err(reason) => {
                self.fetch_failed.increment();
                tracing::warn!(
                    cluster = &*self.cluster,
                    reason,
                    "cannot fetch the keys of a token issuer"
                );
                Err(Failure::Fetch)
            }
        }
    }
}

/// As in Envoy.
const LIFETIME: Duration = Duration::from_secs(300);
const REFETCH: Duration = Duration::from_secs(1);
/// So long before they expire keys are fetched again.
const AHEAD: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST: usize = 1 << 20;
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
