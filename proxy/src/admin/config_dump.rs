//! `/config_dump`: every section that istioctl reads, in Envoy's order, also where it is empty. Resources are
//! printed from the bytes in which they came; secrets are redacted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use carbyne_protos::any::{TYPE_URL_HOST, pack, type_name};
use carbyne_protos::envoy::admin::v3::clusters_config_dump::{DynamicCluster, StaticCluster};
use carbyne_protos::envoy::admin::v3::ecds_config_dump::EcdsFilterConfig;
use carbyne_protos::envoy::admin::v3::endpoints_config_dump::{
    DynamicEndpointConfig, StaticEndpointConfig,
};
use carbyne_protos::envoy::admin::v3::listeners_config_dump::{
    DynamicListener, DynamicListenerState, StaticListener,
};
use carbyne_protos::envoy::admin::v3::routes_config_dump::{DynamicRouteConfig, StaticRouteConfig};
use carbyne_protos::envoy::admin::v3::secrets_config_dump::{DynamicSecret, StaticSecret};
use carbyne_protos::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, EcdsConfigDump, EndpointsConfigDump,
    ListenersConfigDump, RoutesConfigDump, ScopedRoutesConfigDump, SecretsConfigDump,
};
use carbyne_protos::json::any_to_json_redacted;
use carbyne_protos::prost_types::{Any, Timestamp};
use carbyne_protos::schema::{self, Label};
use regex::Regex;
use serde_json::{Map, Value};

use super::mask::Mask;
use super::state::{Configuration, Entry, Origin};
use super::{Query, Response, State};

/// Answers `/config_dump`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let names = match query.name_regex() {
        Ok(names) => names,
        Err(response) => return response,
    };
    let include_eds = query.has("include_eds");
    let mut configuration = state.configuration(include_eds);
    if let Some(names) = names {
        configuration.retain(&names);
    }
    let sections: Vec<Any> = sections(configuration, include_eds);
    let mask = query.value("mask").map(|text| (text, Mask::parse(text)));
    let configs = match query
        .value("resource")
        .filter(|resource| !resource.is_empty())
    {
        Some(resource) => one_resource(resource, mask, &sections),
        None => masked(mask, &sections),
    };
    match configs {
        Ok(configs) => {
            let mut dump = Map::new();
            if !configs.is_empty() {
                dump.insert("configs".to_owned(), Value::Array(configs));
            }
            Response::json(&Value::Object(dump))
        }
        Err((status, reason)) => Response {
            status,
            content_type: "text/plain",
            body: reason,
        },
    }
}

/// All sections, less what the mask leaves out; those that the mask does not fit are dropped.
fn masked(mask: Option<(&str, Mask)>, sections: &[Any]) -> Result<Vec<Value>, (u16, String)> {
    let Some((text, mask)) = mask else {
        return Ok(sections.iter().map(any_to_json_redacted).collect());
    };
    let fitting = sections
        .iter()
        .filter(|section| mask.fits(type_name(&section.type_url)));
    let configs: Vec<Value> = fitting
        .map(|section| mask.apply(&any_to_json_redacted(section)))
        .collect();
    if configs.is_empty() {
        return Err((
            400,
            format!("FieldMask {text} could not be successfully applied to any configs."),
        ));
    }
    Ok(configs)
}

/// The elements of the list called `resource`, each as if it were a section.
fn one_resource(
    resource: &str,
    mask: Option<(&str, Mask)>,
    sections: &[Any],
) -> Result<Vec<Value>, (u16, String)> {
    let found = sections.iter().find_map(|section| {
        let field = schema::message(type_name(&section.type_url))?.field_named(resource)?;
        Some((section, field))
    });
    let Some((section, field)) = found else {
        return Err((404, format!("{resource} not found in config dump")));
    };
    let Some(element) = field
        .kind
        .message()
        .filter(|_| field.label == Label::Repeated)
    else {
        let reason = format!(
            "{resource} is not a repeated field. Use ?mask={resource} to get only this field"
        );
        return Err((400, reason));
    };
    if let Some((text, _)) = mask.as_ref().filter(|(_, mask)| !mask.fits(element.name())) {
        return Err((
            400,
            format!("FieldMask {text} could not be successfully used."),
        ));
    }
    let Value::Object(mut printed) = any_to_json_redacted(section) else {
        return Ok(Vec::new());
    };
    let Some(Value::Array(elements)) = printed.remove(field.name()) else {
        return Ok(Vec::new());
    };
    let typed = elements.into_iter().map(|mut value| {
        if let Some(object) = value.as_object_mut() {
            object.insert(
                "@type".to_owned(),
                Value::from(format!("{TYPE_URL_HOST}{}", element.name())),
            );
        }
        match &mask {
            Some((_, mask)) => mask.apply(&value),
            None => value,
        }
    });
    Ok(typed.collect())
}

fn sections(configuration: Configuration, include_eds: bool) -> Vec<Any> {
    let mut sections = vec![
        pack(&BootstrapConfigDump {
            bootstrap: Some(Arc::unwrap_or_clone(configuration.bootstrap)),
            last_updated: configuration.bootstrap_time.map(timestamp),
        }),
        pack(&clusters(
            configuration.clusters,
            &configuration.clusters_version,
        )),
        pack(&extensions(configuration.extensions)),
    ];
    if include_eds {
        sections.push(pack(&endpoints(configuration.endpoints)));
    }
    sections.extend([
        pack(&listeners(
            configuration.listeners,
            &configuration.listeners_version,
        )),
        pack(&ScopedRoutesConfigDump::default()),
        pack(&routes(configuration.routes)),
        pack(&secrets(configuration.secrets)),
    ]);
    sections
}

fn clusters(entries: Vec<Entry>, version: &str) -> ClustersConfigDump {
    let mut dump = ClustersConfigDump {
        version_info: version.to_owned(),
        ..ClustersConfigDump::default()
    };
    for entry in entries.into_iter().filter(|entry| entry.resource.is_some()) {
        let last_updated = entry.time.map(timestamp);
        let list = match entry.origin {
            Origin::Static => {
                dump.static_clusters.push(StaticCluster {
                    cluster: entry.resource,
                    last_updated,
                });
                continue;
            }
            Origin::Active => &mut dump.dynamic_active_clusters,
            Origin::Warming => &mut dump.dynamic_warming_clusters,
            // Envoy has no list for them.
            Origin::Draining => continue,
        };
        list.push(DynamicCluster {
            version_info: entry.version.to_string(),
            cluster: entry.resource,
            last_updated,
            error_state: entry.failure,
            ..DynamicCluster::default()
        });
    }
    dump
}

fn endpoints(entries: Vec<Entry>) -> EndpointsConfigDump {
    let mut dump = EndpointsConfigDump::default();
    for entry in entries {
        let last_updated = entry.time.map(timestamp);
        if entry.origin == Origin::Static {
            dump.static_endpoint_configs.push(StaticEndpointConfig {
                endpoint_config: entry.resource,
                last_updated,
            });
        } else {
            dump.dynamic_endpoint_configs.push(DynamicEndpointConfig {
                version_info: entry.version.to_string(),
                endpoint_config: entry.resource,
                last_updated,
                error_state: entry.failure,
                ..DynamicEndpointConfig::default()
            });
        }
    }
    dump
}

fn extensions(entries: Vec<Entry>) -> EcdsConfigDump {
    let filters = entries
        .into_iter()
        .filter(|entry| entry.resource.is_some())
        .map(|entry| EcdsFilterConfig {
            version_info: entry.version.to_string(),
            ecds_filter: entry.resource,
            last_updated: entry.time.map(timestamp),
            error_state: entry.failure,
            ..EcdsFilterConfig::default()
        });
    EcdsConfigDump {
        ecds_filters: filters.collect(),
    }
}

/// A listener's states, which may be several at a time, come under its name.
fn listeners(entries: Vec<Entry>, version: &str) -> ListenersConfigDump {
    let mut dump = ListenersConfigDump {
        version_info: version.to_owned(),
        ..ListenersConfigDump::default()
    };
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for entry in entries {
        let last_updated = entry.time.map(timestamp);
        if entry.origin == Origin::Static {
            dump.static_listeners.push(StaticListener {
                listener: entry.resource,
                last_updated,
            });
            continue;
        }
        let place = *places.entry(entry.name.clone()).or_insert_with(|| {
            dump.dynamic_listeners.push(DynamicListener {
                name: entry.name.to_string(),
                ..DynamicListener::default()
            });
            dump.dynamic_listeners.len() - 1
        });
        let listener = &mut dump.dynamic_listeners[place];
        if entry.failure.is_some() {
            listener.error_state = entry.failure;
        }
        let state = entry.resource.map(|resource| DynamicListenerState {
            version_info: entry.version.to_string(),
            listener: Some(resource),
            last_updated,
        });
        let slot = match entry.origin {
            Origin::Warming => &mut listener.warming_state,
            Origin::Draining => &mut listener.draining_state,
            Origin::Static | Origin::Active => &mut listener.active_state,
        };
        if state.is_some() {
            *slot = state;
        }
    }
    dump
}

fn routes(entries: Vec<Entry>) -> RoutesConfigDump {
    let mut dump = RoutesConfigDump::default();
    for entry in entries.into_iter().filter(|entry| entry.resource.is_some()) {
        let last_updated = entry.time.map(timestamp);
        if entry.origin == Origin::Static {
            dump.static_route_configs.push(StaticRouteConfig {
                route_config: entry.resource,
                last_updated,
            });
        } else {
            dump.dynamic_route_configs.push(DynamicRouteConfig {
                version_info: entry.version.to_string(),
                route_config: entry.resource,
                last_updated,
                error_state: entry.failure,
                ..DynamicRouteConfig::default()
            });
        }
    }
    dump
}

fn secrets(entries: Vec<Entry>) -> SecretsConfigDump {
    let mut dump = SecretsConfigDump::default();
    for entry in entries {
        let last_updated = entry.time.map(timestamp);
        let name = entry.name.to_string();
        if entry.origin == Origin::Static {
            dump.static_secrets.push(StaticSecret {
                name,
                last_updated,
                secret: entry.resource,
            });
            continue;
        }
        let list = match entry.origin {
            Origin::Warming => &mut dump.dynamic_warming_secrets,
            _ => &mut dump.dynamic_active_secrets,
        };
        list.push(DynamicSecret {
            name,
            version_info: entry.version.to_string(),
            last_updated,
            secret: entry.resource,
            error_state: entry.failure,
            ..DynamicSecret::default()
        });
    }
    dump
}

impl Configuration {
    /// Keeps resources whose names match; the bootstrap has none.
    fn retain(&mut self, names: &Regex) {
        for entries in [
            &mut self.clusters,
            &mut self.endpoints,
            &mut self.extensions,
            &mut self.listeners,
            &mut self.routes,
            &mut self.secrets,
        ] {
            entries.retain(|entry| names.is_match(&entry.name));
        }
    }
}

/// With milliseconds, as Envoy keeps times.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_millis() * 1_000_000).unwrap_or_default(),
    }
}
