//! The table of scenarios, and the addresses that they go through.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
}

impl Door {
    /// Where a peer has this door.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        let port = match self {
            Self::Plain | Self::Gateway | Self::GatewayPlugins => 21001,
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
            _ => Setup::Shared,
        }
    }

    /// Where the backend answers the same protocol without a proxy in between.
    #[must_use]
    pub fn direct(self) -> SocketAddr {
        let port = match self {
            Self::Plain
            | Self::Mtls
            | Self::MeshPair
            | Self::IstioPair
            | Self::Gateway
            | Self::GatewayPlugins => 21080,
            Self::Http2 => 21081,
            Self::Tcp => 21082,
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
}

impl Setup {
    /// Whether only the gateway's form of configuration says it.
    #[must_use]
    pub const fn is_gateways(self) -> bool {
        matches!(
            self,
            Self::Gateway | Self::GatewayPlugins | Self::Table(_) | Self::Stored(_)
        )
    }
}

impl Question {
    /// How often it is asked: time moves with the neighbours and takes every round, memory does not.
    #[must_use]
    pub fn rounds(self, wanted: usize) -> usize {
        match self {
            Self::Cost { .. } | Self::Start => wanted,
            Self::Idle
            | Self::Latency { .. }
            | Self::Reload { .. }
            | Self::Routes { .. }
            | Self::Tables { .. }
            | Self::Writes { .. } => wanted.min(3),
            Self::Churn { .. }
            | Self::Connections { .. }
            | Self::Platform { .. }
            | Self::Reloads { .. } => 1,
        }
    }

    /// What it needs.
    #[must_use]
    pub const fn setup(self) -> Setup {
        match self {
            Self::Cost { traffic, .. } | Self::Latency { traffic, .. } => traffic.door.setup(),
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

/// All scenarios, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "h1-keepalive",
        title: "HTTP/1.1 keepalive, GET, 1 KiB answer, 64 connections",
        question: cost(Door::Plain, Message::Get, 64, 20_000, 2_000),
    },
    Scenario {
        name: "mtls-in",
        title: "mTLS in, plain out, GET, 1 KiB answer, 64 connections",
        question: cost(Door::Mtls, Message::Get, 64, 20_000, 2_000),
    },
    Scenario {
        name: "mesh-pair",
        title: "plain → mTLS → plain through both sides in one process, GET, 1 KiB answer, 64 connections",
        question: cost(Door::MeshPair, Message::Get, 64, 12_000, 4_000),
    },
    Scenario {
        name: "istio-pair",
        title: "the mesh pair with Istio's filters on both sides: peer metadata, RBAC, ALPN, gRPC, fault, CORS, Istio's metrics",
        question: cost(Door::IstioPair, Message::Get, 64, 12_000, 4_000),
    },
    Scenario {
        name: "gateway-plain",
        title: "the gateway in Kong's place: HTTP/1.1 keepalive, GET, 1 KiB answer, 64 connections",
        question: cost(Door::Gateway, Message::Get, 64, 20_000, 2_000),
    },
    Scenario {
        name: "gateway-plugins",
        title: "the gateway with key-auth, rate-limiting and prometheus: HTTP/1.1 keepalive, GET, 1 KiB answer, 64 connections",
        question: cost(Door::GatewayPlugins, Message::Get, 64, 20_000, 2_000),
    },
    Scenario {
        name: "gateway-latency",
        title: "latency added by the gateway with these plugins at 5,000 requests a second, open loop from the intended send time",
        question: Question::Latency {
            traffic: Traffic {
                door: Door::GatewayPlugins,
                message: Message::Get,
                connections: 64,
                streams: 1,
                fresh: false,
            },
            rate: Some(5_000),
        },
    },
    Scenario {
        name: "gateway-1000-routes",
        title: "the gateway's resident memory with 1,000 routes of 100 services: without a database, and with the embedded store",
        question: Question::Tables { routes: 1_000 },
    },
    Scenario {
        name: "gateway-10000-routes",
        title: "the gateway's resident memory with 10,000 routes of 1,000 services: without a database, and with the embedded store",
        question: Question::Tables { routes: 10_000 },
    },
    Scenario {
        name: "gateway-reload",
        title: "a kong.yml of 10,000 routes in place of one of 2, and of one of 10,000 others, at 5,000 requests a second",
        question: Question::Reload { routes: 10_000 },
    },
    Scenario {
        name: "gateway-reloads",
        title: "the gateway's memory after 1,000 reloads that change each of 1,000 routes, over memory after 100",
        question: Question::Reloads {
            routes: 1_000,
            before: 100,
            after: 1_000,
        },
    },
    Scenario {
        name: "gateway-write",
        title: "a route written by the Admin API into a store of 10,000, until a request takes it",
        question: Question::Writes {
            routes: 10_000,
            count: 50,
        },
    },
    Scenario {
        name: "post-16k",
        title: "HTTP/1.1 keepalive, POST 16 KiB echoed, 64 connections",
        question: cost(Door::Plain, Message::Echo, 64, 15_000, 2_000),
    },
    Scenario {
        name: "h2-unary",
        title: "HTTP/2 cleartext on both sides, unary 128 B, 8 connections of 8 streams",
        question: Question::Cost {
            traffic: Traffic {
                door: Door::Http2,
                message: Message::Unary,
                connections: 8,
                streams: 8,
                fresh: false,
            },
            requests: 20_000,
            instrumented: 2_000,
        },
    },
    Scenario {
        name: "new-connection",
        title: "a new HTTP/1.1 connection per request, GET, 1 KiB answer, 64 at a time",
        question: Question::Cost {
            traffic: fresh(Door::Plain, 64),
            requests: 10_000,
            instrumented: 1_000,
        },
    },
    Scenario {
        name: "new-mtls-connection",
        title: "a new mTLS connection per request, full handshake, 16 at a time",
        question: Question::Cost {
            traffic: fresh(Door::Mtls, 16),
            requests: 1_000,
            instrumented: 100,
        },
    },
    Scenario {
        name: "l4",
        title: "TCP passthrough, per MB (10^6 bytes) from the upstream, 4 connections",
        question: cost(Door::Tcp, Message::Megabyte, 4, 1_500, 50),
    },
    Scenario {
        name: "idle",
        title: "resident memory after one answered request",
        question: Question::Idle,
    },
    Scenario {
        name: "idle-connections",
        title: "memory per idle HTTP/1.1 connection: 10,000, each after one answered request",
        question: Question::Connections {
            door: Door::Plain,
            count: 10_000,
        },
    },
    Scenario {
        name: "idle-mtls-connections",
        title: "memory per idle mTLS connection: 10,000, each after one answered request",
        question: Question::Connections {
            door: Door::Mtls,
            count: 10_000,
        },
    },
    Scenario {
        name: "churn",
        title: "memory after 100,000 connections, 64 at a time, over memory after 10,000",
        question: Question::Churn {
            before: 10_000,
            after: 100_000,
        },
    },
    Scenario {
        name: "platform",
        title: "memory with the recorded Istio platform loaded, and after 1,000 pushes of it over 100",
        question: Question::Platform {
            before: 100,
            after: 1_000,
        },
    },
    Scenario {
        name: "routes",
        title: "a push of 10,000 routes while requests, health checks every 100 ms and /ready go on",
        question: Question::Routes { count: 10_000 },
    },
    Scenario {
        name: "start",
        title: "from the start of the process to the first right answer",
        question: Question::Start,
    },
    Scenario {
        name: "mesh-pair-latency",
        title: "latency added by a mesh pair at half of its capacity, open loop from the intended send time",
        question: Question::Latency {
            traffic: Traffic {
                door: Door::MeshPair,
                message: Message::Get,
                connections: 64,
                streams: 1,
                fresh: false,
            },
            rate: None,
        },
    },
];

const fn cost(
    door: Door,
    message: Message,
    connections: usize,
    requests: u64,
    instrumented: u64,
) -> Question {
    Question::Cost {
        traffic: Traffic {
            door,
            message,
            connections,
            streams: 1,
            fresh: false,
        },
        requests,
        instrumented,
    }
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
