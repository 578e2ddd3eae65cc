//! The end of the process in the middle of traffic: what was accepted is answered, what idles is closed in order, and
//! the log is complete.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::config::{
    bootstrap, cluster, listener, listener_with, manager, network_filter, virtual_host,
};
use crate::support::http1::{Connection, End, get};
use crate::support::http2::{Client, Failure, headers};
use crate::support::place::ADMIN_PORT;
use crate::support::process::{Process, Program, settles};
use crate::support::upstream::{Act, Log, Upstream, reply};
use crate::support::upstream2::{self, Upstream2};

const HTTP: u16 = 8080;
const TCP: u16 = 8081;

/// How the process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Terminate,
    Quit,
}

struct Setting {
    proxy: Process,
    upstream: Upstream,
    upstream2: Upstream2,
    log: Log,
}

impl Setting {
    fn start(options: &[&str]) -> Self {
        let log = Log::default();
        let upstream = Upstream::http("one", &log);
        let upstream2 = Upstream2::plain("two", &log);
        let echo = Upstream::tcp("echo", &log);
        let mut proxy = Process::proxy_with(Program::Carbyne, options, |place| {
            let routes = json!([
                {"match": {"prefix": "/2/"}, "route": {"cluster": "two", "timeout": "0s"}},
                {"match": {"prefix": "/"}, "route": {"cluster": "one", "timeout": "0s"}},
            ]);
            let host = virtual_host("v", &["*"], routes);
            let http = manager("http", json!([host]), vec![], json!({}));
            let tcp = network_filter(
                "envoy.filters.network.tcp_proxy",
                "tcp_proxy.v3.TcpProxy",
                json!({"stat_prefix": "tcp", "cluster": "echo"}),
            );
            bootstrap(
                place,
                vec![
                    listener(place, "http", HTTP, vec![http]),
                    listener_with(
                        place,
                        "tcp",
                        TCP,
                        json!({"filter_chains": [{"filters": [tcp]}]}),
                    ),
                ],
                vec![
                    cluster("one", &[upstream.port()], json!({})),
                    cluster("two", &[upstream2.port()], crate::support::config::http2()),
                    cluster("echo", &[echo.port()], json!({})),
                ],
            )
        });
        proxy.wait_for_port(HTTP);
        proxy.wait_for_port(TCP);
        proxy.wait_for_port(ADMIN_PORT);
        Self {
            proxy,
            upstream,
            upstream2,
            log,
        }
    }

    fn tell(&self, told: Told) {
        match told {
            Told::Terminate => self.proxy.terminate(),
            Told::Quit => {
                let (status, body) = self.proxy.admin("POST", "/quitquitquit").unwrap();
                assert_eq!((status, body.as_str()), (200, "OK\n"));
            }
        }
    }

    /// Waits until so many requests have reached the upstreams.
    fn arrived(&self, count: usize) {
        let log = &self.log;
        assert!(settles(PATIENCE, || log.lock().unwrap().len() >= count));
    }
}

#[test]
fn what_was_begun_ends_and_what_idles_is_closed() {
    for told in [Told::Terminate, Told::Quit] {
        let mut setting = Setting::start(&["--drain-time-s", "60"]);
        let address = setting.proxy.at(HTTP);
        // Idle after one answer each, on both protocols.
        let mut idle = Connection::open(address).unwrap();
        idle.send(&get("/idle").bytes());
        assert_eq!(idle.response(false).unwrap().status, 200);
        let mut idle2 = Client::open(address, &[]).unwrap();
        idle2.send(&request(1, "/idle"));
        assert_eq!(idle2.answer(1, PATIENCE).unwrap().status, 200);
        // Silent from the beginning.
        let mut silent = Connection::open(address).unwrap();
        // Under way: the upstreams answer in two parts, the second when they are told.
        let gate = Gate::new();
        setting.upstream.script(&[
            vec![first_half(), gate.wait(), Act::Send(b"second".to_vec())],
            vec![first_half(), gate.wait(), Act::Send(b"second".to_vec())],
        ]);
        setting.upstream2.script(&[vec![
            upstream2::Act::Headers(vec![(":status", "200")], false),
            upstream2::Act::Wait(gate.time()),
            upstream2::Act::Data(b"second".to_vec(), true),
        ]]);
        let mut begun = Connection::open(address).unwrap();
        begun.send(&get("/begun").bytes());
        let mut begun2 = Client::open(address, &[]).unwrap();
        begun2.send(&request(1, "/begun"));
        let mut begun3 = Client::open(address, &[]).unwrap();
        begun3.send(&request(1, "/2/begun"));
        setting.arrived(5);
        setting.tell(told);
        assert_eq!(
            idle.closes(PATIENCE),
            Ok(()),
            "{told:?}: an idle connection stays"
        );
        assert!(
            matches!(idle2.answer(3, PATIENCE), Err(Failure::End(End::Closed))),
            "{told:?}: HTTP/2"
        );
        assert!(idle2.goodbye.is_some(), "{told:?}: no GOAWAY");
        let refused = || std::net::TcpStream::connect(address).is_err();
        assert!(settles(PATIENCE, refused), "{told:?}: still accepts");
        // Whatever is still open serves its next request as its last.
        silent.send(&get("/late").bytes());
        match silent.response(false) {
            Ok(response) => assert_eq!(response.header("connection"), Some("close")),
            Err(end) => assert_eq!(end, End::Closed, "{told:?}"),
        }
        for client in [&mut begun2, &mut begun3] {
            let answer = client.answer(1, PATIENCE).unwrap();
            assert_eq!(
                (answer.status, answer.body.ends_with(b"second")),
                (200, true),
                "{told:?}"
            );
        }
        let response = begun.response(false).unwrap();
        assert_eq!(response.body, b"first second", "{told:?}");
        assert_eq!(setting.proxy.ends(), Some(0), "{told:?}");
        let (lines, _) = setting.proxy.log_lines("access.log", 0);
        let logged = |path: &str| lines.iter().filter(|line| line.contains(path)).count();
        assert_eq!(
            (logged("/idle"), logged("/begun")),
            (2, 3),
            "{told:?}: {lines:#?}"
        );
    }
}

/// A connection for each request, as fast as they go, until nobody listens any more: every one that was accepted is
/// answered. The kernel knows no way to close a listening socket without a moment between the last look into it and its
/// end, and resets what comes then; so a round in a few may see that, and no more.
#[test]
fn no_accepted_connection_is_reset() {
    let mut rounds_with_resets = 0;
    for _ in 0..10 {
        let mut setting = Setting::start(&["--drain-time-s", "60"]);
        let address = setting.proxy.at(HTTP);
        let done = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
                std::thread::spawn(move || until_refused(address, &done, &stop))
            })
            .collect();
        assert!(settles(PATIENCE, || done.load(Ordering::Relaxed) >= 20));
        setting.proxy.terminate();
        let code = setting.proxy.ends();
        stop.store(true, Ordering::Relaxed);
        let mut reset = false;
        for thread in threads {
            match thread.join().unwrap() {
                Ok(()) => {}
                Err(end) if end == RESET => reset = true,
                Err(end) => panic!("{end}"),
            }
        }
        rounds_with_resets += u32::from(reset);
        assert_eq!(code, Some(0));
        // Each answer has its line.
        let (lines, _) = setting.proxy.log_lines("access.log", 0);
        assert_eq!(lines.len(), done.load(Ordering::Relaxed));
    }
    assert!(rounds_with_resets <= 2, "{rounds_with_resets} of 10 rounds");
}

fn until_refused(address: SocketAddr, done: &AtomicUsize, stop: &AtomicBool) -> Result<(), String> {
    loop {
        let mut connection = match Connection::open(address) {
            Ok(connection) => connection,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            // The process has ended; a SYN that was lost with it may still be asking.
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
            Err(error) => return Err(format!("cannot connect: {error}")),
        };
        connection.send(&get("/fresh").bytes());
        match connection.response(false) {
            Ok(response) if response.status == 200 => done.fetch_add(1, Ordering::Relaxed),
            Ok(response) => return Err(format!("status {}", response.status)),
            Err(end) => return Err(end.to_string()),
        };
    }
}

/// What a client says whose connection was reset before its answer began.
const RESET: &str = "reset";

/// A stream that does not end holds the process for the drain time, or until it is told again.
#[test]
fn the_end_is_bounded() {
    let hold = |setting: &Setting| {
        let mut stream = Connection::open(setting.proxy.at(TCP)).unwrap();
        stream.send(b"echo");
        assert_eq!(stream.read_exactly(4).unwrap(), b"echo");
        stream
    };
    let mut setting = Setting::start(&["--drain-time-s", "60"]);
    let mut stream = hold(&setting);
    setting.proxy.terminate();
    let refused = || std::net::TcpStream::connect(setting.proxy.at(TCP)).is_err();
    assert!(settles(PATIENCE, refused));
    stream.send(b"more");
    assert_eq!(
        stream.read_exactly(4).unwrap(),
        b"more",
        "the stream goes on"
    );
    setting.proxy.terminate();
    assert_eq!(setting.proxy.ends(), Some(0));

    let mut setting = Setting::start(&["--drain-time-s", "1"]);
    let stream = hold(&setting);
    setting.proxy.terminate();
    assert_eq!(setting.proxy.ends(), Some(0));
    drop(stream);
}

/// `/drain_listeners?graceful` (pilot-agent): while it drains new connections are served, each as the last of its
/// kind; after the drain time nobody listens.
#[test]
fn listeners_drain_when_they_are_told() {
    let mut setting = Setting::start(&["--drain-time-s", "1"]);
    let address = setting.proxy.at(HTTP);
    let mut kept = Connection::open(address).unwrap();
    kept.send(&get("/a").bytes());
    assert_eq!(kept.response(false).unwrap().header("connection"), None);
    let (status, _) = setting
        .proxy
        .admin("POST", "/drain_listeners?graceful")
        .unwrap();
    assert_eq!(status, 200);
    let mut fresh = Connection::open(address).unwrap();
    for connection in [&mut kept, &mut fresh] {
        connection.send(&get("/b").bytes());
        let response = connection.response(false).unwrap();
        assert_eq!(response.header("connection"), Some("close"));
    }
    let refused = || std::net::TcpStream::connect(address).is_err();
    assert!(settles(PATIENCE, refused));
    assert!(setting.proxy.is_running());
}

/// A delay that is long enough for a signal to arrive and short enough to wait for.
struct Gate;

impl Gate {
    const fn new() -> Self {
        Self
    }

    const fn time(&self) -> std::time::Duration {
        std::time::Duration::from_millis(1500)
    }

    const fn wait(&self) -> Act {
        Act::Wait(self.time())
    }
}

fn first_half() -> Act {
    match reply("200 OK", &[], "first second") {
        Act::Send(bytes) => Act::Send(bytes[..bytes.len() - b"second".len()].to_vec()),
        other => other,
    }
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ];
    headers(stream, true, &fields)
}
