//! A process that writes is killed; what it acknowledged is there, and nothing by half.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use carbyne_gateway::store::{Embedded, Key, Query, Store};

use super::cases::report;
use super::{fresh, pair, schema};

/// Where the child that is killed writes.
const FOLDER: &str = "CARBYNE_TEST_STORE";

#[tokio::test]
async fn kill_9_loses_no_acknowledged_write() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return write_for_ever(Path::new(&folder)).await;
    }
    let all = 50;
    let full = std::env::var("FULL").is_ok_and(|full| !["", "0"].contains(&full.as_str()));
    let points = if full { all } else { 8 };
    let mut random = fastrand::Rng::with_seed(9);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..points {
        acknowledged.extend(write_until_killed(
            folder.path(),
            random.u64(1..40),
            random.u64(0..3000),
        ));
        let store = Embedded::open(&folder.path().join("store.redb")).unwrap();
        for name in &acknowledged {
            let key = Key::Field("name".into(), name.as_str().into());
            assert!(
                store
                    .find(schema("services"), &key)
                    .await
                    .unwrap()
                    .is_some(),
                "{name} was lost"
            );
            assert!(
                store.find(schema("routes"), &key).await.unwrap().is_some(),
                "{name} has lost its route"
            );
        }
        // What was not acknowledged may be there, but only as a whole.
        let query = Query {
            size: 100_000,
            ..Query::default()
        };
        let services = store.page(schema("services"), &query).await.unwrap().rows;
        let routes = store.page(schema("routes"), &query).await.unwrap().rows;
        assert_eq!(services.len(), routes.len(), "half a commit");
        assert!(
            services.len() <= acknowledged.len() + points,
            "more than one commit in flight"
        );
    }
    report("store kill points", points, all);
    assert!(
        acknowledged.len() >= points,
        "the child wrote: {}",
        acknowledged.len()
    );
}

/// Runs a writer, kills it some time after its nth acknowledgement, and says what it acknowledged.
fn write_until_killed(folder: &Path, writes: u64, microseconds: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::kill_9_loses_no_acknowledged_write",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut acknowledged: Vec<String> = Vec::new();
    // The test runner's own words stand before the first one on its line.
    let name = |line: String| Some(line.rsplit_once("acknowledged ")?.1.to_owned());
    while (acknowledged.len() as u64) < writes {
        acknowledged.extend(name(lines.next().expect("the child ended by itself")));
    }
    // The moment within a write is what varies, so it is a duration and not an event.
    std::thread::sleep(Duration::from_micros(microseconds));
    child.kill().unwrap();
    child.wait().unwrap();
    // A line is only whole if it ended before the kill; a name is a UUID.
    acknowledged.extend(lines.filter_map(name).filter(|name| name.len() == 36));
    acknowledged
}

/// What the child does until it is killed.
async fn write_for_ever(folder: &Path) {
    let store = fresh(folder);
    loop {
        let (name, changes) = pair();
        store.commit(changes).await.unwrap();
        println!("acknowledged {name}");
    }
}
