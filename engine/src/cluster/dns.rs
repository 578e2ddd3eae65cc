//! Hosts from names: when each name is resolved next, what its answers make of the cluster, and the loop that drives both.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::Cluster;
use super::endpoint::{Assignment, Endpoint, Locality, LocalityEndpoints};
use super::settings::{AddressFamily, DnsMode, DnsSettings, FailureRefresh};
use crate::net::Address;

/// The answer to a resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Addresses in the resolver's order, of the families asked for.
    pub addresses: Vec<IpAddr>,
    /// How long they hold, where the resolver knows.
    pub ttl: Option<Duration>,
}

/// Why a name was not resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {source}")]
pub struct ResolveError {
    /// The name.
    pub host: Arc<str>,
    /// What the system said.
    pub source: io::Error,
}

/// Something that resolves names.
pub trait Resolve {
    /// The addresses of `host`; an empty answer is not an error.
    fn resolve(
        &self,
        host: Arc<str>,
        family: AddressFamily,
    ) -> impl Future<Output = Result<Resolution, ResolveError>> + Send;
}

/// The system's resolver (`getaddrinfo`), which does not tell times to live.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemResolver;

/// When one name is resolved next.
#[derive(Debug)]
pub struct Refresh {
    due: Instant,
    failures: u32,
}

/// An endpoint whose address is a name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedEndpoint {
    /// The name, or an address in text.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// Everything else about the endpoints that it becomes; its address is not looked at.
    pub template: Endpoint,
}

/// Named endpoints of one locality at one priority.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NamedLocality {
    /// The place.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u8,
    /// Share of the priority's load when localities are weighted.
    pub weight: u32,
    /// The endpoints.
    pub endpoints: Vec<NamedEndpoint>,
}

/// All names of a cluster, with their last good answers.
#[derive(Debug)]
pub struct Names {
    settings: DnsSettings,
    localities: Vec<NamedLocality>,
    targets: Vec<Target>,
    policy: Assignment,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Target {
    host: Arc<str>,
    refresh: Refresh,
    running: bool,
    answered: bool,
    addresses: Vec<IpAddr>,
}

impl Refresh {
    /// Due at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            due: now,
            failures: 0,
        }
    }

    /// When it is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// An answer came: the next resolution is at its time to live or at the fixed rate.
    pub fn succeed(
        &mut self,
        now: Instant,
        ttl: Option<Duration>,
        settings: &DnsSettings,
        random: &mut fastrand::Rng,
    ) {
        self.failures = 0;
        let known = ttl.filter(|ttl| settings.respect_ttl && !ttl.is_zero());
        self.due = now + known.unwrap_or(settings.refresh) + part_of(settings.jitter, random);
    }

    /// No answer came: back off exponentially with full jitter if told to, else wait as usual.
    pub fn fail(&mut self, now: Instant, settings: &DnsSettings, random: &mut fastrand::Rng) {
        let wait = match &settings.failure_refresh {
            Some(FailureRefresh { base, max }) => {
                let bound = base
                    .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX))
                    .min(*max);
                part_of(bound, random).max(LEAST_WAIT)
            }
            None => settings.refresh + part_of(settings.jitter, random),
        };
        self.failures = self.failures.saturating_add(1);
        self.due = now + wait;
    }
}

impl Names {
    /// The names of these endpoints, all due at once. `policy` lends its factors to the assignments; its localities are not looked at.
    #[must_use]
    pub fn new(
        settings: DnsSettings,
        localities: Vec<NamedLocality>,
        policy: Assignment,
        now: Instant,
        seed: u64,
    ) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        for endpoint in localities.iter().flat_map(|locality| &locality.endpoints) {
            if targets.iter().all(|target| target.host != endpoint.host) {
                targets.push(Target::new(Arc::clone(&endpoint.host), now));
            }
        }
        Self {
            settings,
            localities,
            targets,
            policy,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The names that are due, as index and name; they count as under way until [`answer`](Self::answer)ed.
    pub fn start_due(&mut self, now: Instant) -> Vec<(usize, Arc<str>)> {
        let due = self
            .targets
            .iter_mut()
            .enumerate()
            .filter(|(_, target)| !target.running && target.refresh.due() <= now);
        due.map(|(index, target)| {
            target.running = true;
            (index, Arc::clone(&target.host))
        })
        .collect()
    }

    /// When the next name is due that is not under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.targets
            .iter()
            .filter(|target| !target.running)
            .map(|target| target.refresh.due())
            .min()
    }

    /// Takes the answer to a resolution. A failure keeps the last good addresses.
    pub fn answer(&mut self, index: usize, answer: Option<&Resolution>, now: Instant) {
        let Self {
            settings,
            targets,
            random,
            ..
        } = self;
        let Some(target) = targets.get_mut(index) else {
            return;
        };
        target.running = false;
        target.answered = true;
        match answer {
            Some(resolution) => {
                target
                    .refresh
                    .succeed(now, resolution.ttl, settings, random);
                target.addresses = usable(&resolution.addresses, settings.mode);
            }
            None => target.refresh.fail(now, settings, random),
        }
    }

    /// Whether every name was answered, well or not: the cluster may be used.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.targets.iter().all(|target| target.answered)
    }

    /// What the present answers make of the endpoints.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        let localities = self.localities.iter().map(|locality| LocalityEndpoints {
            locality: locality.locality.clone(),
            priority: locality.priority,
            weight: locality.weight,
            endpoints: locality
                .endpoints
                .iter()
                .flat_map(|endpoint| self.expand(endpoint))
                .collect(),
        });
        Assignment {
            localities: localities.collect(),
            ..self.policy.clone()
        }
    }

    fn expand<'names>(
        &'names self,
        endpoint: &'names NamedEndpoint,
    ) -> impl Iterator<Item = Endpoint> + 'names {
        let addresses = self
            .targets
            .iter()
            .filter(|target| target.host == endpoint.host)
            .flat_map(|target| &target.addresses);
        addresses.map(|address| {
            let mut expanded = endpoint.template.clone();
            expanded.address = Address::Tcp(SocketAddr::new(*address, endpoint.port));
            if expanded.hostname.is_empty() {
                expanded.hostname = Arc::clone(&endpoint.host);
            }
            if self.settings.mode == DnsMode::Logical {
                // One host whatever its address: connections to the old address go on being used.
                expanded.identity = Some(Arc::from(format!("{}:{}", endpoint.host, endpoint.port)));
            }
            expanded
        })
    }
}

impl Target {
    fn new(host: Arc<str>, now: Instant) -> Self {
        Self {
            host,
            refresh: Refresh::new(now),
            running: false,
            answered: false,
            addresses: Vec::new(),
        }
    }
}

impl Resolve for SystemResolver {
    async fn resolve(
        &self,
        host: Arc<str>,
        family: AddressFamily,
    ) -> Result<Resolution, ResolveError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Ok(Resolution {
                addresses: vec![address],
                ttl: None,
            });
        }
        match look_up(&host).await {
            Ok(addresses) => Ok(Resolution {
                addresses: of_family(addresses.into_iter(), family),
                ttl: None,
            }),
            Err(source) => Err(ResolveError { host, source }),
        }
    }
}

/// What a lookup found, in a form that many can be told.
type Found = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// Asks the system. Whoever asks while a lookup of the name is under way gets its answer: a thread that waits for a name server cannot be
/// called back, and a cluster that is updated again and again must not leave one behind each time. The thread is the lookup's own, so that
/// the process need not wait for it to end.
async fn look_up(host: &Arc<str>) -> io::Result<Vec<IpAddr>> {
    let mut answer = {
        let mut under_way = under_way();
        match under_way.get(host) {
            Some(answer) => answer.clone(),
            None => {
                let (tell, answer) = watch::channel(None);
                let name = host.clone();
                std::thread::Builder::new()
                    .name("resolve".to_owned())
                    .spawn(move || {
                        let found = (&*name, 0)
                            .to_socket_addrs()
                            .map(|addresses| addresses.map(|address| address.ip()).collect())
                            .map_err(|error| (error.kind(), error.to_string()));
                        self::under_way().remove(&name);
                        tell.send_replace(Some(found));
                    })?;
                under_way.insert(host.clone(), answer.clone());
                answer
            }
        }
    };
    let told = answer.wait_for(Option::is_some).await;
    match told.as_deref() {
        Ok(Some(Ok(addresses))) => Ok(addresses.clone()),
        Ok(Some(Err((kind, text)))) => Err(io::Error::new(*kind, text.clone())),
        // The thread tells before it ends.
        Ok(None) | Err(_) => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Lookups that have no answer yet, by name. Locked for a look at the map only.
fn under_way() -> MutexGuard<'static, BTreeMap<Arc<str>, watch::Receiver<Option<Found>>>> {
    static UNDER_WAY: Mutex<BTreeMap<Arc<str>, watch::Receiver<Option<Found>>>> =
        Mutex::new(BTreeMap::new());
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resolves the names of a cluster and updates its endpoints, until dropped. For the control runtime.
pub async fn run(cluster: &Cluster, mut names: Names, resolver: &impl Resolve) {
    let family = names.settings.family;
    let mut running = FuturesUnordered::new();
    loop {
        for (index, host) in names.start_due(Instant::now()) {
            cluster.stats().update_attempt.add(1);
            running.push(async move { (index, resolver.resolve(host, family).await) });
        }
        let due = names.next_due();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((index, answer)) = running.next() => {
                if let Err(error) = &answer {
                    cluster.stats().update_failure.add(1);
                    tracing::debug!(cluster = %cluster.name(), %error, "name not resolved, keeping what was known");
                }
                names.answer(index, answer.as_ref().ok(), Instant::now());
                // Nothing is served before every name had its chance; afterwards each answer counts at once.
                if names.is_complete() {
                    cluster.update_endpoints(names.assignment(), Instant::now());
                }
            }
            () = wait => {}
        }
    }
}

/// The addresses that a lookup of this family returns.
#[must_use]
pub fn of_family(addresses: impl Iterator<Item = IpAddr>, family: AddressFamily) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|address| address.is_ipv4());
    match family {
        AddressFamily::V4Only => v4,
        AddressFamily::V6Only => v6,
        AddressFamily::Auto if v6.is_empty() => v4,
        AddressFamily::Auto => v6,
        AddressFamily::V4Preferred if v4.is_empty() => v6,
        AddressFamily::V4Preferred => v4,
        AddressFamily::All => all,
    }
}

/// Strict: all, in an order that does not change from answer to answer. Logical: the first.
fn usable(addresses: &[IpAddr], mode: DnsMode) -> Vec<IpAddr> {
    match mode {
        DnsMode::Logical => addresses.first().copied().into_iter().collect(),
        DnsMode::Strict => {
            let mut sorted = addresses.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            sorted
        }
    }
}

fn part_of(bound: Duration, random: &mut fastrand::Rng) -> Duration {
    bound.mul_f64(random.f64())
}

/// Full jitter may come out at nothing; a failing resolver is not asked in a loop.
const LEAST_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
