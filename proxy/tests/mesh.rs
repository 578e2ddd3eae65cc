//! Sidecars in network namespaces, behind the iptables rules that Istio gives a pod, under the embedded control plane: what
//! applications on both sides of a mesh see, what the logs say about it, and what Prometheus is told.
//!
//! Each test is one small mesh of its own with its table of rows.

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "mesh/plane.rs"]
#[allow(dead_code, unreachable_pub, reason = "a test program has no users")]
mod plane;

#[cfg(test)]
#[path = "mesh/world.rs"]
#[allow(dead_code, unreachable_pub, reason = "a test program has no users")]
mod world;

#[cfg(test)]
#[path = "mesh/cases.rs"]
#[allow(dead_code, unreachable_pub, reason = "a test program has no users")]
mod cases;

#[cfg(test)]
#[path = "mesh/load.rs"]
#[allow(dead_code, unreachable_pub, reason = "a test program has no users")]
mod load;

#[cfg(test)]
#[path = "mesh/balance.rs"]
mod balance;

#[cfg(test)]
#[path = "mesh/changes.rs"]
mod changes;

#[cfg(test)]
#[path = "mesh/guards.rs"]
mod guards;

#[cfg(test)]
#[path = "mesh/identity.rs"]
mod identity;

#[cfg(test)]
#[path = "mesh/metrics.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod metrics;

#[cfg(test)]
#[path = "mesh/policies.rs"]
mod policies;

#[cfg(test)]
#[path = "mesh/streams.rs"]
mod streams;
