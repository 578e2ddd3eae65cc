//! Copies of requests for other clusters.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::LazyLock;

use carbyne_engine::cluster::PickContext;
use carbyne_engine::forward::{Exchange, Mirror};
use carbyne_engine::http::Request;
use http::HeaderValue;

use super::target::target;
use super::{arrival, names};
use crate::context::Context;
use crate::live::clusters::Clusters;
use crate::live::route::Forward;
use crate::observe::trace::Tracer;

/// The copies that the route wants of this request.
pub fn mirrors(
    exchange: &Exchange<Context>,
    forward: &Forward,
    clusters: &Clusters,
    tracer: Option<&Tracer>,
) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for rule in &forward.mirrors {
        if !rule.fraction.holds(fastrand::u64(..)) {
            continue;
        }
        let Some(slot) = rule.target.resolve(clusters, &exchange.request) else {
            continue;
        };
        let Some(live) = (*slot.load()).clone() else {
            continue;
        };
        let context = PickContext {
            hash: exchange.context.hash,
            ..PickContext::first(exchange.timing.start)
        };
        let Some(host) = exchange.worker.pickers.pick(&live.cluster, &context) else {
            continue;
        };
        let mut request = exchange.request.clone();
        request.authority = rule.host(&request.authority);
        mark(&mut request);
        if let Some(tracer) = tracer {
            tracer.copied(&exchange.context, &mut request, rule.sampled);
        }
        mirrors.push(Mirror {
            target: target(&live, host, exchange, None, None),
            request,
        });
    }
    mirrors
}

/// Says whose request it is: the proxy is the client of what it sends by itself.
fn mark(request: &mut Request) {
    request
        .headers
        .insert(names::INTERNAL, HeaderValue::from_static("true"));
    arrival::append(request, &names::FORWARDED_FOR, &OWN_ADDRESS.to_string());
}

/// The address that the machine speaks from; asking for a route sends nothing.
static OWN_ADDRESS: LazyLock<IpAddr> = LazyLock::new(|| {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    };
    ask().map_or_else(|_| Ipv4Addr::LOCALHOST.into(), |address| address.ip())
});

/// An address that belongs to nobody (RFC 5737).
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 1), 9);
