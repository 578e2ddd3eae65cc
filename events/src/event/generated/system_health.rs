//! Generated from `schemas/system_health.avsc`.

use bytes::BufMut;

use crate::avro::{self, Field, Schema, Type};
use crate::event::{Description, Event, Kind, Topic};

/// How a process is; a compacted topic keeps the last of each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SystemHealth<'a> {
    /// When it was so.
    pub time: u64,
    /// component/node: whose state it is.
    pub instance: &'a str,
    /// carbyne-gateway, carbyne-proxy, carbyne.
    pub component: &'a str,
    /// The node that says so.
    pub node: &'a str,
    /// How it is.
    pub state: State,
    /// Why it is not ready.
    pub reason: Option<&'a str>,
    /// The program's version.
    pub version: &'a str,
    /// When the process began: microseconds since 1970.
    pub started: u64,
    /// The configuration that it serves.
    pub config_version: Option<&'a str>,
    /// Why a newer one was not taken.
    pub config_error: Option<&'a str>,
    /// How long it has served that.
    pub config_age_seconds: Option<u64>,
    /// How many workers it has.
    pub workers: Option<u32>,
    /// What it holds in memory.
    pub memory_bytes: Option<u64>,
    /// Connections that are open.
    pub connections: Option<u64>,
    /// Requests since it began.
    pub requests: Option<u64>,
}

/// How it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    Starting,
    Ready,
    Degraded,
    Draining,
    Stopped,
}

impl State {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::Degraded,
        Self::Draining,
        Self::Stopped,
    ];

    /// As the event says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl Event for SystemHealth<'_> {
    const KIND: Kind = Kind::new(&DESCRIPTION);

    fn time(&self) -> u64 {
        self.time
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.instance.as_bytes())
    }

    fn bound(&self) -> usize {
        17 + 14 * avro::LONG
            + self.instance.len()
            + self.component.len()
            + self.node.len()
            + self.reason.map_or(0, str::len)
            + self.version.len()
            + self.config_version.map_or(0, str::len)
            + self.config_error.map_or(0, str::len)
    }

    fn encode(&self, into: &mut impl BufMut) {
        avro::long(self.time, into);
        avro::string(self.instance, into);
        avro::string(self.component, into);
        avro::string(self.node, into);
        avro::string(self.state.as_str(), into);
        avro::optional_string(self.reason, into);
        avro::string(self.version, into);
        avro::long(self.started, into);
        avro::optional_string(self.config_version, into);
        avro::optional_string(self.config_error, into);
        avro::optional_long(self.config_age_seconds, into);
        avro::optional_long(self.workers.map(u64::from), into);
        avro::optional_long(self.memory_bytes, into);
        avro::optional_long(self.connections, into);
        avro::optional_long(self.requests, into);
    }
}

static DESCRIPTION: Description = Description {
    number: 6,
    topic: Topic::SystemHealth,
    event_type: "carbyne.system.health",
    schema: Some(&SCHEMA),
};

static SCHEMA: Schema = Schema {
    name: "carbyne.events.SystemHealth",
    fingerprint: 0x4307_73a1_c19b_adaf,
    text: include_str!("../../../schemas/system_health.avsc"),
    fields: &[
        Field::new("time", Type::Long),
        Field::new("instance", Type::String),
        Field::new("component", Type::String),
        Field::new("node", Type::String),
        Field::new("state", Type::String),
        Field::new("reason", Type::Optional(&Type::String)),
        Field::new("version", Type::String),
        Field::new("started", Type::Long),
        Field::new("config_version", Type::Optional(&Type::String)),
        Field::new("config_error", Type::Optional(&Type::String)),
        Field::new("config_age_seconds", Type::Optional(&Type::Long)),
        Field::new("workers", Type::Optional(&Type::Long)),
        Field::new("memory_bytes", Type::Optional(&Type::Long)),
        Field::new("connections", Type::Optional(&Type::Long)),
        Field::new("requests", Type::Optional(&Type::Long)),
    ],
};
