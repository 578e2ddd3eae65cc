//! The rows.

use std::time::Duration;

use super::{Door, Message, Question, Scenario, Traffic, fresh};

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
        name: "gateway-plain-events",
        title: "gateway-plain while every request becomes an event in the spool",
        question: cost(Door::GatewayEvents, Message::Get, 64, 20_000, 2_000),
    },
    Scenario {
        name: "gateway-plugins-events",
        title: "gateway-plugins while every request becomes an event in the spool",
        question: cost(Door::GatewayPluginsEvents, Message::Get, 64, 20_000, 2_000),
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
    Scenario {
        name: "whole-path",
        title: "latency added by gateway (key-auth, rate-limiting, correlation-id, prometheus), its sidecar, mTLS and the service's sidecar at 2,000 requests a second, open loop from the intended send time; all three tell events",
        question: Question::Path {
            traffic: Traffic {
                door: Door::Path,
                message: Message::Get,
                connections: 64,
                streams: 1,
                fresh: false,
            },
            rate: 2_000,
        },
    },
    Scenario {
        name: "events-emission",
        title: "one emission of an audit-api-calls event of at least 310 bytes, encoding included",
        question: Question::Emission { count: 5_000 },
    },
    Scenario {
        name: "events-shipping",
        title: "one process emits audit-api-calls of at least 310 bytes, no two alike, for 60 s and ships them to a Kafka on the same two cores (Avro, acks=all, idempotent); the ledger is read back",
        question: Question::Shipping {
            length: Duration::from_secs(60),
            rate: 105_000,
        },
    },
    Scenario {
        name: "events-backlog",
        title: "a process whose spool holds 1 GiB, from its start to the first acknowledgement of the broker",
        question: Question::Backlog { mib: 1024 },
    },
    Scenario {
        name: "carbyne-up",
        title: "resident memory of the process `carbyne up` itself while the example platform runs",
        question: Question::Up,
    },
    Scenario {
        name: "carbyne-lint",
        title: "`carbyne lint` of 1,000 objects without a fault",
        question: Question::Lint { objects: 1_000 },
    },
    Scenario {
        name: "carbyne-graph",
        title: "`carbyne graph` of 200 services from their sidecars' metrics, drawn as SVG",
        question: Question::Graph { services: 200 },
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
