//! How bytes travel to hosts.

use std::sync::Arc;

use carbyne_engine::cluster::Transport;
use carbyne_protos::envoy::config::cluster::v3 as wire;

use super::{ClusterPlan, TransportPlan};
use crate::plan::endpoint;
use crate::plan::scope::Scope;
use crate::plan::tls::{self, Upstream};

/// How bytes travel: first those that are chosen by endpoint, last the one for all others. False where one is broken.
pub(super) fn plan(message: &wire::Cluster, plan: &mut ClusterPlan, scope: &Scope<'_>) -> bool {
    let mut planned = Vec::new();
    let mut complete = true;
    for (index, wanted) in message.transport_socket_matches.iter().enumerate() {
        let scope = scope.item("transport_socket_matches", index);
        if wanted.name.is_empty() {
            scope.field("name").missing();
        }
        let kind = match &wanted.transport_socket {
            Some(socket) => tls::upstream(socket, &scope.field("transport_socket")),
            None => Some(Upstream::Raw),
        };
        // A criterion that is not understood must not send anything in the clear.
        let kind = match scope.field("match").doubt() {
            Some(reason) => Some(Upstream::Refuse(reason)),
            None => kind,
        };
        match kind {
            Some(kind) => {
                planned.push(TransportPlan {
                    name: Arc::from(wanted.name.as_str()),
                    kind,
                });
                plan.matches
                    .push(endpoint::criteria(wanted.r#match.as_ref()));
            }
            None => complete = false,
        }
    }
    let fallback = match (&message.transport_socket, &message.transport_socket_matcher) {
        (_, Some(_)) => Some(Upstream::Refuse(
            scope
                .field("transport_socket_matcher")
                .refuse("matcher trees are not served"),
        )),
        (Some(socket), None) => tls::upstream(socket, &scope.field("transport_socket")),
        (None, None) => Some(Upstream::Raw),
    };
    let Some(fallback) = fallback else {
        return false;
    };
    planned.push(TransportPlan {
        name: Arc::from(""),
        kind: fallback,
    });
    let Ok(number) = u16::try_from(planned.len() - 1) else {
        let found = planned.len();
        scope
            .field("transport_socket_matches")
            .out_of_range(found, "65534 at most");
        return false;
    };
    plan.fallback = number;
    let engine = planned.iter().map(|transport| match &transport.kind {
        Upstream::Tls(tls) => Arc::new(Transport::Tls(Arc::clone(tls))),
        // Whoever connects looks at the plan first, and makes no connection over a transport that refuses.
        Upstream::Raw | Upstream::Refuse(_) => Arc::new(Transport::Raw),
    });
    plan.settings.transports = engine.collect();
    plan.transports = planned;
    complete
}
