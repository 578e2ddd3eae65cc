//! What security policies say together: who is refused by STRICT, rules that can match nobody, identities that nobody proves.

use std::collections::{BTreeMap, BTreeSet};

use carbyne_mesh::{
    generate::peer_mode,
    model::{
        AuthorizationPolicy, Config, Labels,
        destination_rule::ClientTlsMode,
        labels_match,
        security::{Action, MutualTlsMode, Rule},
    },
    source::{Examined, Service},
};

use super::{
    across::full,
    istio::{Cluster, at},
};
use crate::output::{Finding, code};

/// Looks at PeerAuthentications, AuthorizationPolicies, and the TLS of DestinationRules.
pub(super) fn look(examined: &Examined, cluster: &Cluster, findings: &mut Vec<Finding>) {
    two_of_one_scope(examined, findings);
    plaintext_under_strict(examined, findings);
    bare_under_strict(examined, findings);
    for config in &examined.snapshot.authorization_policies {
        principals(examined, config, findings);
        unproven(examined, config, cluster, findings);
        http_on_tcp(examined, config, findings);
    }
}

/// istiod takes the oldest of two PeerAuthentications with one scope; of files nobody knows which that is.
fn two_of_one_scope(examined: &Examined, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<(String, Labels), String> = BTreeMap::new();
    for config in &examined.snapshot.peer_authentications {
        let labels = config
            .spec
            .selector
            .as_ref()
            .map(|selector| selector.match_labels.clone());
        let key = (config.meta.namespace.clone(), labels.unwrap_or_default());
        if let Some(first) = seen.insert(key, full(config)) {
            findings.push(at(
                examined,
                &code::TWO_OWNERS,
                format!("PeerAuthentication {}", full(config)),
                &config.origin,
                "/spec",
                format!("PeerAuthentication {first} has the same scope; one of them has no effect"),
            ));
        }
    }
}

/// DestinationRules that tell callers to send plaintext to ports that take mutual TLS only.
fn plaintext_under_strict(examined: &Examined, findings: &mut Vec<Finding>) {
    let snapshot = &examined.snapshot;
    for config in &snapshot.destination_rules {
        let Some(policy) = &config.spec.traffic_policy else {
            continue;
        };
        if policy
            .tls
            .as_ref()
            .is_none_or(|tls| tls.mode != ClientTlsMode::Disable)
        {
            continue;
        }
        let strict = snapshot
            .registry
            .named(&config.spec.host)
            .find_map(|service| strict_port(examined, service));
        if let Some(port) = strict {
            findings.push(at(
                examined,
                &code::PLAINTEXT_REFUSED,
                format!("DestinationRule {}", full(config)),
                &config.origin,
                "/spec/trafficPolicy/tls/mode",
                format!("callers are told to send plaintext to {}, whose port {port} takes mutual TLS only: every call fails", config.spec.host),
            ));
        }
    }
}

/// Endpoints that do not say that they speak mutual TLS: callers send them plaintext; where STRICT holds they refuse it.
fn bare_under_strict(examined: &Examined, findings: &mut Vec<Finding>) {
    let snapshot = &examined.snapshot;
    let mut told = BTreeSet::new();
    for service in snapshot
        .registry
        .services
        .iter()
        .filter(|service| !service.external)
    {
        for instance in service
            .instances
            .iter()
            .filter(|instance| !instance.mutual_tls)
        {
            let namespace = if instance.namespace.is_empty() {
                &service.namespace
            } else {
                &instance.namespace
            };
            let mode = peer_mode(snapshot, namespace, &instance.labels, instance.port);
            if mode == MutualTlsMode::Strict
                && told.insert((service.hostname.clone(), instance.address.clone()))
            {
                findings.push(at(
                    examined,
                    &code::CALLERS_IN_PLAINTEXT,
                    format!("ServiceEntry {}", service.hostname),
                    &service.origin,
                    "/spec",
                    format!("{}:{} has no label security.istio.io/tlsMode: istio, so callers send plaintext; STRICT refuses that", instance.address, instance.port),
                ));
            }
        }
    }
}

/// Principals of service accounts that nobody runs under. A DENY that matches nobody denies nothing.
fn principals(
    examined: &Examined,
    config: &Config<AuthorizationPolicy>,
    findings: &mut Vec<Finding>,
) {
    let snapshot = &examined.snapshot;
    let accounts: BTreeSet<&str> = snapshot
        .registry
        .services
        .iter()
        .flat_map(|service| &service.instances)
        .filter_map(|instance| instance.account.as_deref())
        .map(|account| account.trim_start_matches("spiffe://"))
        .collect();
    for (pointer, principal) in listed(&config.spec.rules) {
        if principal.contains('*') {
            continue;
        }
        let domain = principal.split('/').next().unwrap_or_default();
        let foreign = domain != snapshot.mesh.trust_domain && domain != "cluster.local";
        let message = if principal.starts_with("spiffe://") {
            format!(
                "`{principal}` begins with spiffe://; principals are written without it, so that this one matches nobody"
            )
        } else if foreign {
            format!(
                "`{principal}` is of another trust domain than the mesh's {}",
                snapshot.mesh.trust_domain
            )
        } else if !accounts.is_empty() && !accounts.contains(principal.as_str()) {
            format!("no workload of the files runs as `{principal}`")
        } else {
            continue;
        };
        findings.push(at(
            examined,
            &code::NOBODY_OF_THAT_NAME,
            format!("AuthorizationPolicy {}", full(config)),
            &config.origin,
            &pointer,
            message,
        ));
    }
}

fn listed(rules: &[Rule]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (rule_index, rule) in rules.iter().enumerate() {
        for (from_index, from) in rule.from.iter().enumerate() {
            for (name, list) in [
                ("principals", &from.source.principals),
                ("notPrincipals", &from.source.not_principals),
            ] {
                for (index, principal) in list.iter().enumerate() {
                    all.push((
                        format!("/spec/rules/{rule_index}/from/{from_index}/source/{name}/{index}"),
                        principal.clone(),
                    ));
                }
            }
        }
    }
    all
}

/// DENY by identity where plaintext is taken: who sends plaintext has none, and passes.
fn unproven(
    examined: &Examined,
    config: &Config<AuthorizationPolicy>,
    cluster: &Cluster,
    findings: &mut Vec<Finding>,
) {
    if config.spec.action != Action::Deny {
        return;
    }
    let identity = config.spec.rules.iter().enumerate().find(|(_, rule)| {
        rule.from
            .iter()
            .any(|from| !from.source.principals.is_empty() || !from.source.namespaces.is_empty())
    });
    let Some((index, _)) = identity else {
        return;
    };
    let snapshot = &examined.snapshot;
    let chosen = chosen_ports(examined, config);
    let open = chosen.iter().find(|(namespace, labels, port)| {
        peer_mode(snapshot, namespace, labels, *port) != MutualTlsMode::Strict
    });
    if let Some((_, _, port)) = open
        && !cluster.workloads.is_empty()
    {
        findings.push(at(
            examined,
            &code::IDENTITY_NOT_PROVED,
            format!("AuthorizationPolicy {}", full(config)),
            &config.origin,
            &format!("/spec/rules/{index}/from"),
            format!("it denies by identity, and port {port} takes plaintext too, whose senders have none and pass"),
        ));
    }
}

/// HTTP attributes at ports that speak no HTTP: an ALLOW rule never matches there, a DENY rule is taken without them.
fn http_on_tcp(
    examined: &Examined,
    config: &Config<AuthorizationPolicy>,
    findings: &mut Vec<Finding>,
) {
    let http = config.spec.rules.iter().enumerate().find(|(_, rule)| {
        rule.to.iter().any(|to| {
            let operation = &to.operation;
            [&operation.methods, &operation.paths, &operation.hosts]
                .iter()
                .any(|list| !list.is_empty())
        }) || rule
            .from
            .iter()
            .any(|from| !from.source.request_principals.is_empty())
    });
    let Some((index, rule)) = http else {
        return;
    };
    let labels = config
        .spec
        .selector
        .as_ref()
        .map(|selector| &selector.match_labels);
    let root = config.meta.namespace == examined.snapshot.mesh.root_namespace;
    let ports: BTreeSet<String> = rule
        .to
        .iter()
        .flat_map(|to| &to.operation.ports)
        .cloned()
        .collect();
    for service in &examined.snapshot.registry.services {
        let here = service.instances.iter().any(|instance| {
            let own = root || service.namespace == config.meta.namespace;
            own && labels.is_none_or(|labels| labels_match(labels, &instance.labels))
        });
        let tcp = service.ports.iter().find(|port| {
            !port.protocol.is_http_or_sniffed()
                && (ports.is_empty() || ports.contains(&port.number.to_string()))
        });
        if let Some(port) = tcp.filter(|_| here && labels.is_some()) {
            findings.push(at(
                examined,
                &code::HTTP_RULE_ON_TCP,
                format!("AuthorizationPolicy {}", full(config)),
                &config.origin,
                &format!("/spec/rules/{index}"),
                format!("rules about methods, paths and hosts do not hold at port {} of {}, which is not HTTP", port.number, service.hostname),
            ));
            return;
        }
    }
}

/// Namespace, labels and port of the endpoints that a policy is about.
fn chosen_ports(
    examined: &Examined,
    config: &Config<AuthorizationPolicy>,
) -> Vec<(String, Labels, u32)> {
    let snapshot = &examined.snapshot;
    let root = config.meta.namespace == snapshot.mesh.root_namespace;
    let labels = config
        .spec
        .selector
        .as_ref()
        .map(|selector| &selector.match_labels);
    let mut chosen = Vec::new();
    for service in snapshot
        .registry
        .services
        .iter()
        .filter(|service| !service.external)
    {
        for instance in &service.instances {
            let namespace = if instance.namespace.is_empty() {
                &service.namespace
            } else {
                &instance.namespace
            };
            let here = root || *namespace == config.meta.namespace;
            if here && labels.is_none_or(|labels| labels_match(labels, &instance.labels)) {
                chosen.push((namespace.clone(), instance.labels.clone(), instance.port));
            }
        }
    }
    chosen
}

fn strict_port(examined: &Examined, service: &Service) -> Option<u32> {
    let strict = service.instances.iter().find(|instance| {
        let namespace = if instance.namespace.is_empty() {
            &service.namespace
        } else {
            &instance.namespace
        };
        peer_mode(
            &examined.snapshot,
            namespace,
            &instance.labels,
            instance.port,
        ) == MutualTlsMode::Strict
    });
    strict.map(|instance| instance.port)
}
