//! A spool that is full: requests go on and what is dropped is counted; operations are refused before they change anything.

use std::path::Path;

use carbyne_events::emit::{Options, Outlet};
use carbyne_events::event::Topic;
use carbyne_events::samples::Calls;

use crate::gateway::{Start, Upstream, ask, get};
use crate::requests::declarative;
use crate::spool::{self, end, of, read};

/// Fills the directory that the next gateway will have with more than a mebibyte.
fn fill(root: &Path) -> usize {
    let outlet = Outlet::open(root, Options::new("node", "gateway")).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(3);
    let mut filled = 0;
    while outlet.status().spool_bytes < 2 << 20 {
        for _ in 0..1000 {
            if emitter.emit(&calls.call()).is_ok() {
                filled += 1;
            }
        }
        std::thread::yield_now();
    }
    drop(emitter);
    drop(outlet);
    filled
}

#[test]
fn a_full_spool_stops_operations_and_no_request() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let upstream = Upstream::start();
    let mut start = Start::default();
    start
        .variables
        .push(("CARBYNE_EVENTS_LIMIT_MIB", "1".to_owned()));
    let gateway = spool::start(folder.path(), start);
    let service = format!(r#"{{"name": "s", "url": "{}"}}"#, upstream.url());
    let refused = gateway.ask_admin(&ask("POST", "/services").json(&service));
    assert_eq!(
        (
            refused.status(),
            refused.text().contains("nothing was changed")
        ),
        (503, true)
    );
    let listed = gateway.ask_admin(&get("/services"));
    assert_eq!(
        listed.json()["data"].as_array().map(Vec::len),
        Some(0),
        "nothing was changed"
    );
    end(gateway);
    let mut start = declarative(&upstream);
    start
        .variables
        .push(("CARBYNE_EVENTS_LIMIT_MIB", "1".to_owned()));
    let gateway = spool::start(folder.path(), start);
    let mut client = gateway.client();
    for _ in 0..100 {
        assert_eq!(client.send(&get("/open")).status(), 200, "traffic goes on");
    }
    assert_eq!(client.send(&get("/keyed")).status(), 401);
    end(gateway);
    let found = read(folder.path());
    let gaps: Vec<_> = of(&found, Topic::SecurityEvents)
        .into_iter()
        .filter(|event| event.kind.event_type() == "carbyne.audit.gap")
        .collect();
    let lost: u64 = gaps
        .iter()
        .filter(|gap| {
            gap.text("topic").contains("audit-api-calls") && gap.text("reason") == "spool_full"
        })
        .map(|gap| gap.body["count"].as_u64().unwrap())
        .sum();
    // A worker's own heartbeat may be among them.
    assert!((101..=103).contains(&lost), "{lost} of 101: {gaps:?}");
    let refusals = of(&found, Topic::SecurityEvents);
    assert!(
        refusals
            .iter()
            .any(|event| event.text("reason") == "authentication_missing"),
        "security-events go on into the reserve"
    );
}
