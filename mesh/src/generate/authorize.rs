//! Who may do what: RBAC, external authorization and JWT filters of a node.

mod custom;
mod jwt;
mod rbac;

use serde_json::{Map, Value, json};

pub(super) use self::jwt::filter as jwt;
use super::{json::extension, proxy::Proxy};
pub(super) use crate::model::security::Action;
use crate::model::{AuthorizationPolicy, Config};

/// AUDIT, DENY, ALLOW: one RBAC filter each, in this order.
pub(super) fn local(proxy: &Proxy, tcp: bool) -> Vec<Value> {
    [Action::Audit, Action::Deny, Action::Allow]
        .into_iter()
        .filter_map(|action| {
            let built = build(proxy, action, tcp)?;
            let prefix = match action {
                Action::Audit if built.shadow.is_some() => None,
                Action::Deny if built.shadow.is_some() => Some("istio_dry_run_deny_"),
                // istiod writes the ALLOW prefix where there are no shadow rules, too.
                _ => Some("istio_dry_run_allow_"),
            };
            Some(filter(tcp, json!({"rules": built.enforced, "shadowRules": built.shadow, "shadowRulesStatPrefix": prefix})))
        })
        .collect()
}

/// CUSTOM: shadow rules that mark, and the authorizer that asks where they marked.
pub(super) fn custom(proxy: &Proxy, tcp: bool) -> Vec<Value> {
    let Some(built) = build(proxy, Action::Custom, tcp) else {
        return Vec::new();
    };
    let mut names = built.providers.clone();
    names.dedup();
    let one = if let [only] = names.as_slice() {
        custom::external(proxy, only)
    } else {
        None
    };
    let Some(external) = one else {
        // An authorizer that cannot be asked refuses everything that it guards.
        let rules = built.enforced.map(|mut rules| {
            if let Some(policies) = rules["policies"].as_object_mut() {
                let renamed = std::mem::take(policies).into_iter().map(|(name, policy)| {
                    (format!("{name}-deny-due-to-bad-CUSTOM-action"), policy)
                });
                policies.extend(renamed);
            }
            rules
        });
        return vec![filter(tcp, json!({"rules": rules}))];
    };
    let shadow =
        json!({"shadowRules": built.enforced, "shadowRulesStatPrefix": "istio_ext_authz_"});
    match (tcp, external.tcp) {
        (false, _) => vec![
            filter(false, shadow),
            json!({"name": "envoy.filters.http.ext_authz", "typedConfig": external.http}),
        ],
        (true, Some(ask)) => vec![
            filter(true, shadow),
            json!({"name": "envoy.filters.network.ext_authz", "typedConfig": ask}),
        ],
        (true, None) => Vec::new(),
    }
}

fn filter(tcp: bool, mut config: Value) -> Value {
    if tcp {
        config["statPrefix"] = json!("tcp.");
        extension(
            "envoy.filters.network.rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC",
            config,
        )
    } else {
        extension(
            "envoy.filters.http.rbac",
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            config,
        )
    }
}

/// Rules of one action.
struct Built {
    enforced: Option<Value>,
    shadow: Option<Value>,
    providers: Vec<String>,
}

fn build(proxy: &Proxy, action: Action, tcp: bool) -> Option<Built> {
    let policies = proxy.policies(&proxy.snapshot.authorization_policies, |spec| {
        spec.selector.as_ref()
    });
    let policies: Vec<&Config<AuthorizationPolicy>> = policies
        .filter(|config| config.spec.action == action)
        .collect();
    if policies.is_empty() {
        return None;
    }
    let (mut enforced, mut shadow) = (None, None);
    let mut providers = Vec::new();
    for config in policies {
        let dry_run = config
            .meta
            .annotations
            .get("istio.io/dry-run")
            .is_some_and(|value| value == "true");
        let target: &mut Map<String, Value> =
            if dry_run { &mut shadow } else { &mut enforced }.get_or_insert_with(Map::new);
        providers.extend(
            config
                .spec
                .provider
                .iter()
                .map(|provider| provider.name.clone()),
        );
        let place = rbac::Place {
            mesh: &proxy.snapshot.mesh,
            namespace: &config.meta.namespace,
            tcp,
            action,
        };
        for (index, rule) in config.spec.rules.iter().enumerate() {
            if let Ok(policy) = rbac::policy(place, rule) {
                target.insert(policy_name(config, index, action), policy);
            }
        }
        if config.spec.rules.is_empty() {
            target.insert(policy_name(config, 0, action), never());
        }
    }
    let name = match action {
        Action::Allow => None,
        Action::Deny | Action::Custom => Some("DENY"),
        Action::Audit => Some("LOG"),
    };
    let rbac = |policies: Option<Map<String, Value>>| {
        policies.map(|policies| json!({"action": name, "policies": policies}))
    };
    Some(Built {
        enforced: rbac(enforced),
        shadow: rbac(shadow),
        providers,
    })
}

/// What a log line names: `ns[NS]-policy[NAME]-rule[INDEX]`.
fn policy_name(config: &Config<AuthorizationPolicy>, rule: usize, action: Action) -> String {
    let prefix = if action == Action::Custom {
        "istio-ext-authz-"
    } else {
        ""
    };
    format!(
        "{prefix}ns[{}]-policy[{}]-rule[{rule}]",
        config.meta.namespace, config.meta.name
    )
}

/// A policy without rules matches nothing.
fn never() -> Value {
    json!({"permissions": [{"notRule": {"any": true}}], "principals": [{"notId": {"any": true}}]})
}
