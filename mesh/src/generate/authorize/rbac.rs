//! AuthorizationPolicy rules → RBAC policies (istio.md 4.3): AND of ORs, wildcards as matchers.

use serde_json::{Value, json};

use super::Action;
use crate::model::{
    MeshConfig,
    security::{Condition, Rule, Source},
};

/// A rule that cannot be said on this chain and would let too much through if its conditions were dropped.
#[derive(Debug)]
pub(super) struct Unsayable;

type Said = Result<Value, Unsayable>;

/// Where a rule is generated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) mesh: &'a MeshConfig,
    /// Namespace of the policy.
    pub(super) namespace: &'a str,
    /// Nothing of HTTP is known.
    pub(super) tcp: bool,
    pub(super) action: Action,
}

/// What one attribute means.
#[derive(Clone, Copy, Debug)]
enum Attribute<'a> {
    DestinationIp,
    DestinationPort,
    Sni,
    FilterMetadata(&'a str),
    SourceIp,
    RemoteIp,
    Namespace,
    ServiceAccount,
    Principal,
    RequestPrincipal,
    Claim(&'a str),
    Header(&'a str),
    Host,
    Method,
    Path,
}

/// Values and negated values of an attribute.
type Row<'a> = (Attribute<'a>, &'a [String], &'a [String]);

/// One Envoy policy; none when the rule says nothing that this chain can check (DENY on TCP drops HTTP conditions instead).
pub(super) fn policy(place: Place<'_>, rule: &Rule) -> Result<Value, Unsayable> {
    let (mut base_permission, mut base_principal): (Vec<Row<'_>>, Vec<Row<'_>>) =
        (Vec::new(), Vec::new());
    for condition in &rule.when {
        let (attribute, is_permission) = attribute(condition).ok_or(Unsayable)?;
        let row = (
            attribute,
            condition.values.as_slice(),
            condition.not_values.as_slice(),
        );
        if is_permission {
            base_permission.push(row);
        } else {
            base_principal.push(row);
        }
    }
    let mut principals = Vec::new();
    for from in &rule.from {
        let mut rows = source_rows(&from.source);
        rows.extend(base_principal.iter().copied());
        principals.push(all_of(place, &rows, "andIds", "ids", "notId")?);
    }
    if rule.from.is_empty() {
        principals.push(all_of(place, &base_principal, "andIds", "ids", "notId")?);
    }
    let mut permissions = Vec::new();
    for to in &rule.to {
        let operation = &to.operation;
        let mut rows: Vec<Row<'_>> = vec![
            (Attribute::Host, &operation.hosts, &operation.not_hosts),
            (
                Attribute::Method,
                &operation.methods,
                &operation.not_methods,
            ),
            (Attribute::Path, &operation.paths, &operation.not_paths),
            (
                Attribute::DestinationPort,
                &operation.ports,
                &operation.not_ports,
            ),
        ];
        rows.extend(base_permission.iter().copied());
        permissions.push(all_of(place, &rows, "andRules", "rules", "notRule")?);
    }
    if rule.to.is_empty() {
        permissions.push(all_of(
            place,
            &base_permission,
            "andRules",
            "rules",
            "notRule",
        )?);
    }
    Ok(json!({"permissions": permissions, "principals": principals}))
}

fn source_rows(source: &Source) -> Vec<Row<'_>> {
    vec![
        (
            Attribute::Principal,
            &source.principals,
            &source.not_principals,
        ),
        (
            Attribute::RequestPrincipal,
            &source.request_principals,
            &source.not_request_principals,
        ),
        (
            Attribute::ServiceAccount,
            &source.service_accounts,
            &source.not_service_accounts,
        ),
        (
            Attribute::Namespace,
            &source.namespaces,
            &source.not_namespaces,
        ),
        (
            Attribute::RemoteIp,
            &source.remote_ip_blocks,
            &source.not_remote_ip_blocks,
        ),
        (
            Attribute::SourceIp,
            &source.ip_blocks,
            &source.not_ip_blocks,
        ),
    ]
}

fn attribute(condition: &Condition) -> Option<(Attribute<'_>, bool)> {
    let key = condition.key.as_str();
    let bracketed = |prefix: &str| {
        key.strip_prefix(prefix)?
            .strip_prefix('[')?
            .strip_suffix(']')
    };
    Some(match key {
        "destination.ip" => (Attribute::DestinationIp, true),
        "destination.port" => (Attribute::DestinationPort, true),
        "connection.sni" => (Attribute::Sni, true),
        "source.ip" => (Attribute::SourceIp, false),
        "remote.ip" => (Attribute::RemoteIp, false),
        "source.namespace" => (Attribute::Namespace, false),
        "source.serviceAccount" => (Attribute::ServiceAccount, false),
        "source.principal" => (Attribute::Principal, false),
        "request.auth.principal" => (Attribute::RequestPrincipal, false),
        "request.auth.audiences" => (Attribute::Claim("aud"), false),
        "request.auth.presenter" => (Attribute::Claim("azp"), false),
        _ => {
            if let Some(header) = bracketed("request.headers") {
                (Attribute::Header(header), false)
            } else if let Some(claims) = bracketed("request.auth.claims") {
                (Attribute::Claim(claims), false)
            } else {
                (
                    Attribute::FilterMetadata(key.strip_prefix("experimental.")?),
                    true,
                )
            }
        }
    })
}

/// AND over the rows; `any` when none says anything.
fn all_of(place: Place<'_>, rows: &[Row<'_>], and: &str, list: &str, not: &str) -> Said {
    let or = if and == "andIds" { "orIds" } else { "orRules" };
    let mut conditions = Vec::new();
    for (attribute, values, not_values) in rows {
        for (values, negated) in [(*values, false), (*not_values, true)] {
            let Some(condition) = any_of(place, *attribute, values, or, list)? else {
                continue;
            };
            conditions.push(if negated {
                json!({not: condition})
            } else {
                condition
            });
        }
    }
    if conditions.is_empty() {
        conditions.push(json!({"any": true}));
    }
    Ok(json!({and: {list: conditions}}))
}

/// OR over the values; none without values, or when a DENY drops what it cannot say.
fn any_of(
    place: Place<'_>,
    attribute: Attribute<'_>,
    values: &[String],
    or: &str,
    list: &str,
) -> Result<Option<Value>, Unsayable> {
    if values.is_empty() {
        return Ok(None);
    }
    let http_only = matches!(
        attribute,
        Attribute::RequestPrincipal
            | Attribute::Claim(_)
            | Attribute::Header(_)
            | Attribute::Host
            | Attribute::Method
            | Attribute::Path
    );
    if http_only && place.tcp {
        // An ALLOW without its HTTP conditions would allow too much; a DENY without them denies more (istio.md 4.3).
        return if place.action == Action::Allow {
            Err(Unsayable)
        } else {
            Ok(None)
        };
    }
    match attribute {
        Attribute::RequestPrincipal => return Ok(Some(request_principals(values))),
        Attribute::Claim(claims) => return Ok(Some(claim(claims, values))),
        Attribute::FilterMetadata(key) => return filter_metadata(key, values).map(Some),
        _ => {}
    }
    let mut said = Vec::new();
    for value in values {
        match one(place, attribute, value) {
            Ok(all) => said.extend(all),
            Err(error) if place.action == Action::Allow => return Err(error),
            Err(_) => {}
        }
    }
    Ok((!said.is_empty()).then(|| json!({or: {list: said}})))
}

fn one(place: Place<'_>, attribute: Attribute<'_>, value: &str) -> Result<Vec<Value>, Unsayable> {
    let principal = |matcher: Value| json!({"authenticated": {"principalName": matcher}});
    let single = match attribute {
        Attribute::DestinationIp => json!({"destinationIp": cidr(value)?}),
        Attribute::SourceIp => json!({"directRemoteIp": cidr(value)?}),
        Attribute::RemoteIp => json!({"remoteIp": cidr(value)?}),
        Attribute::DestinationPort => {
            json!({"destinationPort": value.parse::<u32>().map_err(|_| Unsayable)?})
        }
        Attribute::Sni => json!({"requestedServerName": string(value, "", false)}),
        Attribute::Namespace => principal(regex(&format!(".*/ns/{}/.*", value.replace('*', ".*")))),
        Attribute::ServiceAccount => {
            let (namespace, account) = value.split_once('/').unwrap_or((place.namespace, value));
            let quoted = (quote(namespace), quote(account));
            principal(regex(&format!(
                "spiffe://.+/ns/{}/(.+/|)sa/{}(/.+)?",
                quoted.0, quoted.1
            )))
        }
        Attribute::Principal => {
            return Ok(aliases(place.mesh, value)
                .iter()
                .map(|name| principal(string(name, "spiffe://", false)))
                .collect());
        }
        Attribute::Header(name) => header(name, value, false),
        Attribute::Host => header(":authority", value, true),
        Attribute::Method => header(":method", value, false),
        Attribute::Path if value.contains("{*}") || value.contains("{**}") => {
            json!({"uriTemplate": {
                "name": "uri-template",
                "typedConfig": super::super::json::any(
                    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                    json!({"pathTemplate": value.replace("{**}", "**").replace("{*}", "*")}),
                ),
            }})
        }
        Attribute::Path => json!({"urlPath": {"path": string(value, "", false)}}),
        // Handled as lists of values above.
        Attribute::FilterMetadata(_) | Attribute::RequestPrincipal | Attribute::Claim(_) => {
            return Err(Unsayable);
        }
    };
    Ok(vec![single])
}

/// A principal of our trust domain also holds for its aliases.
fn aliases(mesh: &MeshConfig, value: &str) -> Vec<String> {
    let mut out = vec![value.to_owned()];
    let domains = || std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases);
    if let Some((domain, rest)) = value.split_once('/')
        && domains().any(|known| known == domain || domain == "cluster.local")
    {
        for other in domains() {
            let renamed = format!("{other}/{rest}");
            if !out.contains(&renamed) {
                out.push(renamed);
            }
        }
    }
    out
}

fn header(name: &str, value: &str, ignore_case: bool) -> Value {
    if value == "*" {
        json!({"header": {"name": name, "presentMatch": true}})
    } else {
        json!({"header": {"name": name, "stringMatch": string(value, "", ignore_case)}})
    }
}

/// `*`, `*suffix`, `prefix*` or the whole value; suffixes behind a scheme need a regular expression.
fn string(value: &str, scheme: &str, ignore_case: bool) -> Value {
    let mut matcher = if value == "*" {
        regex(".+")
    } else if let Some(suffix) = value.strip_prefix('*') {
        if scheme.is_empty() {
            json!({"suffix": suffix})
        } else {
            regex(&format!("{scheme}.*{suffix}"))
        }
    } else if let Some(prefix) = value.strip_suffix('*') {
        json!({"prefix": format!("{scheme}{prefix}")})
    } else {
        json!({"exact": format!("{scheme}{value}")})
    };
    if ignore_case {
        matcher["ignoreCase"] = json!(true);
    }
    matcher
}

fn regex(pattern: &str) -> Value {
    json!({"safeRegex": {"regex": pattern}})
}

/// RE2's meta characters, escaped.
fn quote(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn cidr(value: &str) -> Said {
    let (ip, bits) = match value.split_once('/') {
        Some((ip, bits)) => (ip, bits.parse::<u32>().map_err(|_| Unsayable)?),
        None => (value, if value.contains(':') { 128 } else { 32 }),
    };
    Ok(json!({"addressPrefix": ip, "prefixLen": bits}))
}

fn metadata(path: &[&str], value: Value) -> Value {
    let keys: Vec<Value> = path.iter().map(|key| json!({"key": key})).collect();
    json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": keys, "value": value}})
}

/// `issuer/subject` with a wildcard at either end.
fn request_principals(values: &[String]) -> Value {
    let mut all: Vec<Value> = values
        .iter()
        .map(|value| {
            let any = || regex(".+");
            let (issuer, subject) = value
                .rsplit_once('/')
                .map_or((value.as_str(), None), |(issuer, subject)| {
                    (issuer, Some(subject))
                });
            let (issuer, subject) = if value == "*" {
                (any(), any())
            } else if let Some(rest) = value.strip_prefix('*') {
                match subject {
                    Some(subject) if issuer == "*" => (any(), json!({"exact": subject})),
                    Some(subject) => (json!({"suffix": &issuer[1..]}), json!({"exact": subject})),
                    None => (any(), json!({"suffix": rest})),
                }
            } else if let Some(rest) = value.strip_suffix('*') {
                match subject {
                    Some("*") => (json!({"exact": issuer}), any()),
                    Some(subject) => (
                        json!({"exact": issuer}),
                        json!({"prefix": &subject[..subject.len() - 1]}),
                    ),
                    None => (json!({"prefix": rest}), any()),
                }
            } else {
                (
                    json!({"exact": issuer}),
                    json!({"exact": subject.unwrap_or_default()}),
                )
            };
            let part = |key: &str, matcher: Value| {
                metadata(&["payload", key], json!({"stringMatch": matcher}))
            };
            json!({"andIds": {"ids": [part("iss", issuer), part("sub", subject)]}})
        })
        .collect();
    match all.len() {
        1 => all.remove(0),
        _ => json!({"orIds": {"ids": all}}),
    }
}

/// A claim `a` or `a][b`: a string, or a list with such a string.
fn claim(claims: &str, values: &[String]) -> Value {
    let mut path = vec!["payload"];
    path.extend(claims.split("]["));
    let value = or_values(
        values
            .iter()
            .map(|value| json!({"stringMatch": string(value, "", false)}))
            .collect(),
    );
    metadata(
        &path,
        json!({"orMatch": {"valueMatchers": [{"listMatch": {"oneOf": value}}, value]}}),
    )
}

fn or_values(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => json!({"orMatch": {"valueMatchers": values}}),
    }
}

/// `envoy.filters.NAME[key]`, values in brackets are members of a list.
fn filter_metadata(key: &str, values: &[String]) -> Said {
    let (filter, path) = key
        .strip_suffix(']')
        .and_then(|key| key.split_once('['))
        .ok_or(Unsayable)?;
    let matchers = values.iter().map(|value| {
        match value
            .strip_prefix('[')
            .and_then(|value| value.strip_suffix(']'))
        {
            Some(member) => {
                json!({"listMatch": {"oneOf": {"stringMatch": string(member, "", false)}}})
            }
            None => json!({"stringMatch": string(value, "", false)}),
        }
    });
    let value = or_values(matchers.collect());
    Ok(json!({"metadata": {"filter": filter, "path": [{"key": path}], "value": value}}))
}
