//! Who may do what: Envoy's role based access control, for requests and for TCP connections, as istiod writes AuthorizationPolicies.
//!
//! | file | what it holds |
//! |---|---|
//! | [`rule`] | one condition, and what it asks |
//! | [`facts`] | what is known about a request or connection when it is judged |
//! | [`read`] | message → rules |
//! | [`fuzz`] | the entry of the fuzz target |

mod facts;
pub mod fuzz;
mod read;
mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::observe::metrics::Counter;
use carbyne_protos::envoy::extensions::filters::http::rbac::v3 as http_wire;
use carbyne_protos::envoy::extensions::filters::network::rbac::v3 as network_wire;
use http::StatusCode;
use serde_json::{Map, Value};

pub use self::facts::Facts;
use self::rule::Rule;
use super::planned::Planned;
use super::refuse::without_spaces;
use crate::context::{Context, Metadata};
use crate::plan::scope::Scope;

/// What decides over a request or a connection.
#[derive(Clone, Debug)]
pub struct RbacFilter {
    enforced: Option<Rules>,
    shadow: Option<Rules>,
    shadow_policy_key: Box<str>,
    shadow_result_key: Box<str>,
    enforced_keys: (Box<str>, Box<str>),
    /// Whether it is told that enforced rules let pass.
    tells_enforced: bool,
    /// Its counters; per-route configurations count in those of their filter.
    pub stats: Arc<RbacStats>,
}

/// A route's own rules, in place of the filter's.
#[derive(Clone, Debug)]
pub struct RbacRoute {
    /// The rules; none lets everything through.
    pub rules: Option<RbacFilter>,
}

/// Counters of a filter, named `{stat_prefix}rbac.{name}`, those of shadow rules with their own prefix.
#[derive(Debug, Default)]
pub struct RbacStats {
    /// Enforced rules let pass.
    pub allowed: Counter,
    /// Enforced rules refused.
    pub denied: Counter,
    /// Shadow rules would have let pass.
    pub shadow_allowed: Counter,
    /// Shadow rules would have refused.
    pub shadow_denied: Counter,
}

/// What enforced rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it pass.
    Allow,
    /// Refuse it.
    Deny(Denial),
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy that matched; `None` where no policy allowed it.
    pub policy: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Rules {
    action: Action,
    /// In the order of their names, as Envoy's map has them.
    policies: Box<[Policy]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Log,
}

#[derive(Clone, Debug)]
struct Policy {
    name: Arc<str>,
    permissions: Box<[Rule]>,
    principals: Box<[Rule]>,
}

impl RbacFilter {
    /// Reads the HTTP filter's message.
    pub fn plan(message: &http_wire::Rbac, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(HTTP, scope, |doubts| read::http(message, scope, doubts))
    }

    /// Reads the network filter's message.
    pub fn plan_network(message: &network_wire::Rbac, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NETWORK, scope, |doubts| {
            read::network(message, scope, doubts)
        })
    }

    /// What stands in the names of its counters before those of enforced and of shadow rules.
    pub fn stat_prefixes(&self) -> (&str, &str) {
        let enforced = self.enforced_keys.0.strip_suffix(ENFORCED_POLICY);
        let shadow = self.shadow_policy_key.strip_suffix(SHADOW_POLICY);
        (enforced.unwrap_or_default(), shadow.unwrap_or_default())
    }

    /// Judges a request.
    pub fn request(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&RbacRoute>,
    ) -> Result<(), Answer> {
        let filter = match per_route {
            Some(RbacRoute { rules: None }) => return Ok(()),
            Some(RbacRoute { rules: Some(own) }) => own,
            None => self,
        };
        let mut written = Map::new();
        let facts = Facts::request(exchange);
        let shadow = filter.shadow.as_ref().map(|rules| rules.decide(&facts));
        let enforced = filter
            .enforced
            .as_ref()
            .map(|rules| (rules.action, rules.decide(&facts)));
        if let Some(verdict) = &shadow {
            filter.note_shadow(verdict, &self.stats, &mut written);
        }
        if let Some((action, verdict)) = &enforced {
            filter.note_enforced(verdict, &mut written);
            if *action == Action::Log {
                let hint =
                    Map::from_iter([(HINT.to_owned(), Value::Bool(verdict.policy.is_some()))]);
                exchange.context.metadata.merge(COMMON, hint);
            }
        }
        if !written.is_empty() {
            exchange.context.metadata.merge(HTTP, written);
        }
        match enforced {
            Some((_, verdict)) if !verdict.allowed => {
                self.stats.denied.increment();
                let denial = Denial {
                    policy: verdict.policy,
                };
                let details = denial.details();
                exchange.context.denied_by = Some(denial.by());
                Err(Answer::text(StatusCode::FORBIDDEN, DENIED, details))
            }
            Some(_) => {
                self.stats.allowed.increment();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Judges a TCP connection; conditions about HTTP see a request without any field. What shadow rules find goes to `metadata`.
    pub fn check_connection(&self, facts: &Facts<'_>, metadata: &mut Metadata) -> Decision {
        let mut written = Map::new();
        if let Some(rules) = &self.shadow {
            self.note_shadow(&rules.decide(facts), &self.stats, &mut written);
        }
        let mut decision = Decision::Allow;
        if let Some(rules) = &self.enforced {
            let verdict = rules.decide(facts);
            self.note_enforced(&verdict, &mut written);
            if rules.action == Action::Log {
                let hint =
                    Map::from_iter([(HINT.to_owned(), Value::Bool(verdict.policy.is_some()))]);
                metadata.merge(COMMON, hint);
            }
            if verdict.allowed {
                self.stats.allowed.increment();
            } else {
                self.stats.denied.increment();
                decision = Decision::Deny(Denial {
                    policy: verdict.policy,
                });
            }
        }
        if !written.is_empty() {
            metadata.merge(NETWORK, written);
        }
        decision
    }

    fn note_shadow(&self, verdict: &Verdict, stats: &RbacStats, written: &mut Map<String, Value>) {
        let (counter, result) = if verdict.allowed {
            (&stats.shadow_allowed, "allowed")
        } else {
            (&stats.shadow_denied, "denied")
        };
        counter.increment();
        if let Some(policy) = &verdict.policy {
            written.insert(self.shadow_policy_key.to_string(), Value::from(&**policy));
        }
        written.insert(self.shadow_result_key.to_string(), Value::from(result));
    }

    /// Envoy tells of enforced rules too. Here it does of refusals, and of everything where a prefix shows that somebody reads it, which
    /// istiod's never do: it would cost every request.
    fn note_enforced(&self, verdict: &Verdict, written: &mut Map<String, Value>) {
        if verdict.allowed && !self.tells_enforced {
            return;
        }
        let (policy_key, result_key) = &self.enforced_keys;
        if let Some(policy) = &verdict.policy {
            written.insert(policy_key.to_string(), Value::from(&**policy));
        }
        written.insert(
            result_key.to_string(),
            Value::from(if verdict.allowed { "allowed" } else { "denied" }),
        );
    }
}

impl RbacRoute {
    /// Reads a route's message.
    pub fn plan(message: &http_wire::RbacPerRoute, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(HTTP, scope, |doubts| match &message.rbac {
            None => Some(Self { rules: None }),
            Some(own) => read::http(own, &scope.field("rbac"), doubts)
                .map(|rules| Self { rules: Some(rules) }),
        })
    }
}

impl Denial {
    /// The policy, or `none`.
    pub fn by(&self) -> Arc<str> {
        self.policy.clone().unwrap_or_else(|| Arc::from(NONE))
    }

    /// Response code details, or for TCP the connection's termination details: `rbac_access_denied_matched_policy[NAME]`.
    pub fn details(&self) -> String {
        let name = self.policy.as_deref().unwrap_or(NONE);
        format!(
            "rbac_access_denied_matched_policy[{}]",
            without_spaces(name)
        )
    }
}

/// What rules say.
#[derive(Debug)]
struct Verdict {
    allowed: bool,
    /// The first policy that matched.
    policy: Option<Arc<str>>,
}

impl Rules {
    fn decide(&self, facts: &Facts<'_>) -> Verdict {
        let policy = self.policies.iter().find(|policy| policy.matches(facts));
        Verdict {
            allowed: match self.action {
                Action::Allow => policy.is_some(),
                Action::Deny => policy.is_none(),
                Action::Log => true,
            },
            policy: policy.map(|policy| Arc::clone(&policy.name)),
        }
    }
}

impl Policy {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        self.permissions.iter().any(|rule| rule.matches(facts))
            && self.principals.iter().any(|rule| rule.matches(facts))
    }
}

/// Name of the HTTP filter, and the namespace of what it writes.
pub const HTTP: &str = "envoy.filters.http.rbac";
/// Name of the network filter, and the namespace of what it writes.
pub const NETWORK: &str = "envoy.filters.network.rbac";
const COMMON: &str = "envoy.common";
/// Keys of dynamic metadata, behind the prefixes of the statistics.
pub(super) const SHADOW_POLICY: &str = "shadow_effective_policy_id";
pub(super) const ENFORCED_POLICY: &str = "enforced_effective_policy_id";
const HINT: &str = "access_log_hint";
const DENIED: &str = "RBAC: access denied";
const NONE: &str = "none";
