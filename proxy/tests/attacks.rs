//! One corpus of bad requests and bad responses through ours, real Envoy, nginx and HAProxy: for each pair of
//! protocols a table of what is sent, which answers are good, and what must not reach the upstream.
//!
//! The matrix goes to `docs/security.md`. Our own column there must be what this run saw; the others are
//! what they were when the page was written.
//!
//! | variable | effect |
//! |---|---|
//! | `CARBYNE_ATTACKS=peers-only` | ours is left out: is the corpus sane? |
//! | `CARBYNE_CASE=text` | only rows whose name contains the text; the page is not looked at |
//! | `CARBYNE_WRITE_DOCS=1` | the page is written |

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "attacks/corpus.rs"]
#[allow(unreachable_pub, reason = "a test program has no users")]
mod corpus;
