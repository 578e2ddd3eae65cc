//! The recorded platform of a real istiod (without its own filters, so that stock Envoy takes all of it) driven through
//! real Envoy and through ours: each in a pod with Istio's iptables rules, fed the same recorded answers over ADS (SotW)
//! and the same certificates over SDS. What the client got, what reached the applications and what the access log says
//! must be the same, line by line.
//!
//! Each test is one node of the platform with its table of cases. A case also says what Envoy does with it.
//! The recordings are `captures/istio-1.29` under `CARBYNE_SHARED`, else beside the workspace.
//!
//! | variable | effect |
//! |---|---|
//! | `CARBYNE_CASE=text` | only cases whose name contains the text |
//! | `CARBYNE_TRANSCRIPTS=folder` | every transcript is written there, one file a case and program |

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "stock/recording.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod recording;

#[cfg(test)]
#[path = "stock/agent.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod agent;

#[cfg(test)]
#[path = "stock/application.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod application;

#[cfg(test)]
#[path = "stock/names.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod names;

#[cfg(test)]
#[path = "stock/world.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod world;

#[cfg(test)]
#[path = "stock/case.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod case;

#[cfg(test)]
#[path = "stock/outbound.rs"]
mod outbound;

#[cfg(test)]
#[path = "stock/inbound.rs"]
mod inbound;

#[cfg(test)]
#[path = "stock/gateway.rs"]
mod gateway;
