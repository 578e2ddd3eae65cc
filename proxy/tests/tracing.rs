//! Spans through real Envoy and through ours, from one bootstrap: what collectors are told and what hosts are told of the trace must be the same.
//! And a collector that is neither: rotel.
//!
//! | variable | effect |
//! |---|---|
//! | `CARBYNE_DIFFERENTIAL=envoy-only` | only real Envoy runs: are the cases right? |
//! | `CARBYNE_CASE=text` | only cases whose name contains the text |

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "tracing/scene.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod scene;

#[cfg(test)]
#[path = "tracing/told.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod told;

#[cfg(test)]
#[path = "tracing/tables.rs"]
mod tables;
