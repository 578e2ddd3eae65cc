//! What the folder's AuthorizationPolicies say about one workload calling another, as far as a reader can be promised an outcome.
//!
//! This decides which `curl` lines are printed, nothing else; a policy that looks at more than caller, method and path makes the
//! outcome unknown, and no line is printed for it.

use carbyne_mesh::{
    model::{
        AuthorizationPolicy, Config, labels_match,
        security::{Action, MutualTlsMode, Operation, Rule, Source},
    },
    source::Snapshot,
};

use super::workloads::Workload;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operate {
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
}

/// A refusal that a reader can try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to ask for.
    pub operate: Operate,
    /// Namespace of the policy.
    pub namespace: String,
    /// Name of the policy.
    pub policy: String,
}

/// A request of `caller` that a DENY policy of `callee` refuses.
#[must_use]
pub fn refusal(snapshot: &Snapshot, caller: &Workload, callee: &Workload) -> Option<Refusal> {
    let denying = of(snapshot, callee).filter(|config| config.spec.action == Action::Deny);
    for config in denying {
        for rule in config.spec.rules.iter().filter(|rule| rule.when.is_empty()) {
            if from(snapshot, rule, caller) != Some(true) {
                continue;
            }
            let operate = if rule.to.is_empty() {
                Some(Operate::get("/"))
            } else {
                rule.to.iter().find_map(|to| example(&to.operation))
            };
            if let Some(operate) = operate {
                return Some(Refusal {
                    operate,
                    namespace: config.meta.namespace.clone(),
                    policy: config.meta.name.clone(),
                });
            }
        }
    }
    None
}

/// A request of `caller` that `callee` answers: `GET /`, else what an ALLOW policy names.
#[must_use]
pub fn welcome(snapshot: &Snapshot, caller: &Workload, callee: &Workload) -> Option<Operate> {
    let allowing = of(snapshot, callee).filter(|config| config.spec.action == Action::Allow);
    let named = allowing
        .flat_map(|config| &config.spec.rules)
        .flat_map(|rule| &rule.to)
        .filter_map(|to| example(&to.operation));
    std::iter::once(Operate::get("/"))
        .chain(named)
        .find(|operate| verdict(snapshot, caller, callee, operate) == Some(true))
}

/// True when an inbound port takes mutual TLS only: the workload's own policy, else its namespace's, else the mesh's.
#[must_use]
pub fn strict(snapshot: &Snapshot, workload: &Workload, port: u16) -> bool {
    let all = &snapshot.peer_authentications;
    let root = snapshot.mesh.root_namespace.as_str();
    let mut mode = MutualTlsMode::Unset;
    for (namespace, selecting) in [
        (root, false),
        (workload.namespace.as_str(), false),
        (workload.namespace.as_str(), true),
    ] {
        let found = all.iter().find(|config| {
            let selector = config
                .spec
                .selector
                .as_ref()
                .filter(|selector| !selector.match_labels.is_empty());
            let fits = selector.map_or(!selecting, |selector| {
                selecting && labels_match(&selector.match_labels, &workload.labels)
            });
            config.meta.namespace == namespace && fits
        });
        let Some(config) = found else {
            continue;
        };
        let own_port = config
            .spec
            .port_level_mtls
            .get(&port.to_string())
            .filter(|_| selecting);
        let said = own_port
            .or(config.spec.mtls.as_ref())
            .map_or(MutualTlsMode::Unset, |tls| tls.mode);
        if said != MutualTlsMode::Unset {
            mode = said;
        }
    }
    mode == MutualTlsMode::Strict
}

/// Whether a request gets through; none: it depends on more than is looked at here.
fn verdict(
    snapshot: &Snapshot,
    caller: &Workload,
    callee: &Workload,
    operate: &Operate,
) -> Option<bool> {
    let (mut allowed, mut any_allow) = (Some(false), false);
    for config in of(snapshot, callee) {
        let matched = any(config
            .spec
            .rules
            .iter()
            .map(|rule| matches(snapshot, rule, caller, operate)));
        match config.spec.action {
            Action::Audit => {}
            Action::Custom | Action::Deny if matched == Some(false) => {}
            Action::Custom => return None,
            Action::Deny => return matched.map(|_| false),
            Action::Allow => {
                any_allow = true;
                allowed = any([allowed, matched].into_iter());
            }
        }
    }
    if any_allow { allowed } else { Some(true) }
}

fn of<'a>(
    snapshot: &'a Snapshot,
    workload: &'a Workload,
) -> impl Iterator<Item = &'a Config<AuthorizationPolicy>> {
    let root = snapshot.mesh.root_namespace.as_str();
    snapshot
        .authorization_policies
        .iter()
        .filter(move |config| {
            let here = config.meta.namespace == workload.namespace || config.meta.namespace == root;
            let selector = config.spec.selector.as_ref();
            here && selector
                .is_none_or(|selector| labels_match(&selector.match_labels, &workload.labels))
        })
}

fn matches(snapshot: &Snapshot, rule: &Rule, caller: &Workload, operate: &Operate) -> Option<bool> {
    let when = rule.when.is_empty().then_some(true);
    let to = if rule.to.is_empty() {
        Some(true)
    } else {
        any(rule.to.iter().map(|to| concerns(&to.operation, operate)))
    };
    all([from(snapshot, rule, caller), to, when].into_iter())
}

fn from(snapshot: &Snapshot, rule: &Rule, caller: &Workload) -> Option<bool> {
    if rule.from.is_empty() {
        return Some(true);
    }
    any(rule
        .from
        .iter()
        .map(|from| is(snapshot, &from.source, caller)))
}

fn is(snapshot: &Snapshot, source: &Source, caller: &Workload) -> Option<bool> {
    let principal = caller.principal(&snapshot.mesh.trust_domain);
    let account = [
        caller.service_account.clone(),
        format!("{}/{}", caller.namespace, caller.service_account),
    ];
    let one_of = |wanted: &[String]| {
        wanted.is_empty() || wanted.iter().any(|wanted| account.contains(wanted))
    };
    let none_of = |unwanted: &[String]| !unwanted.iter().any(|unwanted| account.contains(unwanted));
    let known = listed(&source.principals, &source.not_principals, &principal)
        && listed(
            &source.namespaces,
            &source.not_namespaces,
            &caller.namespace,
        )
        && one_of(&source.service_accounts)
        && none_of(&source.not_service_accounts);
    let rest = [
        &source.request_principals,
        &source.not_request_principals,
        &source.ip_blocks,
        &source.not_ip_blocks,
        &source.remote_ip_blocks,
        &source.not_remote_ip_blocks,
    ];
    if !known {
        Some(false)
    } else {
        rest.iter().all(|list| list.is_empty()).then_some(true)
    }
}

fn concerns(operation: &Operation, operate: &Operate) -> Option<bool> {
    let known = listed(&operation.paths, &operation.not_paths, &operate.path)
        && listed(&operation.methods, &operation.not_methods, &operate.method);
    let rest = [
        &operation.hosts,
        &operation.not_hosts,
        &operation.ports,
        &operation.not_ports,
    ];
    if !known {
        Some(false)
    } else {
        rest.iter().all(|list| list.is_empty()).then_some(true)
    }
}

/// A request that an operation is about, if one can be made up.
fn example(operation: &Operation) -> Option<Operate> {
    let made = |patterns: &[String], default: &str| {
        patterns
            .first()
            .map_or_else(|| default.to_owned(), |pattern| pattern.replace('*', "x"))
    };
    let path = made(&operation.paths, "/");
    let operate = Operate {
        method: made(&operation.methods, "GET"),
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
    };
    (concerns(operation, &operate) == Some(true) && !operate.path.contains('{')).then_some(operate)
}

fn listed(wanted: &[String], unwanted: &[String], value: &str) -> bool {
    (wanted.is_empty() || wanted.iter().any(|pattern| glob(pattern, value)))
        && !unwanted.iter().any(|pattern| glob(pattern, value))
}

/// Istio's patterns: exact, `prefix*`, `*suffix`, `*`.
fn glob(pattern: &str, value: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => value.ends_with(suffix),
        (_, Some(prefix)) => value.starts_with(prefix),
        _ => pattern == value,
    }
}

/// True if any is, unknown if none is but one may be.
fn any(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut unknown = false;
    for value in values {
        match value {
            Some(true) => return value,
            Some(false) => {}
            None => unknown = true,
        }
    }
    (!unknown).then_some(false)
}

/// False if any is, unknown if none is but one may be.
fn all(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(values.map(|value| value.map(|value| !value))).map(|value| !value)
}

impl Operate {
    fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{testing, workloads};
    use super::*;

    /// (policies, what a refusal of portal → billing is made of, what is welcome)
    #[test]
    fn outcomes_are_promised_only_where_they_are_known() {
        let deny = |rule: &str| {
            format!(
                "{{selector: {{matchLabels: {{app: billing}}}}, action: DENY, rules: [{rule}]}}"
            )
        };
        let allow = |rule: &str| {
            format!(
                "{{selector: {{matchLabels: {{app: billing}}}}, action: ALLOW, rules: [{rule}]}}"
            )
        };
        let portal = "from: [{source: {principals: [cluster.local/ns/shop/sa/portal]}}]";
        let stranger = "from: [{source: {principals: [cluster.local/ns/shop/sa/catalogue]}}]";
        let cases: [(Vec<String>, Option<&str>, Option<&str>); 9] = [
            (vec![], None, Some("GET /")),
            (vec![deny(&format!("{{{portal}}}"))], Some("GET /"), None),
            (vec![deny(&format!("{{{stranger}}}"))], None, Some("GET /")),
            (
                vec![deny("{to: [{operation: {paths: ['/admin/*']}}]}")],
                Some("GET /admin/x"),
                Some("GET /"),
            ),
            (
                vec![deny(
                    "{to: [{operation: {methods: [DELETE], paths: ['/x']}}]}",
                )],
                Some("DELETE /x"),
                Some("GET /"),
            ),
            (
                vec![deny(&format!(
                    "{{{portal}, when: [{{key: 'request.headers[a]', values: [b]}}]}}"
                ))],
                None,
                None,
            ),
            (vec![allow(&format!("{{{stranger}}}"))], None, None),
            (
                vec![allow(&format!(
                    "{{{portal}, to: [{{operation: {{paths: ['/ok']}}}}]}}"
                ))],
                None,
                Some("GET /ok"),
            ),
            (
                vec![
                    allow("{from: [{source: {namespaces: [shop]}}]}"),
                    deny("{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}"),
                ],
                None,
                None,
            ),
        ];
        for (policies, refused, welcomed) in cases {
            let more: String = policies
                .iter()
                .enumerate()
                .map(|(index, spec)| {
                    format!("---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p{index}, namespace: shop}}\nspec: {spec}\n")
                })
                .collect();
            let snapshot = testing::snapshot(&more);
            let found = workloads::find(&snapshot, false).workloads;
            let named = |name: &str| found.iter().find(|workload| workload.name == name).unwrap();
            let (caller, callee) = (named("portal"), named("billing"));
            let text = |operate: Operate| format!("{} {}", operate.method, operate.path);
            let refusal = refusal(&snapshot, caller, callee).map(|refusal| text(refusal.operate));
            assert_eq!(refusal.as_deref(), refused, "{policies:?}");
            assert_eq!(
                welcome(&snapshot, caller, callee).map(text).as_deref(),
                welcomed,
                "{policies:?}"
            );
        }
    }
}
