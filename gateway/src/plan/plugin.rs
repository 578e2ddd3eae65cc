//! A plugin's instance, read from its row: which plugin, for whom, and its configuration.

use crate::schema::library;
use crate::value::{self, Object, Value};

use super::route::Protocol;

/// A configured plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginPlan {
    pub id: Box<str>,
    /// The plugin's name as the library has it.
    pub name: &'static str,
    pub priority: i64,
    pub enabled: bool,
    pub protocols: Vec<Protocol>,
    pub scope: Scope,
    pub config: Object,
    /// Without it a door would be open that it was configured to keep shut.
    pub guards: bool,
}

/// Which requests an instance is for: those of the route, the service and the consumer that it names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    pub route: Option<Box<str>>,
    pub service: Option<Box<str>>,
    pub consumer: Option<Box<str>>,
}

/// Why a row is no plugin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PluginError {
    pub field: &'static str,
    pub problem: String,
}

impl PluginPlan {
    /// Reads a row.
    pub fn read(row: &Object) -> Result<Self, PluginError> {
        let wrong = |field, problem: &str| PluginError {
            field,
            problem: problem.to_owned(),
        };
        let text = |field: &str| value::at(row, field).and_then(Value::as_str).map(Box::from);
        let name: Box<str> = text("name").ok_or_else(|| wrong("name", "is missing"))?;
        let (name, schema) = library::plugins()
            .find(|known| **known == *name)
            .and_then(|name| Some((name, library::plugin(name)?)))
            .ok_or_else(|| wrong("name", "is no plugin"))?;
        let protocols = row.get("protocols").and_then(Value::as_array);
        let protocols: Vec<_> = protocols
            .unwrap_or_default()
            .iter()
            .filter_map(|name| Protocol::named(name.as_str()?))
            .collect();
        let config = row.get("config").and_then(Value::as_object);
        Ok(Self {
            id: text("id").ok_or_else(|| wrong("id", "is missing"))?,
            name,
            priority: schema.priority,
            enabled: row.get("enabled").and_then(Value::as_bool) != Some(false),
            protocols,
            scope: Scope {
                route: text("route.id"),
                service: text("service.id"),
                consumer: text("consumer.id"),
            },
            config: config.cloned().unwrap_or_default(),
            guards: schema.guards,
        })
    }

    /// Whether it runs for HTTP requests: Kong looks no closer than at the kind of traffic.
    pub fn is_http(&self) -> bool {
        self.enabled && self.protocols.iter().any(|protocol| !protocol.is_stream())
    }
}
