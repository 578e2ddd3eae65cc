//! A process without file descriptors: what is open goes on, what is too much is turned away or waits, nothing spins,
//! and it recovers.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use super::load::{Kind, Load};
use super::mesh::stat;
use crate::support::PATIENCE;
use crate::support::config::{bootstrap, cluster, listener, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Log, Upstream};

const PORT: u16 = 8080;
const KEPT: [Kind; 2] = [Kind::Kept, Kind::Http2];

fn start(descriptors: Option<u32>) -> Process {
    let upstream = Upstream::http("one", &Log::default());
    let mut proxy = Process::limited(Program::Carbyne, descriptors, |place| {
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "one"}}]);
        let host = virtual_host("v", &["*"], routes);
        let http = manager("http", json!([host]), vec![], json!({}));
        bootstrap(
            place,
            vec![listener(place, "http", PORT, vec![http])],
            vec![cluster("one", &[upstream.port()], json!({}))],
        )
    });
    proxy.wait_for_port(PORT);
    proxy
}

/// Nine tenths of the limit are connections; the rest stays free, so that what was let in can be served.
#[test]
fn connections_beyond_the_limit_are_turned_away() {
    const LIMIT: u32 = 200;
    let mut proxy = start(Some(LIMIT));
    let load = Load::start(proxy.at(PORT), &KEPT);
    load.goes_on(1);
    let before = proxy.descriptors();
    let mut open = Vec::new();
    let mut turned_away = 0;
    for _ in 0..LIMIT {
        let mut connection = Connection::open(proxy.at(PORT)).unwrap();
        connection.send(&get("/many").bytes());
        match connection.response(false) {
            Ok(response) => {
                assert_eq!(response.status, 200);
                open.push(connection);
            }
            Err(_) => turned_away += 1,
        }
    }
    assert!(
        open.len() > 100 && turned_away > 10,
        "{} open, {turned_away} turned away",
        open.len()
    );
    assert!(
        proxy.descriptors() < LIMIT as usize,
        "{} descriptors",
        proxy.descriptors()
    );
    load.goes_on(3);
    // The connections that are open are served, all of them.
    for connection in &mut open {
        connection.send(&get("/again").bytes());
        assert_eq!(connection.response(false).unwrap().status, 200);
    }
    let name = format!(
        "listener.{}_{PORT}.downstream_global_cx_overflow",
        proxy.place.address
    );
    assert_eq!(stat(&proxy, &name), turned_away);
    open.clear();
    // And back.
    assert!(settles(PATIENCE, || {
        let connection = Connection::open(proxy.at(PORT));
        connection.is_ok_and(|mut connection| {
            connection.send(&get("/back").bytes());
            connection.response(false).is_ok()
        })
    }));
    assert!(
        settles(PATIENCE, || proxy.descriptors() <= before + 1),
        "{before} descriptors before, {} after",
        proxy.descriptors()
    );
    load.goes_on(1);
    load.end();
    assert!(proxy.is_running());
}

/// The limit falls below what is open: accepting fails, again and again, and nothing is lost by it.
#[test]
fn connections_wait_while_there_are_no_descriptors() {
    let mut proxy = start(None);
    let load = Load::start(proxy.at(PORT), &KEPT);
    load.goes_on(2);
    let id = Pid::from_raw(proxy.process_id() as i32).unwrap();
    let limit = |count: u64| {
        let new = Rlimit {
            current: Some(count),
            maximum: Some(4096),
        };
        prlimit(Some(id), Resource::Nofile, new).unwrap()
    };
    let before = limit(4);
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(proxy.at(PORT)).unwrap();
            connection.send(&get("/waits").bytes());
            connection
        })
        .collect();
    assert!(settles(PATIENCE, || proxy
        .stderr()
        .contains("cannot accept connections")));
    load.goes_on(5);
    load.end();
    // Nobody asks for anything now: a loop that spins would burn all of this.
    let burnt = processor_time(&proxy);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let burnt = processor_time(&proxy) - burnt;
    assert!(burnt <= 15, "{burnt} of 50 ticks while nothing happens");
    assert_eq!(
        proxy.stderr().matches("cannot accept connections").count(),
        1
    );
    limit(before.current.unwrap().min(4096));
    for connection in &mut waiting {
        assert_eq!(connection.response(false).unwrap().status, 200);
    }
    assert!(proxy.is_running());
}

/// Ticks of processor time, user and system (proc(5): fields 14 and 15 of stat).
fn processor_time(proxy: &Process) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", proxy.process_id())).unwrap();
    let behind_name = text.rsplit_once(')').unwrap().1;
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    [11, 12]
        .map(|at| fields[at].parse::<u64>().unwrap())
        .iter()
        .sum()
}
