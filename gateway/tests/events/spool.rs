//! What a folder of events holds, once whoever wrote it has ended.

use std::collections::BTreeMap;
use std::path::Path;

use carbyne_events::event::{Kind, Topic};
use carbyne_events::found;
use serde_json::Value;

use crate::gateway::{Gateway, Start};

/// An event as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) key: Option<String>,
    /// Null for a tombstone.
    pub(crate) body: Value,
}

impl Found {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// A gateway that tells its events to a folder.
pub(crate) fn start(events: &Path, start: Start) -> Gateway {
    let mut start = start;
    let folder = events.to_str().unwrap().to_owned();
    start.variables.push(("CARBYNE_EVENTS_DIR", folder));
    start
        .variables
        .push(("CARBYNE_EVENTS_NODE", "node".to_owned()));
    Gateway::start(start)
}

/// Ends a gateway as an operator does: all is on disk then.
pub(crate) fn end(gateway: Gateway) {
    gateway.signal("TERM");
    assert!(gateway.wait().success());
}

/// Everything below a folder, without a sequence that is missing or came twice.
pub(crate) fn read(root: &Path) -> Vec<Found> {
    let found = found::read(root).unwrap();
    let found = found.into_iter().map(|event| Found {
        kind: event.kind,
        key: event.key,
        body: serde_json::from_str(&event.json).unwrap(),
    });
    found.collect()
}

pub(crate) fn of(found: &[Found], topic: Topic) -> Vec<Found> {
    let all = found.iter().filter(|event| event.kind.topic() == topic);
    all.cloned().collect()
}

/// How often each request is told.
pub(crate) fn requests(found: &[Found]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for event in of(found, Topic::AuditApiCalls) {
        *told.entry(event.text("request_id").to_owned()).or_default() += 1;
    }
    told
}
