//! A service, read from its row.

use std::time::Duration;

use super::route::Protocol;
use crate::value::{self, Object, Value};

/// A service: where requests go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    pub id: Box<str>,
    pub name: Option<Box<str>>,
    /// Routes of a service that is not enabled do not exist.
    pub enabled: bool,
    pub protocol: Protocol,
    /// The name of an upstream, else a host.
    pub host: Box<str>,
    pub port: u16,
    pub path: Option<Box<str>>,
    /// Tries after the first.
    pub retries: u32,
    pub connect_timeout: Duration,
    /// Between two pieces sent.
    pub write_timeout: Duration,
    /// Between two pieces received.
    pub read_timeout: Duration,
    /// The id of the certificate to show to the host.
    pub client_certificate: Option<Box<str>>,
    /// Nothing leaves it to the node's configuration.
    pub tls_verify: Option<bool>,
    pub tls_verify_depth: Option<u32>,
    /// The ids of the authorities that the host's certificate must come from.
    pub ca_certificates: Vec<Box<str>>,
}

/// Why a row is no service.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ServiceError {
    pub field: &'static str,
    pub problem: &'static str,
}

impl Service {
    /// Reads a row. The store's rows were validated when they were written: what this refuses was written by somebody
    /// else.
    pub fn read(row: &Object) -> Result<Self, ServiceError> {
        let wrong = |field, problem| ServiceError { field, problem };
        let text = |field: &str| value::at(row, field).and_then(Value::as_str).map(Box::from);
        let integer = |field: &'static str, default: u32| match row.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(found) => found
                .as_number()
                .and_then(value::as_integer)
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| wrong(field, "is no number of this kind")),
        };
        let milliseconds = |field| {
            let time = integer(field, 60_000)?;
            Ok(Duration::from_millis(time.into()))
        };
        let protocol = text("protocol").unwrap_or_else(|| "http".into());
        let certificates = row.get("ca_certificates").and_then(Value::as_array);
        Ok(Self {
            id: text("id").ok_or_else(|| wrong("id", "is missing"))?,
            name: text("name"),
            enabled: row.get("enabled").and_then(Value::as_bool) != Some(false),
            protocol: Protocol::named(&protocol)
                .ok_or_else(|| wrong("protocol", "is not served"))?,
            host: text("host").ok_or_else(|| wrong("host", "is missing"))?,
            port: u16::try_from(integer("port", 80)?).map_err(|_| wrong("port", "is no port"))?,
            path: text("path"),
            retries: integer("retries", 5)?,
            connect_timeout: milliseconds("connect_timeout")?,
            write_timeout: milliseconds("write_timeout")?,
            read_timeout: milliseconds("read_timeout")?,
            client_certificate: text("client_certificate.id"),
            tls_verify: row.get("tls_verify").and_then(Value::as_bool),
            tls_verify_depth: match row.get("tls_verify_depth") {
                None | Some(Value::Null) => None,
                Some(_) => Some(integer("tls_verify_depth", 0)?),
            },
            ca_certificates: certificates
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_str)
                .map(Box::from)
                .collect(),
        })
    }

    /// What to call the service in metrics and logs.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.host)
    }

    /// Whether TLS is spoken to the hosts.
    pub const fn is_secure(&self) -> bool {
        matches!(
            self.protocol,
            Protocol::Https | Protocol::Grpcs | Protocol::Tls
        )
    }

    /// Whether HTTP/2 is spoken to the hosts: only gRPC needs it, as in Kong.
    pub const fn is_grpc(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc | Protocol::Grpcs)
    }
}
