//! The bootstrap's `stats_config`: which parts of names become tags, which names are kept, which buckets histograms have.

use std::sync::{Arc, OnceLock};

use carbyne_engine::observe::metrics::DEFAULT_BOUNDS;
use carbyne_protos::envoy::config::metrics::v3::stats_matcher::StatsMatcher as Matcher;
use carbyne_protos::envoy::config::metrics::v3::tag_specifier::TagValue;
use carbyne_protos::envoy::config::metrics::v3::{StatsConfig, TagSpecifier};
use carbyne_protos::envoy::r#type::matcher::v3::ListStringMatcher;
use fancy_regex::Regex;

use crate::live::matcher::StringMatcher;
use crate::plan::error::Fault;
use crate::plan::matcher;
use crate::plan::scope::Scope;

/// The compiled rules.
#[derive(Clone, Debug)]
pub struct StatsRules {
    tags: Arc<[Tag]>,
    admission: Arc<Admission>,
    buckets: Arc<[(StringMatcher, Arc<[f64]>)]>,
    default_bounds: Arc<[f64]>,
}

/// A name without what became tags, and the tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) name: Box<str>,
    pub(super) tags: Box<[(Arc<str>, Box<str>)]>,
}

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// Every statistic has it.
    Fixed(Box<str>),
    /// The first group is taken out of the name, the second, or the first, is the value. Istio's own patterns look ahead, which the regular
    /// `regex` crate does not serve; they come from the bootstrap, not from the network.
    Regex(Box<Pattern>),
}

/// A pattern that is compiled when it is needed first, which for Envoy's own is the first scrape: their machines are half a megabyte.
#[derive(Debug)]
struct Pattern {
    text: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

#[derive(Debug)]
enum Admission {
    All,
    None,
    Only(Box<[StringMatcher]>),
    AllBut(Box<[StringMatcher]>),
}

impl Default for StatsRules {
    /// Envoy's rules without a `stats_config`.
    fn default() -> Self {
        Self {
            tags: built_in().collect(),
            admission: Arc::new(Admission::All),
            buckets: Arc::new([]),
            default_bounds: Arc::from(DEFAULT_BOUNDS),
        }
    }
}

impl StatsRules {
    /// Reads the message.
    pub fn plan(message: Option<&StatsConfig>, scope: &Scope<'_>) -> Option<Self> {
        let defaults = Self::default();
        let Some(message) = message else {
            return Some(defaults);
        };
        let own = message
            .stats_tags
            .iter()
            .enumerate()
            .filter_map(|(index, tag)| plan_tag(tag, &scope.item("stats_tags", index)));
        let own: Vec<Tag> = own.collect();
        // Unset means true.
        let tags: Arc<[Tag]> = if message.use_all_default_tags == Some(false) {
            own.into()
        } else {
            built_in().chain(own).collect()
        };
        let place = scope.field("stats_matcher");
        let list = |list: &ListStringMatcher, name: &'static str| -> Box<[StringMatcher]> {
            let place = place.field(name);
            list.patterns
                .iter()
                .enumerate()
                .filter_map(|(index, pattern)| {
                    matcher::string(pattern, &place.item("patterns", index))
                })
                .collect()
        };
        let admission = match message
            .stats_matcher
            .as_ref()
            .and_then(|matcher| matcher.stats_matcher.as_ref())
        {
            None | Some(Matcher::RejectAll(false)) => Admission::All,
            Some(Matcher::RejectAll(true)) => Admission::None,
            Some(Matcher::ExclusionList(patterns)) => {
                Admission::AllBut(list(patterns, "exclusion_list"))
            }
            Some(Matcher::InclusionList(patterns)) => {
                Admission::Only(list(patterns, "inclusion_list"))
            }
        };
        let buckets = message
            .histogram_bucket_settings
            .iter()
            .enumerate()
            .filter_map(|(index, settings)| {
                let place = scope.item("histogram_bucket_settings", index);
                let Some(wanted) = &settings.r#match else {
                    place.field("match").missing();
                    return None;
                };
                let ascending = settings.buckets.is_sorted_by(|left, right| left < right)
                    && settings.buckets.iter().all(|bound| *bound > 0.0);
                if !ascending {
                    place.field("buckets").out_of_range(
                        format_args!("{:?}", settings.buckets),
                        "an ascending list of numbers above 0",
                    );
                    return None;
                }
                Some((
                    matcher::string(wanted, &place.field("match"))?,
                    Arc::from(settings.buckets.as_slice()),
                ))
            });
        Some(Self {
            tags,
            admission: Arc::new(admission),
            buckets: buckets.collect(),
            default_bounds: defaults.default_bounds,
        })
    }

    /// Whether a statistic of this name is kept.
    pub fn admits(&self, name: &str) -> bool {
        let met = |matchers: &[StringMatcher]| {
            matchers
                .iter()
                .any(|matcher| matcher.matches(name.as_bytes()))
        };
        match &*self.admission {
            Admission::All => true,
            Admission::None => false,
            Admission::Only(matchers) => met(matchers),
            Admission::AllBut(matchers) => !met(matchers),
        }
    }

    /// The buckets of a histogram of this name: those of the first rule that it meets.
    pub fn bounds(&self, name: &str) -> Arc<[f64]> {
        let own = self
            .buckets
            .iter()
            .find(|(matcher, _)| matcher.matches(name.as_bytes()));
        Arc::clone(own.map_or(&self.default_bounds, |(_, bounds)| bounds))
    }

    /// Takes the tags out of a name. Every pattern sees the whole name; what any of them takes is gone (Envoy's `TagProducerImpl`).
    pub(super) fn tags(&self, name: &str) -> Tagged {
        let mut tags: Vec<(Arc<str>, Box<str>)> = Vec::new();
        let mut gone = vec![false; name.len()];
        for tag in &*self.tags {
            match &tag.value {
                Value::Fixed(value) => tags.push((Arc::clone(&tag.name), value.clone())),
                Value::Regex(pattern) => {
                    // A pattern that gives up for its cost takes nothing.
                    let found = pattern.compiled().map(|regex| regex.captures(name));
                    let Some(Ok(Some(found))) = found else {
                        continue;
                    };
                    let Some(taken) = found.get(1) else { continue };
                    let value = found.get(2).unwrap_or(taken);
                    if tags.iter().any(|(known, _)| *known == tag.name) {
                        continue;
                    }
                    tags.push((Arc::clone(&tag.name), value.as_str().into()));
                    gone[taken.start()..taken.end()].fill(true);
                }
            }
        }
        let left: Vec<u8> = name
            .bytes()
            .zip(&gone)
            .filter(|(_, gone)| !**gone)
            .map(|(byte, _)| byte)
            .collect();
        Tagged {
            name: String::from_utf8_lossy(&left).into(),
            tags: tags.into(),
        }
    }
}

impl Pattern {
    const fn built_in(text: &'static str) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }

    fn compiled(&self) -> Option<&Regex> {
        let compile = || Regex::new(self.text).ok();
        self.compiled.get_or_init(compile).as_ref()
    }
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Self {
        Self {
            text: "",
            compiled: Some(regex).into(),
        }
    }
}

/// Envoy's own tags.
fn built_in() -> impl Iterator<Item = Tag> {
    DEFAULT_TAGS.into_iter().map(|(name, pattern)| Tag {
        name: Arc::from(name),
        value: Value::Regex(Box::new(Pattern::built_in(pattern))),
    })
}

fn plan_tag(tag: &TagSpecifier, scope: &Scope<'_>) -> Option<Tag> {
    if tag.tag_name.is_empty() {
        scope.field("tag_name").missing();
        return None;
    }
    let pattern = match &tag.tag_value {
        Some(TagValue::FixedValue(value)) => {
            return Some(Tag {
                name: Arc::from(tag.tag_name.as_str()),
                value: Value::Fixed(value.as_str().into()),
            });
        }
        Some(TagValue::Regex(pattern)) if !pattern.is_empty() => pattern.as_str(),
        // Without a pattern of its own it is Envoy's tag of that name.
        _ => match DEFAULT_TAGS.iter().find(|(name, _)| *name == tag.tag_name) {
            Some((_, pattern)) => pattern,
            None => {
                scope.field("regex").missing();
                return None;
            }
        },
    };
    let compiled = Regex::new(pattern).map_err(|error| Fault::Malformed(error.to_string()));
    Some(Tag {
        name: Arc::from(tag.tag_name.as_str()),
        value: Value::Regex(Box::new(scope.field("regex").take(compiled)?.into())),
    })
}

/// Envoy's tags for the statistics that there are here (docs: "Statistics", well-known tags).
const DEFAULT_TAGS: [(&str, &str); 11] = [
    (
        "envoy.cluster_name",
        r"^cluster\.((.+?)\.)(?:(?:assignment|circuit_breakers|external|health_check|internal|lb_|manager_warming|membership|outlier_detection|ssl|upstream|version|update|warming|canary|zone|retry|bind|default|init|config|original_dst|max_host).*)",
    ),
    ("envoy.response_code", r"_rq(_(\d{3}))$"),
    ("envoy.response_code_class", r"_rq_((\d))xx$"),
    (
        "envoy.http_conn_manager_listener_prefix",
        r"^listener\..*?\.http\.((.*?)\.)\w+?$",
    ),
    (
        "envoy.http_conn_manager_prefix",
        r"^http\.((.*?)\.)(?:downstream|rq|no_|rs_|passthrough|user_agent|tracing|rbac|fault|cors|ext_authz|jwt_authn).*",
    ),
    (
        "envoy.listener_address",
        r"^listener\.((.*?)\.)(?:downstream|http|no_|ssl|server_ssl|connections|worker).*",
    ),
    ("envoy.tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    (
        "envoy.virtual_host",
        r"^vhost\.((.*?)\.)(?:vcluster|route).*",
    ),
    (
        "envoy.worker_id",
        r"(?:server|listener\..*)\.(worker_(\d+)\.)",
    ),
    ("envoy.rbac_prefix", r"^(([^.]+)\.)rbac\."),
    (
        "envoy.local_http_ratelimit_prefix",
        r"^((.*?)\.)http_local_rate_limit\.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_wait_for_the_first_scrape_compile() {
        for tag in built_in() {
            let Value::Regex(pattern) = &tag.value else {
                panic!("{} is fixed", tag.name);
            };
            assert!(pattern.compiled().is_some(), "{}", tag.name);
        }
    }
}
