//! A process that is killed while it changes its configuration: what the store holds afterwards is told, all of it and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use carbyne_events::event::Topic;

use crate::gateway::{Client, Gateway, Start, ask, get};
use crate::spool::{self, Found, end, of, read};

/// What one client was answered.
#[derive(Debug, Default)]
struct Answered {
    created: Vec<String>,
    deleted: Vec<String>,
}

#[test]
fn a_killed_gateway_has_told_every_change() {
    let rounds = match std::env::var("FULL") {
        Ok(full) if full == "1" => 50,
        _ => 8,
    };
    let seed = std::env::var("CARBYNE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7_u64);
    println!("CARBYNE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (folder, prefix) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = || {
        let place = prefix.path().to_str().unwrap().to_owned();
        let start = Start {
            conf: vec![("prefix", place)],
            ..Start::default()
        };
        spool::start(folder.path(), start)
    };
    let mut answered = Answered::default();
    let mut caught_up = 0;
    for round in 0..rounds {
        let gateway = start();
        caught_up += told_at_the_start(&gateway);
        let address = gateway.admin.unwrap();
        let clients: Vec<_> = (0..3)
            .map(|client| {
                std::thread::spawn(move || change_until_gone(address, &format!("{round}-{client}")))
            })
            .collect();
        std::thread::sleep(Duration::from_micros(random.u64(20_000..300_000)));
        // Dropped: killed by SIGKILL.
        drop::<Gateway>(gateway);
        for client in clients {
            let client = client.join().unwrap();
            answered.created.extend(client.created);
            answered.deleted.extend(client.deleted);
        }
    }
    let gateway = start();
    caught_up += told_at_the_start(&gateway);
    let stored = consumers(&gateway);
    end(gateway);

    let found = read(folder.path());
    let changes = of(&found, Topic::ConfigChanges);
    let mut live: BTreeMap<&str, bool> = BTreeMap::new();
    let mut times: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for change in &changes {
        let id = change.key.as_deref().unwrap().split_once('/').unwrap().1;
        live.insert(id, !change.body.is_null());
        if let Some(version) = change.body["version"].as_u64() {
            *times.entry((id, version)).or_default() += 1;
        }
    }
    let repeats = times.values().filter(|times| **times > 1).count();
    let missing: Vec<&String> = stored
        .iter()
        .filter(|id| live.get(id.as_str()) != Some(&true))
        .collect();
    println!(
        "{rounds} kills: {} creations and {} deletions answered, {} told, {} missing, {repeats} more than once; {caught_up} told by the start after",
        answered.created.len(),
        answered.deleted.len(),
        times.len(),
        missing.len(),
    );
    crate::cases::report("kill-points-of-changes", rounds, 50);
    assert!(
        answered.created.len() > rounds,
        "too few answers to prove anything"
    );
    assert!(missing.is_empty(), "in the store and not told: {missing:?}");
    let gone: Vec<_> = live
        .iter()
        .filter(|(id, lives)| **lives && !stored.contains(**id))
        .collect();
    assert!(gone.is_empty(), "gone and not told: {gone:?}");
    for id in &answered.created {
        assert!(live.contains_key(id.as_str()), "{id} was answered");
        let deleted = answered.deleted.contains(id);
        assert!(!deleted || !live[id.as_str()], "{id} was deleted");
    }
    // Whose it was is known: no change without the operation that was told before it.
    let operations = of(&found, Topic::AuditAdminOperations);
    let requests: BTreeSet<&str> = operations
        .iter()
        .map(|event| event.text("request_id"))
        .collect();
    let strangers =
        |event: &&Found| !event.body.is_null() && !requests.contains(event.text("request_id"));
    assert_eq!(changes.iter().filter(strangers).count(), 0);
}

/// Of how many commits the log says that an earlier process had not told them.
fn told_at_the_start(gateway: &Gateway) -> usize {
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("not told"));
    line.map_or(0, |line| {
        let digits: String = line
            .split("commits")
            .nth(1)
            .unwrap_or_default()
            .chars()
            .skip_while(|letter| !letter.is_ascii_digit() || *letter == '0')
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap_or(1)
    })
}

/// Creates consumers and deletes every other one, until there is nobody any more.
fn change_until_gone(address: SocketAddr, name: &str) -> Answered {
    let mut answered = Answered::default();
    let Some(mut client) = Client::try_connect(address) else {
        return answered;
    };
    for number in 0_u64.. {
        let body = format!(r#"{{"username": "{name}-{number}"}}"#);
        let Some(answer) = client.try_send(&ask("POST", "/consumers").json(&body)) else {
            break;
        };
        assert_eq!(answer.status(), 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        answered.created.push(id.clone());
        if number % 2 == 0 {
            continue;
        }
        match client.try_send(&ask("DELETE", &format!("/consumers/{id}"))) {
            Some(answer) => assert_eq!(answer.status(), 204, "{}", answer.text()),
            None => break,
        }
        answered.deleted.push(id);
    }
    answered
}

/// The ids of all consumers.
fn consumers(gateway: &Gateway) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut next = Some("/consumers?size=1000".to_owned());
    while let Some(path) = next {
        let page = gateway.ask_admin(&get(&path)).json();
        let rows = page["data"].as_array().unwrap().iter();
        ids.extend(rows.map(|row| row["id"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(ToOwned::to_owned);
    }
    ids
}
