//! acl: only consumers of some groups, or all but those of some groups.

use http::{HeaderName, HeaderValue, StatusCode};
use rustc_hash::FxHashSet;
use serde::Deserialize;

use crate::plugin::{Call, Exit, Flow, Plugin, Record, Refusal, Setup};
use crate::store::Row;
use crate::value::Value;

#[derive(Debug)]
pub struct Acl {
    rule: Rule,
    hide_groups_header: bool,
    always_use_authenticated_groups: bool,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    allow: Option<Vec<Box<str>>>,
    deny: Option<Vec<Box<str>>>,
    hide_groups_header: bool,
    always_use_authenticated_groups: bool,
}

/// Who may pass.
#[derive(Debug)]
enum Rule {
    Allow(FxHashSet<Box<str>>),
    Deny(FxHashSet<Box<str>>),
}

/// A group that a consumer is in.
#[derive(Debug)]
struct Group(Box<str>);

impl Record for Group {
    const ENTITY: &'static str = "acls";

    fn read(row: &Row) -> Option<Self> {
        Some(Self(row.entity.get("group")?.as_str()?.into()))
    }
}

impl Plugin for Acl {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let deny = config.deny.unwrap_or_default();
        let allow = config.allow.unwrap_or_default();
        Ok(Self {
            // The schema has one of them at most; what it left empty allows nobody.
            rule: if deny.is_empty() {
                Rule::Allow(allow.into_iter().collect())
            } else {
                Rule::Deny(deny.into_iter().collect())
            },
            hide_groups_header: config.hide_groups_header,
            always_use_authenticated_groups: config.always_use_authenticated_groups,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        let consumer = call.client().consumer().cloned();
        let proved = call.client().credential().is_some();
        // What nobody proved is what another plugin says of the client, before what the anonymous consumer is.
        let told = match &consumer {
            Some(_) if proved && !self.always_use_authenticated_groups => None,
            _ => call.shared(AUTHENTICATED).and_then(told_groups),
        };
        let (header, groups) = match (told, consumer) {
            (Some(groups), _) => {
                let groups: Vec<&str> = groups.iter().map(|group| &**group).collect();
                (AUTHENTICATED_GROUPS, self.judge(&groups)?)
            }
            (None, Some(consumer)) => {
                let groups = call.children::<Group>("consumer", &consumer.id).await?;
                if groups.is_empty() && matches!(self.rule, Rule::Allow(_)) {
                    return Err(refuse(proved));
                }
                let groups: Vec<&str> = groups.iter().map(|group| &*group.0).collect();
                (CONSUMER_GROUPS, self.judge(&groups)?)
            }
            (None, None) => return Err(refuse(proved)),
        };
        let mut request = call.service_request();
        let headers = request.headers();
        // Clients that are in no group cannot say that they are: Kong would pass these on.
        headers.remove(&CONSUMER_GROUPS);
        headers.remove(&AUTHENTICATED_GROUPS);
        if let Some(groups) = groups {
            headers.insert(header, groups);
        }
        Ok(())
    }
}

impl Acl {
    /// Whether who is in these groups may pass, and what the service is told of them.
    fn judge(&self, groups: &[&str]) -> Result<Option<HeaderValue>, Exit> {
        let passes = match &self.rule {
            Rule::Allow(wanted) => groups.iter().any(|group| wanted.contains(*group)),
            Rule::Deny(unwanted) => !groups.iter().any(|group| unwanted.contains(*group)),
        };
        if !passes {
            return Err(refuse(true));
        }
        let told = || HeaderValue::from_bytes(groups.join(", ").as_bytes()).ok();
        Ok(if self.hide_groups_header {
            None
        } else {
            told()
        })
    }
}

/// Who is unknown may say who it is; who is known may not pass.
fn refuse(known: bool) -> Exit {
    if known {
        Exit::error(StatusCode::FORBIDDEN, "You cannot consume this service")
    } else {
        Exit::error(StatusCode::UNAUTHORIZED, "Unauthorized").anonymous()
    }
}

/// The groups that another plugin found the client to be in.
fn told_groups(value: &Value) -> Option<Vec<Box<str>>> {
    let groups = value.as_array()?.iter();
    Some(groups.filter_map(Value::as_str).map(Box::from).collect())
}

/// Kong: `kong.ctx.shared.authenticated_groups`.
const AUTHENTICATED: &str = "authenticated_groups";
const AUTHENTICATED_GROUPS: HeaderName = HeaderName::from_static("x-authenticated-groups");
const CONSUMER_GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(rule: fn(FxHashSet<Box<str>>) -> Rule, groups: &[&str], hide: bool) -> Acl {
        Acl {
            rule: rule(groups.iter().map(|group| Box::from(*group)).collect()),
            hide_groups_header: hide,
            always_use_authenticated_groups: false,
        }
    }

    #[test]
    fn groups_are_judged() {
        for (acl, groups, told) in [
            (
                acl(Rule::Allow, &["a"], false),
                &["a", "b"][..],
                Some(Some("a, b")),
            ),
            (acl(Rule::Allow, &["a"], true), &["a", "b"], Some(None)),
            (acl(Rule::Allow, &["a"], false), &["b"], None),
            (acl(Rule::Allow, &["a"], false), &[], None),
            (acl(Rule::Allow, &[], false), &["a"], None),
            (acl(Rule::Deny, &["a"], false), &["b"], Some(Some("b"))),
            (acl(Rule::Deny, &["a"], false), &["b", "a"], None),
            (acl(Rule::Deny, &["a"], false), &[], Some(Some(""))),
        ] {
            let judged = acl.judge(groups);
            let judged = judged.map(|told| told.map(|told| told.to_str().unwrap().to_owned()));
            match (judged, told) {
                (Ok(judged), Some(told)) => assert_eq!(judged.as_deref(), told, "{groups:?}"),
                (Err(exit), None) => assert_eq!(exit.status(), StatusCode::FORBIDDEN),
                (judged, told) => panic!("{groups:?}: {judged:?} instead of {told:?}"),
            }
        }
    }

    #[test]
    fn only_lists_are_groups() {
        let value = |json: &str| Value::from_json(json.as_bytes()).unwrap();
        assert_eq!(told_groups(&value(r#""a""#)), None);
        assert_eq!(
            told_groups(&value(r#"["a",1,"b"]"#)),
            Some(vec!["a".into(), "b".into()])
        );
    }
}
