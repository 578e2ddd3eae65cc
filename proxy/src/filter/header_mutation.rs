//! Changes fields and query parameters: Envoy's header_mutation filter, which EnvoyFilter users insert.

use std::sync::Arc;

use carbyne_engine::forward::Exchange;
use carbyne_engine::http::{Headers, Request};
use carbyne_protos::envoy::config::common::mutation_rules::v3::HeaderMutation as WireMutation;
use carbyne_protos::envoy::config::common::mutation_rules::v3::header_mutation::Action as WireAction;
use carbyne_protos::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use carbyne_protos::envoy::config::core::v3::key_value_append::KeyValueAppendAction;
use carbyne_protos::envoy::config::core::v3::{HeaderValueOption, KeyValueMutation};
use carbyne_protos::envoy::extensions::filters::http::header_mutation::v3 as wire;
use carbyne_protos::prost_types::value::Kind;
use http::HeaderName;

use super::addition::Addition;
use super::planned::{Doubts, Planned};
use super::query;
use super::reading;
use crate::context::Context;
use crate::live::matcher::StringMatcher;
use crate::plan::error::Fault;
use crate::plan::matcher;
use crate::plan::scope::Scope;

/// Changes requests and responses.
#[derive(Clone, Debug)]
pub struct HeaderMutationFilter {
    own: Mutations,
}

/// Changes, of the filter or of a route beside it.
#[derive(Clone, Debug, Default)]
pub struct Mutations {
    request: Arc<[Mutation]>,
    query: Arc<[QueryMutation]>,
    response: Arc<[Mutation]>,
}

#[derive(Clone, Debug)]
enum Mutation {
    Add(Addition),
    Remove(HeaderName),
    RemoveMatching(StringMatcher),
}

#[derive(Clone, Debug)]
enum QueryMutation {
    Add {
        key: Box<str>,
        value: Box<str>,
        action: KeyValueAppendAction,
    },
    Remove(Box<str>),
}

impl HeaderMutationFilter {
    /// Reads the filter's message.
    pub fn plan(message: &wire::HeaderMutation, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| {
            let own = Mutations::read(
                message.mutations.as_ref(),
                &scope.field("mutations"),
                doubts,
            )?;
            Some(Self { own })
        })
    }

    /// Changes the request: the filter's changes first, then the route's.
    pub fn request(&self, exchange: &mut Exchange<Context>, per_route: Option<&Mutations>) {
        for mutations in [Some(&self.own), per_route].into_iter().flatten() {
            change(&mut exchange.request.headers, &mutations.request);
            for mutation in &*mutations.query {
                mutation.apply(&mut exchange.request);
            }
        }
    }

    /// Changes the response.
    pub fn response(&self, exchange: &mut Exchange<Context>, per_route: Option<&Mutations>) {
        let Some(response) = &mut exchange.response else {
            return;
        };
        for mutations in [Some(&self.own), per_route].into_iter().flatten() {
            change(&mut response.headers, &mutations.response);
        }
    }
}

impl Mutations {
    /// Reads a route's message.
    pub fn plan(
        message: &wire::HeaderMutationPerRoute,
        scope: &Scope<'_>,
    ) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |doubts| {
            Self::read(
                message.mutations.as_ref(),
                &scope.field("mutations"),
                doubts,
            )
        })
    }

    fn read(message: Option<&wire::Mutations>, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        let Some(message) = message else {
            return Some(Self::default());
        };
        for (field, mutations) in [
            (
                "response_trailers_mutations",
                &message.response_trailers_mutations,
            ),
            (
                "request_trailers_mutations",
                &message.request_trailers_mutations,
            ),
        ] {
            if !mutations.is_empty() {
                doubts.add(&scope.field(field), "trailers are not changed");
            }
        }
        let list = |mutations: &[WireMutation], field: &'static str| {
            let read = mutations.iter().enumerate();
            read.map(|(index, mutation)| {
                Mutation::read(mutation, &scope.item(field, index), doubts)
            })
            .collect::<Option<Arc<[_]>>>()
        };
        let request = list(&message.request_mutations, "request_mutations");
        let response = list(&message.response_mutations, "response_mutations");
        let query = message.query_parameter_mutations.iter().enumerate();
        let query = query.map(|(index, mutation)| {
            QueryMutation::read(
                mutation,
                &scope.item("query_parameter_mutations", index),
                doubts,
            )
        });
        let query = query.collect::<Option<_>>();
        Some(Self {
            request: request?,
            query: query?,
            response: response?,
        })
    }
}

impl Mutation {
    fn read(message: &WireMutation, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        match &message.action {
            Some(WireAction::Remove(name)) => {
                name_of_field(name, &scope.field("remove"), doubts).map(Self::Remove)
            }
            Some(WireAction::Append(addition)) => {
                read_addition(addition, &scope.field("append"), doubts).map(Self::Add)
            }
            Some(WireAction::RemoveOnMatch(remove)) => {
                let scope = scope.field("remove_on_match");
                let scope = scope.field("key_matcher");
                let Some(matcher) = &remove.key_matcher else {
                    scope.missing();
                    return None;
                };
                matcher::string(matcher, &scope).map(Self::RemoveMatching)
            }
            None => {
                doubts.add(scope, "a mutation that is empty or not known");
                None
            }
        }
    }
}

fn read_addition(
    message: &HeaderValueOption,
    scope: &Scope<'_>,
    doubts: &Doubts,
) -> Option<Addition> {
    let name = message.header.as_ref().map_or("", |header| &header.key);
    name_of_field(name, &scope.field("header").field("key"), doubts)?;
    Addition::read(
        message,
        HeaderAppendAction::AppendIfExistsOrAdd,
        scope,
        doubts,
    )
}

/// Pseudo-headers and the host are no fields here: they were judged before and must not change behind the judges.
fn name_of_field(name: &str, scope: &Scope<'_>, doubts: &Doubts) -> Option<HeaderName> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        doubts.add(scope, format!("`{name}` is not changed"));
        return None;
    }
    reading::header_name(name, scope)
}

fn change(headers: &mut Headers, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Add(addition) => addition.apply(headers),
            Mutation::Remove(name) => {
                headers.remove(name);
            }
            Mutation::RemoveMatching(matcher) => {
                headers.retain(|name, _| !matcher.matches(name.as_str().as_bytes()))
            }
        }
    }
}

impl QueryMutation {
    fn read(message: &KeyValueMutation, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        let Some(append) = &message.append else {
            if message.remove.is_empty() {
                scope.reject(Fault::Words("write `append` or `remove`"));
                return None;
            }
            return Some(Self::Remove(message.remove.as_str().into()));
        };
        let scope = scope.field("append");
        let Ok(action) = KeyValueAppendAction::try_from(append.action) else {
            doubts.add(&scope.field("action"), "an action that is not known");
            return None;
        };
        let (key, value) = match (&append.record, &append.entry) {
            (Some(record), _) => {
                match record.value.as_ref().and_then(|value| value.kind.as_ref()) {
                    Some(Kind::StringValue(text)) => (&record.key, text.clone()),
                    _ => {
                        doubts.add(
                            &scope.field("record").field("value"),
                            "only texts are served",
                        );
                        return None;
                    }
                }
            }
            (None, Some(entry)) => (
                &entry.key,
                String::from_utf8_lossy(&entry.value).into_owned(),
            ),
            (None, None) => {
                scope.reject(Fault::Words("write `record`"));
                return None;
            }
        };
        if value.contains('%') {
            doubts.add(&scope, "operators (`%…%`) in this value are not served");
            return None;
        }
        Some(Self::Add {
            key: key.as_str().into(),
            value: value.into(),
            action,
        })
    }

    fn apply(&self, request: &mut Request) {
        let (key, value, action) = match self {
            Self::Remove(key) => return query::remove(request, key),
            Self::Add { key, value, action } => (key, value, action),
        };
        let present = query::first(request, key).is_some();
        match (action, present) {
            (KeyValueAppendAction::AddIfAbsent, true)
            | (KeyValueAppendAction::OverwriteIfExists, false) => {}
            (KeyValueAppendAction::AppendIfExistsOrAdd, _) => query::append(request, key, value),
            _ => {
                query::remove(request, key);
                query::append(request, key, value);
            }
        }
    }
}

/// Name of the filter.
pub const NAME: &str = "envoy.filters.http.header_mutation";
