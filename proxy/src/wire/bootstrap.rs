//! The bootstrap: the `-c` file with `--config-yaml` merged over it, decoded into Envoy's message.
//!
//! Everything that is wrong is said at once, each with its place and what to write instead; `hint` words that.

mod hint;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::core::v3::grpc_service::TargetSpecifier;
use carbyne_protos::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, BuildVersion, ConfigSource, GrpcService, Node,
    api_config_source::ApiType, config_source::ConfigSourceSpecifier, node::UserAgentVersionType,
};
use carbyne_protos::envoy::r#type::v3::SemanticVersion;
use carbyne_protos::json;
use prost::Message;
use serde_json::Value;

use super::xds::Protocol;

/// Where the bootstrap comes from, as the command line says.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `-c`: a JSON, YAML or (`.pb`) encoded file.
    pub path: Option<PathBuf>,
    /// `--config-yaml`: merged over the file.
    pub yaml: Option<String>,
    /// `--allow-unknown-static-fields`: names that we do not know are ignored.
    pub allow_unknown: bool,
    /// `--service-node`: replaces `node.id`.
    pub node: Option<String>,
    /// `--service-cluster`: replaces `node.cluster`.
    pub cluster: Option<String>,
    /// `--service-zone`: replaces `node.locality.zone`.
    pub zone: Option<String>,
}

/// A bootstrap that fits its message.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// As `/config_dump` prints it.
    pub message: Bootstrap,
    /// Paths of what was ignored because the names are not known.
    pub ignored: Vec<String>,
}

/// How the configuration is to be fetched: `dynamic_resources.ads_config`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdsSource {
    /// `api_type`.
    pub protocol: Protocol,
    /// Static cluster of the control plane.
    pub cluster: String,
    /// Whether the node goes into every request.
    pub node_in_every_request: bool,
    /// Shortest and longest bound of the wait before a broken stream is opened again, if set
    /// (`envoy_grpc.retry_policy.retry_back_off`).
    pub back_off: Option<(Duration, Duration)>,
    /// Whether clusters come over it.
    pub clusters: bool,
    /// Whether listeners come over it.
    pub listeners: bool,
}

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Neither file nor `--config-yaml`.
    #[error(
        "no configuration: give a file with -c (--config-path), or the text itself with --config-yaml"
    )]
    Missing,
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was read is not a bootstrap.
    #[error("{0}")]
    Invalid(Problems),
}

/// Everything that is wrong with a bootstrap; at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file, or `--config-yaml`.
    pub origin: String,
    /// Where in it, such as `static_resources.listeners[0].name`; empty for the whole.
    pub path: String,
    /// What stands there and what was expected.
    pub reason: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Reads, merges, decodes and checks.
pub fn load(source: &Source) -> Result<Loaded, LoadError> {
    let mut message = Bootstrap::default();
    let mut problems = Vec::new();
    let mut ignored = Vec::new();
    if source.path.is_none() && source.yaml.is_none() {
        return Err(LoadError::Missing);
    }
    if let Some(path) = &source.path {
        let bytes = std::fs::read(path).map_err(|error| LoadError::Read {
            path: path.clone(),
            source: error,
        })?;
        let origin = path.display().to_string();
        match decode_file(path, &bytes, source.allow_unknown) {
            Ok((decoded, unknown)) => {
                message = decoded;
                ignored.extend(unknown);
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| problem.of(&origin))),
        }
    }
    if let Some(yaml) = &source.yaml {
        match decode_text(yaml, Format::Yaml, source.allow_unknown) {
            Ok((decoded, unknown)) => {
                merge(&mut message, &decoded);
                ignored.extend(unknown);
            }
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| problem.of("--config-yaml")))
            }
        }
    }
    if problems.is_empty() {
        apply_options(&mut message, source);
        let origin = source.path.as_ref().map_or_else(
            || "--config-yaml".to_owned(),
            |path| path.display().to_string(),
        );
        problems.extend(
            check(&message)
                .into_iter()
                .map(|problem| problem.of(&origin)),
        );
    }
    if problems.is_empty() {
        Ok(Loaded { message, ignored })
    } else {
        Err(LoadError::Invalid(Problems(problems)))
    }
}

/// How the control plane is reached, if the bootstrap has one. `load` has checked it.
pub fn ads_source(message: &Bootstrap) -> Option<AdsSource> {
    let dynamic = message.dynamic_resources.as_ref()?;
    let ads = dynamic.ads_config.as_ref()?;
    Some(AdsSource {
        protocol: match ads.api_type() {
            ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc => Protocol::Delta,
            _ => Protocol::Sotw,
        },
        cluster: ads.grpc_services.iter().find_map(cluster_of)?.to_owned(),
        node_in_every_request: !ads.set_node_on_first_message_only,
        back_off: ads.grpc_services.iter().find_map(back_off_of),
        clusters: dynamic.cds_config.as_ref().is_some_and(is_ads),
        listeners: dynamic.lds_config.as_ref().is_some_and(is_ads),
    })
}

/// The node as requests carry it: the bootstrap's, with who we are.
pub fn node(message: &Bootstrap) -> Node {
    let mut node = message.node.clone().unwrap_or_default();
    node.user_agent_name = "carbyne-proxy".to_owned();
    let mut numbers = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|number| number.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    node.user_agent_version_type =
        Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion {
                major_number: next(),
                minor_number: next(),
                patch: next(),
            }),
            metadata: None,
        }));
    node
}

/// Merges as protobuf does (`MergeFrom`): scalars replace, lists grow, messages merge field by field.
pub fn merge(message: &mut Bootstrap, over: &Bootstrap) {
    // Decoding over a message is defined as merging, and these bytes are our own.
    if let Err(error) = message.merge(&*over.encode_to_vec()) {
        tracing::error!(%error, "override does not merge");
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Yaml,
}

type Decoded = Result<(Bootstrap, Vec<String>), Vec<Problem>>;

fn decode_file(path: &Path, bytes: &[u8], allow_unknown: bool) -> Decoded {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let format = match extension {
        "pb" => {
            return Bootstrap::decode(bytes)
                .map(|message| (message, Vec::new()))
                .map_err(|error| {
                    vec![Problem::whole(format!(
                        "is not an encoded Bootstrap: {error}"
                    ))]
                });
        }
        "pb_text" => {
            let mut problem = Problem::whole("text-format protobuf is not read".to_owned());
            problem.hint = Some("write the same configuration as YAML or JSON".to_owned());
            return Err(vec![problem]);
        }
        "yaml" | "yml" => Format::Yaml,
        _ => Format::Json,
    };
    let Ok(text) = str::from_utf8(bytes) else {
        return Err(vec![Problem::whole("is not UTF-8 text".to_owned())]);
    };
    decode_text(text, format, allow_unknown)
}

fn decode_text(text: &str, format: Format, allow_unknown: bool) -> Decoded {
    let value: Value = match format {
        Format::Json => serde_json::from_str(text)
            .map_err(|error| vec![Problem::whole(format!("is not JSON: {error}"))])?,
        Format::Yaml => serde_saphyr::from_str(text)
            .map_err(|error| vec![Problem::whole(format!("is not YAML: {error}"))])?,
    };
    // An empty YAML text is an empty message, as in Envoy.
    let value = if value.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        value
    };
    let decoded = if allow_unknown {
        json::from_json_tolerant(&value)
    } else {
        json::from_json(&value).map(|message| (message, Vec::new()))
    };
    decoded.map_err(|errors| {
        let problem = |error: json::JsonError| Problem {
            hint: hint::hint(&error),
            origin: String::new(),
            path: error.path,
            reason: error.reason,
        };
        errors.0.into_iter().map(problem).collect()
    })
}

/// Options win over the file, as in Envoy.
fn apply_options(message: &mut Bootstrap, source: &Source) {
    if source.node.is_none() && source.cluster.is_none() && source.zone.is_none() {
        return;
    }
    let node = message.node.get_or_insert_default();
    if let Some(id) = &source.node {
        node.id.clone_from(id);
    }
    if let Some(cluster) = &source.cluster {
        node.cluster.clone_from(cluster);
    }
    if let Some(zone) = &source.zone {
        node.locality.get_or_insert_default().zone.clone_from(zone);
    }
}

/// What concerns the bootstrap as a whole; listeners and clusters are judged where they are planned.
fn check(message: &Bootstrap) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(dynamic) = &message.dynamic_resources else {
        return problems;
    };
    for (name, source) in [
        ("cds_config", &dynamic.cds_config),
        ("lds_config", &dynamic.lds_config),
    ] {
        let path = format!("dynamic_resources.{name}");
        match source.as_ref().map(|source| &source.config_source_specifier) {
            None => {}
            Some(Some(ConfigSourceSpecifier::Ads(_))) if dynamic.ads_config.is_some() => {}
            Some(Some(ConfigSourceSpecifier::Ads(_))) => problems.push(Problem::at(
                path,
                "refers to ADS, but dynamic_resources.ads_config is missing",
                "add ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: …}}]}",
            )),
            Some(_) => problems.push(Problem::at(path, "only ADS is served here", "write ads: {}")),
        }
    }
    let Some(ads) = &dynamic.ads_config else {
        return problems;
    };
    let node = message.node.clone().unwrap_or_default();
    for (name, value, option) in [
        ("id", &node.id, "--service-node"),
        ("cluster", &node.cluster, "--service-cluster"),
    ] {
        if value.is_empty() {
            problems.push(Problem::at(
                format!("node.{name}"),
                "is required where configuration comes over ADS",
                &format!("set it, or start with {option}"),
            ));
        }
    }
    check_ads(message, ads, &mut problems);
    problems
}

fn check_ads(message: &Bootstrap, ads: &ApiConfigSource, problems: &mut Vec<Problem>) {
    let path = "dynamic_resources.ads_config";
    match ApiType::try_from(ads.api_type) {
        Ok(
            ApiType::Grpc
            | ApiType::DeltaGrpc
            | ApiType::AggregatedGrpc
            | ApiType::AggregatedDeltaGrpc,
        ) => {}
        found => problems.push(Problem::at(
            format!("{path}.api_type"),
            &format!(
                "expected GRPC or DELTA_GRPC, found {}",
                found.map_or("an unknown value", |found| found.as_str_name())
            ),
            "write GRPC or DELTA_GRPC",
        )),
    }
    if ads.transport_api_version == ApiVersion::V2 as i32 {
        problems.push(Problem::at(
            format!("{path}.transport_api_version"),
            "version 2 of the API is gone",
            "write V3",
        ));
    }
    let known: BTreeSet<&str> = message
        .static_resources
        .iter()
        .flat_map(|resources| &resources.clusters)
        .map(|cluster| &*cluster.name)
        .collect();
    if ads.grpc_services.is_empty() {
        problems.push(Problem::at(
            format!("{path}.grpc_services"),
            "names no control plane",
            "write [{envoy_grpc: {cluster_name: …}}] with the name of a static cluster",
        ));
    }
    for (index, service) in ads.grpc_services.iter().enumerate() {
        let path = format!("{path}.grpc_services[{index}]");
        match cluster_of(service) {
            Some(name) if known.contains(name) => {}
            Some(name) => problems.push(Problem::at(
                format!("{path}.envoy_grpc.cluster_name"),
                &format!("{name:?} is not among static_resources.clusters"),
                &match hint::nearest(name, known.iter().copied()) {
                    Some(near) => format!("write {near:?}"),
                    None => "add the cluster there".to_owned(),
                },
            )),
            None => problems.push(Problem::at(
                path,
                "only envoy_grpc is served",
                "write envoy_grpc: {cluster_name: …}",
            )),
        }
    }
}

fn cluster_of(service: &GrpcService) -> Option<&str> {
    match &service.target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => Some(&envoy.cluster_name),
        _ => None,
    }
}

fn back_off_of(service: &GrpcService) -> Option<(Duration, Duration)> {
    let Some(TargetSpecifier::EnvoyGrpc(envoy)) = &service.target_specifier else {
        return None;
    };
    let wanted = envoy.retry_policy.as_ref()?.retry_back_off?;
    let time = |time: carbyne_protos::prost_types::Duration| {
        Duration::try_from(time).ok().filter(|time| !time.is_zero())
    };
    let base = time(wanted.base_interval?)?;
    // Envoy: ten times the shortest where it is not said.
    let max = wanted.max_interval.and_then(time).unwrap_or(base * 10);
    Some((base, max))
}

fn is_ads(source: &ConfigSource) -> bool {
    matches!(
        source.config_source_specifier,
        Some(ConfigSourceSpecifier::Ads(_))
    )
}

impl Problem {
    fn whole(reason: String) -> Self {
        Self {
            origin: String::new(),
            path: String::new(),
            reason,
            hint: None,
        }
    }

    fn at(path: impl Into<String>, reason: &str, hint: &str) -> Self {
        Self {
            origin: String::new(),
            path: path.into(),
            reason: reason.to_owned(),
            hint: Some(hint.to_owned()),
        }
    }

    fn of(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.origin);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.origin)?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.reason)?;
        match &self.hint {
            Some(hint) => write!(formatter, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

/// The entry of the fuzz target: whatever a file says, it is refused or understood, and what is understood prints as
/// JSON that means the same.
pub fn fuzz(data: &[u8]) {
    let format = match data.first() {
        Some(b'{') => "bootstrap.json",
        Some(b'\n' | 0x12 | 0x1a | 0x22) => "bootstrap.pb",
        _ => "bootstrap.yaml",
    };
    for allow_unknown in [false, true] {
        let Ok((message, _)) = decode_file(Path::new(format), data, allow_unknown) else {
            continue;
        };
        let _problems = check(&message);
        let _source = (ads_source(&message), node(&message));
        // Refused or not: planning answers.
        let _refused = crate::server::run::check(&message);
        let printed = json::to_json(&message);
        if let Ok(read) = json::from_json::<Bootstrap>(&printed) {
            assert_eq!(json::to_json(&read), printed, "means something else");
        }
    }
}

#[cfg(test)]
mod tests;
