//! An upstream and its targets, read from their rows.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::value::{self, Object, Value};

/// An upstream: a name behind which targets share the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    pub id: Box<str>,
    pub name: Arc<str>,
    pub algorithm: Algorithm,
    /// What consistent hashing hashes, and what it falls back to.
    pub hash_on: HashOn,
    pub hash_fallback: HashOn,
    /// The path of cookies that hashing makes.
    pub hash_cookie_path: Box<str>,
    /// Points of the ring of consistent hashing.
    pub slots: u32,
    pub healthchecks: Healthchecks,
    /// `Host` for the targets in place of their names.
    pub host_header: Option<Arc<str>>,
    /// The id of the certificate to show to targets, where the service has none of its own.
    pub client_certificate: Option<Box<str>>,
    /// The name of an SRV record's host is its `Host`, in place of the target's name.
    pub use_srv_name: bool,
}

/// How a target is picked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    ConsistentHashing,
    Latency,
    LeastConnections,
    #[default]
    RoundRobin,
}

/// What is hashed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum HashOn {
    Consumer,
    Cookie(Box<str>),
    Header(HeaderName),
    Ip,
    #[default]
    Nothing,
    Path,
    QueryArgument(Box<str>),
    UriCapture(Box<str>),
}

/// How it is found out which targets serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Healthchecks {
    pub active: Active,
    pub passive: Limits,
    /// Percent of the weight that must be available for the upstream to be used.
    pub threshold: f64,
}

/// Checks that the node makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    pub kind: CheckKind,
    pub timeout: Duration,
    /// So many checks at a time.
    pub concurrency: usize,
    pub http_path: Box<str>,
    pub https_sni: Option<Arc<str>>,
    pub https_verify_certificate: bool,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time between checks of targets that are healthy; zero makes none.
    pub healthy_interval: Duration,
    /// Time between checks of targets that are not.
    pub unhealthy_interval: Duration,
    pub limits: Limits,
}

/// What a check speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CheckKind {
    /// Schema and Admin API know it; Kong's checker does not, and makes none.
    Grpc,
    #[default]
    Http,
    Https,
    Tcp,
}

/// Which outcomes count, and how many make a target healthy or not; zero counts none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    pub healthy_statuses: Vec<u16>,
    pub successes: u8,
    pub unhealthy_statuses: Vec<u16>,
    pub http_failures: u8,
    pub tcp_failures: u8,
    pub timeouts: u8,
}

/// A target of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub id: Box<str>,
    /// The id of its upstream.
    pub upstream: Box<str>,
    pub host: Host,
    pub port: u16,
    /// Its share of the load; zero gets none.
    pub weight: u32,
    pub created_at: f64,
}

/// The host of a target, as it is written: IPv6 addresses in brackets and in full.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    pub text: Arc<str>,
    /// The address that it is, if it is no name.
    pub address: Option<IpAddr>,
}

/// Why a row is no upstream or no target.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct UpstreamError {
    pub field: &'static str,
    pub problem: &'static str,
}

impl Upstream {
    /// Reads a row. Rows were validated when they were written: what this refuses was written by somebody else.
    pub fn read(row: &Object) -> Result<Self, UpstreamError> {
        let row = Reader(row);
        let algorithm = match row.text("algorithm") {
            None | Some("round-robin") => Algorithm::RoundRobin,
            Some("consistent-hashing") => Algorithm::ConsistentHashing,
            Some("latency") => Algorithm::Latency,
            Some("least-connections") => Algorithm::LeastConnections,
            Some(_) => return Err(wrong("algorithm", "is not served")),
        };
        Ok(Self {
            id: row.required("id")?.into(),
            name: row.required("name")?.into(),
            algorithm,
            hash_on: row.hash_on(&HASH_ON)?,
            hash_fallback: row.hash_on(&HASH_FALLBACK)?,
            hash_cookie_path: row.text("hash_on_cookie_path").unwrap_or("/").into(),
            slots: row.integer("slots", 10_000)?,
            healthchecks: row.healthchecks()?,
            host_header: row.text("host_header").map(Arc::from),
            client_certificate: row.text("client_certificate.id").map(Box::from),
            use_srv_name: row.truth("use_srv_name", false),
        })
    }
}

impl Healthchecks {
    /// Whether anything can make a target unhealthy but the Admin API. Where nothing can, Kong calls the checks off.
    pub fn are_on(&self) -> bool {
        let passive = &self.passive;
        !self.active.healthy_interval.is_zero()
            || !self.active.unhealthy_interval.is_zero()
            || passive.http_failures != 0
            || passive.tcp_failures != 0
            || passive.timeouts != 0
    }
}

impl Active {
    /// Whether the node checks by itself.
    pub fn is_on(&self) -> bool {
        self.kind != CheckKind::Grpc
            && !(self.healthy_interval.is_zero() && self.unhealthy_interval.is_zero())
    }
}

impl Target {
    /// Reads a row, of which the target has a port: it was written so.
    pub fn read(row: &Object) -> Result<Self, UpstreamError> {
        let row = Reader(row);
        let (host, port) = row
            .required("target")?
            .rsplit_once(':')
            .ok_or_else(|| wrong("target", "has no port"))?;
        Ok(Self {
            id: row.required("id")?.into(),
            upstream: row.required("upstream.id")?.into(),
            host: Host::new(host),
            port: port.parse().map_err(|_| wrong("target", "has no port"))?,
            weight: row.integer("weight", 100)?,
            created_at: row.number("created_at", 0.0)?,
        })
    }
}

impl Host {
    /// The host that a text names.
    pub fn new(text: &str) -> Self {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        Self {
            address: bare.unwrap_or(text).parse().ok(),
            text: text.to_ascii_lowercase().into(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The fields that say what is hashed.
struct HashFields {
    on: &'static str,
    header: &'static str,
    query_argument: &'static str,
    uri_capture: &'static str,
}

const HASH_ON: HashFields = HashFields {
    on: "hash_on",
    header: "hash_on_header",
    query_argument: "hash_on_query_arg",
    uri_capture: "hash_on_uri_capture",
};

const HASH_FALLBACK: HashFields = HashFields {
    on: "hash_fallback",
    header: "hash_fallback_header",
    query_argument: "hash_fallback_query_arg",
    uri_capture: "hash_fallback_uri_capture",
};

/// A row; null is as good as absent.
struct Reader<'a>(&'a Object);

impl<'a> Reader<'a> {
    fn text(&self, field: &str) -> Option<&'a str> {
        value::at(self.0, field).and_then(Value::as_str)
    }

    fn required(&self, field: &'static str) -> Result<&'a str, UpstreamError> {
        self.text(field).ok_or_else(|| wrong(field, "is missing"))
    }

    fn truth(&self, field: &str, default: bool) -> bool {
        value::at(self.0, field)
            .and_then(Value::as_bool)
            .unwrap_or(default)
    }

    fn number(&self, field: &'static str, default: f64) -> Result<f64, UpstreamError> {
        match value::at(self.0, field) {
            None | Some(Value::Null) => Ok(default),
            Some(found) => found
                .as_number()
                .filter(|number| number.is_finite() && *number >= 0.0)
                .ok_or_else(|| wrong(field, "is no number of this kind")),
        }
    }

    fn integer<T: TryFrom<i64>>(
        &self,
        field: &'static str,
        default: T,
    ) -> Result<T, UpstreamError> {
        match value::at(self.0, field) {
            None | Some(Value::Null) => Ok(default),
            Some(found) => found
                .as_number()
                .and_then(value::as_integer)
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| wrong(field, "is no number of this kind")),
        }
    }

    fn seconds(&self, field: &'static str, default: f64) -> Result<Duration, UpstreamError> {
        let seconds = self.number(field, default)?;
        Duration::try_from_secs_f64(seconds).map_err(|_| wrong(field, "is no time"))
    }

    fn statuses(&self, field: &'static str, default: &[u16]) -> Result<Vec<u16>, UpstreamError> {
        let Some(Value::Array(items)) = value::at(self.0, field) else {
            return Ok(default.to_vec());
        };
        let status = |item: &Value| u16::try_from(value::as_integer(item.as_number()?)?).ok();
        items
            .iter()
            .map(|item| status(item).ok_or_else(|| wrong(field, "holds what is no status")))
            .collect()
    }

    fn hash_on(&self, fields: &HashFields) -> Result<HashOn, UpstreamError> {
        Ok(match self.text(fields.on).unwrap_or("none") {
            "none" => HashOn::Nothing,
            "consumer" => HashOn::Consumer,
            "cookie" => HashOn::Cookie(self.required("hash_on_cookie")?.into()),
            "header" => HashOn::Header(
                HeaderName::from_bytes(self.required(fields.header)?.as_bytes())
                    .map_err(|_| wrong(fields.header, "is no name of a header"))?,
            ),
            "ip" => HashOn::Ip,
            "path" => HashOn::Path,
            "query_arg" => HashOn::QueryArgument(self.required(fields.query_argument)?.into()),
            "uri_capture" => HashOn::UriCapture(self.required(fields.uri_capture)?.into()),
            _ => return Err(wrong(fields.on, "is not served")),
        })
    }

    fn healthchecks(&self) -> Result<Healthchecks, UpstreamError> {
        let kind = match self.text("healthchecks.active.type") {
            None | Some("http") => CheckKind::Http,
            Some("https") => CheckKind::Https,
            Some("tcp") => CheckKind::Tcp,
            Some("grpc" | "grpcs") => CheckKind::Grpc,
            Some(_) => return Err(wrong("healthchecks.active.type", "is not served")),
        };
        Ok(Healthchecks {
            active: Active {
                kind,
                timeout: self.seconds("healthchecks.active.timeout", 1.0)?,
                concurrency: self.integer("healthchecks.active.concurrency", 10)?,
                http_path: self
                    .text("healthchecks.active.http_path")
                    .unwrap_or("/")
                    .into(),
                https_sni: self.text("healthchecks.active.https_sni").map(Arc::from),
                https_verify_certificate: self
                    .truth("healthchecks.active.https_verify_certificate", true),
                headers: self.headers("healthchecks.active.headers")?,
                healthy_interval: self.seconds("healthchecks.active.healthy.interval", 0.0)?,
                unhealthy_interval: self.seconds("healthchecks.active.unhealthy.interval", 0.0)?,
                limits: Limits {
                    healthy_statuses: self
                        .statuses("healthchecks.active.healthy.http_statuses", &[200, 302])?,
                    successes: self.integer("healthchecks.active.healthy.successes", 0)?,
                    unhealthy_statuses: self.statuses(
                        "healthchecks.active.unhealthy.http_statuses",
                        &[429, 404, 500, 501, 502, 503, 504, 505],
                    )?,
                    http_failures: self
                        .integer("healthchecks.active.unhealthy.http_failures", 0)?,
                    tcp_failures: self.integer("healthchecks.active.unhealthy.tcp_failures", 0)?,
                    timeouts: self.integer("healthchecks.active.unhealthy.timeouts", 0)?,
                },
            },
            passive: Limits {
                healthy_statuses: self.statuses(
                    "healthchecks.passive.healthy.http_statuses",
                    &[
                        200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304,
                        305, 306, 307, 308,
                    ],
                )?,
                successes: self.integer("healthchecks.passive.healthy.successes", 0)?,
                unhealthy_statuses: self.statuses(
                    "healthchecks.passive.unhealthy.http_statuses",
                    &[429, 500, 503],
                )?,
                http_failures: self.integer("healthchecks.passive.unhealthy.http_failures", 0)?,
                tcp_failures: self.integer("healthchecks.passive.unhealthy.tcp_failures", 0)?,
                timeouts: self.integer("healthchecks.passive.unhealthy.timeouts", 0)?,
            },
            threshold: self.number("healthchecks.threshold", 0.0)?,
        })
    }

    fn headers(
        &self,
        field: &'static str,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, UpstreamError> {
        let Some(Value::Object(members)) = value::at(self.0, field) else {
            return Ok(Vec::new());
        };
        let mut headers = Vec::new();
        for (name, values) in members {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(field, "holds what is no name of a header"))?;
            for value in values.as_array().unwrap_or_default() {
                let value = value
                    .as_str()
                    .and_then(|value| HeaderValue::from_str(value).ok())
                    .ok_or_else(|| wrong(field, "holds what is no value of a header"))?;
                headers.push((name.clone(), value));
            }
        }
        Ok(headers)
    }
}

fn wrong(field: &'static str, problem: &'static str) -> UpstreamError {
    UpstreamError { field, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        match Value::from_json(text.as_bytes()) {
            Ok(Value::Object(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_upstream_of_defaults_is_kongs() {
        let upstream = Upstream::read(&object(r#"{"id":"1","name":"u"}"#)).unwrap();
        assert_eq!(upstream.algorithm, Algorithm::RoundRobin);
        assert_eq!(upstream.slots, 10_000);
        assert_eq!(upstream.hash_on, HashOn::Nothing);
        assert!(!upstream.healthchecks.are_on());
        assert!(!upstream.healthchecks.active.is_on());
        assert_eq!(
            upstream.healthchecks.active.limits.healthy_statuses,
            [200, 302]
        );
        assert_eq!(
            upstream.healthchecks.passive.unhealthy_statuses,
            [429, 500, 503]
        );
    }

    #[test]
    fn what_is_hashed_is_read_with_its_fields() {
        // (fields, hash_on, hash_fallback)
        let header = |name: &'static str| HashOn::Header(HeaderName::from_static(name));
        let cases = [
            (r#""hash_on":"consumer""#, HashOn::Consumer, HashOn::Nothing),
            (
                r#""hash_on":"header","hash_on_header":"X-One","hash_fallback":"ip""#,
                header("x-one"),
                HashOn::Ip,
            ),
            (
                r#""hash_on":"path","hash_fallback":"header","hash_fallback_header":"x-two""#,
                HashOn::Path,
                header("x-two"),
            ),
            (
                r#""hash_on":"query_arg","hash_on_query_arg":"q","hash_fallback":"uri_capture","hash_fallback_uri_capture":"u""#,
                HashOn::QueryArgument("q".into()),
                HashOn::UriCapture("u".into()),
            ),
            (
                r#""hash_on":"ip","hash_fallback":"cookie","hash_on_cookie":"c""#,
                HashOn::Ip,
                HashOn::Cookie("c".into()),
            ),
        ];
        for (fields, on, fallback) in cases {
            let row = object(&format!(r#"{{"id":"1","name":"u",{fields}}}"#));
            let upstream = Upstream::read(&row).unwrap();
            assert_eq!(
                (upstream.hash_on, upstream.hash_fallback),
                (on, fallback),
                "{fields}"
            );
        }
        let row = object(r#"{"id":"1","name":"u","hash_on":"cookie"}"#);
        assert_eq!(
            Upstream::read(&row).unwrap_err().to_string(),
            "hash_on_cookie: is missing"
        );
    }

    #[test]
    fn targets_are_names_or_addresses() {
        for (target, host, address, port) in [
            ("example.com:80", "example.com", None, 80),
            ("Example.com:80", "example.com", None, 80),
            ("10.0.0.1:8000", "10.0.0.1", Some("10.0.0.1"), 8000),
            (
                "[0000:0000:0000:0000:0000:0000:0000:0001]:1",
                "[0000:0000:0000:0000:0000:0000:0000:0001]",
                Some("::1"),
                1,
            ),
        ] {
            let row = object(&format!(
                r#"{{"id":"t","target":"{target}","upstream":{{"id":"u"}},"weight":0}}"#
            ));
            let target = Target::read(&row).unwrap();
            assert_eq!(
                (&*target.host.text, target.port, target.weight),
                (host, port, 0)
            );
            assert_eq!(
                target.host.address,
                address.map(|address| address.parse().unwrap())
            );
        }
    }
}
