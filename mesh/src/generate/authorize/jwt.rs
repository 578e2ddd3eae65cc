//! RequestAuthentication → `jwt_authn`: a wrong token is refused, a missing one is not.

use serde_json::{Map, Value, json};

use super::super::{
    json::{extension, flag, list, text},
    proxy::Proxy,
};
use crate::model::security::JwtRule;

/// The filter; none without rules.
pub(in crate::generate) fn filter(proxy: &Proxy) -> Option<Value> {
    let policies = proxy.policies(&proxy.snapshot.request_authentications, |spec| {
        spec.selector.as_ref()
    });
    let mut rules: Vec<&JwtRule> = policies.flat_map(|config| &config.spec.jwt_rules).collect();
    if rules.is_empty() {
        return None;
    }
    rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
    let (mut providers, mut each, mut any) = (Map::new(), Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let name = format!("origins-{index}");
        each.push(json!({"requiresAny": {"requirements": [{"providerName": name}, {"allowMissing": {}}]}}));
        any.push(json!({"providerName": name}));
        providers.insert(name, provider(rule, proxy.is_router()));
    }
    let requires = if each.len() == 1 {
        each.remove(0)
    } else {
        // Any valid token, or for each issuer a valid one or none.
        any.push(json!({"requiresAll": {"requirements": each}}));
        json!({"requiresAny": {"requirements": any}})
    };
    Some(extension(
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": requires}],
            "bypassCorsPreflight": true,
        }),
    ))
}

fn provider(rule: &JwtRule, clear_route_cache: bool) -> Value {
    let mut claims: Vec<String> = rule.space_delimited_claims.clone().unwrap_or_default();
    claims.extend(["permission".to_owned(), "scope".to_owned()]);
    claims.sort();
    claims.dedup();
    let strings = |values: &[String]| list(values.iter().map(|value| json!(value)).collect());
    json!({
        "issuer": rule.issuer,
        "audiences": strings(&rule.audiences),
        "localJwks": {"inlineString": rule.jwks},
        "forward": flag(rule.forward_original_token),
        "fromHeaders": list(
            rule.from_headers
                .iter()
                .map(|header| json!({"name": header.name, "valuePrefix": text(&header.prefix)}))
                .collect(),
        ),
        "fromParams": strings(&rule.from_params),
        "fromCookies": strings(&rule.from_cookies),
        "forwardPayloadHeader": text(&rule.output_payload_to_header),
        "payloadInMetadata": "payload",
        "normalizePayloadInMetadata": {"spaceDelimitedClaims": claims},
        "claimToHeaders": list(
            rule.output_claim_to_headers
                .iter()
                .map(|claim| json!({"headerName": claim.header, "claimName": claim.claim}))
                .collect(),
        ),
        "clearRouteCache": flag(clear_route_cache),
    })
}
