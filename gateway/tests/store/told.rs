//! Every commit is told, whatever ends the process or the asking in between.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_events::event::Topic;
use carbyne_events::found;
use carbyne_events::source::{Program, Source};
use carbyne_gateway::store::told::{Note, Told};
use carbyne_gateway::store::{Change, Key, Store};

use super::{fresh, pair, schema};

const PROGRAM: Program = Program {
    component: "carbyne-gateway",
    role: "gateway",
    version: "0",
    ships: false,
};

fn events(folder: &Path) -> Arc<Source> {
    let told = |name: &str| match name {
        "CARBYNE_EVENTS_DIR" => Some(folder.join("events").to_str()?.to_owned()),
        "CARBYNE_EVENTS_NODE" => Some("node".to_owned()),
        _ => None,
    };
    Source::open(PROGRAM, told).unwrap().unwrap()
}

/// What config-changes says, in order: what happened to which kind of entity, and the version.
fn changes(folder: &Path) -> Vec<String> {
    let since = Instant::now();
    let found = loop {
        match found::read(&folder.join("events")) {
            Ok(found) => break found,
            // A child that another test has just forked has the lock until it runs its own program.
            Err(error) => assert!(since.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::yield_now();
    };
    let changes = found
        .into_iter()
        .filter(|event| event.kind.topic() == Topic::ConfigChanges);
    let shown = changes.map(|event| {
        let key = event.key.unwrap();
        let kind = key.split('/').next().unwrap().to_owned();
        let body: serde_json::Value = serde_json::from_str(&event.json).unwrap();
        match body["change"].as_str() {
            Some(change) => format!("{kind} {change} {}", body["version"]),
            None => format!("{kind} gone"),
        }
    });
    shown.collect()
}

#[tokio::test]
async fn a_note_stays_until_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = fresh(folder.path());
    let untold = async |store: &dyn Store| -> Vec<(u64, String)> {
        let untold = store.untold().await.unwrap().into_iter();
        untold.map(|of| (of.version, of.note)).collect()
    };
    let note = |text: &str| text.to_owned();
    store.commit(pair().1).await.unwrap();
    for (version, text) in [(2, "a"), (3, "b"), (4, "c")] {
        let committed = store.commit_noted(pair().1, note(text)).await;
        assert_eq!(committed, Ok(version));
    }
    store.told(3);
    assert_eq!(untold(&store).await, [(2, note("a")), (4, note("c"))]);
    // Told and not forgotten: the next process cannot know.
    drop(store);
    let store = fresh(folder.path());
    let all = [(2, note("a")), (3, note("b")), (4, note("c"))];
    assert_eq!(untold(&store).await, all);
    store.told(2);
    store.told(4);
    // With the next commit, whoever makes it.
    store.commit(pair().1).await.unwrap();
    drop(store);
    let store = fresh(folder.path());
    assert_eq!(untold(&store).await, all[1..2]);
    store.told(3);
    store.forget().await.unwrap();
    drop(store);
    assert_eq!(untold(&fresh(folder.path())).await, []);
}

#[tokio::test]
async fn what_a_process_has_not_told_the_next_one_tells() {
    let folder = tempfile::tempdir().unwrap();
    let store = fresh(folder.path());
    let (service, changes_of_pair) = pair();
    let route = Change::Delete {
        schema: schema("routes"),
        id: {
            let Change::Insert { id, .. } = &changes_of_pair[1] else {
                panic!("a route")
            };
            id.clone()
        },
    };
    // Committed by a process that ends before it tells.
    for commit in [changes_of_pair, vec![route]] {
        let note = Note::of(&commit).to_json();
        assert!(!note.contains("\"h\""), "no value of a field: {note}");
        store.commit_noted(commit, note).await.unwrap();
    }
    drop(store);
    let expected = ["services created 1", "routes created 1", "routes gone"];
    for (run, (left, times)) in [(2, 1), (2, 2), (0, 2)].into_iter().enumerate() {
        let store: Arc<dyn Store> = Arc::new(fresh(folder.path()));
        let events = events(folder.path());
        let told = Told::new(store.clone(), events.clone());
        assert_eq!(told.catch_up().await, Ok(left), "run {run}");
        assert_eq!(told.catch_up().await, Ok(0), "run {run}");
        if run > 0 {
            // As one does that is told to end; the first one was killed.
            told.forget().await.unwrap();
        }
        events.close();
        drop((told, store, events));
        assert_eq!(changes(folder.path()), expected.repeat(times), "run {run}");
    }
    let key = Key::Field("name".into(), service.as_str().into());
    let store = fresh(folder.path());
    let found = store.find(schema("services"), &key).await;
    assert!(found.unwrap().is_some());
}

#[tokio::test]
async fn who_leaves_before_the_answer_does_not_keep_it_from_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(fresh(folder.path()));
    let events = events(folder.path());
    let told = Told::new(store.clone(), events.clone());
    let (service, commit) = pair();
    let left = tokio::time::timeout(Duration::ZERO, told.commit(commit)).await;
    let key = Key::Field("name".into(), service.as_str().into());
    let written = async || {
        let row = store.find(schema("services"), &key).await;
        row.unwrap().is_some() && store.untold().await.unwrap().is_empty()
    };
    let done = tokio::time::timeout(Duration::from_secs(30), async {
        while !written().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(done.await.is_ok(), "{left:?}");
    events.close();
    drop((told, events));
    assert_eq!(
        changes(folder.path()),
        ["services created 1", "routes created 1"]
    );
}

/// The events' disk takes nothing, or nobody writes any more: the store keeps what is to be told.
#[tokio::test]
async fn what_cannot_be_told_now_is_told_later() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(fresh(folder.path()));
    let silent = events(folder.path());
    silent.close();
    let told = Told::new(store.clone(), silent.clone());
    told.commit(pair().1).await.unwrap();
    told.commit(pair().1).await.unwrap();
    assert_eq!(store.untold().await.unwrap().len(), 2);
    drop((told, silent));
    let again = events(folder.path());
    let told = Told::new(store.clone(), again.clone());
    // A commit that comes first tells its own alone; the start has told the rest by then.
    assert_eq!(told.catch_up().await, Ok(2));
    told.commit(pair().1).await.unwrap();
    assert_eq!(store.untold().await.unwrap(), []);
    again.close();
    drop((told, again));
    let changes = changes(folder.path());
    // What lay in the ring of the first one is there too.
    let distinct: BTreeSet<&str> = changes.iter().map(String::as_str).collect();
    let expected = (1..=3)
        .flat_map(|version| ["routes", "services"].map(|kind| format!("{kind} created {version}")));
    let expected: BTreeSet<String> = expected.collect();
    assert_eq!(distinct, expected.iter().map(String::as_str).collect());
}
