//! Which filter chain takes a connection: Envoy's sieve. Each criterion leaves the chains that are most specific about it, in Envoy's
//! order: port, address, server name, transport, application protocol.

use serde_json::Value;

use super::{matching::cidr, walk::Ask};
use crate::admin::{list, number, text};

/// The chain of a listener, or none.
pub(super) fn choose<'a>(listener: &'a Value, ask: &Ask) -> Option<&'a Value> {
    let mut chains: Vec<&Value> = list(listener, "/filter_chains").collect();
    sieve(&mut chains, |matching| {
        number(matching, "/destination_port").map(|port| port == f64::from(ask.port))
    });
    sieve(&mut chains, |matching| {
        let mut ranges = list(matching, "/prefix_ranges").peekable();
        ranges.peek()?;
        // Where the connection was going is not known from a name.
        Some(ranges.any(|range| cidr(range, ask.host.parse().ok()).unwrap_or(false)))
    });
    sieve(&mut chains, |matching| {
        let mut names = list(matching, "/server_names")
            .filter_map(Value::as_str)
            .peekable();
        names.peek()?;
        Some(
            ask.tls
                && names.any(|name| {
                    name == ask.host
                        || name
                            .strip_prefix('*')
                            .is_some_and(|suffix| ask.host.ends_with(suffix))
                }),
        )
    });
    sieve(&mut chains, |matching| {
        match text(matching, "/transport_protocol") {
            "" => None,
            protocol => Some((protocol == "tls") == ask.tls),
        }
    });
    sieve(&mut chains, |matching| {
        let mut protocols = list(matching, "/application_protocols")
            .filter_map(Value::as_str)
            .peekable();
        protocols.peek()?;
        // A sidecar's mutual TLS says istio; plaintext requests are seen to be HTTP/1.1.
        let spoken: &[&str] = if ask.tls {
            &["istio", "istio-peer-exchange", "istio-http/1.1"]
        } else {
            &["http/1.1"]
        };
        Some(protocols.any(|protocol| spoken.contains(&protocol)))
    });
    chains
        .first()
        .copied()
        .or_else(|| listener.get("default_filter_chain"))
}

/// Keeps the chains that say this criterion and match it, else those that do not say it.
fn sieve(chains: &mut Vec<&Value>, says: impl Fn(&Value) -> Option<bool>) {
    let nothing = Value::Null;
    let said = |chain: &Value| says(chain.get("filter_chain_match").unwrap_or(&nothing));
    if chains.iter().any(|chain| said(chain) == Some(true)) {
        chains.retain(|chain| said(chain) == Some(true));
    } else {
        chains.retain(|chain| said(chain).is_none());
    }
}
