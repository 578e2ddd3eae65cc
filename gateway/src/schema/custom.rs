//! Checks that take more than a pattern; schemas name them.

use super::address::{Address, AddressError, Host, is_ip, is_ip_or_cidr};
use super::crypto;
use super::is_reference;
use super::uri::{Url, normalize};
use crate::value::{self, Object, Value};

mod between;

/// A check of one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validator(fn(&Value) -> Result<(), String>);

/// A check of several fields of an entity.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntityCheck(fn(&Object) -> Result<(), String>);

impl Validator {
    /// The check that a schema names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(Self(match name {
            "acme_namespace" => |value| acme_namespace(text(value)),
            "asterisk_or_regex" => |value| asterisk_or_regex(text(value)),
            "certificate" => |value| crypto::certificate(text(value)).map(drop),
            "cookie_name" => |value| cookie_name(text(value)),
            "header_name" => |value| header_name(text(value)),
            "header_pair_name" => |value| header_pair(text(value), false),
            "header_rename" => |value| header_pair(text(value), true),
            "host" => |value| host(text(value)),
            "host_with_optional_port" => |value| host_with_optional_port(text(value)),
            "http_log" => between::http_log,
            "ip" => |value| {
                either(is_ip(text(value)), || {
                    format!("not an ip address: {}", text(value))
                })
            },
            "ip_or_cidr" => |value| {
                either(is_ip_or_cidr(text(value)), || {
                    format!("invalid ip or cidr range: '{}'", text(value))
                })
            },
            "jwt_key" => |value| {
                crypto::key(text(value))
                    .map(drop)
                    .map_err(|_| "invalid key".into())
            },
            "key" => |value| {
                crypto::key(text(value))
                    .map(drop)
                    .map_err(|why| format!("invalid key: {why}"))
            },
            "oauth2_flows" => between::oauth2_flows,
            "path" => |value| path(text(value)),
            "pem" => pem,
            "periods" => |value| between::periods(value, "the"),
            "rate_limits" => between::rate_limits,
            "redirect_uri" => |value| redirect_uri(text(value)),
            "request_termination" => between::request_termination,
            "route_host" => |value| host_with_optional_port(&text(value).replace('*', "abc")),
            "router_path" => |value| router_path(text(value)),
            "shared_dict" => |value| shared_dict(text(value)),
            "sni" => |value| server_name(text(value), text(value)),
            "static_tags" => between::static_tags,
            "tag" => |value| tag(text(value)),
            "target" => |value| target(text(value)),
            "transform_value" => |value| transform_value(text(value)),
            "upstream_name" => |value| upstream_name(text(value)),
            "url" => |value| url(text(value)),
            "utf8_name" => |value| utf8_name(text(value)),
            "wildcard_host" => |value| wildcard_host(text(value)),
            _ => return None,
        }))
    }

    pub(super) fn check(self, value: &Value) -> Result<(), Value> {
        (self.0)(value).map_err(Value::from)
    }
}

impl EntityCheck {
    /// The check that a schema names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(Self(match name {
            "acme_storage" => |_| Ok(()),
            "alternative_differs" => between::alternative_differs,
            "alternative_matches_key" => |entity| {
                between::matches(
                    entity,
                    "cert_alt",
                    "key_alt",
                    "alternative certificate does not match key",
                )
            },
            "aws_proxy_scheme" => between::aws_proxy_scheme,
            "ca_certificate" => between::ca_certificate,
            "certificate_matches_key" => {
                |entity| between::matches(entity, "cert", "key", "certificate does not match key")
            }
            "key_formats" => between::key_formats,
            "llm_statistics" => between::llm_statistics,
            // Deprecated values are only logged.
            "path_handling" => |_| Ok(()),
            "proxy_cache_memory" => between::proxy_cache_memory,
            "route_expression" => between::route,
            "wasm_status" => |_| Err("'wasm' support is not enabled".into()),
            _ => return None,
        }))
    }

    pub(super) fn check(self, entity: &Object) -> Result<(), String> {
        (self.0)(entity)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn either(sound: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if sound { Ok(()) } else { Err(why()) }
}

fn host(host: &str) -> Result<(), String> {
    match Address::parse(host) {
        Ok(Address { port: None, .. }) => Ok(()),
        Err(AddressError::Invalid) => Err(format!("invalid value: {host}")),
        Ok(_) | Err(AddressError::Port) => Err("must not have a port".into()),
    }
}

fn host_with_optional_port(host: &str) -> Result<(), String> {
    Address::parse(host)
        .map(drop)
        .map_err(|error| error.text(host))
}

/// A name for SNI; `shown` is what the user wrote.
fn server_name(host: &str, shown: &str) -> Result<(), String> {
    match Address::parse(host) {
        Err(AddressError::Invalid) => Err(format!("invalid value: {shown}")),
        Ok(Address {
            host: Host::V4(_) | Host::V6(_),
            ..
        }) => Err("must not be an IP".into()),
        Ok(Address { port: None, .. }) => Ok(()),
        Ok(_) | Err(AddressError::Port) => Err("must not have a port".into()),
    }
}

fn wildcard_host(host: &str) -> Result<(), String> {
    let Some(place) = host.find('*') else {
        return server_name(host, host);
    };
    if place != 0 && place != host.len() - 1 {
        return Err("wildcard must be leftmost or rightmost character".into());
    }
    if host.matches('*').count() > 1 {
        return Err("only one wildcard must be specified".into());
    }
    let plain = host.replace('*', "wildcard");
    server_name(&plain, &plain)
}

fn path(path: &str) -> Result<(), String> {
    path_characters(path)?;
    percent(path)
}

/// The characters that RFC 3986 allows in a path.
fn path_characters(path: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/%:@!$&'()*+,;=".contains(&byte);
    either(path.starts_with('/') && path.bytes().all(allowed), || {
        format!(
            "invalid path: '{path}' (characters outside of the reserved list of RFC 3986 found)"
        )
    })
}

fn percent(path: &str) -> Result<(), String> {
    for (index, _) in path.match_indices('%') {
        let digits = path.as_bytes().get(index + 1..index + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let shown: String = path[index..].chars().take(3).collect();
            return Err(format!("invalid url-encoded value: '{shown}'"));
        }
    }
    Ok(())
}

/// A path of a route: plain and normal, or `~` and a regular expression.
fn router_path(path: &str) -> Result<(), String> {
    if path_characters(path).is_ok() {
        percent(path)?;
    }
    match path.strip_prefix('~') {
        None => {
            let normal = normalize(path);
            either(path == normal, || {
                format!("non-normalized path, consider use '{normal}' instead")
            })
        }
        Some(regex) => match fancy_regex::Regex::new(regex) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("invalid regex: '{regex}' (PCRE returned: {error})")),
        },
    }
}

fn url(url: &str) -> Result<(), String> {
    let url = Url::parse(url).ok_or("could not parse url. invalid url")?;
    match (url.host, url.scheme) {
        (None, _) => Err("missing host in url".into()),
        (_, None) => Err("missing scheme in url".into()),
        _ => Ok(()),
    }
}

fn redirect_uri(uri: &str) -> Result<(), String> {
    match Url::parse(uri) {
        Some(Url {
            host: Some(_),
            scheme: Some(_),
            fragment: None,
            ..
        }) => Ok(()),
        Some(Url {
            host: Some(_),
            scheme: Some(_),
            ..
        }) => Err(format!("fragment not allowed in '{uri}'")),
        _ => Err(format!("cannot parse '{uri}'")),
    }
}

fn header_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() {
        return Err("no header name provided".into());
    }
    either(name.bytes().all(allowed), || {
        format!("bad header name '{name}', allowed characters are A-Z, a-z, 0-9, '_', and '-'")
    })
}

/// A token of RFC 2616: what Kong 3.9 refuses is told by what may not be in it.
fn cookie_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("no token provided".into());
    }
    let forbidden = |byte: u8| !byte.is_ascii_graphic() || b"()<>@,;:\\\"/?={}[]".contains(&byte);
    either(!name.bytes().any(forbidden), || {
        "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters \
         ()<>@,;:\\\"/?={}[] are not allowed."
            .into()
    })
}

/// `name:value`; the name, and in a renaming the value as well, is a header's.
fn header_pair(pair: &str, rename: bool) -> Result<(), String> {
    let (name, value) = split_pair(pair);
    let sound = |name: &str| {
        either(header_name(name).is_ok(), || {
            format!("'{name}' is not a valid header")
        })
    };
    sound(name)?;
    if rename { sound(value) } else { Ok(()) }
}

/// What stands before the first colon, and after the colons that follow.
fn split_pair(pair: &str) -> (&str, &str) {
    let end = pair.find(':').unwrap_or(pair.len());
    (&pair[..end], pair[end..].trim_start_matches(':'))
}

/// A value that may hold templates: `$(…)`.
fn transform_value(pair: &str) -> Result<(), String> {
    let (name, value) = split_pair(pair);
    if name.is_empty() || value.is_empty() {
        return Err(format!("key '{name}' has no value"));
    }
    let mut depth = 0_i32;
    let mut bytes = value.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'$' if bytes.peek() == Some(&b'(') && depth == 0 => {
                bytes.next();
                depth = 1;
            }
            b'(' if depth > 0 => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    either(depth == 0, || {
        format!("value '{value}' is not in supported format, error:unfinished template")
    })
}

fn asterisk_or_regex(value: &str) -> Result<(), String> {
    either(
        value == "*" || fancy_regex::Regex::new(value).is_ok(),
        || format!("'{value}' is not a valid regex"),
    )
}

/// Printable ASCII without `,` and `/`, or anything beyond ASCII.
fn tag(tag: &str) -> Result<(), String> {
    let allowed = |byte: u8| matches!(byte, b' '..=b'+' | b'-' | b'.' | b'0'..=b'~' | 0x80..);
    either(tag.bytes().all(allowed), || {
        format!(
            "invalid tag '{tag}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
        )
    })
}

fn utf8_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | 0x80..)
    };
    either(name.bytes().all(allowed), || {
        format!(
            "invalid value '{name}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
        )
    })
}

fn target(target: &str) -> Result<(), String> {
    either(Address::parse(target).is_ok(), || {
        format!("Invalid target ('{target}'); not a valid hostname or ip address")
    })
}

fn upstream_name(name: &str) -> Result<(), String> {
    let why = match Address::parse(name) {
        Err(_) => "must be a valid hostname",
        Ok(Address {
            host: Host::V4(_) | Host::V6(_),
            ..
        }) => "no ip addresses allowed",
        Ok(Address { port: Some(_), .. }) => "no port allowed",
        Ok(_) => return Ok(()),
    };
    Err(format!("Invalid name ('{name}'); {why}"))
}

fn acme_namespace(namespace: &str) -> Result<(), String> {
    let reserved = [
        "kong_acme:renew_config:",
        "kong_acme:renew_last_run",
        "kong_acme:cert_key:",
    ];
    match reserved.iter().find(|word| namespace.starts_with(*word)) {
        Some(word) => Err(format!(
            "namespace can't be prefixed with reserved word: {word}"
        )),
        None => Ok(()),
    }
}

/// The shared memory zones that Kong's own configuration declares.
fn shared_dict(name: &str) -> Result<(), String> {
    let zones = [
        "kong",
        "kong_locks",
        "kong_healthchecks",
        "kong_cluster_events",
        "kong_rate_limiting_counters",
        "kong_core_db_cache",
        "kong_core_db_cache_miss",
        "kong_db_cache",
        "kong_db_cache_miss",
        "kong_secrets",
        "prometheus_metrics",
    ];
    either(zones.contains(&name), || {
        format!("failed validating: {name}")
    })
}

/// A pair of keys, either of which may be missing or a reference.
fn pem(value: &Value) -> Result<(), String> {
    let part = |name: &str| value.get(name).and_then(Value::as_str);
    let (public, private) = (part("public_key"), part("private_key"));
    if public.is_some_and(is_reference) || private.is_some_and(is_reference) {
        return Ok(());
    }
    let load = |key: Option<&str>, what: &str| match key.map(crypto::key) {
        None => Ok(None),
        Some(Ok(key)) if key.is_private == (what == "private") => Ok(Some(key)),
        Some(_) => Err(format!("could not load {what} key")),
    };
    let public = load(public, "public")?;
    match (public, load(private, "private")?) {
        (Some(public), Some(private)) => either(public.public == private.public, || {
            "public key does not match private key".into()
        }),
        _ => Ok(()),
    }
}

fn field<'a>(entity: &'a Object, path: &str) -> Option<&'a Value> {
    value::at(entity, path).filter(|value| !value.is_null())
}

fn text_at<'a>(entity: &'a Object, path: &str) -> Option<&'a str> {
    field(entity, path)?.as_str()
}
