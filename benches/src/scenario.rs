//! The table of scenarios, and the addresses that they go through.

mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use table::SCENARIOS;

/// The loopback address that every peer listens on.
pub const PEER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 66, 1));
/// The loopback address that the backend listens on.
pub const BACKEND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 66, 2));

/// The port of the admin listeners of Envoy and ours.
pub const ADMIN_PORT: u16 = 21009;
/// The port of the gateway's Admin API, where a scenario needs it.
pub const GATEWAY_ADMIN_PORT: u16 = 21008;
/// The port of the backend that active health checks ask.
pub const HEALTH_PORT: u16 = 21083;

/// A listener of the peers; the ports are those in `bootstraps/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 with TLS and a client certificate.
    Mtls,
    /// HTTP/1.1 in, mTLS to the same peer's server side, plain to the backend.
    MeshPair,
    /// The same through Istio's filters on both sides.
    IstioPair,
    /// HTTP/2 without TLS.
    Http2,
    /// A TCP stream.
    Tcp,
    /// HTTP/1.1 through the gateway: a route and a service.
    Gateway,
    /// The same with key-auth, rate-limiting and prometheus.
    GatewayPlugins,
    /// The first of these two while the gateway tells events.
    GatewayEvents,
    /// The second.
    GatewayPluginsEvents,
    /// Through the gateway, its sidecar and the service's sidecar.
    Path,
}

impl Door {
    /// Where a peer has this door.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        let port = match self {
            Self::Plain
            | Self::Gateway
            | Self::GatewayPlugins
            | Self::GatewayEvents
            | Self::GatewayPluginsEvents
            | Self::Path => 21001,
            Self::Mtls => 21002,
            Self::MeshPair | Self::IstioPair => 21003,
            Self::Http2 => 21005,
            Self::Tcp => 21006,
        };
        SocketAddr::new(PEER_ADDRESS, port)
    }

    /// What a peer needs to have it.
    const fn setup(self) -> Setup {
        match self {
            Self::IstioPair => Setup::Istio,
            Self::Gateway => Setup::Gateway,
            Self::GatewayPlugins => Setup::GatewayPlugins,
            Self::GatewayEvents => Setup::GatewayEvents,
            Self::GatewayPluginsEvents => Setup::GatewayPluginsEvents,
            Self::Path => Setup::Path,
            _ => Setup::Shared,
        }
    }

    /// Where the backend answers the same protocol without a proxy in between.
    #[must_use]
    pub fn direct(self) -> SocketAddr {
        let port = match self {
            Self::Http2 => 21081,
            Self::Tcp => 21082,
            _ => 21080,
        };
        SocketAddr::new(BACKEND_ADDRESS, port)
    }
}

/// What is sent; each kind has one right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// GET, answered with 1 KiB.
    Get,
    /// POST of 16 KiB, answered with the same bytes.
    Echo,
    /// A gRPC-shaped POST of 128 B, answered with the same bytes and `grpc-status: 0`.
    Unary,
    /// Asks for 1 MB (10^6 bytes) of a TCP stream.
    Megabyte,
}

/// Load through one door.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Which listener.
    pub door: Door,
    /// Which request.
    pub message: Message,
    /// Connections held open, or opened at a time if each request gets its own.
    pub connections: usize,
    /// Requests at a time on one connection (HTTP/2).
    pub streams: usize,
    /// One connection a request.
    pub fresh: bool,
}

/// What a scenario asks.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// CPU per request, with instructions and system calls if asked for.
    Cost {
        /// The load.
        traffic: Traffic,
        /// Requests in one round.
        requests: u64,
        /// Requests in the short run under callgrind; the long one has twice as many.
        instrumented: u64,
    },
    /// Resident memory after the first answers.
    Idle,
    /// Memory per connection that answered one request and then waits.
    Connections {
        /// Through which door.
        door: Door,
        /// How many.
        count: usize,
    },
    /// Memory after many short connections over memory after fewer.
    Churn {
        /// Connections before the first look.
        before: u64,
        /// Connections in all.
        after: u64,
    },
    /// Memory with the recorded platform loaded, and after so many pushes that change every resource of it.
    Platform {
        /// Pushes before the first look.
        before: u32,
        /// Pushes in all.
        after: u32,
    },
    /// How late readiness, health checks and requests are while a control plane pushes so many routes.
    Routes {
        /// How many.
        count: usize,
    },
    /// Time from the start of the process to its first right answer.
    Start,
    /// Latency that the peer adds.
    Latency {
        /// The load; its connections bound what is in flight.
        traffic: Traffic,
        /// Requests per second; half of what the peer can carry where there is no number.
        rate: Option<u32>,
    },
    /// The gateway's resident memory with so many routes: from a file, and in the embedded store.
    Tables {
        /// How many.
        routes: usize,
    },
    /// How long it takes until a file of so many routes is applied, and how late requests are meanwhile.
    Reload {
        /// How many.
        routes: usize,
    },
    /// Memory after so many files, of which each changes every route, over memory after fewer.
    Reloads {
        /// In each file.
        routes: usize,
        /// Files before the first look.
        before: u32,
        /// Files in all.
        after: u32,
    },
    /// How long it takes from a write of the Admin API to the first request that sees it.
    Writes {
        /// How many there are besides.
        routes: usize,
        /// How many writes.
        count: u32,
    },
    /// Latency that the gateway and two sidecars add at this rate, while they tell events.
    Path {
        /// The load.
        traffic: Traffic,
        /// Requests per second.
        rate: u32,
    },
    /// User instructions and system calls of an emission.
    Emission {
        /// Emissions in the short run; the long one has twice as many.
        count: u64,
    },
    /// Events of one process into a real broker beside it.
    Shipping {
        /// How long they are emitted.
        length: Duration,
        /// Events per second that are offered.
        rate: u32,
    },
    /// How soon a process ships what lies in its spool.
    Backlog {
        /// How much lies there.
        mib: u64,
    },
    /// `carbyne lint` of so many objects.
    Lint {
        /// How many.
        objects: usize,
    },
    /// `carbyne graph` of so many services.
    Graph {
        /// How many.
        services: usize,
    },
    /// `carbyne up` itself, once the example platform is ready.
    Up,
}

/// What a peer is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The configurations that do the same in every peer.
    Shared,
    /// Istio's filter chains.
    Istio,
    /// What pilot-agent wrote; the rest comes from the control plane.
    Platform,
    /// One listener whose routes come from the control plane.
    Routes,
    /// The gateway's configuration in Kong's form.
    Gateway,
    /// The same with plugins.
    GatewayPlugins,
    /// The gateway with so many routes in its file.
    Table(usize),
    /// The gateway with so many routes in its embedded store, and its Admin API.
    Stored(usize),
    /// As [`Self::Gateway`], and events are told.
    GatewayEvents,
    /// As [`Self::GatewayPlugins`], and events are told.
    GatewayPluginsEvents,
    /// The gateway in front of two sidecars; all three tell events.
    Path,
    /// The gateway's sidecar: Istio's outbound side.
    Caller,
    /// The service's sidecar: Istio's inbound side.
    Called,
    /// A process that emits, and a broker.
    Events,
    /// The program `carbyne`.
    Control,
}

impl Setup {
    /// Whether only the gateway's form of configuration says it.
    #[must_use]
    pub const fn is_gateways(self) -> bool {
        matches!(
            self,
            Self::Gateway
                | Self::GatewayPlugins
                | Self::GatewayEvents
                | Self::GatewayPluginsEvents
                | Self::Path
                | Self::Table(_)
                | Self::Stored(_)
        )
    }

    /// Whether events are told.
    #[must_use]
    pub const fn tells_events(self) -> bool {
        matches!(
            self,
            Self::GatewayEvents
                | Self::GatewayPluginsEvents
                | Self::Path
                | Self::Caller
                | Self::Called
        )
    }
}

impl Question {
    /// How often it is asked: time moves with the neighbours and takes every round, memory does not.
    #[must_use]
    pub fn rounds(self, wanted: usize) -> usize {
        match self {
            Self::Cost { .. } | Self::Start | Self::Lint { .. } | Self::Graph { .. } => wanted,
            Self::Idle
            | Self::Backlog { .. }
            | Self::Latency { .. }
            | Self::Path { .. }
            | Self::Reload { .. }
            | Self::Routes { .. }
            | Self::Tables { .. }
            | Self::Up
            | Self::Writes { .. } => wanted.min(3),
            Self::Churn { .. }
            | Self::Emission { .. }
            | Self::Shipping { .. }
            | Self::Connections { .. }
            | Self::Platform { .. }
            | Self::Reloads { .. } => 1,
        }
    }

    /// What it needs.
    #[must_use]
    pub const fn setup(self) -> Setup {
        match self {
            Self::Cost { traffic, .. }
            | Self::Latency { traffic, .. }
            | Self::Path { traffic, .. } => traffic.door.setup(),
            Self::Emission { .. } | Self::Shipping { .. } | Self::Backlog { .. } => Setup::Events,
            Self::Lint { .. } | Self::Graph { .. } | Self::Up => Setup::Control,
            Self::Platform { .. } => Setup::Platform,
            Self::Routes { .. } => Setup::Routes,
            Self::Tables { routes } => Setup::Table(routes),
            Self::Reload { .. } => Setup::Table(0),
            Self::Reloads { routes, .. } => Setup::Table(routes),
            Self::Writes { routes, .. } => Setup::Stored(routes),
            _ => Setup::Shared,
        }
    }
}

/// One row of the side-by-side run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line and in file names.
    pub name: &'static str,
    /// What it does, for readers of the report.
    pub title: &'static str,
    /// What is asked.
    pub question: Question,
}

/// One connection a request, `connections` at a time.
pub(crate) const fn fresh(door: Door, connections: usize) -> Traffic {
    Traffic {
        door,
        message: Message::Get,
        connections,
        streams: 1,
        fresh: true,
    }
}
