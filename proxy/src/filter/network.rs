//! The network filters of a chain: what every connection passes before its last filter.

use std::sync::Arc;

use carbyne_engine::forward::Downstream;
use carbyne_engine::net::Stream;
use tokio::io::AsyncWriteExt;

use super::metadata_exchange::tcp::TcpExchange;
use super::rbac::{Decision, Facts, RbacFilter};
use crate::context::Metadata;
use crate::observe::denials::Denials;
use crate::plan::discovered::Discovered;
use crate::plan::filter::{NetworkFilterKind, NetworkFilterPlan};
use crate::server::tcp::StreamFacts;
use crate::server::telemetry::Telling;

/// One compiled filter.
#[derive(Debug)]
pub enum NetworkFilter {
    /// Exchanges workload metadata in a frame of its own.
    MetadataExchange(TcpExchange),
    /// Access rules, and who counts what they refuse.
    Rbac(Arc<RbacFilter>, Arc<Denials>),
    /// Whatever came by discovery.
    Discovered(Box<Discovered<NetworkFilterKind>>, Arc<str>, Arc<Telling>),
    /// Nothing passes.
    Refuse(super::refuse::Refuse),
}

/// What becomes of a connection.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is closed, for this reason (`%CONNECTION_TERMINATION_DETAILS%`).
    Close(String),
}

impl NetworkFilter {
    /// Compiles a filter; nothing where it has no part of its own here.
    pub fn compile(plan: &NetworkFilterPlan, telling: &Arc<Telling>) -> Option<Self> {
        Self::of(&plan.kind, &plan.name, telling)
    }

    fn of(kind: &NetworkFilterKind, name: &Arc<str>, telling: &Arc<Telling>) -> Option<Self> {
        match kind {
            NetworkFilterKind::Discovered(source) => Some(Self::Discovered(
                source.clone(),
                name.clone(),
                telling.clone(),
            )),
            NetworkFilterKind::Rbac(filter, prefix) => {
                telling.registry.publish(prefix, filter.clone());
                Some(Self::Rbac(filter.clone(), telling.denials.clone()))
            }
            NetworkFilterKind::Refuse(reason) => Some(Self::Refuse(
                super::refuse::Refuse::because(name, reason.clone()),
            )),
            NetworkFilterKind::MetadataExchange(message) => Some(Self::MetadataExchange(
                TcpExchange::plan(message, &telling.node),
            )),
            NetworkFilterKind::Http(_)
            | NetworkFilterKind::Stats(_)
            | NetworkFilterKind::Tcp(_) => None,
        }
    }

    /// Passes a new connection.
    pub async fn connect(
        &self,
        stream: &mut Stream,
        downstream: &Downstream,
        facts: &mut StreamFacts,
    ) -> Verdict {
        match self {
            Self::Discovered(source, name, telling) => {
                let Some(extension) = source.current() else {
                    return Verdict::Close("the filter's configuration has not come".to_owned());
                };
                // Connections are few beside requests: it is compiled for each.
                let filter = match extension.kind.as_ref() {
                    Some(NetworkFilterKind::Http(_) | NetworkFilterKind::Tcp(_)) => {
                        return Verdict::Close("a last filter cannot be discovered".to_owned());
                    }
                    Some(kind) => Self::of(kind, name, telling),
                    None => None,
                };
                match filter {
                    Some(filter) => Box::pin(filter.connect(stream, downstream, facts)).await,
                    None => Verdict::Pass,
                }
            }
            Self::MetadataExchange(exchange) => {
                if exchange.applies(downstream.tls.as_deref()) {
                    // Ours goes out at once; the client's may come with its first byte, or only after the
                    // server spoke, so it is taken off while the stream flows.
                    if stream.write_all(&exchange.frame()).await.is_err()
                        || stream.flush().await.is_err()
                    {
                        return Verdict::Close(String::new());
                    }
                    facts.exchange = Some(exchange.clone());
                }
                Verdict::Pass
            }
            Self::Rbac(filter, denials) => {
                let known = Metadata::default();
                let facts = Facts::connection(downstream, &known);
                match filter.check_connection(&facts, &mut Metadata::default()) {
                    Decision::Allow => Verdict::Pass,
                    Decision::Deny(denial) => {
                        denials.count(&denial.by());
                        Verdict::Close(denial.details())
                    }
                }
            }
            Self::Refuse(refuse) => Verdict::Close(refuse.details().to_owned()),
        }
    }
}
