//! A configured plugin, compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Refusal;
use super::table::Compiled;
use crate::node::Node;
use crate::plan::plugin::{PluginPlan, Scope};

/// One configured plugin, shared by all workers.
#[derive(Debug)]
pub struct Instance {
    pub id: Box<str>,
    pub name: &'static str,
    pub priority: i64,
    pub scope: Scope,
    pub compiled: Compiled,
    told: AtomicBool,
}

impl Instance {
    /// Compiles a plan. What cannot be compiled refuses its traffic where it guards something, and is left out where it
    /// does not: the log says which. `resolved` says whether its references to secrets stand for something.
    pub fn new(plan: &PluginPlan, resolved: Result<(), String>, node: &Arc<Node>) -> Self {
        let resolved = resolved.map_err(Refusal::References);
        let compiled = match resolved.and_then(|()| Compiled::new(plan, node)) {
            Ok(Compiled::Absent) if plan.guards => Compiled::Refused,
            Ok(compiled) => compiled,
            Err(refusal) => {
                tracing::error!(plugin = plan.name, id = %plan.id, %refusal, "a plugin's configuration cannot be used");
                if plan.guards {
                    Compiled::Refused
                } else {
                    Compiled::Absent
                }
            }
        };
        Self {
            id: plan.id.clone(),
            name: plan.name,
            priority: plan.priority,
            scope: plan.scope.clone(),
            compiled,
            told: AtomicBool::new(false),
        }
    }

    /// Says, once an instance, that its traffic is refused.
    pub fn say_refused(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                plugin = self.name,
                id = %self.id,
                "requests are answered with 503: the plugin that guards them cannot run"
            );
        }
    }
}
