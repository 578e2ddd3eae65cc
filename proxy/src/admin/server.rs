//! `/ready`, `/server_info`, `/memory`, `/runtime` and `/init_dump`.

use carbyne_protos::envoy::admin::v3::unready_targets_dumps::UnreadyTargetsDump;
use carbyne_protos::envoy::admin::v3::{Memory, ServerInfo, UnreadyTargetsDumps, server_info};
use carbyne_protos::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use carbyne_protos::json::{struct_to_json, to_json};
use carbyne_protos::prost_types;
use serde_json::{Map, Value, json};

use super::{Query, Response, State, json as layout};
use crate::cli;

/// Answers `/ready`.
pub(super) fn ready(state: &impl State) -> Response {
    let state = state.server().state;
    let status = if state == server_info::State::Live {
        200
    } else {
        503
    };
    Response::text(status, format!("{}\n", state.as_str_name()))
}

/// Answers `/server_info`.
pub(super) fn info(state: &impl State) -> Response {
    let server = state.server();
    let uptime = prost_types::Duration {
        seconds: i64::try_from(server.uptime.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    };
    let message = ServerInfo {
        version: cli::version(),
        state: server.state as i32,
        uptime_current_epoch: Some(uptime),
        uptime_all_epochs: Some(uptime),
        hot_restart_version: "disabled".to_owned(),
        command_line_options: Some(server.options),
        node: Some(server.node),
        hot_restart_initializing: false,
    };
    let mut value = to_json(&message);
    layout::add_defaults("envoy.admin.v3.ServerInfo", &mut value);
    Response::json(&value)
}

/// Answers `/memory`, as the kernel counts (`/proc/self/statm`): our allocator keeps no totals.
pub(super) fn memory(_: &impl State) -> Response {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Vec<u64> = pages
        .split_ascii_whitespace()
        .map(|number| number.parse().unwrap_or_default())
        .collect();
    let bytes = |index: usize| pages.get(index).copied().unwrap_or_default() * PAGE;
    let (resident, shared, data) = (bytes(1), bytes(2), bytes(5));
    let message = Memory {
        allocated: resident.saturating_sub(shared),
        heap_size: data,
        total_physical_bytes: resident,
        ..Memory::default()
    };
    let mut value = to_json(&message);
    layout::add_defaults("envoy.admin.v3.Memory", &mut value);
    Response::json(&value)
}

/// Answers `/runtime`: the static layers of the bootstrap, the last one on top.
pub(super) fn runtime(state: &impl State) -> Response {
    let configuration = state.configuration(false);
    let layers = configuration
        .bootstrap
        .layered_runtime
        .iter()
        .flat_map(|runtime| &runtime.layers);
    let layers: Vec<(&str, Map<String, Value>)> = layers
        .map(|layer| {
            let mut values = Map::new();
            if let Some(LayerSpecifier::StaticLayer(fields)) = &layer.layer_specifier {
                flatten("", &struct_to_json(fields), &mut values);
            }
            (&*layer.name, values)
        })
        .collect();
    let mut entries = Map::new();
    for key in layers.iter().flat_map(|(_, values)| values.keys()) {
        let values: Vec<Value> = layers
            .iter()
            .map(|(_, values)| values.get(key).cloned().unwrap_or_else(|| Value::from("")))
            .collect();
        let last = values.iter().rev().find(|value| value.as_str() != Some(""));
        let last = last.cloned().unwrap_or_else(|| Value::from(""));
        entries.insert(
            key.clone(),
            json!({"layer_values": values, "final_value": last}),
        );
    }
    let names: Vec<&str> = layers.iter().map(|(name, _)| *name).collect();
    Response::json(&json!({"entries": entries, "layers": names}))
}

/// Answers `/init_dump`.
pub(super) fn init_dump(query: &Query, state: &impl State) -> Response {
    let kind = query.value("mask").unwrap_or_default();
    let unready = state
        .unready()
        .into_iter()
        .filter(|unready| unready.name.starts_with(kind));
    let message = UnreadyTargetsDumps {
        unready_targets_dumps: unready
            .map(|unready| UnreadyTargetsDump {
                name: unready.name,
                target_names: unready.targets,
            })
            .collect(),
    };
    Response::json(&to_json(&message))
}

/// Nested objects become names with dots; values become text, as `/runtime` has always shown them.
fn flatten(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(object) if !object.contains_key("numerator") => {
            for (name, value) in object {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, into);
            }
        }
        Value::String(text) => {
            into.insert(prefix.to_owned(), Value::from(text.clone()));
        }
        other => {
            into.insert(prefix.to_owned(), Value::from(other.to_string()));
        }
    }
}

/// Bytes in a page, on both architectures that we serve with their usual kernels.
const PAGE: u64 = 4096;
