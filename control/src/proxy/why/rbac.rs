//! Access rules, as the RBAC filters of HTTP and of connections read them.

use serde_json::Value;

use super::{
    matching::{all, any, cidr, header, string},
    walk::Ask,
};
use crate::admin::{list, number, text};

/// What rules say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It passes; by which policy, if one let it.
    Pass(Option<String>),
    /// It is refused: by a policy, or because none lets it pass.
    Deny(String),
    /// It depends on something that nobody said: on this policy.
    Unknown(String),
}

/// Decides by an RBAC message; without rules everything passes.
pub(super) fn decide(filter: &Value, ask: &Ask) -> Decision {
    let Some(rules) = filter.get("rules") else {
        return Decision::Pass(None);
    };
    let deny = text(rules, "/action") == "DENY";
    if text(rules, "/action") == "LOG" {
        return Decision::Pass(None);
    }
    let policies = rules.get("policies").and_then(Value::as_object);
    let mut unknown = None;
    for (name, policy) in policies.into_iter().flatten() {
        let permissions = any(list(policy, "/permissions").map(|rule| permission(rule, ask)));
        let principals = any(list(policy, "/principals").map(|id| principal(id, ask)));
        match all([permissions, principals].into_iter()) {
            Some(true) if deny => return Decision::Deny(format!("policy {name} denies it")),
            Some(true) => return Decision::Pass(Some(name.clone())),
            Some(false) => {}
            None => unknown = Some(name.clone()),
        }
    }
    match unknown {
        Some(name) => Decision::Unknown(name),
        None if deny => Decision::Pass(None),
        None => {
            let names: Vec<&str> = policies
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            Decision::Deny(if names.is_empty() {
                "there are ALLOW policies, and none with a rule".to_owned()
            } else {
                format!("no ALLOW policy lets it pass: {}", names.join(", "))
            })
        }
    }
}

fn permission(rule: &Value, ask: &Ask) -> Option<bool> {
    let (kind, value) = rule.as_object()?.iter().next()?;
    match kind.as_str() {
        "any" => Some(true),
        "and_rules" => all(list(value, "/rules").map(|rule| permission(rule, ask))),
        "or_rules" => any(list(value, "/rules").map(|rule| permission(rule, ask))),
        "not_rule" => permission(value, ask).map(|matched| !matched),
        "header" => header(value, ask),
        "url_path" => string(value.get("path")?, ask.path()),
        "destination_port" => Some(value.as_f64() == Some(f64::from(ask.port))),
        "destination_port_range" => {
            let port = f64::from(ask.port);
            Some(number(value, "/start")? <= port && port < number(value, "/end")?)
        }
        "requested_server_name" if !ask.tls => Some(false),
        _ => None,
    }
}

fn principal(id: &Value, ask: &Ask) -> Option<bool> {
    let (kind, value) = id.as_object()?.iter().next()?;
    match kind.as_str() {
        "any" => Some(true),
        "and_ids" => all(list(value, "/ids").map(|id| principal(id, ask))),
        "or_ids" => any(list(value, "/ids").map(|id| principal(id, ask))),
        "not_id" => principal(value, ask).map(|matched| !matched),
        "authenticated" => Some(match (&ask.principal, value.get("principal_name")) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(own), Some(matcher)) => return string(matcher, own),
        }),
        "filter_state" if text(value, "/key") == "io.istio.peer_principal" => {
            match &ask.principal {
                None => Some(false),
                Some(own) => string(value.get("string_match")?, own),
            }
        }
        "source_ip" | "direct_remote_ip" | "remote_ip" => cidr(value, ask.source),
        "header" => header(value, ask),
        "url_path" => string(value.get("path")?, ask.path()),
        _ => None,
    }
}
