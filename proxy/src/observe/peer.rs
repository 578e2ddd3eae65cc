//! Workloads as Istio's metadata exchange describes them: who is at the other end, and who we are.

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use carbyne_protos::prost_types::value::Kind;
use carbyne_protos::prost_types::{Struct, Value};
use prost::Message;
use rustc_hash::FxHashMap;

pub use self::local::LocalNode;

mod local;

/// A workload. Unknown facts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Name of the pod or VM (`NAME`).
    pub name: Box<str>,
    /// Namespace (`NAMESPACE`).
    pub namespace: Box<str>,
    /// Name of the workload (`WORKLOAD_NAME`).
    pub workload: Box<str>,
    /// What kind of workload owns it (from `OWNER`).
    pub kind: Option<WorkloadKind>,
    /// The cluster of Kubernetes (`CLUSTER_ID`).
    pub cluster: Box<str>,
    /// SPIFFE identity (`IDENTITY`).
    pub identity: Box<str>,
    /// Label `service.istio.io/canonical-name`.
    pub canonical_service: Box<str>,
    /// Label `service.istio.io/canonical-revision`.
    pub canonical_revision: Box<str>,
    /// Label `app`.
    pub app: Box<str>,
    /// Label `version`.
    pub version: Box<str>,
    /// Region (`REGION`).
    pub region: Box<str>,
    /// Zone (`AVAILABILITY_ZONE`).
    pub zone: Box<str>,
    /// Further labels that the configuration asked for.
    pub labels: Box<[(Box<str>, Box<str>)]>,
}

/// What kind of workload owns a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A pod by itself.
    Pod,
    /// A deployment.
    Deployment,
    /// A job.
    Job,
    /// A cron job.
    CronJob,
}

/// Why a description was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It is larger than [`LARGEST`].
    #[error("longer than {LARGEST} bytes")]
    TooLarge,
    /// It is no base64.
    #[error("not base64")]
    Base64,
    /// It is no `google.protobuf.Struct`.
    #[error("not a google.protobuf.Struct")]
    Malformed,
}

/// Peers by the header value that described them, for one worker.
#[derive(Debug, Default)]
struct Cache {
    known: FxHashMap<Box<[u8]>, Arc<Peer>>,
}

impl WorkloadKind {
    /// As in owners and in logs: `deployment`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deployment",
            Self::Job => "job",
            Self::CronJob => "cronjob",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Pod, Self::Deployment, Self::Job, Self::CronJob]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// From an owner such as `kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME`, whose end is the workload's name.
    fn of_owner(owner: &str, workload: &str) -> Option<Self> {
        let before = owner.get(..owner.len().checked_sub(workload.len() + 2)?)?;
        Self::parse(before.rsplit_once('/')?.1)
    }
}

impl Peer {
    /// Reads a description; what is not known is passed over, what is of another type counts as empty.
    pub fn from_struct(fields: &Struct, additional_labels: &[Box<str>]) -> Self {
        let mut peer = Self::default();
        let mut owner = "";
        let mut labels = Vec::new();
        for (key, value) in &fields.fields {
            let text = text(value);
            match key.as_str() {
                "NAME" => peer.name = text.into(),
                "NAMESPACE" => peer.namespace = text.into(),
                "WORKLOAD_NAME" => peer.workload = text.into(),
                "CLUSTER_ID" => peer.cluster = text.into(),
                "IDENTITY" => peer.identity = text.into(),
                "REGION" => peer.region = text.into(),
                "AVAILABILITY_ZONE" => peer.zone = text.into(),
                "OWNER" => owner = text,
                "LABELS" => {
                    let Some(Kind::StructValue(fields)) = &value.kind else {
                        continue;
                    };
                    let label =
                        |name: &str| fields.fields.get(name).map(self::text).unwrap_or_default();
                    let first = |names: [&str; 2]| -> Box<str> {
                        names
                            .map(label)
                            .into_iter()
                            .find(|text| !text.is_empty())
                            .unwrap_or_default()
                            .into()
                    };
                    peer.canonical_service = label(CANONICAL_NAME).into();
                    peer.canonical_revision = label(CANONICAL_REVISION).into();
                    peer.app = first(["app.kubernetes.io/name", "app"]);
                    peer.version = first(["app.kubernetes.io/version", "version"]);
                    for name in additional_labels {
                        if fields.fields.contains_key(&**name) {
                            labels.push((name.clone(), label(name).into()));
                        }
                    }
                }
                _ => {}
            }
        }
        peer.kind = WorkloadKind::of_owner(owner, &peer.workload);
        peer.labels = labels.into();
        peer
    }

    /// Reads an encoded `google.protobuf.Struct`.
    pub fn decode(bytes: &[u8], additional_labels: &[Box<str>]) -> Result<Self, PeerError> {
        if bytes.len() > LARGEST {
            return Err(PeerError::TooLarge);
        }
        // prost bounds the depth to 100.
        let fields = Struct::decode(bytes).map_err(|_| PeerError::Malformed)?;
        Ok(Self::from_struct(&fields, additional_labels))
    }

    /// Reads the value of `x-envoy-peer-metadata`; the padding may be missing.
    pub fn decode_header(value: &[u8], additional_labels: &[Box<str>]) -> Result<Self, PeerError> {
        if value.len() > LARGEST.div_ceil(3) * 4 {
            return Err(PeerError::TooLarge);
        }
        let bytes = LENIENT.decode(value).map_err(|_| PeerError::Base64)?;
        Self::decode(&bytes, additional_labels)
    }

    /// As [`Self::decode_header`], but remembers what this worker saw: a peer sends the same value with every request. `scope` tells apart
    /// configurations with different labels. What cannot be decoded is not remembered.
    pub fn of_header(
        value: &[u8],
        additional_labels: &[Box<str>],
        scope: u64,
    ) -> Result<Arc<Self>, PeerError> {
        CACHE.with_borrow_mut(|caches| {
            let cache = caches.entry(scope).or_default();
            if let Some(peer) = cache.known.get(value) {
                return Ok(Arc::clone(peer));
            }
            let peer = Arc::new(Self::decode_header(value, additional_labels)?);
            if cache.known.len() >= REMEMBERED {
                // Whoever floods it costs the others one decoding each.
                cache.known.clear();
            }
            cache.known.insert(value.into(), Arc::clone(&peer));
            Ok(peer)
        })
    }

    /// Reads an endpoint's `istio.workload`: `name;namespace;canonical name;revision;cluster`.
    pub fn from_endpoint(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut next = || parts.next().map(Box::from);
        Some(Self {
            workload: next()?,
            namespace: next()?,
            canonical_service: next()?,
            canonical_revision: next()?,
            cluster: next()?,
            ..Self::default()
        })
    }

    /// Reads a W3C `baggage` field as ambient workloads send it; `None` if it names nothing known.
    pub fn from_baggage(baggage: &str) -> Option<Self> {
        let mut peer = Self::default();
        let mut found = false;
        for member in baggage.split(',') {
            // Properties after `;` are not part of the value (W3C Baggage, section 3.3.1).
            let member = member.split(';').next().unwrap_or_default();
            let Some((key, value)) = member.split_once('=') else {
                continue;
            };
            let value: Box<str> = value.trim().into();
            let kind = match key.trim() {
                "k8s.namespace.name" => {
                    peer.namespace = value;
                    None
                }
                "k8s.cluster.name" => {
                    peer.cluster = value;
                    None
                }
                "service.name" => {
                    peer.canonical_service = value;
                    None
                }
                "service.version" => {
                    peer.canonical_revision = value;
                    None
                }
                "app.name" => {
                    peer.app = value;
                    None
                }
                "app.version" => {
                    peer.version = value;
                    None
                }
                "k8s.instance.name" => {
                    peer.name = value;
                    None
                }
                "cloud.region" => {
                    peer.region = value;
                    None
                }
                "cloud.availability_zone" => {
                    peer.zone = value;
                    None
                }
                key => {
                    let kind = key
                        .strip_prefix("k8s.")
                        .and_then(|key| key.strip_suffix(".name"))
                        .and_then(WorkloadKind::parse);
                    if kind.is_none() {
                        continue;
                    }
                    peer.workload = value;
                    kind
                }
            };
            found = true;
            peer.kind = kind.or(peer.kind);
        }
        // What only one of the two names says stands for the other.
        if peer.app.is_empty() {
            peer.app = peer.canonical_service.clone();
        } else if peer.canonical_service.is_empty() {
            peer.canonical_service = peer.app.clone();
        }
        if peer.version.is_empty() {
            peer.version = peer.canonical_revision.clone();
        } else if peer.canonical_revision.is_empty() {
            peer.canonical_revision = peer.version.clone();
        }
        found.then_some(peer)
    }

    /// The description that is sent; its encoding is the same every time, as maps are in order.
    pub fn to_struct(&self) -> Struct {
        let mut fields = Struct::default();
        let mut put = |key: &str, value: &str| {
            if !value.is_empty() {
                fields.fields.insert(key.to_owned(), string(value));
            }
        };
        put("NAME", &self.name);
        put("NAMESPACE", &self.namespace);
        put("WORKLOAD_NAME", &self.workload);
        put("CLUSTER_ID", &self.cluster);
        put("IDENTITY", &self.identity);
        put("REGION", &self.region);
        put("AVAILABILITY_ZONE", &self.zone);
        if let Some(kind) = self.kind {
            put(
                "OWNER",
                &format!(
                    "{OWNER_PREFIX}{}/{}s/{}",
                    self.namespace,
                    kind.as_str(),
                    self.workload
                ),
            );
        }
        let mut labels = Struct::default();
        let own = [
            (CANONICAL_NAME, &self.canonical_service),
            (CANONICAL_REVISION, &self.canonical_revision),
            ("app", &self.app),
            ("version", &self.version),
        ];
        let further = self.labels.iter().map(|(name, value)| (&**name, value));
        for (name, value) in own.into_iter().chain(further) {
            if !value.is_empty() {
                labels.fields.insert(name.to_owned(), string(value));
            }
        }
        let labels = Value {
            kind: Some(Kind::StructValue(labels)),
        };
        fields.fields.insert("LABELS".to_owned(), labels);
        fields
    }

    /// Appends `type=deployment,workload=…,…`: what `FILTER_STATE(upstream_peer:PLAIN)` prints.
    pub fn write_pairs(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut put = |name: [&str; 2], value: &str| {
            if !value.is_empty() {
                if out.len() > start {
                    out.push(b',');
                }
                for part in [name[0], name[1], "=", value] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        };
        for name in FIELDS {
            put([name, ""], self.field(name).unwrap_or_default());
        }
        for (name, value) in &self.labels {
            put(["labels[]", name], value);
        }
    }

    /// A fact by the name that Istio's filter state has for it; `None` for a name that it does not have, and for what is empty.
    pub fn field(&self, name: &str) -> Option<&str> {
        let value = match name {
            "type" => self.kind.map_or("", WorkloadKind::as_str),
            "workload" => &self.workload,
            "name" => &self.name,
            "cluster" => &self.cluster,
            "namespace" => &self.namespace,
            "service" => &self.canonical_service,
            "revision" => &self.canonical_revision,
            "app" => &self.app,
            "version" => &self.version,
            "region" => &self.region,
            "zone" => &self.zone,
            "identity" => &self.identity,
            _ => name
                .strip_prefix("labels[]")
                .and_then(|label| self.labels.iter().find(|(name, _)| **name == *label))
                .map_or("", |(_, value)| value),
        };
        (!value.is_empty()).then_some(value)
    }

    /// The facts as JSON by those names.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for name in FIELDS.into_iter().chain(["identity"]) {
            if let Some(value) = self.field(name) {
                object.insert(name.to_owned(), value.into());
            }
        }
        if !self.labels.is_empty() {
            let labels = self
                .labels
                .iter()
                .map(|(name, value)| (name.to_string(), serde_json::Value::from(&**value)))
                .collect();
            object.insert("labels".to_owned(), serde_json::Value::Object(labels));
        }
        serde_json::Value::Object(object)
    }
}

fn text(value: &Value) -> &str {
    match &value.kind {
        Some(Kind::StringValue(text)) => text,
        _ => "",
    }
}

fn string(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

/// Largest description in bytes, decoded; istio-agents send some hundred.
pub const LARGEST: usize = 64 << 10;

/// What a frame of the TCP exchange begins with.
pub const MAGIC: u32 = 0x3D23_0467;

/// Key and header field of a description.
pub const METADATA: &str = "x-envoy-peer-metadata";

/// Key and header field of the node's id.
pub const METADATA_ID: &str = "x-envoy-peer-metadata-id";

pub(crate) const STRUCT_URL: &str = "type.googleapis.com/google.protobuf.Struct";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
const OWNER_PREFIX: &str = "kubernetes://apis/apps/v1/namespaces/";
/// In the order in which Istio prints them.
const FIELDS: [&str; 11] = [
    "type",
    "workload",
    "name",
    "cluster",
    "namespace",
    "service",
    "revision",
    "app",
    "version",
    "region",
    "zone",
];
/// Peers that a worker remembers (Istio's `max_peer_cache_size`).
const REMEMBERED: usize = 500;
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

thread_local! {
    static CACHE: RefCell<FxHashMap<u64, Cache>> = RefCell::default();
}

/// A structure from JSON, for tests.
#[cfg(test)]
pub(crate) fn described(value: &serde_json::Value) -> Struct {
    let node: carbyne_protos::envoy::config::core::v3::Node =
        carbyne_protos::json::from_json(&serde_json::json!({"metadata": value})).unwrap();
    node.metadata.unwrap()
}

#[cfg(test)]
mod tests;
