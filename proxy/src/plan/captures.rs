//! What istiod was recorded to send: all of it plans, and every field of it has a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use carbyne_protos::prost_types::Any;
use carbyne_protos::schema;
use prost::Message;

use super::compatibility::{Verdict, lines, verdict};
use super::error::{Finding, Rejection, What};
use super::filter::{HttpFilterKind, NetworkFilterKind};
use super::listener::ListenerPlan;
use super::undecoded::{DEPTH, Walk};
use super::{Environment, cluster, endpoint, listener, route};

/// A resource with where it comes from.
pub(super) struct Captured {
    pub(super) origin: String,
    pub(super) resource: Any,
}

/// All recorded resources; nothing where the recordings are not there, which is said.
pub(super) fn captured() -> Vec<Captured> {
    let Some(root) = recordings() else {
        return Vec::new();
    };
    let mut captured = Vec::new();
    for folder in ["sotw", "sotw-stock", "delta"] {
        for node in std::fs::read_dir(root.join(folder)).unwrap() {
            let node = node.unwrap().path();
            for kind in ["cds", "eds", "lds", "rds"] {
                let path = node.join(kind).with_extension("pb");
                let bytes = std::fs::read(&path).unwrap();
                for (index, resource) in resources(folder, &bytes).into_iter().enumerate() {
                    let name = node.file_name().unwrap().to_string_lossy();
                    captured.push(Captured {
                        origin: format!("{folder}/{name}/{kind}[{index}]"),
                        resource,
                    });
                }
            }
        }
    }
    captured
}

fn resources(folder: &str, bytes: &[u8]) -> Vec<Any> {
    if folder == "delta" {
        let response = DeltaDiscoveryResponse::decode(bytes).unwrap();
        return response
            .resources
            .into_iter()
            .filter_map(|resource| resource.resource)
            .collect();
    }
    DiscoveryResponse::decode(bytes).unwrap().resources
}

/// Where the recordings are: `CARBYNE_SHARED`, or `shared` beside the workspace.
pub(super) fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let root = shared.join("captures/istio-1.29");
    if root.is_dir() {
        return Some(root);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "the recordings of istiod are not at {}",
        root.display()
    );
    println!(
        "skipped: the recordings of istiod are not at {}",
        root.display()
    );
    None
}

/// Plans a resource by its type; its findings.
pub(super) fn plan(environment: &Environment, resource: &Any) -> Result<Vec<Finding>, Rejection> {
    match resource.type_url.rsplit('/').next().unwrap_or_default() {
        "envoy.config.cluster.v3.Cluster" => environment
            .plan::<Cluster, _>(resource, cluster::plan)
            .map(|planned| planned.findings),
        "envoy.config.endpoint.v3.ClusterLoadAssignment" => environment
            .plan::<ClusterLoadAssignment, _>(resource, endpoint::plan)
            .map(|planned| planned.findings),
        "envoy.config.listener.v3.Listener" => environment
            .plan::<Listener, _>(resource, listener::plan)
            .map(|planned| planned.findings),
        "envoy.config.route.v3.RouteConfiguration" => environment
            .plan::<RouteConfiguration, _>(resource, route::plan)
            .map(|planned| planned.findings),
        other => panic!("{other}"),
    }
}

#[test]
fn every_recorded_resource_plans_and_nothing_of_it_is_left_over() {
    let captured = captured();
    let environment = Environment::default();
    let mut problems = Vec::new();
    for Captured { origin, resource } in &captured {
        match plan(&environment, resource) {
            Ok(findings) => problems.extend(
                findings
                    .iter()
                    .map(|finding| format!("{origin}: {finding}")),
            ),
            Err(rejection) => problems.push(format!("{origin}: {rejection}")),
        }
    }
    println!("{} resources", captured.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn nothing_recorded_is_refused() {
    let environment = Environment::default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for Captured { origin, resource } in captured() {
        if !resource.type_url.ends_with("listener.v3.Listener") {
            continue;
        }
        let planned = environment
            .plan::<Listener, ListenerPlan>(&resource, listener::plan)
            .unwrap();
        assert_eq!(planned.plan.refuse, None, "{origin}");
        for chain in &planned.plan.chains {
            assert_eq!(chain.refuse, None, "{origin} {}", chain.name);
            for filter in &chain.filters {
                match &filter.kind {
                    NetworkFilterKind::Http(http) => {
                        assert_eq!(http.refuse, None, "{origin} {}", chain.name);
                        *counts.entry("http").or_default() += 1;
                        let guards = http
                            .filters
                            .iter()
                            .filter(|filter| matches!(filter.kind, HttpFilterKind::Traffic(_)));
                        *counts.entry("guards").or_default() += guards.count();
                    }
                    NetworkFilterKind::Tcp(_) => *counts.entry("tcp").or_default() += 1,
                    NetworkFilterKind::Rbac(..) => *counts.entry("guards").or_default() += 1,
                    _ => {}
                }
            }
        }
    }
    println!("{counts:?}");
}

/// Every field that is set anywhere in the recordings: message and name.
fn fields_set(captured: &[Captured]) -> BTreeSet<(&'static str, &'static str)> {
    let mut set = BTreeSet::new();
    for Captured { resource, .. } in captured {
        let schema = schema::message(carbyne_protos::any::type_name(&resource.type_url)).unwrap();
        let mut walk = Walk::new(|message, field| {
            set.insert((message, field));
            true
        });
        walk.message(schema, &resource.value, DEPTH).unwrap();
        let undecoded: Vec<_> = walk
            .into_findings()
            .into_iter()
            .filter(|finding| !matches!(finding.what, What::NotServed(_)))
            .collect();
        assert!(undecoded.is_empty(), "{undecoded:?}");
    }
    set
}

#[test]
fn every_field_of_the_recordings_has_a_verdict() {
    let set = fields_set(&captured());
    let undecided: Vec<String> = set
        .iter()
        .filter(|(message, field)| verdict(message, field) == Verdict::Unknown)
        .map(|(message, field)| format!("{message}\t{field}"))
        .collect();
    println!("{} fields", set.len());
    assert!(
        undecided.is_empty(),
        "without a verdict:\n{}",
        undecided.join("\n")
    );
}

#[test]
fn the_page_of_compatibility_is_current() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/compatibility.md is not what compatibility.tsv says: run the tests with UPDATE_DOCS=1"
    );
}

fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(PREFACE);
    let mut message = "";
    for line in lines() {
        if line.message != message {
            message = line.message;
            write!(
                page,
                "\n### `{message}`\n\n| field | verdict |\n|---|---|\n"
            )
            .unwrap();
        }
        let verdict = match line.verdict {
            Verdict::Served => "served".to_owned(),
            Verdict::Ignored(reason) => format!("ignored: {reason}"),
            Verdict::Refused(reason) => format!("refused: {reason}"),
            Verdict::Unknown => unreachable!(),
        };
        let field = if line.field == "*" {
            "all".to_owned()
        } else {
            format!("`{}`", line.field)
        };
        writeln!(page, "| {field} | {verdict} |").unwrap();
    }
    page
}

const PREFACE: &str = "# What is served of Envoy's and Istio's configuration

Made from `proxy/compatibility.tsv` by the tests of `carbyne-proxy` (`UPDATE_DOCS=1`); the same table decides at run time.

*served*: it does what Envoy's documentation says. *ignored*: it has no effect here, and why it needs none. *refused*, and every field or type that is
not in the table: the resource is accepted and the place listed on the admin port (`/config_dump`) and counted; where it is or may be a guard (access
rules, tokens, external authorization, limits, TLS conditions, filters that are not known), what it guards answers 503, or resets TCP connections.

Not served at all in this release: HTTP/3 and UDP listeners, Wasm, Lua, external processing, internal listeners (HBONE), scoped routes and routes on
demand, filters by discovery (ECDS), subsets, aggregate and dynamic-forward-proxy clusters, certificate providers, FIPS modes. xDS resources of the
types Listener, Cluster, ClusterLoadAssignment, RouteConfiguration and Secret are.

## Fields
";
