//! A live listener: what an accepted connection meets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use carbyne_engine::forward::serve::ServeSettings;
use carbyne_engine::forward::tcp::Limits;
use carbyne_engine::observe::metrics::{Counter, Gauge};
use carbyne_engine::runtime::Drain;
use carbyne_engine::tls::ServerTls;
use rustc_hash::FxHashMap;

use super::http::handler::HttpManager;
use super::telemetry::ConnectionLog;
use crate::filter::network::NetworkFilter;
use crate::live::chain::ChainTable;
use crate::observe::peer::LocalNode;
use crate::plan::listener::Predicate;
use crate::plan::tcp::TcpPlan;

/// A compiled listener, swapped as a whole.
#[derive(Debug)]
pub struct LiveListener {
    /// Its name.
    pub name: Arc<str>,
    /// Of all but its chains: listeners that share it share their equal chains.
    pub fingerprint: u64,
    /// The address of its statistics, such as `0.0.0.0_15006`.
    pub stat_name: Arc<str>,
    /// Take the address that iptables replaced as the connection's own.
    pub original_destination: bool,
    /// Hand connections to the listener of their original destination, if there is one.
    pub hands_off: bool,
    /// What is looked for in the first bytes, except where the predicate holds.
    pub inspectors: Vec<(Inspector, Option<Predicate>)>,
    /// How long inspection may take; `None` for ever.
    pub inspection_timeout: Option<Duration>,
    /// Go on with what is known when it took too long; else close.
    pub continue_on_timeout: bool,
    /// Which chain a connection goes to.
    pub table: ChainTable,
    /// The chains; the default one is among them.
    pub chains: Vec<Arc<LiveChain>>,
    /// Names of the route configurations that it needs.
    pub routes: BTreeSet<Arc<str>>,
    /// Whether it is for traffic that arrives at this workload.
    pub inbound: bool,
    /// What is told about connections that no chain took.
    pub log: ConnectionLog,
    /// What it counts.
    pub stats: Arc<ListenerStats>,
    /// Finishes when nobody is to come any more: connections that have shown nothing yet close.
    pub drain: Arc<Drain>,
}

impl LiveListener {
    /// Tells the connections of all chains to finish.
    pub fn start_drain(&self) {
        self.drains().for_each(Drain::start);
    }

    /// Closes idle connections of all chains.
    pub fn finish_drain(&self) {
        self.drains().for_each(Drain::finish);
    }

    /// The drains of its chains, and its own.
    pub fn drains(&self) -> impl Iterator<Item = &Drain> {
        let chains = self.chains.iter().map(|chain| &*chain.drain);
        chains.chain(std::iter::once(&*self.drain))
    }
}

/// What is looked for in the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspector {
    /// A request line.
    Http,
    /// A ClientHello.
    Tls,
}

/// A compiled filter chain.
#[derive(Debug)]
pub struct LiveChain {
    /// Its name.
    pub name: Arc<str>,
    /// The same for chains that are the same.
    pub fingerprint: Option<u64>,
    /// Names of the route configurations that it needs.
    pub routes: BTreeSet<Arc<str>>,
    /// Starts when it is no longer among its listener's chains, or the proxy drains.
    pub drain: Arc<Drain>,
    /// TLS, where it is terminated here.
    pub tls: Option<Arc<ServerTls>>,
    /// How long the handshake may take.
    pub handshake_timeout: Option<Duration>,
    /// What every connection passes, in order.
    pub filters: Vec<NetworkFilter>,
    /// What it is made into.
    pub terminal: Terminal,
}

/// The last filter of a chain.
#[derive(Debug)]
pub enum Terminal {
    /// Requests.
    Http(Arc<HttpManager>, Arc<ServeSettings>),
    /// A stream of bytes.
    Tcp(Arc<TcpProxy>),
    /// Nothing that this proxy understands: the connection is reset.
    Refuse(Arc<str>),
}

/// A compiled `tcp_proxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// What it was told.
    pub plan: Arc<TcpPlan>,
    /// Name of its filter chain.
    pub filter_chain: Arc<str>,
    /// Its limits.
    pub limits: Limits,
    /// What is told about its streams.
    pub log: ConnectionLog,
    /// Who we are, for hosts that exchange metadata.
    pub node: Arc<LocalNode>,
}

/// What a listener counts, by Envoy's names.
#[derive(Debug, Default)]
pub struct ListenerStats {
    /// `downstream_cx_total`
    pub connections: Counter,
    /// `downstream_cx_active`
    pub active: Gauge,
    /// `downstream_global_cx_overflow`
    pub overflows: Counter,
    /// `no_filter_chain_match`
    pub no_chain: Counter,
    /// `downstream_pre_cx_timeout`
    pub inspection_timeouts: Counter,
    /// `ssl.connection_error`
    pub handshake_failures: Counter,
    /// `ssl.handshake`
    pub handshakes: Counter,
}

/// Listeners that are not bound, found by original destination.
#[derive(Debug, Default)]
pub struct Unbound {
    by_address: ArcSwapOption<FxHashMap<SocketAddr, Arc<LiveListener>>>,
}

impl Unbound {
    /// Replaces all of them.
    pub fn replace(&self, listeners: FxHashMap<SocketAddr, Arc<LiveListener>>) {
        self.by_address.store(Some(Arc::new(listeners)));
    }

    /// The listener of a destination: the exact address, then the wildcard of its port.
    pub fn find(&self, destination: SocketAddr) -> Option<Arc<LiveListener>> {
        let map = self.by_address.load();
        let map = map.as_ref()?;
        let wildcard: SocketAddr = match destination {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, destination.port()).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, destination.port()).into(),
        };
        map.get(&destination)
            .or_else(|| map.get(&wildcard))
            .cloned()
    }
}
