//! Resolves names again when their time is over, and makes checks when they are due.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::balancer::Balancer;
use super::check::Checks;
use super::members::{Entry, Resolved, ip_text};
use crate::dns::{Answer, DnsError, Record, Resolver};
use crate::plan::upstream::Target;

/// Drives every balancer that begins, until it ends.
pub(super) async fn run(
    mut begun: mpsc::UnboundedReceiver<Weak<Balancer>>,
    resolver: &Arc<Resolver>,
) {
    let mut driven = JoinSet::new();
    loop {
        tokio::select! {
            balancer = begun.recv() => {
                let Some(balancer) = balancer else {
                    return;
                };
                let Some(present) = balancer.upgrade() else {
                    continue;
                };
                // Subscribed before anybody looks, so that nothing is missed.
                let changes = present.changes();
                driven.spawn(names(balancer.clone(), changes.clone(), resolver.clone()));
                // Only upstreams have checks.
                if !present.is_direct() {
                    for healthy in [true, false] {
                        driven.spawn(checks(balancer.clone(), changes.clone(), healthy));
                    }
                }
            }
            Some(_) = driven.join_next() => {}
        }
    }
}

/// Keeps the names of a balancer resolved. Ends with the balancer: nothing here holds it while it waits.
async fn names(
    balancer: Weak<Balancer>,
    mut changes: watch::Receiver<u64>,
    resolver: Arc<Resolver>,
) {
    let mut running = FuturesUnordered::new();
    loop {
        let Some(present) = balancer.upgrade() else {
            return;
        };
        changes.mark_unchanged();
        for (target, name) in present.take_due(Instant::now()) {
            let resolver = resolver.clone();
            running.push(async move {
                let answer = resolve(&resolver, &target, &name).await;
                (target, answer)
            });
        }
        let due = present.next_due();
        drop(present);
        tokio::select! {
            Some((target, answer)) = running.next() => {
                if let Some(present) = balancer.upgrade() {
                    present.resolved(&target, answer);
                }
            }
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = until(due) => {}
        }
    }
}

/// Makes the checks of the targets that serve, or of those that do not, each time their interval is over.
async fn checks(balancer: Weak<Balancer>, mut changes: watch::Receiver<u64>, healthy: bool) {
    let mut last = Instant::now();
    loop {
        let Some(present) = balancer.upgrade() else {
            return;
        };
        changes.mark_unchanged();
        let checks = present.checks();
        drop(present);
        let due = checks
            .as_ref()
            .and_then(|checks| Some(last + checks.interval(healthy)?));
        match (due, &checks) {
            (Some(due), Some(checks)) if due <= Instant::now() => {
                last = Instant::now();
                round(&balancer, checks, healthy).await;
                continue;
            }
            (None, _) => last = Instant::now(),
            _ => {}
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = until(due) => {}
        }
    }
}

/// Checks every address once, so many at a time as the upstream says.
async fn round(balancer: &Weak<Balancer>, checks: &Arc<Checks>, healthy: bool) {
    let addresses = balancer
        .upgrade()
        .map(|balancer| balancer.to_check(healthy));
    let all = stream::iter(addresses.unwrap_or_default());
    all.for_each_concurrent(checks.active.concurrency, |address| async move {
        let observed = checks.check(&address).await;
        if let Some(balancer) = balancer.upgrade() {
            balancer.checked(checks, &address, observed);
        }
    })
    .await;
}

/// Resolves the name of a target: to addresses, or to the hosts of services with theirs.
pub(super) async fn resolve(
    resolver: &Resolver,
    target: &Target,
    name: &str,
) -> Result<Resolved, DnsError> {
    let answer = resolver.resolve(name).await?;
    let mut resolved = Resolved {
        entries: Vec::new(),
        kind: answer.kind,
        is_momentary: answer.is_momentary,
        expires: answer.expires,
    };
    let addresses = |answer: &Answer| -> Vec<std::net::SocketAddr> {
        let address = |record: &Record| match record {
            Record::Address(address) => Some((*address, target.port).into()),
            Record::Service { .. } => None,
        };
        answer.records.iter().filter_map(address).collect()
    };
    let sockets = addresses(&answer);
    if answer.is_momentary && !sockets.is_empty() {
        // Kong: one address that is whatever the name is at the moment.
        resolved.entries.push(Entry {
            ip: name.into(),
            is_name: true,
            port: target.port,
            weight: None,
            sockets,
        });
        return Ok(resolved);
    }
    resolved
        .entries
        .extend(sockets.into_iter().map(|socket| Entry {
            ip: ip_text(socket),
            is_name: false,
            port: target.port,
            weight: None,
            sockets: vec![socket],
        }));
    // Of services only those that go first are used.
    let first = answer.records.iter().filter_map(|record| match record {
        Record::Service { priority, .. } => Some(*priority),
        Record::Address(_) => None,
    });
    let first = first.min();
    for record in answer.records.iter() {
        let Record::Service {
            priority,
            weight,
            port,
            host,
        } = record
        else {
            continue;
        };
        if Some(*priority) != first {
            continue;
        }
        let port = if *port == 0 { target.port } else { *port };
        let (addresses, expires) = match resolver.addresses(host).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(name, service = %host, %error, "the host of a service is not resolved");
                (Vec::new(), Instant::now() + UNRESOLVED_WAIT)
            }
        };
        resolved.expires = resolved.expires.min(expires);
        resolved.entries.push(Entry {
            ip: host.clone(),
            is_name: host.parse::<std::net::IpAddr>().is_err(),
            port,
            // A service without a share is to have the least that there is.
            weight: Some(u32::from(*weight).max(1)),
            sockets: addresses
                .into_iter()
                .map(|address| (address, port).into())
                .collect(),
        });
    }
    // In an order that does not change from answer to answer.
    resolved
        .entries
        .sort_by(|left, right| (&left.ip, left.port).cmp(&(&right.ip, right.port)));
    Ok(resolved)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

const UNRESOLVED_WAIT: Duration = Duration::from_secs(5);
