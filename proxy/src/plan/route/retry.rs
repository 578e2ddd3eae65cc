//! When to try again.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::forward::RetryPolicy;
use carbyne_engine::forward::retry::{BackOff, Conditions};
use carbyne_protos::any::{decode_config, type_name};
use carbyne_protos::envoy::config::route::v3 as wire;
use carbyne_protos::envoy::config::route::v3::retry_policy::{
    retry_host_predicate, retry_priority,
};
use carbyne_protos::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use crate::live::matcher::{HeaderField, HeaderMatcher, HeaderRule};
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// A retry policy with what belongs to the route rather than to the engine.
#[derive(Debug)]
pub struct Retry {
    /// The engine's part.
    pub policy: Arc<RetryPolicy>,
    /// Requests must meet one of these, if there are any.
    pub requests: Box<[HeaderMatcher]>,
    /// One try's time.
    pub per_try: Option<Duration>,
    /// One try's longest silence.
    pub per_try_idle: Option<Duration>,
}

/// Plans a retry policy.
pub fn plan(retry: &wire::RetryPolicy, scope: &Scope<'_>) -> Option<Retry> {
    let (on, unknown) = Conditions::parse(&retry.retry_on);
    for word in unknown {
        // Envoy passes over words that it does not know, too.
        scope
            .field("retry_on")
            .note(format!("`{word}` is not served"));
    }
    let per_try = value::limit(
        retry.per_try_timeout.as_ref(),
        None,
        &scope.field("per_try_timeout"),
    );
    let policy = RetryPolicy {
        on,
        statuses: retry
            .retriable_status_codes
            .iter()
            .filter_map(|status| u16::try_from(*status).ok())
            .collect(),
        headers: retriable_headers(&retry.retriable_headers, scope),
        retries: retry.num_retries.unwrap_or(1),
        try_timeout: per_try,
        back_off: back_off(
            retry.retry_back_off.as_ref(),
            &scope.field("retry_back_off"),
        ),
        other_hosts: other_hosts(&retry.retry_host_predicate, scope),
        host_attempts: u32::try_from(retry.host_selection_retry_max_attempts.max(1))
            .unwrap_or(u32::MAX),
        other_priorities: retry
            .retry_priority
            .as_ref()
            .and_then(|priority| other_priorities(priority, &scope.field("retry_priority"))),
    };
    Some(Retry {
        policy: Arc::new(policy),
        requests: matcher::headers(
            &retry.retriable_request_headers,
            "retriable_request_headers",
            scope,
        ),
        per_try,
        per_try_idle: value::limit(
            retry.per_try_idle_timeout.as_ref(),
            None,
            &scope.field("per_try_idle_timeout"),
        ),
    })
}

/// Waiting times; the longest is ten times the base where nothing is said.
fn back_off(back_off: Option<&wire::retry_policy::RetryBackOff>, scope: &Scope<'_>) -> BackOff {
    let default = BackOff {
        base: BASE_INTERVAL,
        max: BASE_INTERVAL.saturating_mul(10),
    };
    let Some(back_off) = back_off else {
        return default;
    };
    if back_off.base_interval.is_none() {
        scope.field("base_interval").missing();
    }
    let Some(base) = value::positive_duration(
        back_off.base_interval.as_ref(),
        &scope.field("base_interval"),
    ) else {
        return default;
    };
    let max =
        value::positive_duration(back_off.max_interval.as_ref(), &scope.field("max_interval"))
            .unwrap_or_else(|| base.saturating_mul(10));
    if max < base {
        scope
            .field("max_interval")
            .out_of_range(format_args!("{max:?}"), "at least base_interval");
    }
    BackOff { base, max }
}

/// Response fields that ask for another try: those that have to be there are served.
fn retriable_headers(matchers: &[wire::HeaderMatcher], scope: &Scope<'_>) -> Vec<http::HeaderName> {
    let mut names = Vec::new();
    for (index, wanted) in matchers.iter().enumerate() {
        let scope = scope.item("retriable_headers", index);
        let Some(planned) = matcher::header(wanted, &scope) else {
            continue;
        };
        match (planned.field, planned.rule, planned.invert) {
            (HeaderField::Name(name), HeaderRule::Present(true), false) => names.push(name),
            _ => scope.note("only the presence of a response field asks for another try"),
        }
    }
    names
}

fn other_hosts(predicates: &[wire::retry_policy::RetryHostPredicate], scope: &Scope<'_>) -> bool {
    let mut other = false;
    for (index, predicate) in predicates.iter().enumerate() {
        let Some(retry_host_predicate::ConfigType::TypedConfig(config)) = &predicate.config_type
        else {
            // Old configurations name it only.
            other |= predicate.name == PREVIOUS_HOSTS;
            continue;
        };
        match type_name(&config.type_url) {
            "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate" => other = true,
            name => scope
                .item("retry_host_predicate", index)
                .note(format!("{name} is not served")),
        }
    }
    other
}

fn other_priorities(
    priority: &wire::retry_policy::RetryPriority,
    scope: &Scope<'_>,
) -> Option<u32> {
    let Some(retry_priority::ConfigType::TypedConfig(config)) = &priority.config_type else {
        return (priority.name == PREVIOUS_PRIORITIES).then_some(1);
    };
    match decode_config::<PreviousPrioritiesConfig>(config) {
        Ok(config) if config.update_frequency > 0 => u32::try_from(config.update_frequency).ok(),
        Ok(config) => {
            scope
                .field("typed_config")
                .field("update_frequency")
                .out_of_range(config.update_frequency, "above 0");
            None
        }
        Err(_) => {
            scope.note("not served");
            None
        }
    }
}

/// Envoy's default for `base_interval`.
const BASE_INTERVAL: Duration = Duration::from_millis(25);
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
