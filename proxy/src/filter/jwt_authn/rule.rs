//! For which requests a requirement stands.

use std::collections::BTreeMap;

use carbyne_engine::http::Request;
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::route::v3::RouteMatch;
use carbyne_protos::envoy::config::route::v3::route_match::PathSpecifier;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::RequirementRule;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use carbyne_protos::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use http::Method;

use super::requirement::Requirement;
use crate::filter::planned::Doubts;
use crate::live::matcher::{HeaderMatcher, PathMatcher, PathRule, QueryMatcher, Template};
use crate::plan::matcher;
use crate::plan::scope::Scope;

/// Requests of a certain form, and what they must have.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    path: PathMatcher,
    headers: Box<[HeaderMatcher]>,
    queries: Box<[QueryMatcher]>,
    /// `None` asks nothing.
    pub(super) requirement: Option<Requirement>,
}

impl Rule {
    pub(super) fn read(
        message: &RequirementRule,
        numbers: &BTreeMap<&str, usize>,
        named: Option<&BTreeMap<Box<str>, Requirement>>,
        scope: &Scope<'_>,
        doubts: &Doubts,
    ) -> Option<Self> {
        let requirement = match &message.requirement_type {
            None => None,
            Some(RequirementType::Requires(requirement)) => Some(Requirement::read(
                requirement,
                numbers,
                &scope.field("requires"),
                doubts,
            )?),
            Some(RequirementType::RequirementName(name)) => {
                let known = named?.get(name.as_str());
                if known.is_none() {
                    scope
                        .field("requirement_name")
                        .out_of_range(format_args!("`{name}`"), "a name in requirement_map");
                }
                Some(known?.clone())
            }
        };
        let Some(form) = &message.r#match else {
            scope.field("match").missing();
            return None;
        };
        let scope = scope.field("match");
        let others = [
            ("runtime_fraction", form.runtime_fraction.is_some()),
            ("cookies", !form.cookies.is_empty()),
            ("grpc", form.grpc.is_some()),
            ("tls_context", form.tls_context.is_some()),
            ("dynamic_metadata", !form.dynamic_metadata.is_empty()),
            ("filter_state", !form.filter_state.is_empty()),
        ];
        for (field, _) in others.into_iter().filter(|(_, present)| *present) {
            doubts.add(
                &scope.field(field),
                "requests are told apart by path, header fields and query only",
            );
        }
        let queries = form.query_parameters.iter().enumerate();
        let queries = queries.filter_map(|(index, query)| {
            matcher::query(query, &scope.item("query_parameters", index))
        });
        Some(Self {
            path: path(form, &scope, doubts)?,
            headers: matcher::headers(&form.headers, "headers", &scope),
            queries: queries.collect(),
            requirement,
        })
    }

    pub(super) fn matches(&self, request: &Request) -> bool {
        let path = match self.path.rule() {
            PathRule::Connect => request.method == Method::CONNECT,
            _ => self.path.matches(request.path_only()),
        };
        path && self.headers.iter().all(|matcher| matcher.matches(request))
            && self
                .queries
                .iter()
                .all(|matcher| matcher.matches(request.query()))
    }
}

fn path(form: &RouteMatch, scope: &Scope<'_>, doubts: &Doubts) -> Option<PathMatcher> {
    let ignore_case = form.case_sensitive == Some(false);
    let bytes = |text: &str| text.as_bytes().into();
    let rule = match &form.path_specifier {
        Some(PathSpecifier::Prefix(text)) => PathRule::Prefix(bytes(text)),
        Some(PathSpecifier::Path(text)) => PathRule::Exact(bytes(text)),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => PathRule::Segments(bytes(text)),
        Some(PathSpecifier::SafeRegex(regex)) => {
            PathRule::Regex(matcher::regex(regex, &scope.field("safe_regex"))?)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => PathRule::Connect,
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            let scope = scope.field("path_match_policy");
            let config = policy.typed_config.as_ref().and_then(|any| {
                Unwrapped::of(any)
                    .ok()?
                    .decode::<UriTemplateMatchConfig>()
                    .ok()
            });
            let Some(config) = config else {
                doubts.add(&scope, "a path match policy other than uri_template");
                return None;
            };
            PathRule::Template(scope.take(Template::new(&config.path_template))?)
        }
        None => {
            scope.missing();
            return None;
        }
    };
    Some(PathMatcher::new(rule, ignore_case))
}
