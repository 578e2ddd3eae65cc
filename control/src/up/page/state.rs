//! What the page shows, as one JSON document.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::super::{
    board::{Condition, Notice},
    tries::Try,
};
use crate::{events::shipping::Shipping, running::Member, traces::Summary};

/// Everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// Folder of configuration.
    pub folder: PathBuf,
    /// Run directory.
    pub run: PathBuf,
    /// Everything was ready once.
    pub ready: bool,
    /// Everything that runs.
    pub programs: Vec<Program>,
    /// What happened, the newest first.
    pub notices: Vec<Notice>,
    /// What to try.
    pub tries: Vec<Try>,
    /// Who calls whom.
    pub graph: Picture,
    /// The gateway in front, if there is one.
    pub gateway: Option<Gateway>,
    /// What was emitted.
    pub events: Events,
    /// Where it is shipped to, and how that goes.
    pub kafka: Option<Kafka>,
    /// How many spans came.
    pub traces: Summary,
}

/// Where events are shipped to.
#[derive(Clone, Debug, Serialize)]
pub struct Kafka {
    /// Brokers.
    pub bootstrap: String,
    /// What the shipper says; none while it does not answer.
    pub shipping: Option<Shipping>,
    /// That in one line.
    pub words: String,
}

/// A program and how it is.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// What people call it.
    pub title: String,
    /// What others are told of it.
    #[serde(flatten)]
    pub member: Member,
    /// How it is.
    #[serde(flatten)]
    pub condition: Condition,
    /// How a sidecar stands with the control plane.
    pub sync: Option<Sync>,
}

/// How a sidecar stands with the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sync {
    /// `synced`, `waiting`, `refused` or `away`.
    pub state: &'static str,
    /// What it refuses, and why.
    pub refuses: Vec<String>,
}

/// Who calls whom.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Picture {
    /// Seconds that rates are about.
    pub window: Option<f64>,
    /// The picture.
    pub svg: String,
    /// The same in words.
    pub edges: Vec<Edge>,
    /// Sidecars that did not answer.
    pub missing: Vec<String>,
}

/// One arrow of the picture.
#[derive(Clone, Debug, Serialize)]
pub struct Edge {
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Requests since the start.
    pub requests: f64,
    /// A second, of late.
    pub rate: Option<f64>,
    /// Share that failed.
    pub errors: f64,
    /// Share that was refused.
    pub refused: f64,
    /// Milliseconds.
    pub p99: Option<f64>,
    /// All of it by mutual TLS.
    pub locked: bool,
    /// `good`, `warning` or `bad`.
    pub health: &'static str,
    /// Requests by status.
    pub codes: BTreeMap<String, f64>,
}

/// The gateway in front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Its routes.
    pub routes: Vec<Route>,
    /// Why they are not known.
    pub error: Option<String>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Its name, else its id.
    pub name: String,
    /// What it matches: methods, hosts, paths.
    pub matches: Vec<String>,
    /// The service that it leads to.
    pub service: String,
    /// Names of the plugins that a request passes, in order of their names.
    pub plugins: Vec<String>,
}

/// What was emitted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Events {
    /// Records seen in the spool, by topic.
    pub counts: BTreeMap<&'static str, u64>,
    /// The last of them, the newest first.
    pub last: Vec<Event>,
    /// Blocks of the spool that could not be read.
    pub damaged: u64,
    /// Why the spool cannot be read.
    pub error: Option<String>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Producer, epoch and sequence: CloudEvents' id.
    pub id: String,
    /// Microseconds since 1970.
    pub time: u64,
    /// Topic.
    pub topic: &'static str,
    /// CloudEvents' type.
    pub kind: &'static str,
    /// Its fields.
    pub data: Value,
}
