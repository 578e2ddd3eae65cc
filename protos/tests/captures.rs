//! The recorded answers of a real istiod and a real Envoy: everything decodes, nothing is left undecoded, and the JSON is
//! what its author printed. The records lie outside the repository; without them the tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carbyne_protos::envoy::admin::v3 as admin;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::endpoint::v3::ClusterLoadAssignment;
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::config::route::v3::RouteConfiguration;
use carbyne_protos::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use carbyne_protos::prost_types::Any;
use carbyne_protos::undecoded::{undecoded, undecoded_message};
use carbyne_protos::{any, json};
use prost::{Message, Name};
use serde_json::Value;

#[test]
fn every_resource_decodes_completely() {
    let Some(captures) = captures() else { return };
    let mut count = 0;
    for kind in ["sotw", "delta", "sotw-stock"] {
        for node in folders(&captures.join("istio-1.29").join(kind)) {
            for (name, resource) in resources(&node) {
                count += 1;
                let found = undecoded(&resource);
                assert!(found.is_empty(), "{}: {name}: {}", node.display(), found[0]);
                let again = match any::type_name(&resource.type_url) {
                    "envoy.config.cluster.v3.Cluster" => {
                        any::decode_any::<Cluster>(&resource).unwrap().encoded_len()
                    }
                    "envoy.config.listener.v3.Listener" => any::decode_any::<Listener>(&resource)
                        .unwrap()
                        .encoded_len(),
                    "envoy.config.route.v3.RouteConfiguration" => {
                        any::decode_any::<RouteConfiguration>(&resource)
                            .unwrap()
                            .encoded_len()
                    }
                    "envoy.config.endpoint.v3.ClusterLoadAssignment" => {
                        any::decode_any::<ClusterLoadAssignment>(&resource)
                            .unwrap()
                            .encoded_len()
                    }
                    other => panic!("{other}"),
                };
                assert_eq!(
                    again,
                    resource.value.len(),
                    "{}: {name}: encodes to another length",
                    node.display()
                );
            }
        }
    }
    println!("{count} resources");
    assert!(count > 1000, "{count}");
}

#[test]
fn json_is_what_istiod_prints() {
    let Some(captures) = captures() else { return };
    let mut count = 0;
    for node in folders(&captures.join("istio-1.29/sotw")) {
        let dump = read_json(&node.join("config_dump.json"));
        let mut expected = BTreeMap::new();
        for config in dump["configs"].as_array().unwrap() {
            for (list, inner) in [
                ("dynamicActiveClusters", "/cluster"),
                ("dynamicListeners", "/activeState/listener"),
                ("dynamicRouteConfigs", "/routeConfig"),
            ] {
                for entry in config
                    .get(list)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    let resource = entry.pointer(inner).unwrap();
                    let key = (
                        resource["@type"].as_str().unwrap().to_owned(),
                        resource["name"].as_str().unwrap().to_owned(),
                    );
                    expected.insert(key, resource);
                }
            }
        }
        for (name, resource) in resources(&node) {
            let printed = json::any_to_json(&resource);
            if let Some(reference) = expected.get(&(resource.type_url.clone(), name.clone())) {
                covers(&printed, reference, &name)
                    .unwrap_or_else(|difference| panic!("{}: {difference}", node.display()));
                covers(reference, &printed, &name)
                    .unwrap_or_else(|difference| panic!("{}: {difference}", node.display()));
                count += 1;
            }
            let back = json::any_from_json(&printed).unwrap();
            assert_eq!(json::any_to_json(&back), printed, "{name}");
            assert_eq!(back.value.len(), resource.value.len(), "{name}");
        }
        let parsed: admin::ConfigDump = json::from_json(&dump).unwrap();
        same(&parsed, &dump).unwrap();
    }
    println!("{count} resources compared");
    assert!(count > 300, "{count}");
}

#[test]
fn bootstraps_parse_and_print_back() {
    let Some(captures) = captures() else { return };
    for name in ["delta.json", "sotw.json"] {
        let text = read_json(&captures.join("istio-1.29/bootstrap").join(name));
        let (bootstrap, ignored) = json::from_json_tolerant::<Bootstrap>(&text).unwrap();
        assert_eq!(ignored, Vec::<String>::new());
        assert!(undecoded_message(&Bootstrap::full_name(), &bootstrap.encode_to_vec()).is_empty());
        let printed = json::to_json(&bootstrap);
        assert_eq!(json::from_json::<Bootstrap>(&printed).unwrap(), bootstrap);
        same(&bootstrap, &text).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    }
}

#[test]
fn admin_pages_parse_strictly_and_print_back() {
    let Some(captures) = captures() else { return };
    let folder = captures.join("istio-1.29/envoy-admin");
    round_trip::<admin::ConfigDump>(&folder.join("config_dump_include_eds.json"));
    round_trip::<admin::Clusters>(&folder.join("clusters_format_json.json"));
    round_trip::<admin::ServerInfo>(&folder.join("server_info.json"));
    round_trip::<admin::Certificates>(&folder.join("certs.json"));
}

fn round_trip<M: Message + Name + Default + PartialEq + std::fmt::Debug>(path: &Path) {
    let text = read_json(path);
    let message: M =
        json::from_json(&text).unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
    let found = undecoded_message(&M::full_name(), &message.encode_to_vec());
    assert!(found.is_empty(), "{}: {}", path.display(), found[0]);
    let printed = json::to_json(&message);
    same(&message, &text).unwrap_or_else(|difference| panic!("{}: {difference}", path.display()));
    assert_eq!(json::from_json::<M>(&printed).unwrap(), message);
}

/// The recorded files, or `None` with a line that says so; with CI=true their absence is a failure.
fn captures() -> Option<PathBuf> {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let captures = shared.join("captures");
    if captures.is_dir() {
        return Some(captures);
    }
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "{} is missing",
        captures.display()
    );
    println!("skipped: {} is missing", captures.display());
    None
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The resources of the node's four answers by name; the answers themselves are checked for completeness on the way.
fn resources(node: &Path) -> Vec<(String, Any)> {
    let delta = node.parent().unwrap().ends_with("delta");
    let mut found = Vec::new();
    for file in ["cds", "eds", "lds", "rds"] {
        let bytes = std::fs::read(node.join(file).with_extension("pb")).unwrap();
        let anys: Vec<Any> = if delta {
            let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
            assert_eq!(response.encoded_len(), bytes.len());
            response
                .resources
                .into_iter()
                .map(|resource| resource.resource.unwrap())
                .collect()
        } else {
            let response = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
            assert_eq!(response.encoded_len(), bytes.len());
            response.resources
        };
        for resource in anys {
            let printed = json::any_to_json(&resource);
            let name = printed
                .get("name")
                .or_else(|| printed.get("cluster_name"))
                .unwrap()
                .as_str()
                .unwrap();
            found.push((name.to_owned(), resource));
        }
    }
    found
}

/// Whether the reference is the message in either of our forms, or between them: it may spell some defaults out.
fn same<M: Message + Name>(message: &M, reference: &Value) -> Result<(), String> {
    covers(&json::to_json(message), reference, "")?;
    covers(reference, &json::to_json_with_defaults(message), "")
}

/// Whether `whole` has every member of `part` with the same value; names in either spelling.
fn covers(part: &Value, whole: &Value, path: &str) -> Result<(), String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            let whole: BTreeMap<String, &Value> = whole
                .iter()
                .map(|(name, value)| (camel_case(name), value))
                .collect();
            part.iter()
                .try_for_each(|(name, value)| match whole.get(&camel_case(name)) {
                    Some(there) => covers(value, there, &format!("{path}.{name}")),
                    None => Err(format!("{path}.{name}: only one side has {value}")),
                })
        }
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => part
            .iter()
            .zip(whole)
            .enumerate()
            .try_for_each(|(at, (part, there))| covers(part, there, &format!("{path}[{at}]"))),
        (Value::Number(part), Value::Number(whole)) if part.as_f64() == whole.as_f64() => Ok(()),
        // 64-bit numbers are text in our form; a bootstrap may write them bare.
        (Value::String(text), Value::Number(number))
        | (Value::Number(number), Value::String(text))
            if *text == number.to_string() =>
        {
            Ok(())
        }
        _ if part == whole => Ok(()),
        _ => Err(format!("{path}: {part} is not {whole}")),
    }
}

fn camel_case(name: &str) -> String {
    let mut upper = false;
    let letters = name.chars().filter_map(|letter| {
        let raised = std::mem::replace(&mut upper, letter == '_');
        (letter != '_').then(|| {
            if raised {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        })
    });
    letters.collect()
}
