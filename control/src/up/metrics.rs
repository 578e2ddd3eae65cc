//! What Prometheus is told of the embedded control plane: istiod's names where istiod has one.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    time::Instant,
};

use carbyne_mesh::{
    ISTIO_VERSION,
    generate::Kind,
    serve::status::{Connection, Counts, SyncState},
};

/// The page at `/metrics`.
#[must_use]
pub fn page(connections: &[Connection], counts: &BTreeMap<Kind, Counts>, now: Instant) -> String {
    let mut page = Page(String::new());
    page.head("istio_build", "Component and version.", "gauge");
    let labels = [("component", "pilot"), ("tag", ISTIO_VERSION)];
    page.line("istio_build", &labels, 1);
    page.head("pilot_xds", "Sidecars that are connected.", "gauge");
    let version = [("version", ISTIO_VERSION)];
    page.line("pilot_xds", &version, connections.len());
    let (pushes, rejects) = ("pilot_xds_pushes", "pilot_total_xds_rejects");
    page.head(pushes, "Configurations that were sent.", "counter");
    for kind in Kind::ALL {
        let count = counts.get(&kind).copied().unwrap_or_default();
        page.line(pushes, &[("type", short(kind))], count.pushes);
    }
    page.head(rejects, "Configurations that were refused.", "counter");
    for kind in Kind::ALL {
        let count = counts.get(&kind).copied().unwrap_or_default();
        page.line(rejects, &[("type", short(kind))], count.rejects);
    }
    let synced = "carbyne_control_synced";
    page.head(
        synced,
        "1 where the last that was sent is accepted.",
        "gauge",
    );
    for connection in connections {
        for (kind, (sync, _)) in &connection.types {
            let labels = [("proxy", proxy(&connection.node)), ("type", short(*kind))];
            page.line(synced, &labels, u8::from(*sync == SyncState::Synced));
        }
    }
    let age = "carbyne_control_sync_age_seconds";
    let help = "How long what was sent is not accepted; 0 where it is.";
    page.head(age, help, "gauge");
    for connection in connections {
        let since = connection.out_of_step;
        let waited = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        page.line(age, &[("proxy", proxy(&connection.node))], waited);
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail, here and below.
        _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Labels are names of ours and of Kubernetes objects, which have nothing to escape.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

/// `portal.platform` of `sidecar~127.0.10.1~portal.platform~platform.svc.cluster.local`.
fn proxy(node: &str) -> &str {
    node.split('~').nth(2).unwrap_or(node)
}

const fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Cluster => "cds",
        Kind::Endpoint => "eds",
        Kind::Listener => "lds",
        Kind::Route => "rds",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carbyne_mesh::serve::protocol::Variant;

    use super::*;

    #[test]
    fn says_who_is_in_step() {
        let now = Instant::now();
        let connection = |name: &str, sync: SyncState, since: Option<u64>| {
            let node = format!("sidecar~127.0.0.9~{name}.shop~shop.svc.cluster.local");
            let mut connection = Connection::new(&node, Variant::Delta);
            connection.types = BTreeMap::from([(Kind::Cluster, (sync, "1".to_owned()))]);
            connection.out_of_step = since.map(|seconds| now - Duration::from_secs(seconds));
            connection
        };
        let connections = [
            connection("a", SyncState::Synced, None),
            connection("b", SyncState::Stale, Some(7)),
        ];
        let counts = BTreeMap::from([(
            Kind::Cluster,
            Counts {
                pushes: 5,
                rejects: 1,
            },
        )]);
        let text = page(&connections, &counts, now);
        for line in [
            "pilot_xds{version=\"1.29.2\"} 2",
            "pilot_xds_pushes{type=\"cds\"} 5",
            "pilot_xds_pushes{type=\"rds\"} 0",
            "pilot_total_xds_rejects{type=\"cds\"} 1",
            "carbyne_control_synced{proxy=\"a.shop\",type=\"cds\"} 1",
            "carbyne_control_synced{proxy=\"b.shop\",type=\"cds\"} 0",
            "carbyne_control_sync_age_seconds{proxy=\"a.shop\"} 0",
            "carbyne_control_sync_age_seconds{proxy=\"b.shop\"} 7",
            "istio_build{component=\"pilot\",tag=\"1.29.2\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
