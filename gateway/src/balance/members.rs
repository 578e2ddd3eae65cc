//! The targets of a balancer, what their names resolved to, and the addresses made of that.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_engine::cluster::{
    Assignment, Cluster, Endpoint, Extension, Host, Locality, LocalityEndpoints,
};

use super::Secrets;
use super::address::{Address, Key, Learnt};
use super::check::Checks;
use super::status::Source;
use crate::dns::{self, Kind};
use crate::plan::upstream::{Target, Upstream};

/// What only the configuration's side, resolutions and changes of health touch.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) secrets: Secrets,
    pub(super) checks: Option<Arc<Checks>>,
    pub(super) members: Vec<Member>,
    /// What was learnt about addresses that left, for some time.
    pub(super) retired: HashMap<Key, (Arc<Learnt>, Instant)>,
    pub(super) seed: u64,
}

/// A target with what it resolved to.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) target: Arc<Target>,
    pub(super) source: Source,
    pub(super) entries: Vec<Entry>,
    pub(super) addresses: Vec<Arc<Address>>,
    /// When its name has to be resolved again; none for an address.
    pub(super) due: Option<Instant>,
    pub(super) is_running: bool,
    pub(super) is_answered: bool,
}

/// What a name resolved to.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) entries: Vec<Entry>,
    pub(super) kind: Kind,
    pub(super) is_momentary: bool,
    pub(super) expires: Instant,
}

/// One address to be, before weights and hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// An IP address, or the name in an SRV record.
    pub(super) ip: Arc<str>,
    pub(super) is_name: bool,
    pub(super) port: u16,
    /// From an SRV record; else the target's.
    pub(super) weight: Option<u32>,
    pub(super) sockets: Vec<SocketAddr>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            upstream: None,
            secrets: Secrets::default(),
            checks: None,
            members: Vec::new(),
            retired: HashMap::new(),
            seed: fastrand::u64(..),
        }
    }

    pub(super) fn checks_are_on(&self) -> bool {
        self.upstream
            .as_ref()
            .is_some_and(|upstream| upstream.healthchecks.are_on())
    }

    /// Takes the targets. Those whose names were resolved before keep what they know.
    pub(super) fn set_targets(&mut self, targets: Vec<Arc<Target>>) {
        let mut before = std::mem::take(&mut self.members);
        for target in targets {
            let known = before.iter().position(|member| {
                member.target.host == target.host && member.target.port == target.port
            });
            let member = match known {
                Some(place) => {
                    let known = before.swap_remove(place);
                    Member {
                        // What is under way answers to the target of before; it is asked again.
                        is_running: false,
                        due: known
                            .due
                            .filter(|_| !known.is_running)
                            .or_else(|| known.due.map(|_| Instant::now())),
                        target,
                        ..known
                    }
                }
                None => Member::new(target),
            };
            self.members.push(member);
        }
        // What is left has left: its addresses are retired when the others are made.
        for member in before {
            self.retire(&member.addresses, Instant::now());
        }
    }

    /// Makes the addresses of all members and their hosts. Those that were there keep what was learnt.
    pub(super) fn make_addresses(&mut self, cluster: &Cluster, now: Instant) {
        self.retired.retain(|_, (_, until)| *until > now);
        let upstream = self.upstream.clone();
        let mut known: HashMap<Key, Arc<Learnt>> = HashMap::new();
        for address in self.members.iter().flat_map(|member| &member.addresses) {
            known.insert(address.key.clone(), address.learnt.clone());
        }
        let mut endpoints = Vec::new();
        let mut planned = Vec::new();
        for (place, member) in self.members.iter().enumerate() {
            for entry in &member.entries {
                let key = Key {
                    hostname: member.target.host.text.clone(),
                    ip: entry.ip.clone(),
                    port: entry.port,
                };
                let retired = &mut self.retired;
                let learnt = known.entry(key.clone()).or_insert_with(|| {
                    retired
                        .remove(&key)
                        .map(|(learnt, _)| learnt)
                        .unwrap_or_default()
                });
                endpoints.extend(entry.sockets.iter().map(|socket| Endpoint {
                    hostname: key.hostname.clone(),
                    weight: entry.weight.unwrap_or(member.target.weight).max(1),
                    identity: Some(key.identity(*socket)),
                    extension: Some(Extension(learnt.clone())),
                    ..Endpoint::at(*socket)
                }));
                planned.push((place, key, entry, learnt.clone()));
            }
        }
        let locality = LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: 1,
            endpoints,
        };
        cluster.update_endpoints(Assignment::of(vec![locality]), now);
        let set = cluster.endpoints();
        let mut hosts: HashMap<(*const Learnt, String), Arc<Host>> = HashMap::new();
        for host in set.hosts() {
            if let Some(learnt) = learnt(host) {
                let learnt: *const Learnt = learnt;
                hosts.insert((learnt, host.address_text.to_string()), host.clone());
            }
        }
        let mut made: Vec<Vec<Arc<Address>>> = self.members.iter().map(|_| Vec::new()).collect();
        for (place, key, entry, learnt) in planned {
            let (Some(member), Some(made)) = (self.members.get(place), made.get_mut(place)) else {
                continue;
            };
            let name = name_of(upstream.as_deref(), &member.target, entry);
            let hosts = entry.sockets.iter().filter_map(|socket| {
                hosts
                    .get(&(Arc::as_ptr(&learnt), socket.to_string()))
                    .cloned()
            });
            made.push(Arc::new(Address::new(
                key,
                member.target.port,
                entry.weight.unwrap_or(member.target.weight),
                name,
                hosts.collect(),
                learnt,
            )));
        }
        let mut gone = Vec::new();
        for (member, made) in self.members.iter_mut().zip(made) {
            gone.extend(std::mem::replace(&mut member.addresses, made));
        }
        let present: HashSet<Key> = self
            .members
            .iter()
            .flat_map(|member| &member.addresses)
            .map(|address| address.key.clone())
            .collect();
        gone.retain(|address| !present.contains(&address.key));
        self.retire(&gone, now);
    }

    fn retire(&mut self, addresses: &[Arc<Address>], now: Instant) {
        for address in addresses {
            let kept = (address.learnt.clone(), now + KEPT_AFTER_REMOVAL);
            self.retired.insert(address.key.clone(), kept);
        }
    }
}

impl Member {
    fn new(target: Arc<Target>) -> Self {
        let address = target.host.address;
        let entries = address.map(|address| Entry {
            ip: target.host.text.clone(),
            is_name: false,
            port: target.port,
            weight: None,
            sockets: vec![SocketAddr::new(address, target.port)],
        });
        Self {
            source: match address {
                Some(address) if address.is_ipv4() => Source::Kind(Kind::A),
                Some(_) => Source::Kind(Kind::Aaaa),
                None => Source::Unknown,
            },
            entries: entries.into_iter().collect(),
            addresses: Vec::new(),
            due: address.is_none().then(Instant::now),
            is_running: false,
            is_answered: address.is_some(),
            target,
        }
    }
}

impl Address {
    /// Whether an operator means it by this address, however that is written.
    pub(super) fn is_at(&self, ip: &str) -> bool {
        let parsed = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        match parsed(ip) {
            Some(ip) => {
                parsed(&self.key.ip) == Some(ip)
                    || self.hosts.iter().any(|host| {
                        host.address_text
                            .parse::<SocketAddr>()
                            .is_ok_and(|socket| socket.ip() == ip)
                    })
            }
            None => *self.key.ip == *ip,
        }
    }
}

/// What is learnt about the address that a host belongs to.
pub(super) fn learnt(host: &Host) -> Option<&Learnt> {
    host.extension.as_ref()?.0.downcast_ref()
}

/// What a host is to be called.
fn name_of(upstream: Option<&Upstream>, target: &Target, entry: &Entry) -> Arc<str> {
    if let Some(name) = upstream.and_then(|upstream| upstream.host_header.as_ref()) {
        return name.clone();
    }
    if entry.is_name && upstream.is_some_and(|upstream| upstream.use_srv_name) {
        return entry.ip.clone();
    }
    target.host.text.clone()
}

/// The name of an address as Kong writes it.
pub(super) fn ip_text(socket: SocketAddr) -> Arc<str> {
    dns::text_of(socket.ip()).into()
}

/// How long what was learnt about an address outlives it: a target that is taken away and put back is as healthy as it was.
const KEPT_AFTER_REMOVAL: Duration = Duration::from_secs(300);
