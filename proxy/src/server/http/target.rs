//! Where a try goes: a host of the cluster, and how it is reached.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use carbyne_engine::cluster::settings::{Discovery, Protocol as Wanted, Transport};
use carbyne_engine::cluster::{Host, PickContext};
use carbyne_engine::forward::{Exchange, Protocol, Target, TlsTarget};
use carbyne_engine::net::connect::OriginalSource;
use carbyne_engine::tls::AlpnList;
use http::Version;
use rustc_hash::FxHasher;

use crate::context::Context;
use crate::live::clusters::LiveCluster;
use crate::live::route::Forward;

/// The host of the next try.
pub(super) fn pick(
    exchange: &Exchange<Context>,
    live: &LiveCluster,
    forward: Option<&Forward>,
) -> Option<Arc<Host>> {
    let cluster = &live.cluster;
    let worker = &exchange.worker;
    if let Discovery::OriginalDestination { .. } = cluster.settings().discovery {
        let address = exchange.downstream.local.socket()?;
        return Some(worker.pickers.original(cluster, address));
    }
    let retry = forward.and_then(|forward| forward.retry.as_deref());
    let tried: &[u64] = match retry {
        Some(retry) if retry.other_hosts => &exchange.upstream.tried,
        _ => &[],
    };
    let context = PickContext {
        hash: exchange.context.hash,
        tried,
        reselections: retry.map_or(0, |retry| retry.host_attempts),
        tried_priorities: &[],
        now: exchange.timing.start,
    };
    worker.pickers.pick(cluster, &context)
}

/// How a host of a cluster is reached for this exchange.
pub(super) fn target(
    live: &LiveCluster,
    host: Arc<Host>,
    exchange: &Exchange<Context>,
    timeout: Option<std::time::Duration>,
    source: Option<OriginalSource>,
) -> Target {
    let settings = live.cluster.settings();
    let protocol = match &settings.protocol {
        Wanted::Http1 => Protocol::Http1,
        Wanted::Http2(_) => Protocol::Http2,
        Wanted::AsDownstream(_) if exchange.request.version == Version::HTTP_2 => Protocol::Http2,
        Wanted::AsDownstream(_) => Protocol::Http1,
    };
    let transport = settings.transports.get(usize::from(host.transport));
    let tls = match transport.map(|transport| &**transport) {
        Some(Transport::Tls(client)) => {
            let own_name = live
                .plan
                .protocol
                .auto_sni
                .then(|| text(&exchange.request.host))
                .flatten();
            Some(TlsTarget {
                client: client.clone(),
                verify_name: own_name
                    .clone()
                    .filter(|_| live.plan.protocol.auto_san_validation),
                server_name: own_name,
                alpn: exchange.context.alpn.clone().or_else(|| {
                    // Where nothing is configured, the codec that will be spoken is named.
                    let silent = client.plan().alpn.is_empty();
                    silent.then(|| match protocol {
                        Protocol::Http1 => HTTP1_ALPN.clone(),
                        Protocol::Http2 => HTTP2_ALPN.clone(),
                    })
                }),
            })
        }
        _ => None,
    };
    let mut hasher = FxHasher::default();
    (protocol as u8).hash(&mut hasher);
    if let Some(tls) = &tls {
        Arc::as_ptr(&tls.client).hash(&mut hasher);
        tls.server_name.hash(&mut hasher);
        tls.alpn.as_ref().map(Arc::as_ptr).hash(&mut hasher);
    }
    if let Some(source) = &source {
        source.hash(&mut hasher);
    }
    Target {
        cluster: live.cluster.clone(),
        host,
        tls,
        protocol,
        timeout,
        source,
        variant: hasher.finish(),
    }
}

static HTTP1_ALPN: LazyLock<Arc<AlpnList>> = LazyLock::new(|| alpn("http/1.1"));
static HTTP2_ALPN: LazyLock<Arc<AlpnList>> = LazyLock::new(|| alpn("h2"));

fn alpn(name: &str) -> Arc<AlpnList> {
    // Neither name is too long for the extension.
    AlpnList::new([name]).unwrap_or_default()
}

fn text(bytes: &[u8]) -> Option<Arc<str>> {
    std::str::from_utf8(bytes).ok().map(Arc::from)
}
