//! Filters by discovery: what stands in place of a filter's message (`config_discovery`), and the message when it comes.

use std::sync::Arc;

use carbyne_protos::any::{Unwrapped, type_name};
use carbyne_protos::envoy::config::core::v3::{ExtensionConfigSource, TypedExtensionConfig};
use carbyne_protos::prost_types::Any;

use super::error::Fault;
use super::filter::{self, HttpFilterKind, NetworkFilterKind};
use super::scope::Scope;
use super::value::{self, ResourceSource};
use crate::live::extensions::{Extension, ExtensionSlot};
use crate::live::warming::Thing;

/// A filter whose configuration comes by discovery.
#[derive(Clone, Debug)]
pub struct Discovered<K> {
    /// Where it will be.
    pub slot: Arc<ExtensionSlot<K>>,
    /// What it may be.
    pub types: Arc<[Box<str>]>,
    /// What it is until then, and when it is gone.
    pub default: Option<Arc<Extension<K>>>,
}

impl<K> Discovered<K> {
    /// What it is now; nothing where no configuration is there that it may have.
    pub fn current(&self) -> Option<Arc<Extension<K>>> {
        let allowed = |extension: &Arc<Extension<K>>| self.types.contains(&extension.type_name);
        self.slot
            .load()
            .filter(allowed)
            .or_else(|| self.default.clone())
    }
}

/// Plans an HTTP filter's source.
pub fn http(
    name: &str,
    source: &ExtensionConfigSource,
    scope: &Scope<'_>,
) -> Option<Discovered<HttpFilterKind>> {
    let slot = scope.environment().extensions.http(name);
    let planned = |config: &Any, scope: &Scope<'_>| filter::typed_http(config, scope);
    plan(source, slot, planned, scope)
}

/// Plans a network filter's source.
pub fn network(
    name: &str,
    source: &ExtensionConfigSource,
    scope: &Scope<'_>,
) -> Option<Discovered<NetworkFilterKind>> {
    let slot = scope.environment().extensions.network(name);
    let planned = |config: &Any, scope: &Scope<'_>| filter::typed_network(config, scope);
    plan(source, slot, planned, scope)
}

/// Plans a message that came for HTTP filters of this name.
pub fn http_extension(
    message: &TypedExtensionConfig,
    scope: &Scope<'_>,
) -> Option<Extension<HttpFilterKind>> {
    extension(message, scope, |config, scope| {
        filter::typed_http(config, scope)
    })
}

/// Plans a message that came for network filters of this name.
pub fn network_extension(
    message: &TypedExtensionConfig,
    scope: &Scope<'_>,
) -> Option<Extension<NetworkFilterKind>> {
    extension(message, scope, |config, scope| {
        filter::typed_network(config, scope)
    })
}

fn extension<K>(
    message: &TypedExtensionConfig,
    scope: &Scope<'_>,
    plan: impl FnOnce(&Any, &Scope<'_>) -> Option<K>,
) -> Option<Extension<K>> {
    let scope = scope.field("typed_config");
    let Some(config) = &message.typed_config else {
        scope.missing();
        return None;
    };
    Some(Extension {
        type_name: kind_of(config),
        kind: plan(config, &scope),
    })
}

/// The type of a message, also where it comes as a structure without type.
fn kind_of(config: &Any) -> Box<str> {
    match Unwrapped::of(config) {
        Ok(unwrapped) => unwrapped.type_name.into(),
        Err(_) => type_name(&config.type_url).into(),
    }
}

fn plan<K>(
    source: &ExtensionConfigSource,
    slot: Arc<ExtensionSlot<K>>,
    plan: impl FnOnce(&Any, &Scope<'_>) -> Option<K>,
    scope: &Scope<'_>,
) -> Option<Discovered<K>> {
    let types = source.type_urls.iter().map(|url| type_name(url).into());
    let types: Arc<[Box<str>]> = types.collect();
    if types.is_empty() {
        scope.field("type_urls").missing();
    }
    let place = scope.field("config_source");
    match value::config_source(source.config_source.as_ref(), &place) {
        Some(ResourceSource::Ads) => {}
        Some(_) => place.reject(Fault::Words("filters come over ADS, write `ads: {}`")),
        None => {}
    }
    let default = source.default_config.as_ref().map(|config| {
        let scope = scope.field("default_config");
        let name = kind_of(config);
        if !types.contains(&name) {
            scope.reject(Fault::Words("its type is not among type_urls"));
        }
        Arc::new(Extension {
            type_name: name,
            kind: plan(config, &scope),
        })
    });
    let waits = !(source.apply_default_config_without_warming && default.is_some());
    if waits {
        let patience = value::initial_fetch_timeout(source.config_source.as_ref(), &place);
        scope.need(Thing::Extension(slot.name().clone()), patience);
    }
    Some(Discovered {
        slot,
        types,
        default,
    })
}

#[cfg(test)]
mod tests {
    use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Environment;
    use crate::plan::error::Rejection;
    use crate::plan::http::HttpPlan;

    const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

    fn manager(discovery: Value) -> HttpConnectionManager {
        let message = json!({
            "stat_prefix": "x",
            "route_config": {"virtual_hosts": []},
            "http_filters": [
                {"name": "guard", "config_discovery": discovery},
                {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
            ],
        });
        carbyne_protos::json::from_json(&message).unwrap()
    }

    fn planned(
        environment: &Environment,
        discovery: Value,
    ) -> Result<crate::plan::Planned<HttpPlan>, Rejection> {
        environment.plan_message(&manager(discovery), crate::plan::http::plan)
    }

    fn source(more: Value) -> Value {
        let mut source = json!({"config_source": {"ads": {}}, "type_urls": [RBAC]});
        source
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        source
    }

    fn guard(plan: &HttpPlan) -> Discovered<HttpFilterKind> {
        match &plan.filters[0].kind {
            HttpFilterKind::Discovered(guard) => (**guard).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn arrive(
        environment: &Environment,
        config: Value,
    ) -> Result<Extension<HttpFilterKind>, String> {
        let message: TypedExtensionConfig =
            carbyne_protos::json::from_json(&json!({"name": "guard", "typed_config": config}))
                .unwrap();
        let planned = environment.plan_message(&message, http_extension);
        planned
            .map(|planned| planned.plan)
            .map_err(|rejection| rejection.to_string())
    }

    #[test]
    fn a_filter_is_waited_for_and_changes() {
        let environment = Environment::default();
        let plan = planned(&environment, source(json!({}))).unwrap();
        let [need] = &plan.needs[..] else {
            panic!("{:?}", plan.needs)
        };
        assert_eq!(need.thing.describe(), "ecds guard");
        let guard = guard(&plan.plan);
        assert!(guard.current().is_none() && !environment.extensions.has("guard"));
        assert_eq!(environment.extensions.wanted(), [Arc::from("guard")]);
        let allow = arrive(&environment, json!({"@type": RBAC})).unwrap();
        guard.slot.store(Some(allow));
        assert!(matches!(
            guard.current().unwrap().kind,
            Some(HttpFilterKind::Traffic(_))
        ));
        assert!(environment.extensions.has("guard"));
        // A type that it may not have is none.
        let cors = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
        guard
            .slot
            .store(Some(arrive(&environment, json!({"@type": cors})).unwrap()));
        assert!(guard.current().is_none());
        guard.slot.store(None);
        assert!(guard.current().is_none());
        drop((guard, plan));
        assert!(
            environment.extensions.wanted().is_empty(),
            "nobody asks any more"
        );
    }

    #[test]
    fn defaults_stand_in() {
        let environment = Environment::default();
        let default = json!({"default_config": {"@type": RBAC}});
        let plan = planned(&environment, source(default.clone())).unwrap();
        assert_eq!(
            plan.needs.len(),
            1,
            "the real one is waited for all the same"
        );
        assert!(guard(&plan.plan).current().is_some());
        let mut at_once = default;
        at_once["apply_default_config_without_warming"] = true.into();
        assert!(
            planned(&environment, source(at_once))
                .unwrap()
                .needs
                .is_empty()
        );
    }

    #[test]
    fn what_is_not_served_refuses_and_what_is_broken_is_rejected() {
        let environment = Environment::default();
        let wasm = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
        let wasm = arrive(&environment, json!({"@type": wasm})).unwrap();
        assert!(matches!(wasm.kind, Some(HttpFilterKind::Refuse(_))));
        let broken = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {"http_status": 42, "percentage": {"numerator": 1}}});
        let words = arrive(&environment, broken).unwrap_err();
        assert!(words.contains("typed_config.abort"), "{words}");
        let cases = [
            (
                json!({"config_source": {"ads": {}}}),
                "http_filters[0].config_discovery.type_urls",
            ),
            (
                json!({"type_urls": [RBAC]}),
                "http_filters[0].config_discovery.config_source",
            ),
            (
                json!({"config_source": {"ads": {}}, "type_urls": ["type.googleapis.com/x.Y"], "default_config": {"@type": RBAC}}),
                "http_filters[0].config_discovery.default_config",
            ),
        ];
        for (discovery, path) in cases {
            let rejection = planned(&environment, discovery.clone())
                .unwrap_err()
                .to_string();
            assert!(rejection.contains(path), "{discovery}: {rejection}");
        }
    }
}
