//! One request with a trace of its own, through the gateway and as far into the mesh as a sample service takes it: every sidecar that
//! it passes must have sent its span to the collector of `carbyne up`.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    time::Duration,
};

use carbyne_mesh::source::Snapshot;
use tokio::time::Instant;

use super::{
    LIMIT, ask,
    gateway::Accepted,
    report::{Category, Check},
};
use crate::{
    fetch::{FetchError, get},
    running::Running,
    traces::{Span, Summary},
    up::{
        guide::calls,
        policy,
        workloads::{Workload, name_of_host},
    },
};

/// What runs, and what its folder says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    pub(super) running: &'a Running,
    pub(super) snapshot: &'a Snapshot,
    pub(super) workloads: &'a [Workload],
}

/// Who must have sent a span.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Witness {
    /// What the check calls it.
    name: String,
    /// Any of these is right: the versions of one service say who they are alike.
    services: BTreeSet<String>,
}

impl Here<'_> {
    /// Sends the request, and waits for its spans.
    pub(super) async fn check(&self, accepted: Option<&Accepted>, wait: Duration) -> Category {
        let mut category = Category::new("traces");
        let taken = match self.taken().await {
            Ok(taken) => taken,
            Err(unchecked) => {
                category.checks.push(unchecked);
                return category;
            }
        };
        let trace = identifier(16);
        let field = format!("00-{trace}-{}-01", identifier(8));
        let field = ("traceparent", field.as_str());
        let sent = match accepted {
            Some(accepted) => self.through_the_gateway(accepted, field).await,
            None => self.between_workloads(field).await,
        };
        let Some((path, answer, witnesses)) = sent else {
            category.checks.push(Check::warned(
                "spans are received",
                "there is no request to send: no key of the gateway is known, and no policy lets a workload call another",
                "see the failed checks above",
            ));
            return category;
        };
        let status = match answer {
            Ok(answer) => answer.status(),
            Err(error) => {
                category.checks.push(Check::failed(
                    format!("the request of trace {trace} is answered"),
                    error.to_string(),
                    "`carbyne status` shows which program is down",
                ));
                return category;
            }
        };
        if status.as_u16() >= 400 {
            category.checks.push(Check::failed(
                format!("the request of trace {trace} is answered"),
                format!("GET {path} was answered {status}"),
                "`carbyne status` shows which program is down",
            ));
        }
        let spans = self.wait_for(&trace, &witnesses, wait).await;
        let told = by_service(&spans);
        for Witness { name, services } in witnesses {
            let description = format!("{name}'s sidecar sent its span of trace {trace}");
            let own = told
                .iter()
                .find(|(service, _)| services.contains(**service));
            category.checks.push(match own {
                Some((_, kinds)) => Check::passed(format!("{description}: {}", kinds.join(", "))),
                None => Check::failed(
                    description,
                    format!(
                        "not received within {} s at {taken}; received: {}",
                        wait.as_secs_f64(),
                        if told.is_empty() { "none".to_owned() } else { told.keys().copied().collect::<Vec<_>>().join(", ") },
                    ),
                    "does its Sidecar import the collector's host? does a Telemetry disable its spans? envoy_tracing_opentelemetry_spans_dropped counts what it could not send",
                ),
            });
        }
        category
    }

    /// Where spans are taken; what keeps them from being checked where they are not.
    async fn taken(&self) -> Result<SocketAddr, Check> {
        let unchecked =
            |error: String, hint: &str| Check::warned("spans are received", error, hint);
        let page = self.running.control.page.ok_or_else(|| {
            unchecked(
                "the platform serves no page to ask".to_owned(),
                "start it with this version of `carbyne up`",
            )
        })?;
        let body = get(page, "/traces", LIMIT).await;
        let body = body.map_err(|error| {
            unchecked(
                error.to_string(),
                "does `carbyne up` run, and is it of this version?",
            )
        })?;
        let summary: Summary = serde_json::from_slice(&body).unwrap_or_default();
        summary.addresses.first().copied().ok_or_else(|| {
            unchecked(
                "the folder has spans sent to nobody on this machine".to_owned(),
                "name a collector with a loopback address as `opentelemetry` provider in MeshConfig, and use it in a Telemetry: see deploy/examples/platform",
            )
        })
    }

    /// A request with the key that was accepted: on to a callee of the service behind the route where that is a sample service.
    async fn through_the_gateway(&self, accepted: &Accepted, field: (&str, &str)) -> Option<Sent> {
        let gateway = self.workloads.iter().find(|workload| workload.gateway)?;
        let mut witnesses = vec![Witness::new(gateway)];
        let mut path = accepted.path.clone();
        let first = self.serving(&accepted.service);
        if let Some(witness) = Witness::of(&accepted.service, &first, self.workloads) {
            witnesses.push(witness);
        }
        if let [portal] = first.as_slice()
            && let Some((below, callees)) = self.beyond(portal)
        {
            path = format!("{}{below}", path.trim_end_matches('/'));
            witnesses.extend(callees);
        }
        let answer = accepted.again(&path, field).await;
        Some((path, answer, witnesses))
    }

    /// What a sample service asks another one for, if it may: the path, and who answers.
    fn beyond(&self, caller: &Workload) -> Option<(String, Option<Witness>)> {
        let callees = caller.callees(self.workloads);
        callees.into_iter().find_map(|callee| {
            let serving = self.serving(&callee.host);
            let operate = policy::welcome(self.snapshot, caller, serving.first()?)?;
            let alike = serving.iter().all(|workload| {
                policy::welcome(self.snapshot, caller, workload).as_ref() == Some(&operate)
            });
            let witness = Witness::of(&callee.host, &serving, self.workloads);
            // Sample services ask with GET alone.
            (alike && operate.method == "GET")
                .then(|| (format!("/call/{}{}", callee.name, operate.path), witness))
        })
    }

    /// Without a gateway: one workload asks another.
    async fn between_workloads(&self, field: (&str, &str)) -> Option<Sent> {
        let (call, operate) = calls(self.workloads).find_map(|call| {
            let operate = policy::welcome(self.snapshot, call.caller, call.callee)?;
            Some((call, operate))
        })?;
        let fields = [("host", call.host), field];
        let answer = ask(call.through, &operate.method, &operate.path, &fields).await;
        let witnesses = vec![Witness::new(call.caller), Witness::new(call.callee)];
        Some((operate.path, answer, witnesses))
    }

    fn serving(&self, host: &str) -> Vec<&Workload> {
        let all = self.workloads.iter();
        all.filter(|workload| workload.hosts.iter().any(|own| own == host))
            .collect()
    }

    /// The spans of a trace, once all witnesses have spoken or the time is over.
    async fn wait_for(&self, trace: &str, witnesses: &[Witness], wait: Duration) -> Vec<Span> {
        let end = Instant::now() + wait;
        loop {
            let spans = self.spans(trace).await;
            let told = by_service(&spans);
            let complete = witnesses.iter().all(|witness| {
                told.keys()
                    .any(|service| witness.services.contains(*service))
            });
            if complete || Instant::now() >= end {
                return spans;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn spans(&self, trace: &str) -> Vec<Span> {
        let Some(page) = self.running.control.page else {
            return Vec::new();
        };
        let body = get(page, &format!("/traces/{trace}"), LIMIT).await;
        // Unreachable just now: then there are none as yet.
        body.ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
            .unwrap_or_default()
    }
}

type Sent = (
    String,
    Result<http::Response<bytes::Bytes>, FetchError>,
    Vec<Witness>,
);

impl Witness {
    fn new(workload: &Workload) -> Self {
        Self {
            name: workload.name.clone(),
            services: BTreeSet::from([service_name(workload)]),
        }
    }

    /// Whoever of these answers.
    fn of(host: &str, workloads: &[&Workload], all: &[Workload]) -> Option<Self> {
        (!workloads.is_empty()).then(|| Self {
            name: name_of_host(host, all),
            services: workloads
                .iter()
                .map(|workload| service_name(workload))
                .collect(),
        })
    }
}

/// What a sidecar calls itself in spans: the cluster of its node, as pilot-agent names it.
fn service_name(workload: &Workload) -> String {
    let app = workload.labels.get("app").unwrap_or(&workload.name);
    format!("{app}.{}", workload.namespace)
}

/// Of each service the kinds of its spans.
fn by_service(spans: &[Span]) -> BTreeMap<&str, Vec<&str>> {
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for span in spans {
        let kinds = told.entry(&span.service).or_default();
        if !kinds.contains(&span.kind.as_str()) {
            kinds.push(&span.kind);
        }
    }
    told
}

/// So many random bytes in hexadecimal digits, not all of them zero.
fn identifier(bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < 2 * bytes {
        // Keyed by the system's randomness, another one each time.
        text.push_str(&format!(
            "{:016x}",
            RandomState::new().hash_one(text.len()) | 1
        ));
    }
    text.truncate(2 * bytes);
    text
}

const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_as_long_as_asked_and_never_the_same() {
        let (one, other) = (identifier(16), identifier(16));
        assert_eq!((one.len(), identifier(8).len()), (32, 16));
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn kinds_are_by_who_sent_them() {
        let span = |service: &str, kind: &str| Span {
            trace: identifier(16),
            id: identifier(8),
            parent: String::new(),
            service: service.to_owned(),
            name: "a".to_owned(),
            kind: kind.to_owned(),
            start: 0,
            duration: 0,
        };
        let spans = [
            span("portal.shop", "server"),
            span("portal.shop", "client"),
            span("portal.shop", "server"),
            span("billing.shop", "server"),
        ];
        let told = by_service(&spans);
        assert_eq!(told["portal.shop"], ["server", "client"]);
        assert_eq!(told["billing.shop"], ["server"]);
    }
}
