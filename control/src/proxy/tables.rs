//! What a proxy has been told, as tables: one row an object, the same words in JSON.

use std::{fmt, time::SystemTime};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::{
    admin::{Dump, address, list, number, text},
    moment,
    output::{Text, table::Table},
};

/// Rows under heads; in JSON a list of objects.
#[derive(Clone, Debug)]
pub struct Rows<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

/// Every view has six columns.
pub type View = Rows<6>;

impl<const N: usize> Rows<N> {
    const fn new(head: [&'static str; N]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    /// The rows that contain a text.
    #[must_use]
    pub fn only(mut self, wanted: Option<&str>) -> Self {
        if let Some(wanted) = wanted {
            self.rows
                .retain(|row| row.iter().any(|cell| cell.contains(wanted)));
        }
        self
    }
}

impl<const N: usize> Text for Rows<N> {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut table = Table::new(self.head);
        for row in &self.rows {
            table.row(row.clone());
        }
        table.write(out, "")
    }
}

impl<const N: usize> Serialize for Rows<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Row {
            head: &self.head,
            row,
        }))
    }
}

struct Row<'a> {
    head: &'a [&'static str],
    row: &'a [String],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for (key, value) in self.head.iter().zip(self.row) {
            map.serialize_entry(&key.replace(' ', "_"), value)?;
        }
        map.end()
    }
}

/// Where it listens: one row a filter chain.
#[must_use]
pub fn listeners(dump: &Dump) -> View {
    let mut rows = Rows::new([
        "listener",
        "address",
        "direction",
        "match",
        "filters",
        "goes to",
    ]);
    for listener in &dump.listeners {
        let chains = list(&listener.value, "/filter_chains")
            .chain(listener.value.get("default_filter_chain"));
        for chain in chains {
            let filters: Vec<&str> = list(chain, "/filters")
                .map(|filter| short(text(filter, "/name")))
                .collect();
            rows.rows.push([
                listener.name.clone(),
                listener
                    .value
                    .get("address")
                    .map(address)
                    .unwrap_or_default(),
                text(&listener.value, "/traffic_direction").to_lowercase(),
                chain
                    .get("filter_chain_match")
                    .map(chain_match)
                    .unwrap_or_default(),
                filters.join(" "),
                list(chain, "/filters")
                    .filter_map(|filter| filter.get("typed_config"))
                    .find_map(goes_to)
                    .unwrap_or_default(),
            ]);
        }
    }
    rows
}

/// Which requests go where: one row a route.
#[must_use]
pub fn routes(dump: &Dump) -> View {
    let mut rows = Rows::new([
        "routes", "domains", "match", "goes to", "timeout", "retries",
    ]);
    for (name, configuration) in route_configurations(dump) {
        for host in list(&configuration, "/virtual_hosts") {
            let domains: Vec<&str> = list(host, "/domains").filter_map(Value::as_str).collect();
            let domains = match domains.as_slice() {
                [] => String::new(),
                [one] => (*one).to_owned(),
                [first, rest @ ..] => format!("{first} +{}", rest.len()),
            };
            for route in list(host, "/routes") {
                rows.rows.push([
                    name.clone(),
                    domains.clone(),
                    route.get("match").map(route_match).unwrap_or_default(),
                    target(route),
                    text(route, "/route/timeout").to_owned(),
                    number(route, "/route/retry_policy/num_retries")
                        .map(|retries| retries.to_string())
                        .unwrap_or_default(),
                ]);
            }
        }
    }
    rows
}

/// Whom it can call.
#[must_use]
pub fn clusters(dump: &Dump) -> View {
    let mut rows = Rows::new(["cluster", "type", "balancer", "endpoints", "TLS", "version"]);
    for cluster in &dump.clusters {
        let value = &cluster.value;
        let assigned = dump
            .endpoints
            .iter()
            .find(|endpoints| endpoints.name == cluster.name);
        let assignment = assigned
            .map(|endpoints| &endpoints.value)
            .or_else(|| value.get("load_assignment"));
        let count = assignment.map_or(0, |assignment| {
            list(assignment, "/endpoints")
                .map(|locality| list(locality, "/lb_endpoints").count())
                .sum()
        });
        let kind = text(value, "/type");
        rows.rows.push([
            cluster.name.clone(),
            if kind.is_empty() { "STATIC" } else { kind }.to_owned(),
            text(value, "/lb_policy").to_owned(),
            if matches!(kind, "ORIGINAL_DST") {
                String::new()
            } else {
                count.to_string()
            },
            security(value),
            cluster.version.clone(),
        ]);
    }
    rows
}

/// Addresses behind clusters, from `/clusters?format=json`.
#[must_use]
pub fn endpoints(page: &Value) -> View {
    let mut rows = Rows::new([
        "cluster",
        "endpoint",
        "health",
        "connections",
        "requests",
        "errors",
    ]);
    for cluster in list(page, "/cluster_statuses") {
        for host in list(cluster, "/host_statuses") {
            let stat = |name: &str| {
                list(host, "/stats")
                    .find(|stat| text(stat, "/name") == name)
                    .map_or(0.0, |stat| number(stat, "/value").unwrap_or(0.0))
                    .to_string()
            };
            rows.rows.push([
                text(cluster, "/name").to_owned(),
                host.get("address").map(address).unwrap_or_default(),
                health(host),
                stat("cx_active"),
                stat("rq_total"),
                stat("rq_error"),
            ]);
        }
    }
    rows
}

/// Its certificates, from `/certs`.
#[must_use]
pub fn certificates(page: &Value, now: SystemTime) -> View {
    let mut rows = Rows::new([
        "kind",
        "name",
        "serial number",
        "valid from",
        "valid until",
        "left",
    ]);
    for pair in list(page, "/certificates") {
        for (kind, certificates) in [("own", "/cert_chain"), ("authority", "/ca_cert")] {
            for certificate in list(pair, certificates) {
                let names: Vec<&str> = list(certificate, "/subject_alt_names")
                    .filter_map(|name| name.as_object()?.values().next()?.as_str())
                    .collect();
                let until = text(certificate, "/expiration_time");
                let left =
                    moment::parse(until).map(|end| end.duration_since(now).unwrap_or_default());
                let row = [
                    kind.to_owned(),
                    names.join(" "),
                    text(certificate, "/serial_number").to_owned(),
                    text(certificate, "/valid_from").to_owned(),
                    until.to_owned(),
                    left.map(moment::long).unwrap_or_default(),
                ];
                // One certificate may serve several listeners and clusters.
                if !rows.rows.iter().any(|known| known[..3] == row[..3]) {
                    rows.rows.push(row);
                }
            }
        }
    }
    rows
}

/// Route configurations of their own and those inside listeners, with their names.
pub(super) fn route_configurations(dump: &Dump) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = dump
        .routes
        .iter()
        .map(|routes| (routes.name.clone(), routes.value.clone()))
        .collect();
    for listener in &dump.listeners {
        for chain in list(&listener.value, "/filter_chains")
            .chain(listener.value.get("default_filter_chain"))
        {
            for filter in list(chain, "/filters") {
                if let Some(inside) = filter.pointer("/typed_config/route_config") {
                    let pair = (text(inside, "/name").to_owned(), inside.clone());
                    if !all.contains(&pair) {
                        all.push(pair);
                    }
                }
            }
        }
    }
    all
}

/// Healthy, or all that is wrong.
pub(super) fn health(host: &Value) -> String {
    let status = host.get("health_status");
    let flags = status.and_then(Value::as_object).into_iter().flatten();
    let wrong: Vec<&str> = flags
        .filter(|(_, value)| **value == Value::Bool(true))
        .map(|(key, _)| key.as_str())
        .collect();
    let told = status.map_or("", |status| text(status, "/eds_health_status"));
    if !wrong.is_empty() {
        wrong.join(" ")
    } else if matches!(told, "" | "HEALTHY" | "UNKNOWN") {
        "healthy".to_owned()
    } else {
        told.to_lowercase()
    }
}

/// How a cluster is spoken to.
pub(super) fn security(cluster: &Value) -> String {
    let automatic = list(cluster, "/transport_socket_matches")
        .any(|entry| text(entry, "/name") == "tlsMode-istio");
    let socket = text(cluster, "/transport_socket/name");
    if automatic {
        "mutual where spoken".to_owned()
    } else if socket.contains("tls") {
        let own =
            "/transport_socket/typed_config/common_tls_context/tls_certificate_sds_secret_configs";
        if list(cluster, own).next().is_some() {
            "mutual"
        } else {
            "simple"
        }
        .to_owned()
    } else {
        String::new()
    }
}

/// Where a route sends a request.
pub(super) fn target(route: &Value) -> String {
    if let Some(status) = number(route, "/direct_response/status") {
        return format!("answer {status}");
    }
    if let Some(redirect) = route.get("redirect") {
        let code = text(redirect, "/response_code");
        return format!("redirect {}", if code.is_empty() { "301" } else { code });
    }
    let weighted: Vec<String> = list(route, "/route/weighted_clusters/clusters")
        .map(|part| {
            format!(
                "{} {}%",
                text(part, "/name"),
                number(part, "/weight").unwrap_or(0.0)
            )
        })
        .collect();
    if weighted.is_empty() {
        let header = text(route, "/route/cluster_header");
        if header.is_empty() {
            text(route, "/route/cluster").to_owned()
        } else {
            format!("the cluster that {header} names")
        }
    } else {
        weighted.join(", ")
    }
}

/// What a route matches.
pub(super) fn route_match(matching: &Value) -> String {
    let mut parts = Vec::new();
    for (key, sign) in [
        ("prefix", "*"),
        ("path", ""),
        ("path_separated_prefix", "/*"),
    ] {
        if let Some(path) = matching.get(key).and_then(Value::as_str) {
            parts.push(format!("{path}{sign}"));
        }
    }
    let regex = text(matching, "/safe_regex/regex");
    if !regex.is_empty() {
        parts.push(format!("~{regex}"));
    }
    parts.extend(list(matching, "/headers").map(|header| format!("[{}]", text(header, "/name"))));
    parts.extend(
        list(matching, "/query_parameters")
            .map(|parameter| format!("?{}", text(parameter, "/name"))),
    );
    parts.join(" ")
}

fn chain_match(matching: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(port) = number(matching, "/destination_port") {
        parts.push(format!("port {port}"));
    }
    for range in list(matching, "/prefix_ranges") {
        parts.push(format!(
            "{}/{}",
            text(range, "/address_prefix"),
            number(range, "/prefix_len").unwrap_or(0.0)
        ));
    }
    for key in ["server_names", "application_protocols"] {
        let all: Vec<&str> = list(matching, &format!("/{key}"))
            .filter_map(Value::as_str)
            .collect();
        if !all.is_empty() {
            parts.push(all.join(","));
        }
    }
    match text(matching, "/transport_protocol") {
        "" => {}
        "raw_buffer" => parts.push("plaintext".to_owned()),
        protocol => parts.push(protocol.to_owned()),
    }
    parts.join(" ")
}

fn goes_to(filter: &Value) -> Option<String> {
    for (pointer, what) in [
        ("/rds/route_config_name", "routes"),
        ("/route_config/name", "routes"),
        ("/cluster", "cluster"),
    ] {
        let name = text(filter, pointer);
        if !name.is_empty() {
            return Some(format!("{what} {name}"));
        }
    }
    None
}

/// `envoy.filters.network.http_connection_manager` → `http_connection_manager`.
pub(super) fn short(name: &str) -> &str {
    let known = ["envoy.filters.network.", "envoy.filters.http.", "envoy."];
    known
        .iter()
        .find_map(|start| name.strip_prefix(start))
        .unwrap_or(name)
}
