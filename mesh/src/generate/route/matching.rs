//! `HTTPMatchRequest` → `RouteMatch`.

use serde_json::{Value, json};

use super::super::json::list;
use crate::model::{StringMatch, virtual_service::HttpMatch};

/// A condition, or "everything".
pub(super) fn route_match(matching: Option<&HttpMatch>) -> Value {
    let Some(matching) = matching else {
        return json!({"prefix": "/"});
    };
    let (mut headers, mut claims) = (Vec::new(), Vec::new());
    for (name, value) in &matching.headers {
        match claim_path(name) {
            Some(path) => claims.push(claim(&path, value, false)),
            None => headers.push(header(name, value)),
        }
    }
    for (name, value) in &matching.without_headers {
        if let Some(path) = claim_path(name) {
            claims.push(claim(&path, value, true));
            continue;
        }
        let mut inverted = header(name, value);
        inverted["invertMatch"] = json!(true);
        if !is_presence(value) {
            // A request without the header does not have this value either.
            inverted["treatMissingHeaderAsEmpty"] = json!(true);
        }
        headers.push(inverted);
    }
    headers.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let pseudo = [
        (":method", &matching.method),
        (":authority", &matching.authority),
        (":scheme", &matching.scheme),
    ];
    for (name, value) in pseudo {
        if let Some(value) = value {
            headers.push(header(name, value));
        }
    }
    let parameters = matching.query_params.iter().map(|(name, value)| {
        let mut parameter = header(name, value);
        parameter["name"] = json!(name);
        parameter
    });
    let mut out = json!({
        "caseSensitive": !matching.ignore_uri_case,
        "queryParameters": list(parameters.collect()),
        "headers": list(headers),
        "dynamicMetadata": list(claims),
    });
    match &matching.uri {
        Some(StringMatch {
            exact: Some(path), ..
        }) => out["path"] = json!(path),
        Some(StringMatch {
            prefix: Some(path), ..
        }) => out["prefix"] = json!(path),
        Some(StringMatch {
            regex: Some(regex), ..
        }) => out["safeRegex"] = json!({"regex": regex}),
        _ => out["prefix"] = json!("/"),
    }
    out
}

/// Envoy's `StringMatcher`.
pub(super) fn string_match(value: &StringMatch) -> Option<Value> {
    if let Some(exact) = &value.exact {
        Some(json!({"exact": exact}))
    } else if let Some(prefix) = &value.prefix {
        Some(json!({"prefix": prefix}))
    } else {
        value
            .regex
            .as_ref()
            .map(|regex| json!({"safeRegex": {"regex": regex}}))
    }
}

/// No value at all, or the regex `*`, asks for presence only.
fn is_presence(value: &StringMatch) -> bool {
    value.exact.is_none()
        && value.prefix.is_none()
        && value.regex.as_deref().is_none_or(|regex| regex == "*")
}

fn header(name: &str, value: &StringMatch) -> Value {
    if is_presence(value) {
        json!({"name": name, "presentMatch": true})
    } else {
        json!({"name": name, "stringMatch": string_match(value)})
    }
}

/// `@request.auth.claims.a.b` or `@request.auth.claims[a][b]` names a claim of the token, not a header.
fn claim_path(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix("@request.auth.claims")?;
    let parts: Vec<String> = if let Some(dotted) = rest.strip_prefix('.') {
        dotted.split('.').map(str::to_owned).collect()
    } else {
        rest.strip_prefix('[')?
            .strip_suffix(']')?
            .split("][")
            .map(str::to_owned)
            .collect()
    };
    Some(parts)
}

fn claim(path: &[String], value: &StringMatch, invert: bool) -> Value {
    let keys = std::iter::once("payload".to_owned()).chain(path.iter().cloned());
    let value = json!({"stringMatch": string_match(value)});
    json!({
        "filter": "envoy.filters.http.jwt_authn",
        "path": keys.map(|key| json!({"key": key})).collect::<Vec<_>>(),
        "value": {"orMatch": {"valueMatchers": [{"listMatch": {"oneOf": value}}, value]}},
        "invert": invert.then_some(true),
    })
}
