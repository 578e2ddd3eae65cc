//! Small values that many messages share: times, shares, texts, addresses, metadata.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::net::Address;
use carbyne_protos::envoy::config::core::v3 as core;
use carbyne_protos::envoy::config::core::v3::address::Address as WireAddress;
use carbyne_protos::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use carbyne_protos::envoy::config::core::v3::data_source::Specifier;
use carbyne_protos::envoy::config::core::v3::grpc_service::TargetSpecifier;
use carbyne_protos::envoy::config::core::v3::socket_address::PortSpecifier;
use carbyne_protos::envoy::r#type::v3 as types;
use carbyne_protos::json;
use carbyne_protos::prost_types;

use super::error::Fault;
use super::scope::Scope;
use crate::live::matcher::{Cidr, Fraction};

/// A time that is not negative.
pub fn duration(value: Option<&prost_types::Duration>, scope: &Scope<'_>) -> Option<Duration> {
    let value = value?;
    let parts = u64::try_from(value.seconds).ok().zip(
        u32::try_from(value.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000),
    );
    match parts {
        Some((seconds, nanos)) => Some(Duration::new(seconds, nanos)),
        None => {
            scope.out_of_range(
                format_args!("{}s {}ns", value.seconds, value.nanos),
                "a duration from 0",
            );
            None
        }
    }
}

/// A time that is more than nothing.
pub fn positive_duration(
    value: Option<&prost_types::Duration>,
    scope: &Scope<'_>,
) -> Option<Duration> {
    let time = duration(value, scope)?;
    if time.is_zero() {
        scope.out_of_range("0s", "a duration above 0");
        return None;
    }
    Some(time)
}

/// A limit in time where zero means none: unset takes `default`.
pub fn limit(
    value: Option<&prost_types::Duration>,
    default: Option<Duration>,
    scope: &Scope<'_>,
) -> Option<Duration> {
    match value {
        None => default,
        Some(_) => duration(value, scope).filter(|time| !time.is_zero()),
    }
}

/// A percentage from 0 to 100.
pub fn percent(value: Option<&types::Percent>, scope: &Scope<'_>) -> Option<f64> {
    let value = value?.value;
    if (0.0..=100.0).contains(&value) {
        return Some(value);
    }
    scope.out_of_range(value, "a percentage from 0 to 100");
    None
}

/// A share of requests.
pub fn fraction(value: &types::FractionalPercent, scope: &Scope<'_>) -> Option<Fraction> {
    use types::fractional_percent::DenominatorType;
    let denominator = match DenominatorType::try_from(value.denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => {
            scope.out_of_range(
                value.denominator,
                "one of the denominators 100, 10000, 1000000",
            );
            return None;
        }
    };
    Some(Fraction::new(value.numerator, denominator))
}

/// A share whose runtime key is not looked at: there is no runtime here, so the default holds. Without a default it is all (Envoy).
pub fn runtime_fraction(
    value: &core::RuntimeFractionalPercent,
    scope: &Scope<'_>,
) -> Option<Fraction> {
    match &value.default_value {
        Some(default) => fraction(default, &scope.field("default_value")),
        None => Some(Fraction::ALL),
    }
}

/// A number within bounds, or its default.
pub fn within(
    value: Option<u32>,
    bounds: std::ops::RangeInclusive<u32>,
    expected: &'static str,
    default: u32,
    scope: &Scope<'_>,
) -> u32 {
    match value {
        None => default,
        Some(value) if bounds.contains(&value) => value,
        Some(value) => {
            scope.out_of_range(value, expected);
            default
        }
    }
}

/// A port number.
pub fn port(value: u32, scope: &Scope<'_>) -> Option<u16> {
    let port = u16::try_from(value).ok();
    if port.is_none() {
        scope.out_of_range(value, "a port (0 to 65535)");
    }
    port
}

/// A range of addresses.
pub fn cidr(range: &core::CidrRange, scope: &Scope<'_>) -> Option<Cidr> {
    let Ok(address) = range.address_prefix.parse::<IpAddr>() else {
        scope
            .field("address_prefix")
            .out_of_range(format_args!("`{}`", range.address_prefix), "an IP address");
        return None;
    };
    let length = range.prefix_len.unwrap_or(0);
    let cidr = Cidr::new(address, length);
    if cidr.is_none() {
        scope
            .field("prefix_len")
            .out_of_range(length, "a prefix length of that address");
    }
    cidr
}

/// Ranges of addresses.
pub fn cidrs(ranges: &[core::CidrRange], name: &'static str, scope: &Scope<'_>) -> Vec<Cidr> {
    let plan = |(index, range)| cidr(range, &scope.item(name, index));
    ranges.iter().enumerate().filter_map(plan).collect()
}

/// Where a socket is; names are not allowed.
pub fn address(address: Option<&core::Address>, scope: &Scope<'_>) -> Option<Address> {
    match address.and_then(|address| address.address.as_ref()) {
        Some(WireAddress::SocketAddress(socket)) => {
            socket_address(socket, &scope.field("socket_address")).map(Address::Tcp)
        }
        Some(WireAddress::Pipe(pipe)) if !pipe.path.is_empty() => Some(Address::unix(&pipe.path)),
        Some(WireAddress::Pipe(_)) => {
            scope.field("pipe").field("path").missing();
            None
        }
        Some(WireAddress::EnvoyInternalAddress(_)) => {
            scope.reject(Fault::Words("internal addresses are not served"));
            None
        }
        None => {
            scope.missing();
            None
        }
    }
}

/// An IP address and a port.
pub fn socket_address(socket: &core::SocketAddress, scope: &Scope<'_>) -> Option<SocketAddr> {
    let ip = socket.address.parse::<IpAddr>();
    if ip.is_err() {
        scope
            .field("address")
            .out_of_range(format_args!("`{}`", socket.address), "an IP address");
    }
    let port = socket_port(socket, scope);
    Some(SocketAddr::new(ip.ok()?, port?))
}

/// The port of an address; TCP only.
pub fn socket_port(socket: &core::SocketAddress, scope: &Scope<'_>) -> Option<u16> {
    if socket.protocol != core::socket_address::Protocol::Tcp as i32 {
        scope.field("protocol").out_of_range(socket.protocol, "TCP");
        return None;
    }
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(value)) => port(*value, &scope.field("port_value")),
        Some(PortSpecifier::NamedPort(name)) => {
            scope
                .field("named_port")
                .out_of_range(format_args!("`{name}`"), "a port number");
            None
        }
        None => Some(0),
    }
}

/// The bytes of a data source; files are read now. An empty one is nothing.
pub fn data(source: Option<&core::DataSource>, scope: &Scope<'_>) -> Option<Vec<u8>> {
    match source?.specifier.as_ref()? {
        Specifier::Filename(path) => match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                scope.field("filename").reject(Fault::File {
                    path: path.clone(),
                    reason: error.to_string(),
                });
                None
            }
        },
        Specifier::InlineBytes(bytes) => Some(bytes.clone()),
        Specifier::InlineString(text) => Some(text.clone().into_bytes()),
        Specifier::EnvironmentVariable(name) => match std::env::var(name) {
            Ok(text) => Some(text.into_bytes()),
            Err(_) => {
                scope
                    .field("environment_variable")
                    .out_of_range(format_args!("`{name}`"), "a variable of the environment");
                None
            }
        },
    }
}

/// `filter_metadata` as JSON; nothing where there is none.
pub fn metadata(metadata: Option<&core::Metadata>) -> Option<Arc<serde_json::Value>> {
    let metadata = metadata.filter(|metadata| !metadata.filter_metadata.is_empty())?;
    let object = metadata
        .filter_metadata
        .iter()
        .map(|(name, fields)| (name.clone(), json::struct_to_json(fields)));
    Some(Arc::new(serde_json::Value::Object(object.collect())))
}

/// Where resources of a name come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceSource {
    /// The stream that everything comes from.
    Ads,
    /// A service of this cluster.
    Cluster(Arc<str>),
    /// A file.
    File(Arc<str>),
}

/// Where resources of a name come from.
pub fn config_source(
    source: Option<&core::ConfigSource>,
    scope: &Scope<'_>,
) -> Option<ResourceSource> {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {
            Some(ResourceSource::Ads)
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            let scope = scope.field("api_config_source");
            match api
                .grpc_services
                .first()
                .and_then(|service| service.target_specifier.as_ref())
            {
                Some(TargetSpecifier::EnvoyGrpc(grpc)) => Some(ResourceSource::Cluster(Arc::from(
                    grpc.cluster_name.as_str(),
                ))),
                Some(TargetSpecifier::GoogleGrpc(_)) => {
                    scope.item("grpc_services", 0).reject(Fault::Words(
                        "google_grpc is not served, write envoy_grpc with a cluster",
                    ));
                    None
                }
                None => {
                    scope.field("grpc_services").missing();
                    None
                }
            }
        }
        Some(ConfigSourceSpecifier::PathConfigSource(path)) => {
            Some(ResourceSource::File(Arc::from(path.path.as_str())))
        }
        Some(ConfigSourceSpecifier::Path(path)) => {
            Some(ResourceSource::File(Arc::from(path.as_str())))
        }
        None => {
            scope.missing();
            None
        }
    }
}

/// How long the first resource from this source is waited for: 15 s where unset, for ever (`None`) where 0.
pub fn initial_fetch_timeout(
    source: Option<&core::ConfigSource>,
    scope: &Scope<'_>,
) -> Option<Duration> {
    let set = source.and_then(|source| source.initial_fetch_timeout.as_ref());
    match duration(set, &scope.field("initial_fetch_timeout")) {
        Some(Duration::ZERO) => None,
        Some(patience) => Some(patience),
        None => Some(INITIAL_FETCH_TIMEOUT),
    }
}

const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);
