//! A route, read from its row.

use http::StatusCode;

use crate::schema::is_uuid;
use crate::value::{self, Object, Value};

/// A route: which requests it wants, and how they go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    pub id: Box<str>,
    pub name: Option<Box<str>>,
    /// The id of the service; a route without one answers by its plugins alone.
    pub service: Option<Box<str>>,
    /// Never empty.
    pub protocols: Vec<Protocol>,
    pub methods: Vec<Box<str>>,
    /// With `*` in place of the first or last label, with or without a port.
    pub hosts: Vec<Box<str>>,
    /// Prefixes, or regular expressions behind `~`.
    pub paths: Vec<Box<str>>,
    /// Names with their values; a value behind `~*` is a regular expression.
    pub headers: Vec<(Box<str>, Vec<Box<str>>)>,
    pub snis: Vec<Box<str>>,
    pub sources: Vec<Peer>,
    pub destinations: Vec<Peer>,
    pub regex_priority: i64,
    /// In place of the fields above, with `router_flavor = expressions`.
    pub expression: Option<Box<str>>,
    pub priority: u64,
    pub strip_path: bool,
    pub preserve_host: bool,
    pub path_handling: PathHandling,
    pub https_redirect_status_code: StatusCode,
    pub request_buffering: bool,
    pub response_buffering: bool,
}

/// What a route serves.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    Grpc,
    Grpcs,
    Http,
    Https,
    Tcp,
    Tls,
    TlsPassthrough,
    Udp,
}

/// One end of a connection: an address or a network, a port, or both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    pub ip: Option<Box<str>>,
    pub port: Option<u16>,
}

/// How the paths of service, route and request become one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PathHandling {
    #[default]
    V0,
    /// Of `router_flavor = traditional` alone: the others treat it as `v0`, as Kong's do.
    V1,
}

/// What is wrong with a row.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RouteError {
    pub field: String,
    pub problem: &'static str,
}

impl Route {
    /// Reads a row. The store's rows were validated when they were written: what this refuses was
    /// written by somebody else.
    pub fn read(row: &Object) -> Result<Self, Vec<RouteError>> {
        let mut reader = Reader {
            row,
            errors: Vec::new(),
        };
        let route = Self {
            id: reader.id(),
            name: reader.text("name"),
            service: reader.text("service.id"),
            protocols: reader.protocols(),
            methods: reader.texts("methods"),
            hosts: reader.texts("hosts"),
            paths: reader.texts("paths"),
            headers: reader.headers(),
            snis: reader.texts("snis"),
            sources: reader.peers("sources"),
            destinations: reader.peers("destinations"),
            regex_priority: reader.integer("regex_priority").unwrap_or_default(),
            expression: reader.text("expression"),
            priority: reader.priority(),
            strip_path: reader.switch("strip_path", true),
            preserve_host: reader.switch("preserve_host", false),
            path_handling: reader.path_handling(),
            https_redirect_status_code: reader.status(),
            request_buffering: reader.switch("request_buffering", true),
            response_buffering: reader.switch("response_buffering", true),
        };
        match reader.errors.is_empty() {
            true => Ok(route),
            false => Err(reader.errors),
        }
    }

    /// What to call the route in a log.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    /// Whether the route is of connections, not of requests.
    pub fn is_stream(&self) -> bool {
        self.protocols
            .first()
            .is_some_and(|first| first.is_stream())
    }
}

impl Protocol {
    /// The protocol of a name in a row.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "grpc" => Self::Grpc,
            "grpcs" => Self::Grpcs,
            "http" => Self::Http,
            "https" => Self::Https,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "tls_passthrough" => Self::TlsPassthrough,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// Whether it is of connections, not of requests.
    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Tls | Self::TlsPassthrough | Self::Udp
        )
    }
}

struct Reader<'a> {
    row: &'a Object,
    errors: Vec<RouteError>,
}

impl<'a> Reader<'a> {
    fn value(&self, field: &str) -> Option<&'a Value> {
        value::at(self.row, field).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, field: &str, problem: &'static str) {
        self.errors.push(RouteError {
            field: field.into(),
            problem,
        });
    }

    fn id(&mut self) -> Box<str> {
        let id = self.value("id").and_then(Value::as_str).unwrap_or_default();
        if !is_uuid(id) {
            self.wrong("id", "is no UUID");
        }
        id.into()
    }

    fn text(&mut self, field: &str) -> Option<Box<str>> {
        let value = self.value(field)?;
        if value.as_str().is_none() {
            self.wrong(field, "is no text");
        }
        value.as_str().map(Into::into)
    }

    fn items(&mut self, field: &str) -> &'a [Value] {
        match self.value(field) {
            None => &[],
            // An empty table is stored as an empty object where it once was one.
            Some(Value::Object(members)) if members.is_empty() => &[],
            Some(value) => value.as_array().unwrap_or_else(|| {
                self.wrong(field, "is no list");
                &[]
            }),
        }
    }

    fn texts(&mut self, field: &str) -> Vec<Box<str>> {
        let items = self.items(field);
        self.texts_of(items, field)
    }

    fn texts_of(&mut self, items: &[Value], field: &str) -> Vec<Box<str>> {
        // Room for as many as there are, no more: this is kept for each of many routes.
        let mut texts = Vec::with_capacity(items.len());
        texts.extend(items.iter().filter_map(Value::as_str).map(Box::from));
        if texts.len() < items.len() {
            self.wrong(field, "holds something else than texts");
        }
        texts
    }

    fn protocols(&mut self) -> Vec<Protocol> {
        let names = self.texts("protocols");
        let mut protocols = Vec::with_capacity(names.len());
        protocols.extend(names.iter().filter_map(|name| Protocol::named(name)));
        if protocols.is_empty() || protocols.len() != names.len() {
            self.wrong("protocols", "names no protocol that is served");
        } else if protocols
            .iter()
            .any(|protocol| protocol.is_stream() != protocols[0].is_stream())
        {
            self.wrong("protocols", "mixes requests and connections");
        }
        protocols
    }

    fn headers(&mut self) -> Vec<(Box<str>, Vec<Box<str>>)> {
        let members = match self.value("headers") {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.is_empty() => return Vec::new(),
            Some(value) => value.as_object(),
        };
        let Some(members) = members else {
            self.wrong("headers", "is no object");
            return Vec::new();
        };
        let mut headers = Vec::with_capacity(members.len());
        for (name, values) in members {
            let field = format!("headers.{name}");
            let Some(items) = values.as_array() else {
                self.wrong(&field, "is no list");
                continue;
            };
            headers.push((name.as_str().into(), self.texts_of(items, &field)));
        }
        headers
    }

    fn peers(&mut self, field: &str) -> Vec<Peer> {
        let mut peers = Vec::new();
        for item in self.items(field) {
            let part = |name: &str| item.get(name).filter(|value| !value.is_null());
            let (ip, port) = (part("ip"), part("port"));
            let number = port
                .and_then(Value::as_number)
                .and_then(value::as_integer)
                .and_then(|port| u16::try_from(port).ok());
            let ip_is_text = ip.is_none_or(|ip| ip.as_str().is_some());
            if !ip_is_text || number.is_some() != port.is_some() || ip.is_none() && port.is_none() {
                self.wrong(field, "holds something else than addresses and ports");
                continue;
            }
            peers.push(Peer {
                ip: ip.and_then(Value::as_str).map(Into::into),
                port: number,
            });
        }
        peers
    }

    fn integer(&mut self, field: &str) -> Option<i64> {
        let value = self.value(field)?;
        let integer = value.as_number().and_then(value::as_integer);
        if integer.is_none() {
            self.wrong(field, "is no integer");
        }
        integer
    }

    fn priority(&mut self) -> u64 {
        let priority = self.integer("priority").unwrap_or_default();
        u64::try_from(priority).unwrap_or_else(|_| {
            self.wrong("priority", "is negative");
            0
        })
    }

    fn switch(&mut self, field: &str, default: bool) -> bool {
        let Some(value) = self.value(field) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(field, "is no switch");
            default
        })
    }

    fn path_handling(&mut self) -> PathHandling {
        match self.text("path_handling").as_deref() {
            None | Some("v0") => PathHandling::V0,
            Some("v1") => PathHandling::V1,
            Some(_) => {
                self.wrong("path_handling", "is neither v0 nor v1");
                PathHandling::V0
            }
        }
    }

    fn status(&mut self) -> StatusCode {
        let field = "https_redirect_status_code";
        match self.integer(field) {
            None | Some(426) => StatusCode::UPGRADE_REQUIRED,
            Some(301) => StatusCode::MOVED_PERMANENTLY,
            Some(302) => StatusCode::FOUND,
            Some(307) => StatusCode::TEMPORARY_REDIRECT,
            Some(308) => StatusCode::PERMANENT_REDIRECT,
            Some(_) => {
                self.wrong(field, "is none of 426, 301, 302, 307, 308");
                StatusCode::UPGRADE_REQUIRED
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Route, Vec<RouteError>> {
        let row = Value::from_json(json.as_bytes()).unwrap();
        Route::read(row.as_object().unwrap())
    }

    #[test]
    fn a_row_is_read_with_its_defaults() {
        let route = read(
            r#"{"id":"e8fb37f1-102d-461e-9c51-6608a6bb8101","name":"a","service":{"id":"s"},
                "protocols":["https"],"hosts":["a.com"],"headers":{"X-A":["1","~*b"]},
                "sources":[{"ip":"10.0.0.0/8","port":null},{"ip":null,"port":80}],
                "methods":null,"strip_path":false,"https_redirect_status_code":308,"regex_priority":5}"#,
        )
        .unwrap();
        assert_eq!(route.label(), "a");
        assert_eq!(route.service.as_deref(), Some("s"));
        assert_eq!(route.protocols, [Protocol::Https]);
        assert_eq!(
            route.headers,
            [("X-A".into(), vec!["1".into(), "~*b".into()])]
        );
        let peers = [(Some("10.0.0.0/8".into()), None), (None, Some(80))]
            .map(|(ip, port)| Peer { ip, port });
        assert_eq!(route.sources, peers);
        assert!(route.methods.is_empty() && route.request_buffering && !route.strip_path);
        assert_eq!(
            route.https_redirect_status_code,
            StatusCode::PERMANENT_REDIRECT
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let errors = read(
            r#"{"id":"x","protocols":["http","tcp"],"hosts":"a","headers":{"a":1},"paths":[1],
                "sources":[{}],"priority":-1,"strip_path":1,"path_handling":"v2"}"#,
        )
        .unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "id",
                "protocols",
                "hosts",
                "paths",
                "headers.a",
                "sources",
                "priority",
                "strip_path",
                "path_handling"
            ]
        );
    }
}
