//! A configured plugin, compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Refusal;
use super::table::{self, Compiled};
use crate::node::Node;
use crate::plan::plugin::{PluginPlan, Scope};
use crate::vault::Dangling;

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
    /// does not: the log says which. So it is where references to secrets stand for nothing, but for those in members that
    /// the plugin does not read.
    pub fn new(plan: &PluginPlan, dangling: Vec<Dangling>, node: &Arc<Node>) -> Self {
        let unread = table::unread(plan.name);
        let is_unread = |dangling: &Dangling| {
            let member = dangling.path.split('.').nth(1);
            member.is_some_and(|member| unread.contains(&member))
        };
        let (harmless, dangling): (Vec<_>, Vec<_>) = dangling.into_iter().partition(is_unread);
        for reference in harmless {
            tracing::warn!(plugin = plan.name, id = %plan.id, %reference, "a reference stands for nothing, and is not needed");
        }
        let resolved = if dangling.is_empty() {
            Compiled::new(plan, node)
        } else {
            Err(Refusal::References(Dangling::list(&dangling)))
        };
        let compiled = match resolved {
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
