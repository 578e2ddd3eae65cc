//! Istio's `istio.alpn`: which protocols the TLS connection to the host offers, so that a sidecar on the other side can tell mesh traffic.

use std::sync::Arc;

use carbyne_engine::cluster::settings::Protocol;
use carbyne_engine::forward::Exchange;
use carbyne_engine::tls::AlpnList;
use carbyne_protos::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig;
use carbyne_protos::istio::envoy::config::filter::http::alpn::v2alpha1::filter_config::Protocol as WireProtocol;

use crate::context::Context;
use crate::plan::scope::Scope;

/// The compiled filter: one list a protocol. Lists are shared, so that pools may tell connections apart by them.
#[derive(Clone, Debug, Default)]
pub struct AlpnFilter {
    http10: Option<Arc<AlpnList>>,
    http11: Option<Arc<AlpnList>>,
    http2: Option<Arc<AlpnList>>,
}

impl AlpnFilter {
    /// Reads the message; a name that TLS cannot carry is rejected.
    pub fn plan(message: &FilterConfig, scope: &Scope<'_>) -> Option<Self> {
        let mut filter = Self::default();
        for (index, entry) in message.alpn_override.iter().enumerate() {
            let place = scope.item("alpn_override", index);
            let Ok(list) = AlpnList::new(&entry.alpn_override) else {
                place.field("alpn_override").out_of_range(
                    format_args!("{:?}", entry.alpn_override),
                    "a list of names of 1 to 255 bytes",
                );
                continue;
            };
            match WireProtocol::try_from(entry.upstream_protocol) {
                Ok(WireProtocol::Http10) => filter.http10 = Some(list),
                Ok(WireProtocol::Http11) => filter.http11 = Some(list),
                Ok(WireProtocol::Http2) => filter.http2 = Some(list),
                Err(_) => place
                    .field("upstream_protocol")
                    .out_of_range(entry.upstream_protocol, "HTTP10, HTTP11 or HTTP2 (0 to 2)"),
            }
        }
        Some(filter)
    }

    /// Chooses the list of the protocol that the cluster is spoken to with, unless the cluster forbids it (`istio.alpn_override: "false"`).
    pub fn request(&self, exchange: &mut Exchange<Context>) {
        let Some(cluster) = &exchange.context.cluster else {
            return;
        };
        if cluster.plan.istio.keep_alpn {
            return;
        }
        let list = self.list(&cluster.plan.settings.protocol, exchange.request.version);
        exchange.context.alpn = list.cloned();
    }

    fn list(&self, upstream: &Protocol, downstream: http::Version) -> Option<&Arc<AlpnList>> {
        match (upstream, downstream) {
            (Protocol::Http2(_), _) | (Protocol::AsDownstream(_), http::Version::HTTP_2) => {
                self.http2.as_ref()
            }
            (Protocol::AsDownstream(_), http::Version::HTTP_10) => self.http10.as_ref(),
            (Protocol::Http1 | Protocol::AsDownstream(_), _) => self.http11.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use carbyne_engine::cluster::settings::Http2Settings;

    use super::*;

    #[test]
    fn the_list_follows_the_upstream_protocol() {
        let list = |name: &str| AlpnList::new([name, "istio"]).ok();
        let filter = AlpnFilter {
            http10: list("istio-http/1.0"),
            http11: list("istio-http/1.1"),
            http2: list("istio-h2"),
        };
        let h2 = || Protocol::Http2(Http2Settings::default());
        let same = || Protocol::AsDownstream(Http2Settings::default());
        for (upstream, downstream, expected) in [
            (Protocol::Http1, http::Version::HTTP_2, "istio-http/1.1"),
            (Protocol::Http1, http::Version::HTTP_10, "istio-http/1.1"),
            (h2(), http::Version::HTTP_11, "istio-h2"),
            (same(), http::Version::HTTP_10, "istio-http/1.0"),
            (same(), http::Version::HTTP_11, "istio-http/1.1"),
            (same(), http::Version::HTTP_2, "istio-h2"),
        ] {
            let chosen = filter.list(&upstream, downstream).unwrap();
            assert_eq!(
                chosen.names()[0],
                expected.as_bytes(),
                "{upstream:?} {downstream:?}"
            );
        }
        assert!(
            AlpnFilter::default()
                .list(&h2(), http::Version::HTTP_2)
                .is_none()
        );
    }
}
