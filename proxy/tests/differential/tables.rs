//! The tables, one a subject.

mod compression;
mod counters;
mod edge;
mod framing;
mod guards;
mod hashing;
mod headers;
mod health;
mod http2;
mod identity;
mod introduced;
mod logging;
mod overload;
mod resilience;
mod rewriting;
mod routing;
mod secrets;
mod secure;
mod tcp;

use serde_json::{Value, json};

/// A route to a cluster, named for the log.
fn to(name: &str, matcher: Value, cluster: &str) -> Value {
    json!({"name": name, "match": matcher, "route": {"cluster": cluster}})
}

/// A route with an action of its own.
fn routes(name: &str, matcher: Value, action: Value) -> Value {
    json!({"name": name, "match": matcher, "route": action})
}
