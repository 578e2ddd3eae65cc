//! Which filter chain serves a connection: Envoy's sieve.
//!
//! Criteria are looked at in a fixed order: destination port, destination address, server name, transport protocol, application protocols,
//! direct source address, source type, source address, source port. At each, the chains with the most specific match stay; only if there are
//! none, those that do not ask for anything. There is no way back: a chain that loses at one criterion is out, even if the winner then fails
//! at the next. Nobody left: the default chain.
//!
//! The table is a tree of those criteria, so a listener with ten thousand server names costs a few hash look-ups.

use std::hash::Hash;
use std::net::IpAddr;

use carbyne_engine::net::Address;
use rustc_hash::FxHashMap;

use super::matcher::Cidr;
use super::matcher::cidr::mask;

#[cfg(test)]
mod tests;

/// What one chain asks of a connection; what is empty is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainMatch {
    /// The port that the client meant to reach.
    pub destination_port: Option<u16>,
    /// The address that the client meant to reach.
    pub destination: Vec<Cidr>,
    /// Server names, lower-case; `*.example.com` stands for any name below it.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: Option<String>,
    /// ALPN names, or what an inspection of plain bytes found.
    pub application_protocols: Vec<String>,
    /// The address that the connection came from, before PROXY protocol and the like.
    pub direct_source: Vec<Cidr>,
    /// Whether the client is on this machine.
    pub source_type: SourceType,
    /// The client's address.
    pub source: Vec<Cidr>,
    /// The client's port.
    pub source_ports: Vec<u16>,
}

/// Whether the client is on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    /// Does not matter.
    #[default]
    Any,
    /// It is: loopback, or the address that it connects to.
    Local,
    /// It is not.
    External,
}

/// What is known of a connection when its chain is chosen. `P` is one protocol name.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a, P> {
    /// The address that the client meant to reach: the original destination where traffic is intercepted.
    pub local: &'a Address,
    /// The client's address.
    pub remote: &'a Address,
    /// The address that the connection came from.
    pub direct_remote: &'a Address,
    /// The server name of the ClientHello, lower-case; empty without.
    pub server_name: &'a str,
    /// `tls` or `raw_buffer`, as far as it was inspected; `raw_buffer` where it was not.
    pub transport_protocol: &'a str,
    /// The protocols that the client offers, in its order.
    pub application_protocols: &'a [P],
}

/// The chains of one listener; a chain is known by its number.
#[derive(Debug, Default)]
pub struct ChainTable {
    tree: Tree,
    default: Option<usize>,
}

/// Two chains ask for the same, so that one would never be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter chains {first} and {second} match the same connections")]
pub struct Conflict {
    /// The one that came first.
    pub first: usize,
    /// The one that came later.
    pub second: usize,
}

type Tree =
    Keyed<u16, Prefixed<Keyed<Box<str>, Keyed<Box<str>, Keyed<Box<[u8]>, Prefixed<Sources>>>>>>;
type Sources = [Option<Box<Prefixed<Keyed<u16, Leaf>>>>; 3];

/// The chain at the end of a branch.
#[derive(Debug, Default)]
struct Leaf(Option<usize>);

/// Branches by key, and the one of whoever does not ask.
#[derive(Debug)]
struct Keyed<K, N> {
    exact: FxHashMap<K, N>,
    any: Option<Box<N>>,
}

/// Branches by range of addresses, longest prefixes first, and the one of whoever does not ask.
#[derive(Debug)]
struct Prefixed<N> {
    lengths: Vec<(u8, FxHashMap<IpAddr, N>)>,
    any: Option<Box<N>>,
}

impl ChainTable {
    /// The table of chains in their order; a connection that no chain wants goes to chain `default`.
    pub fn new<'a>(
        matches: impl IntoIterator<Item = &'a ChainMatch>,
        default: Option<usize>,
    ) -> Result<Self, Conflict> {
        let mut table = Self {
            tree: Keyed::default(),
            default,
        };
        for (chain, wanted) in matches.into_iter().enumerate() {
            table.insert(wanted, chain).map_err(|first| Conflict {
                first,
                second: chain,
            })?;
        }
        Ok(table)
    }

    /// The chain of a connection.
    pub fn find<P: AsRef<[u8]>>(&self, facts: &ConnectionFacts<'_, P>) -> Option<usize> {
        self.search(facts).or(self.default)
    }

    fn search<P: AsRef<[u8]>>(&self, facts: &ConnectionFacts<'_, P>) -> Option<usize> {
        let local = facts.local.socket();
        let remote = facts.remote.socket();
        let address = |address: &Address| address.socket().map(|socket| socket.ip().to_canonical());
        let names = self
            .tree
            .find(local.map(|local| local.port()).as_ref())?
            .find(address(facts.local))?;
        let transports = find_name(names, facts.server_name)?;
        let protocols = transports
            .find((!facts.transport_protocol.is_empty()).then_some(facts.transport_protocol))?;
        let sources = facts
            .application_protocols
            .iter()
            .find_map(|protocol| protocols.exact.get(protocol.as_ref()))
            .or(protocols.any.as_deref())?
            .find(address(facts.direct_remote))?;
        let typed = |kind: SourceType| sources[kind as usize].as_deref();
        let side = match (typed(SourceType::Local), typed(SourceType::External)) {
            (None, None) => None,
            (local, external) => {
                if is_local(facts.local, facts.remote) {
                    local
                } else {
                    external
                }
            }
        };
        side.or_else(|| typed(SourceType::Any))?
            .find(address(facts.remote))?
            .find(remote.map(|remote| remote.port()).as_ref())?
            .0
    }

    /// Puts a chain at the end of every branch that it asks for; the chain that is there already is the error.
    fn insert(&mut self, wanted: &ChainMatch, chain: usize) -> Result<(), usize> {
        let names: Vec<Box<str>> = wanted
            .server_names
            .iter()
            .map(|name| branch_of_name(name))
            .collect();
        let transports: Vec<Box<str>> = wanted
            .transport_protocol
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let protocols: Vec<Box<[u8]>> = wanted
            .application_protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        self.tree.each(wanted.destination_port.as_slice(), |node| {
            node.each(&wanted.destination, |node| {
                node.each(&names, |node| {
                    node.each(&transports, |node| {
                        node.each(&protocols, |node| {
                            node.each(&wanted.direct_source, |sources| {
                                sources[wanted.source_type as usize]
                                    .get_or_insert_default()
                                    .each(&wanted.source, |node| {
                                        node.each(&wanted.source_ports, |leaf| leaf.set(chain))
                                    })
                            })
                        })
                    })
                })
            })
        })
    }
}

impl<K: Eq + Hash + Clone, N: Default> Keyed<K, N> {
    /// Runs `work` on the branch of each key, or on that of whoever does not ask.
    fn each(
        &mut self,
        keys: &[K],
        mut work: impl FnMut(&mut N) -> Result<(), usize>,
    ) -> Result<(), usize> {
        if keys.is_empty() {
            return work(self.any.get_or_insert_default());
        }
        keys.iter()
            .try_for_each(|key| work(self.exact.entry(key.clone()).or_default()))
    }

    fn find<Q>(&self, key: Option<&Q>) -> Option<&N>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        key.and_then(|key| self.exact.get(key))
            .or(self.any.as_deref())
    }
}

impl<N: Default> Prefixed<N> {
    fn each(
        &mut self,
        ranges: &[Cidr],
        mut work: impl FnMut(&mut N) -> Result<(), usize>,
    ) -> Result<(), usize> {
        if ranges.is_empty() {
            return work(self.any.get_or_insert_default());
        }
        ranges.iter().try_for_each(|range| work(self.slot(range)))
    }

    fn slot(&mut self, range: &Cidr) -> &mut N {
        let length = range.length();
        let index = match self.lengths.binary_search_by(|(held, _)| length.cmp(held)) {
            Ok(index) => index,
            Err(index) => {
                self.lengths.insert(index, (length, FxHashMap::default()));
                index
            }
        };
        self.lengths[index].1.entry(range.address()).or_default()
    }

    fn find(&self, address: Option<IpAddr>) -> Option<&N> {
        address
            .and_then(|address| {
                // A mask longer than an IPv4 address leaves it whole, and finds nothing as IPv6 keys are no IPv4 addresses.
                self.lengths
                    .iter()
                    .find_map(|(length, held)| held.get(&mask(address, *length)))
            })
            .or(self.any.as_deref())
    }
}

impl Leaf {
    const fn set(&mut self, chain: usize) -> Result<(), usize> {
        match self.0 {
            Some(first) if first != chain => Err(first),
            _ => {
                self.0 = Some(chain);
                Ok(())
            }
        }
    }
}

impl<K, N> Default for Keyed<K, N> {
    fn default() -> Self {
        Self {
            exact: FxHashMap::default(),
            any: None,
        }
    }
}

impl<N> Default for Prefixed<N> {
    fn default() -> Self {
        Self {
            lengths: Vec::new(),
            any: None,
        }
    }
}

/// `*.example.com` is kept as `.example.com`.
fn branch_of_name(name: &str) -> Box<str> {
    match name.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => suffix.into(),
        _ => name.into(),
    }
}

/// The whole name, else its longest suffix that begins with a dot, else the branch of whoever does not ask.
fn find_name<'a, N: Default>(names: &'a Keyed<Box<str>, N>, name: &str) -> Option<&'a N> {
    if name.is_empty() {
        return names.any.as_deref();
    }
    if let Some(found) = names.exact.get(name) {
        return Some(found);
    }
    memchr::memchr_iter(b'.', name.as_bytes())
        .filter(|dot| *dot > 0 && dot + 1 < name.len())
        .find_map(|dot| names.exact.get(&name[dot..]))
        .or(names.any.as_deref())
}

/// Loopback, a Unix socket, or the very address that it connects to.
fn is_local(local: &Address, remote: &Address) -> bool {
    match (local.socket(), remote.socket()) {
        (Some(local), Some(remote)) => {
            let remote = remote.ip().to_canonical();
            remote.is_loopback() || remote == local.ip().to_canonical()
        }
        _ => true,
    }
}
