//! One exchange through real Envoy and through ours, from one bootstrap: what the client got, what reached
//! the upstream and what the access log says must be the same, line by line.
//!
//! Each test is one bootstrap with its table of cases. A case also says what Envoy does with it, so a case
//! that tests nothing is found out.
//!
//! | variable | effect |
//! |---|---|
//! | `CARBYNE_DIFFERENTIAL=envoy-only` | only real Envoy runs: are the cases right? |
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
#[path = "differential/case.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod case;

#[cfg(test)]
#[path = "differential/tables.rs"]
mod tables;
