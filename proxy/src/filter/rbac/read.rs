//! Message → rules. Anything not understood makes the whole filter refuse: a policy without one of its conditions is another policy.

use std::sync::Arc;

use carbyne_protos::any::{Unwrapped, type_name};
use carbyne_protos::envoy::config::core::v3::TypedExtensionConfig;
use carbyne_protos::envoy::config::rbac::v3 as wire;
use carbyne_protos::envoy::config::rbac::v3::permission::Rule as Permission;
use carbyne_protos::envoy::config::rbac::v3::principal::Identifier as Principal;
use carbyne_protos::envoy::extensions::filters::http::rbac::v3 as http_wire;
use carbyne_protos::envoy::extensions::filters::network::rbac::v3 as network_wire;
use carbyne_protos::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use carbyne_protos::envoy::r#type::matcher::v3::filter_state_matcher::Matcher;
use carbyne_protos::envoy::r#type::matcher::v3::{FilterStateMatcher, PathMatcher, path_matcher};

use super::rule::{Rule, Sense};
use super::{Action, Policy, RbacFilter, RbacStats, Rules};
use super::{ENFORCED_POLICY, SHADOW_POLICY};
use crate::filter::planned::Doubts;
use crate::live::matcher::{StringMatcher, Template};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

pub(super) fn http(
    message: &http_wire::Rbac,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<RbacFilter> {
    if message.matcher.is_some() {
        doubts.add(&scope.field("matcher"), "matcher trees are not served");
    }
    if message.shadow_matcher.is_some() {
        doubts.add(
            &scope.field("shadow_matcher"),
            "matcher trees are not served",
        );
    }
    if message.track_per_rule_stats {
        scope
            .field("track_per_rule_stats")
            .note("policies have no counters of their own; the access log names them");
    }
    let enforced = optional_rules(message.rules.as_ref(), &scope.field("rules"), doubts);
    let shadow = optional_rules(
        message.shadow_rules.as_ref(),
        &scope.field("shadow_rules"),
        doubts,
    );
    Some(filter(
        enforced?,
        shadow?,
        &message.shadow_rules_stat_prefix,
        &message.rules_stat_prefix,
    ))
}

pub(super) fn network(
    message: &network_wire::Rbac,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<RbacFilter> {
    if message.matcher.is_some() {
        doubts.add(&scope.field("matcher"), "matcher trees are not served");
    }
    if message.shadow_matcher.is_some() {
        doubts.add(
            &scope.field("shadow_matcher"),
            "matcher trees are not served",
        );
    }
    match network_wire::rbac::EnforcementType::try_from(message.enforcement_type) {
        Ok(network_wire::rbac::EnforcementType::OneTimeOnFirstByte) => {}
        Ok(network_wire::rbac::EnforcementType::Continuous) => {
            doubts.add(
                &scope.field("enforcement_type"),
                "connections are judged once, on their first byte",
            );
        }
        Err(_) => doubts.add(&scope.field("enforcement_type"), "a type that is not known"),
    }
    if message.delay_deny.is_some() {
        scope
            .field("delay_deny")
            .note("refused connections are closed at once");
    }
    let enforced = optional_rules(message.rules.as_ref(), &scope.field("rules"), doubts);
    let shadow = optional_rules(
        message.shadow_rules.as_ref(),
        &scope.field("shadow_rules"),
        doubts,
    );
    Some(filter(
        enforced?,
        shadow?,
        &message.shadow_rules_stat_prefix,
        "",
    ))
}

fn filter(
    enforced: Option<Rules>,
    shadow: Option<Rules>,
    shadow_prefix: &str,
    prefix: &str,
) -> RbacFilter {
    RbacFilter {
        enforced,
        shadow,
        shadow_policy_key: format!("{shadow_prefix}{SHADOW_POLICY}").into(),
        shadow_result_key: format!("{shadow_prefix}shadow_engine_result").into(),
        enforced_keys: (
            format!("{prefix}{ENFORCED_POLICY}").into(),
            format!("{prefix}enforced_engine_result").into(),
        ),
        tells_enforced: !prefix.is_empty(),
        stats: Arc::new(RbacStats::default()),
    }
}

/// The outer `None` is a failure that was noted.
#[expect(
    clippy::option_option,
    reason = "no rules and rules that could not be read are two things"
)]
fn optional_rules(
    message: Option<&wire::Rbac>,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Option<Rules>> {
    match message {
        None => Some(None),
        Some(message) => rules(message, scope, doubts).map(Some),
    }
}

fn rules(message: &wire::Rbac, scope: &Scope<'_>, doubts: &Doubts) -> Option<Rules> {
    let (action, sense) = match wire::rbac::Action::try_from(message.action) {
        Ok(wire::rbac::Action::Allow) => (Action::Allow, Sense::Grants),
        Ok(wire::rbac::Action::Deny) => (Action::Deny, Sense::Refuses),
        // What shall be logged is logged rather once too often.
        Ok(wire::rbac::Action::Log) => (Action::Log, Sense::Refuses),
        Err(_) => {
            doubts.add(&scope.field("action"), "an action that is not known");
            return None;
        }
    };
    if message
        .audit_logging_options
        .as_ref()
        .is_some_and(|options| !options.logger_configs.is_empty())
    {
        scope
            .field("audit_logging_options")
            .note("the access log names the policy of every refusal; there are no audit loggers");
    }
    // All of them are read, so that all errors are seen.
    let policies: Vec<Option<Policy>> = (message.policies.iter())
        .map(|(name, policy)| {
            self::policy(name, policy, sense, &scope.entry("policies", name), doubts)
        })
        .collect();
    Some(Rules {
        action,
        policies: policies.into_iter().collect::<Option<_>>()?,
    })
}

fn policy(
    name: &str,
    message: &wire::Policy,
    sense: Sense,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Policy> {
    for (field, present) in [
        ("condition", message.condition.is_some()),
        ("checked_condition", message.checked_condition.is_some()),
    ] {
        if present {
            doubts.add(&scope.field(field), "CEL conditions are not served");
        }
    }
    let permissions = several(&message.permissions, "permissions", scope, |rule, scope| {
        permission(rule, sense, scope, doubts)
    });
    let principals = several(&message.principals, "principals", scope, |rule, scope| {
        principal(rule, sense, scope, doubts)
    });
    Some(Policy {
        name: Arc::from(name),
        permissions: permissions?,
        principals: principals?,
    })
}

/// A list of at least one rule.
fn several<M>(
    messages: &[M],
    field: &'static str,
    scope: &Scope<'_>,
    read: impl Fn(&M, &Scope<'_>) -> Option<Rule>,
) -> Option<Box<[Rule]>> {
    if messages.is_empty() {
        scope.field(field).missing();
        return None;
    }
    let rules: Vec<Option<Rule>> = (messages.iter().enumerate())
        .map(|(index, message)| read(message, &scope.item(field, index)))
        .collect();
    rules.into_iter().collect()
}

fn permission(
    message: &wire::Permission,
    sense: Sense,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Rule> {
    let set = |set: &wire::permission::Set, scope: &Scope<'_>| {
        several(&set.rules, "rules", scope, |rule, scope| {
            permission(rule, sense, scope, doubts)
        })
    };
    Some(match &message.rule {
        Some(Permission::AndRules(rules)) => Rule::All(set(rules, &scope.field("and_rules"))?),
        Some(Permission::OrRules(rules)) => Rule::AnyOf(set(rules, &scope.field("or_rules"))?),
        Some(Permission::NotRule(rule)) => Rule::Not(Box::new(permission(
            rule,
            sense.opposite(),
            &scope.field("not_rule"),
            doubts,
        )?)),
        Some(Permission::Any(flag)) => always(*flag, scope)?,
        Some(Permission::Header(matcher)) => Rule::Header(
            matcher::header(matcher, &scope.field("header"))?,
            sense.quantifier(),
        ),
        Some(Permission::UrlPath(matcher)) => {
            Rule::UrlPath(url_path(matcher, &scope.field("url_path"))?)
        }
        Some(Permission::DestinationIp(range)) => {
            Rule::DestinationIp(value::cidr(range, &scope.field("destination_ip"))?)
        }
        Some(Permission::DestinationPort(port)) => {
            if *port > u32::from(u16::MAX) {
                scope
                    .field("destination_port")
                    .out_of_range(port, "a port (0 to 65535)");
                return None;
            }
            Rule::DestinationPort(*port..port + 1)
        }
        Some(Permission::DestinationPortRange(range)) => {
            match (u32::try_from(range.start), u32::try_from(range.end)) {
                (Ok(start), Ok(end)) if start < end && end <= 65_536 => {
                    Rule::DestinationPort(start..end)
                }
                _ => {
                    let found = format_args!("{}..{}", range.start, range.end);
                    scope.field("destination_port_range").out_of_range(
                        found,
                        "a range of ports: its start below its end, both 0 to 65536",
                    );
                    return None;
                }
            }
        }
        Some(Permission::Metadata(matcher)) => {
            Rule::Metadata(matcher::metadata(matcher, &scope.field("metadata"))?)
        }
        Some(Permission::SourcedMetadata(sourced)) => {
            sourced_metadata(sourced, &scope.field("sourced_metadata"), doubts)?
        }
        Some(Permission::RequestedServerName(matcher)) => Rule::ServerName(matcher::string(
            matcher,
            &scope.field("requested_server_name"),
        )?),
        Some(Permission::UriTemplate(extension)) => {
            uri_template(extension, &scope.field("uri_template"), doubts)?
        }
        Some(Permission::Matcher(extension)) => {
            doubts.add(
                &scope.field("matcher"),
                format!("the extension `{}` is not served", extension.name),
            );
            return None;
        }
        None => {
            doubts.add(scope, "a permission that is empty or not known");
            return None;
        }
    })
}

fn principal(
    message: &wire::Principal,
    sense: Sense,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Rule> {
    let set = |set: &wire::principal::Set, scope: &Scope<'_>| {
        several(&set.ids, "ids", scope, |rule, scope| {
            principal(rule, sense, scope, doubts)
        })
    };
    Some(match &message.identifier {
        Some(Principal::AndIds(ids)) => Rule::All(set(ids, &scope.field("and_ids"))?),
        Some(Principal::OrIds(ids)) => Rule::AnyOf(set(ids, &scope.field("or_ids"))?),
        Some(Principal::NotId(id)) => Rule::Not(Box::new(principal(
            id,
            sense.opposite(),
            &scope.field("not_id"),
            doubts,
        )?)),
        Some(Principal::Any(flag)) => always(*flag, scope)?,
        Some(Principal::Authenticated(authenticated)) => Rule::Authenticated {
            name: match &authenticated.principal_name {
                Some(matcher) => Some(matcher::string(
                    matcher,
                    &scope.field("authenticated").field("principal_name"),
                )?),
                None => None,
            },
            sense,
        },
        Some(Principal::SourceIp(range)) => {
            Rule::SourceIp(value::cidr(range, &scope.field("source_ip"))?)
        }
        Some(Principal::DirectRemoteIp(range)) => {
            Rule::DirectRemoteIp(value::cidr(range, &scope.field("direct_remote_ip"))?)
        }
        Some(Principal::RemoteIp(range)) => {
            Rule::RemoteIp(value::cidr(range, &scope.field("remote_ip"))?)
        }
        Some(Principal::Header(matcher)) => Rule::Header(
            matcher::header(matcher, &scope.field("header"))?,
            sense.quantifier(),
        ),
        Some(Principal::UrlPath(matcher)) => {
            Rule::UrlPath(url_path(matcher, &scope.field("url_path"))?)
        }
        Some(Principal::Metadata(matcher)) => {
            Rule::Metadata(matcher::metadata(matcher, &scope.field("metadata"))?)
        }
        Some(Principal::SourcedMetadata(sourced)) => {
            sourced_metadata(sourced, &scope.field("sourced_metadata"), doubts)?
        }
        Some(Principal::FilterState(matcher)) => {
            filter_state(matcher, &scope.field("filter_state"), doubts)?
        }
        Some(Principal::Custom(extension)) => {
            doubts.add(
                &scope.field("custom"),
                format!("the extension `{}` is not served", extension.name),
            );
            return None;
        }
        None => {
            doubts.add(scope, "a principal that is empty or not known");
            return None;
        }
    })
}

fn always(flag: bool, scope: &Scope<'_>) -> Option<Rule> {
    if !flag {
        scope.field("any").out_of_range(false, "true");
        return None;
    }
    Some(Rule::Always)
}

fn sourced_metadata(
    message: &wire::SourcedMetadata,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Rule> {
    if wire::MetadataSource::try_from(message.metadata_source) != Ok(wire::MetadataSource::Dynamic)
    {
        doubts.add(
            &scope.field("metadata_source"),
            "only dynamic metadata is served",
        );
        return None;
    }
    let Some(matcher) = &message.metadata_matcher else {
        scope.field("metadata_matcher").missing();
        return None;
    };
    Some(Rule::Metadata(matcher::metadata(
        matcher,
        &scope.field("metadata_matcher"),
    )?))
}

fn uri_template(
    extension: &TypedExtensionConfig,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Rule> {
    let scope = scope.field("typed_config");
    let Some(any) = &extension.typed_config else {
        scope.missing();
        return None;
    };
    let unwrapped = Unwrapped::of(any)
        .ok()
        .filter(Unwrapped::is::<UriTemplateMatchConfig>);
    let Some(unwrapped) = unwrapped else {
        doubts.add(
            &scope,
            format!(
                "the path matcher `{}` is not served",
                type_name(&any.type_url)
            ),
        );
        return None;
    };
    match unwrapped.decode::<UriTemplateMatchConfig>() {
        Ok(config) => scope
            .take(Template::new(&config.path_template))
            .map(Rule::UriTemplate),
        Err(error) => {
            scope.reject(Fault::Malformed(error.to_string()));
            None
        }
    }
}

fn url_path(message: &PathMatcher, scope: &Scope<'_>) -> Option<StringMatcher> {
    match &message.rule {
        Some(path_matcher::Rule::Path(path)) => matcher::string(path, &scope.field("path")),
        None => {
            scope.missing();
            None
        }
    }
}

/// istiod asks for the peer's name in a tunnel (HBONE). Nobody sets it here, so nothing can equal it; any other key is unknown.
fn filter_state(message: &FilterStateMatcher, scope: &Scope<'_>, doubts: &Doubts) -> Option<Rule> {
    if message.key != TUNNEL_PEER {
        doubts.add(
            &scope.field("key"),
            format!("the filter state `{}` is not served", message.key),
        );
        return None;
    }
    match &message.matcher {
        Some(Matcher::StringMatch(matcher)) => {
            matcher::string(matcher, &scope.field("string_match")).map(|_| Rule::Never)
        }
        _ => {
            doubts.add(scope, "a filter state matcher that is empty or not known");
            None
        }
    }
}

const TUNNEL_PEER: &str = "io.istio.peer_principal";
