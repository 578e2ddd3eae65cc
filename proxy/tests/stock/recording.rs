//! What istiod answered to one node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use carbyne_protos::envoy::service::discovery::v3::DiscoveryResponse;
use prost::Message;
use serde_json::Value;

use crate::support::interception::Identity;

/// The four answers to a node, and who it is.
#[derive(Clone, Debug)]
pub struct Recording {
    pub identity: Identity,
    /// Is it a gateway?
    pub router: bool,
    pub answers: Vec<DiscoveryResponse>,
}

impl Recording {
    /// None where there are no recordings, which is said; with `CI` set they must be there.
    pub fn read(node: &str) -> Option<Self> {
        let folder = root()?.join("sotw-stock").join(node);
        let told: Value =
            serde_json::from_slice(&std::fs::read(folder.join("node.json")).unwrap()).unwrap();
        let answers = ["cds", "eds", "lds", "rds"].map(|kind| {
            let bytes = std::fs::read(folder.join(kind).with_extension("pb")).unwrap();
            DiscoveryResponse::decode(&*bytes).unwrap()
        });
        Some(Self {
            router: told["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("router~")),
            identity: identity(&told),
            answers: answers.into(),
        })
    }
}

/// `KIND~ADDRESS~POD.NAMESPACE~DOMAIN` and the service account beside it.
fn identity(node: &Value) -> Identity {
    let id = node["id"].as_str().unwrap();
    let mut parts = id.split('~').skip(1);
    let address: Ipv4Addr = parts.next().unwrap().parse().unwrap();
    let (name, namespace) = parts.next().unwrap().split_once('.').unwrap();
    let metadata = &node["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or("default").to_owned();
    Identity {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        service_account: text(&metadata["SERVICE_ACCOUNT"]),
        address,
        workload: text(&metadata["LABELS"]["app"]),
        version: "v1".to_owned(),
    }
}

fn root() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let shared = std::env::var_os("CARBYNE_SHARED")
        .map_or_else(|| workspace.join("../shared"), PathBuf::from);
    let captures = shared.join("captures/istio-1.29");
    if captures.is_dir() {
        return Some(captures);
    }
    assert!(
        std::env::var("CI").is_err(),
        "{} is missing",
        captures.display()
    );
    println!("skipped: {} is missing", captures.display());
    None
}
