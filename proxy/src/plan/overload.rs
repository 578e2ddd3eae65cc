//! The bootstrap's `overload_manager`: which resources are watched, and what is refused when one runs short.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::overload::v3 as wire;
use carbyne_protos::envoy::config::overload::v3::trigger::TriggerOneof;
use carbyne_protos::envoy::extensions::resource_monitors as monitors;

use super::error::Fault;
use super::filter::decode;
use super::scope::Scope;
use super::value;

/// What is watched, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct OverloadPlan {
    /// Time between two looks.
    pub refresh: Duration,
    /// What is watched, by name.
    pub monitors: Vec<(Arc<str>, Monitor)>,
    /// What follows, by Envoy's name of the action.
    pub reactions: Vec<Reaction>,
    /// Connections of clients that may be open at a time.
    pub max_connections: Option<u64>,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// Memory of the control group; the limit is the group's own where none is given.
    CgroupMemory {
        /// Bytes that count as all.
        max: Option<u64>,
    },
    /// Memory of the process.
    FixedHeap {
        /// Bytes that count as all.
        max: u64,
    },
    /// A file that holds the pressure, for tests.
    Injected(PathBuf),
}

/// What is done while a resource is short.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaction {
    /// Envoy's name of the action or point.
    pub name: Arc<str>,
    /// What it is.
    pub kind: ReactionKind,
    /// When.
    pub triggers: Vec<Trigger>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReactionKind {
    /// Connections wait in the kernel.
    StopAccepting,
    /// Connections are closed as they come.
    RejectConnections,
    /// Requests are answered with 503.
    StopRequests,
}

/// When a reaction sets in.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Number of the monitor.
    pub monitor: usize,
    /// From this pressure on it may set in.
    pub from: f64,
    /// From this on it is complete; between the two it hits a growing share.
    pub to: f64,
}

impl Default for OverloadPlan {
    /// Where the bootstrap is silent about memory: new work is refused at 95 % of the control group's limit.
    fn default() -> Self {
        let trigger = Trigger {
            monitor: 0,
            from: 0.95,
            to: 0.95,
        };
        let reaction = |name: &str, kind| Reaction {
            name: Arc::from(name),
            kind,
            triggers: vec![trigger.clone()],
        };
        Self {
            refresh: SECOND,
            monitors: vec![(
                Arc::from("envoy.resource_monitors.cgroup_memory"),
                Monitor::CgroupMemory { max: None },
            )],
            reactions: vec![
                reaction(STOP_REQUESTS, ReactionKind::StopRequests),
                reaction(REJECT_CONNECTIONS, ReactionKind::RejectConnections),
            ],
            max_connections: None,
        }
    }
}

/// Plans the message; where it says nothing of memory, the default does.
pub fn plan(message: &wire::OverloadManager, scope: &Scope<'_>) -> Option<OverloadPlan> {
    let mut plan = OverloadPlan {
        refresh: value::positive_duration(
            message.refresh_interval.as_ref(),
            &scope.field("refresh_interval"),
        )
        .unwrap_or(SECOND),
        monitors: Vec::new(),
        reactions: Vec::new(),
        max_connections: None,
    };
    for (index, monitor) in message.resource_monitors.iter().enumerate() {
        let scope = scope.item("resource_monitors", index);
        if let Some(planned) = monitor_of(monitor, &mut plan, &scope) {
            plan.monitors
                .push((Arc::from(monitor.name.as_str()), planned));
        }
    }
    for (index, action) in message.actions.iter().enumerate() {
        let scope = scope.item("actions", index);
        let kind = match action.name.as_str() {
            STOP_REQUESTS => ReactionKind::StopRequests,
            "envoy.overload_actions.stop_accepting_connections" => ReactionKind::StopAccepting,
            REJECT_CONNECTIONS => ReactionKind::RejectConnections,
            name => {
                scope.note(format!("{name} is not served"));
                continue;
            }
        };
        reaction(&action.name, kind, &action.triggers, &mut plan, &scope);
    }
    for (index, point) in message.loadshed_points.iter().enumerate() {
        let scope = scope.item("loadshed_points", index);
        let kind = match point.name.as_str() {
            "envoy.load_shed_points.tcp_listener_accept" => ReactionKind::RejectConnections,
            "envoy.load_shed_points.http_connection_manager_decode_headers" => {
                ReactionKind::StopRequests
            }
            name => {
                scope.note(format!("{name} is not served"));
                continue;
            }
        };
        reaction(&point.name, kind, &point.triggers, &mut plan, &scope);
    }
    let memory = |(_, monitor): &(_, Monitor)| !matches!(monitor, Monitor::Injected(_));
    if !plan.monitors.iter().any(memory) {
        let default = OverloadPlan::default();
        let first = plan.monitors.len();
        plan.monitors.extend(default.monitors);
        plan.reactions
            .extend(default.reactions.into_iter().map(|mut reaction| {
                for trigger in &mut reaction.triggers {
                    trigger.monitor += first;
                }
                reaction
            }));
    }
    Some(plan)
}

fn monitor_of(
    monitor: &wire::ResourceMonitor,
    plan: &mut OverloadPlan,
    scope: &Scope<'_>,
) -> Option<Monitor> {
    let scope = scope.field("typed_config");
    let Some(wire::resource_monitor::ConfigType::TypedConfig(config)) = &monitor.config_type else {
        scope.missing();
        return None;
    };
    let Ok(unwrapped) = Unwrapped::of(config) else {
        scope.reject(Fault::Words("its message cannot be read"));
        return None;
    };
    if unwrapped.is::<monitors::downstream_connections::v3::DownstreamConnectionsConfig>() {
        let message = decode::<monitors::downstream_connections::v3::DownstreamConnectionsConfig>(
            &unwrapped, &scope,
        )?;
        let most = message.max_active_downstream_connections;
        match u64::try_from(most) {
            Ok(most) if most > 0 => plan.max_connections = Some(most),
            _ => scope
                .field("max_active_downstream_connections")
                .out_of_range(most, "above 0"),
        }
        None
    } else if unwrapped.is::<monitors::fixed_heap::v3::FixedHeapConfig>() {
        let message = decode::<monitors::fixed_heap::v3::FixedHeapConfig>(&unwrapped, &scope)?;
        let runtime = message.max_heap_size_bytes_runtime.as_ref();
        let max = runtime.map_or(message.max_heap_size_bytes, |value| value.default_value);
        if max == 0 {
            scope
                .field("max_heap_size_bytes")
                .out_of_range(max, "above 0");
        }
        Some(Monitor::FixedHeap { max })
    } else if unwrapped.is::<monitors::cgroup_memory::v3::CgroupMemoryConfig>() {
        let message =
            decode::<monitors::cgroup_memory::v3::CgroupMemoryConfig>(&unwrapped, &scope)?;
        Some(Monitor::CgroupMemory {
            max: (message.max_memory_bytes > 0).then_some(message.max_memory_bytes),
        })
    } else if unwrapped.is::<monitors::injected_resource::v3::InjectedResourceConfig>() {
        let message =
            decode::<monitors::injected_resource::v3::InjectedResourceConfig>(&unwrapped, &scope)?;
        Some(Monitor::Injected(PathBuf::from(&message.filename)))
    } else {
        scope.note(format!("{} is not served", unwrapped.type_name));
        None
    }
}

fn reaction(
    name: &str,
    kind: ReactionKind,
    wanted: &[wire::Trigger],
    plan: &mut OverloadPlan,
    scope: &Scope<'_>,
) {
    let mut triggers = Vec::new();
    for (index, trigger) in wanted.iter().enumerate() {
        let scope = scope.item("triggers", index);
        let (from, to) = match &trigger.trigger_oneof {
            Some(TriggerOneof::Threshold(threshold)) => (threshold.value, threshold.value),
            Some(TriggerOneof::Scaled(scaled)) => {
                (scaled.scaling_threshold, scaled.saturation_threshold)
            }
            None => {
                scope.missing();
                continue;
            }
        };
        if !(0.0..=1.0).contains(&from) || !(from..=1.0).contains(&to) {
            scope.out_of_range(
                format_args!("{from} to {to}"),
                "pressures from 0 to 1, ascending",
            );
        }
        let named = plan
            .monitors
            .iter()
            .position(|(name, _)| **name == *trigger.name);
        match named {
            Some(monitor) => triggers.push(Trigger { monitor, from, to }),
            // One that is not served is never short.
            None => scope
                .field("name")
                .note(format!("no monitor {} is served", trigger.name)),
        }
    }
    plan.reactions.push(Reaction {
        name: Arc::from(name),
        kind,
        triggers,
    });
}

const SECOND: Duration = Duration::from_secs(1);
const STOP_REQUESTS: &str = "envoy.overload_actions.stop_accepting_requests";
const REJECT_CONNECTIONS: &str = "envoy.overload_actions.reject_incoming_connections";
