//! A disk without room for the access log: requests go on, what is lost is counted, no line is torn, and it recovers.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::load::{Kind, Load};
use super::mesh::stat;
use crate::support::PATIENCE;
use crate::support::config::{bootstrap, cluster, listener, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Log, Upstream};

const PORT: u16 = 8080;

/// A file system of 64 KiB, unmounted with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Self {
        let path = folder.join("disk");
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "carbyne-suite"])
            .arg(&path)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "cannot mount a tmpfs: this suite needs root, as `make test` says"
        );
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn start(log: &str, upstream: &Upstream) -> (Process, SmallDisk) {
    let mut disk = None;
    let mut proxy = Process::proxy(Program::Carbyne, |place| {
        disk = Some(SmallDisk::mount(place.folder()));
        let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "one"}}]);
        let host = virtual_host("v", &["*"], routes);
        let mut http = manager("http", json!([host]), vec![], json!({}));
        http["typed_config"]["access_log"][0]["typed_config"]["path"] = json!(log);
        bootstrap(
            place,
            vec![listener(place, "http", PORT, vec![http])],
            vec![cluster("one", &[upstream.port()], json!({}))],
        )
    });
    proxy.wait_for_port(PORT);
    (proxy, disk.unwrap())
}

#[test]
fn a_full_disk_costs_log_lines_and_nothing_else() {
    let upstream = Upstream::http("one", &Log::default());
    let (proxy, disk) = start("disk/access.log", &upstream);
    // Half of it is taken by somebody else.
    let other = disk.0.join("other");
    std::fs::write(&other, vec![0; 32 * 1024]).unwrap();
    let load = Load::start(proxy.at(PORT), &[Kind::Fresh, Kind::Kept, Kind::Http2]);
    let dropped = || stat(&proxy, "filesystem.write_dropped");
    let long = format!("/{}", "x".repeat(2000));
    assert!(
        settles(PATIENCE, || {
            ask(&proxy, &long);
            dropped() > 3
        }),
        "the disk does not fill"
    );
    load.goes_on(20);
    assert!(stat(&proxy, "filesystem.write_failed") > 0);
    load.end();
    // Room again: what comes now is written.
    std::fs::remove_file(&other).unwrap();
    let log = disk.0.join("access.log");
    assert!(
        settles(PATIENCE, || {
            ask(&proxy, "/room-again");
            std::fs::read_to_string(&log)
                .unwrap()
                .contains("/room-again")
        }),
        "nothing is written though there is room"
    );
    // Every line is whole, and every request is a line or counted.
    let whole = || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.ends_with('\n')
            && stat(&proxy, "filesystem.write_buffered") == text.lines().count() as u64 + dropped()
    };
    assert!(
        settles(PATIENCE, whole),
        "{} lines written, {} dropped, of {}",
        std::fs::read_to_string(&log).unwrap().lines().count(),
        dropped(),
        stat(&proxy, "filesystem.write_buffered"),
    );
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn a_device_that_is_always_full_is_no_harm() {
    let upstream = Upstream::http("one", &Log::default());
    let (proxy, _disk) = start("/dev/full", &upstream);
    let load = Load::start(proxy.at(PORT), &[Kind::Fresh, Kind::Kept, Kind::Http2]);
    assert!(settles(PATIENCE, || stat(
        &proxy,
        "filesystem.write_dropped"
    ) > 20));
    load.goes_on(5);
    load.end();
}

/// As Envoy: a log that cannot be opened is a mistake of the configuration, told before anything runs.
#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let mut proxy = Process::proxy_unready(Program::Carbyne, |place| {
        let mut http = manager("http", json!([]), vec![], json!({}));
        http["typed_config"]["access_log"][0]["typed_config"]["path"] = json!("no/folder/log");
        bootstrap(
            place,
            vec![listener(place, "http", PORT, vec![http])],
            vec![],
        )
    });
    assert_eq!(proxy.ends(), Some(1));
    let said = proxy.stderr();
    assert!(
        said.contains("static_resources.listeners[0]") && said.contains("no/folder/log"),
        "{said}"
    );
}

fn ask(proxy: &Process, path: &str) {
    let mut connection = Connection::open(proxy.at(PORT)).unwrap();
    connection.send(&get(path).header("connection", "close").bytes());
    assert_eq!(connection.response(false).unwrap().status, 200);
}
