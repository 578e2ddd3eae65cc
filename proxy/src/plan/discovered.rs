//! Filters by discovery: what stands in place of a filter's message (`config_discovery`), and the message when it comes.

use std::sync::Arc;

use carbyne_protos::any::type_name;
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
        let allowed =
            |extension: &Arc<Extension<K>>| self.types.contains(&extension.type_name);
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
    extension(message, scope, |config, scope| filter::typed_http(config, scope))
}

/// Plans a message that came for network filters of this name.
pub fn network_extension(
    message: &TypedExtensionConfig,
    scope: &Scope<'_>,
) -> Option<Extension<NetworkFilterKind>> {
    extension(message, scope, |config, scope| filter::typed_network(config, scope))
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
        type_name: type_name(&config.type_url).into(),
        kind: plan(config, &scope),
    })
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
        let name: Box<str> = type_name(&config.type_url).into();
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
