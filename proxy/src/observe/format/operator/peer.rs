//! The workloads at both ends, out of metadata exchange.

use super::{Operator, put};
use crate::observe::facts::Facts;
use crate::observe::peer::Peer;

/// How a workload is told.
#[derive(Clone, Debug)]
pub(in super::super) enum PeerForm {
    Plain,
    Typed,
    Field(Box<str>),
}

impl PeerForm {
    /// Appends what is known of a workload.
    pub(super) fn write(&self, facts: &Facts<'_>, upstream: bool, out: &mut Vec<u8>) -> bool {
        peer_of(facts, upstream).is_some_and(|peer| match self {
            Self::Plain => {
                peer.write_pairs(out);
                true
            }
            Self::Typed => serde_json::to_writer(&mut *out, &peer.to_json()).is_ok(),
            Self::Field(name) => peer
                .field(name)
                .is_some_and(|value| put(out, value.as_bytes())),
        })
    }
}

/// `KEY:PLAIN`, `KEY:TYPED`, `KEY:FIELD:NAME`. Of Envoy's filter state there are the peers of metadata exchange; other keys are never there.
pub(super) fn filter_state(argument: &str) -> Result<Operator, String> {
    let mut parts = argument.split(':');
    let key = parts
        .next()
        .filter(|key| !key.is_empty())
        .ok_or("expected a key in parentheses")?;
    let form = match parts.next() {
        None | Some("TYPED") => PeerForm::Typed,
        Some("PLAIN") => PeerForm::Plain,
        Some("FIELD") => PeerForm::Field(
            parts
                .next()
                .filter(|name| !name.is_empty())
                .ok_or("expected the name of a field after FIELD")?
                .into(),
        ),
        Some(other) => return Err(format!("expected PLAIN, TYPED or FIELD, found `{other}`")),
    };
    Ok(match key {
        "upstream_peer" | "wasm.upstream_peer" => Operator::Peer {
            upstream: true,
            form,
        },
        "downstream_peer" | "wasm.downstream_peer" => Operator::Peer {
            upstream: false,
            form,
        },
        _ => Operator::Absent,
    })
}

fn peer_of<'a>(facts: &Facts<'a>, upstream: bool) -> Option<&'a Peer> {
    if upstream {
        facts.upstream_peer
    } else {
        facts.downstream_peer
    }
    .map(|peer| &**peer)
}
