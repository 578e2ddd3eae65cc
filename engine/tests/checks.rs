//! Active health checks made over real connections, against a server that the test steers.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use carbyne_engine::cluster::health::{HealthCheckSettings, HttpProbe, Probe};
use carbyne_engine::cluster::host::Flag;
use carbyne_engine::cluster::{
    Assignment, Cluster, Endpoint, Health, Host, LocalityEndpoints, Settings, checks,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{LocalOptions, LocalRuntime};

/// What the server answers now, and what it was sent.
#[derive(Default)]
struct Script {
    answer: RefCell<Vec<u8>>,
    heads: RefCell<Vec<String>>,
    connections: Cell<usize>,
}

struct Server {
    address: SocketAddr,
    script: Rc<Script>,
}

impl Server {
    /// Answers everything that ends with `end`; closes where the answer is empty.
    async fn start(end: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Rc::new(Script::default());
        let held = Rc::clone(&script);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                held.connections.set(held.connections.get() + 1);
                tokio::task::spawn_local(answer(stream, end, Rc::clone(&held)));
            }
        });
        Self { address, script }
    }

    fn says(&self, answer: &str) {
        self.script.answer.replace(answer.as_bytes().to_vec());
    }
}

async fn answer(mut stream: TcpStream, end: &'static [u8], script: Rc<Script>) {
    let mut read = Vec::new();
    while stream
        .read_buf(&mut read)
        .await
        .is_ok_and(|count| count > 0)
    {
        if !read.ends_with(end) {
            continue;
        }
        let head = String::from_utf8_lossy(&std::mem::take(&mut read)).into_owned();
        script.heads.borrow_mut().push(head);
        let answer = script.answer.borrow().clone();
        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn http(path: &str) -> Probe {
    Probe::Http(HttpProbe {
        method: http::Method::GET,
        host: Arc::from(""),
        path: Arc::from(path),
        headers: http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-probe"),
            http::HeaderValue::from_static("1"),
        )]),
        expected: Vec::new(),
        retriable: std::iter::once(503..504).collect(),
        http2: false,
    })
}

fn quick(probe: Probe) -> HealthCheckSettings {
    let interval = Duration::from_millis(5);
    HealthCheckSettings {
        interval,
        no_traffic_interval: interval,
        timeout: Duration::from_secs(20),
        probe,
        ..HealthCheckSettings::default()
    }
}

fn cluster(check: HealthCheckSettings) -> Arc<Cluster> {
    let settings = Settings {
        health_checks: vec![check],
        ..Settings::named("checked")
    };
    Cluster::new(settings, Instant::now())
}

fn assigned(addresses: &[SocketAddr]) -> Assignment {
    Assignment::of(vec![LocalityEndpoints {
        endpoints: addresses
            .iter()
            .map(|address| Endpoint::at(*address))
            .collect(),
        ..LocalityEndpoints::default()
    }])
}

fn host(cluster: &Cluster) -> Arc<Host> {
    cluster.endpoints().hosts().next().cloned().unwrap()
}

/// Waits until the host set says what is wanted.
async fn until(cluster: &Cluster, wanted: impl Fn(&Cluster) -> bool) {
    let mut changes = cluster.host_set_changed();
    while !wanted(cluster) {
        changes.changed().await.unwrap();
    }
}

async fn health(cluster: &Cluster, wanted: Health) {
    until(cluster, |cluster| host(cluster).health() == wanted).await;
}

/// Runs a test on a local runtime, within a minute.
fn local(test: impl Future<Output = ()>) {
    let runtime: LocalRuntime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .unwrap();
    });
}

#[test]
fn http_answers_decide() {
    local(async {
        let server = Server::start(b"\r\n\r\n").await;
        server.says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let cluster = cluster(quick(http("/ready?x=1")));
        cluster.update_endpoints(assigned(&[server.address]), Instant::now());
        assert!(!cluster.is_initialized());
        assert_eq!(host(&cluster).health(), Health::Unhealthy);
        let checks = tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        cluster.wait_initialized().await;
        health(&cluster, Health::Healthy).await;
        let stats = cluster.health_check_stats();
        assert_eq!((stats.healthy.value(), stats.degraded.value()), (1, 0));
        assert_eq!(
            server.script.heads.borrow()[0],
            "GET /ready?x=1 HTTP/1.1\r\nhost: checked\r\nuser-agent: Envoy/HC\r\nx-probe: 1\r\n\r\n"
        );

        server.says("HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n");
        health(&cluster, Health::Degraded).await;
        assert_eq!((stats.healthy.value(), stats.degraded.value()), (1, 1));

        server.says("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        health(&cluster, Health::Unhealthy).await;
        assert_eq!(stats.failure.value(), 1, "a plain answer decides at once");
        server.says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        health(&cluster, Health::Healthy).await;
        assert_eq!(server.script.connections.get(), 1, "the connection is kept");

        let before = stats.failure.value();
        server.says("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
        health(&cluster, Health::Unhealthy).await;
        assert_eq!(
            stats.failure.value() - before,
            3,
            "retriable: the threshold decides"
        );
        assert_eq!(stats.network_failure.value(), 0);
        assert_eq!(
            stats.attempt.value(),
            stats.success.value() + stats.failure.value()
        );
        checks.abort();
        assert!(checks.await.is_err());
        assert_eq!(stats.healthy.value(), 0, "nobody is checked any more");
    });
}

#[test]
fn connections_are_kept_as_told() {
    local(async {
        // (settings, answer) → whether one connection serves all checks
        let keep = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        for (reuse, answer, one) in [
            (true, keep, true),
            (false, keep, false),
            (true, close, false),
        ] {
            let server = Server::start(b"\r\n\r\n").await;
            server.says(answer);
            let cluster = cluster(HealthCheckSettings {
                reuse_connection: reuse,
                ..quick(http("/"))
            });
            cluster.update_endpoints(assigned(&[server.address]), Instant::now());
            let checks = tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
            while cluster.health_check_stats().success.value() < 5 {
                tokio::task::yield_now().await;
            }
            checks.abort();
            let connections = server.script.connections.get();
            assert_eq!(connections == 1, one, "{reuse} {answer:?}: {connections}");
        }
    });
}

#[test]
fn tcp_checks_look_for_bytes() {
    local(async {
        let server = Server::start(b"PING").await;
        server.says("+PONG\r\n");
        let cluster = cluster(quick(Probe::Tcp {
            send: b"PING".to_vec(),
            receive: vec![b"PO".to_vec(), b"NG".to_vec()],
        }));
        cluster.update_endpoints(assigned(&[server.address]), Instant::now());
        tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        health(&cluster, Health::Healthy).await;
        assert_eq!(server.script.heads.borrow()[0], "PING");
        // It closes instead of answering: a network failure, three of which count.
        server.says("");
        health(&cluster, Health::Unhealthy).await;
        assert_eq!(cluster.health_check_stats().network_failure.value(), 3);
    });
}

#[test]
fn a_connection_is_enough_without_bytes() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = cluster(quick(Probe::Tcp {
            send: Vec::new(),
            receive: Vec::new(),
        }));
        let address = listener.local_addr().unwrap();
        cluster.update_endpoints(assigned(&[address]), Instant::now());
        tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        health(&cluster, Health::Healthy).await;
        drop(listener);
        health(&cluster, Health::Unhealthy).await;
    });
}

#[test]
fn silence_is_a_timeout() {
    local(async {
        let server = Server::start(b"never").await;
        let cluster = cluster(HealthCheckSettings {
            timeout: Duration::from_millis(5),
            ..quick(http("/"))
        });
        cluster.update_endpoints(assigned(&[server.address]), Instant::now());
        tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        // Envoy: the first round of checks warms a cluster whatever its outcome.
        cluster.wait_initialized().await;
        let host = host(&cluster);
        assert!(host.has(Flag::FailedActiveCheck) && host.has(Flag::ActiveCheckTimeout));
        assert!(cluster.health_check_stats().network_failure.value() >= 1);
    });
}

#[test]
fn hosts_that_leave_stay_while_they_pass() {
    local(async {
        let (stays, leaves) = (
            Server::start(b"\r\n\r\n").await,
            Server::start(b"\r\n\r\n").await,
        );
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stays.says(ok);
        leaves.says(ok);
        let cluster = cluster(quick(http("/")));
        cluster.update_endpoints(assigned(&[stays.address, leaves.address]), Instant::now());
        tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        let healthy = |cluster: &Cluster| {
            let set = cluster.endpoints();
            set.hosts()
                .filter(|host| host.health() == Health::Healthy)
                .count()
        };
        until(&cluster, |cluster| healthy(cluster) == 2).await;
        cluster.update_endpoints(assigned(&[stays.address]), Instant::now());
        assert_eq!(
            healthy(&cluster),
            2,
            "eventually consistent discovery is not believed"
        );
        leaves.says("HTTP/1.1 500 Gone\r\ncontent-length: 0\r\n\r\n");
        until(&cluster, |cluster| cluster.endpoints().hosts().count() == 1).await;
        assert_eq!(cluster.health_check_stats().healthy.value(), 1);
    });
}

#[test]
fn grpc_services_say_how_they_are() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Rc::new(Cell::new(1_u8));
        let asked = Rc::new(RefCell::new(Vec::new()));
        let (says, seen) = (Rc::clone(&status), Rc::clone(&asked));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (says, seen) = (Rc::clone(&says), Rc::clone(&seen));
                tokio::task::spawn_local(serve_grpc(stream, says, seen));
            }
        });
        let cluster = cluster(quick(Probe::Grpc {
            service: Arc::from("shop"),
            authority: Arc::from("shop.test"),
        }));
        cluster.update_endpoints(assigned(&[address]), Instant::now());
        tokio::task::spawn_local(checks::run(Arc::clone(&cluster)));
        health(&cluster, Health::Healthy).await;
        assert_eq!(
            asked.borrow()[0],
            (
                "http://shop.test/grpc.health.v1.Health/Check".to_owned(),
                b"\0\0\0\0\x06\x0a\x04shop".to_vec()
            )
        );
        status.set(2);
        health(&cluster, Health::Unhealthy).await;
        assert_eq!(cluster.health_check_stats().network_failure.value(), 0);
    });
}

async fn serve_grpc(
    stream: TcpStream,
    status: Rc<Cell<u8>>,
    asked: Rc<RefCell<Vec<(String, Vec<u8>)>>>,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (status, asked) = (Rc::clone(&status), Rc::clone(&asked));
        tokio::task::spawn_local(async move {
            let uri = request.uri().to_string();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(bytes)) = body.data().await {
                message.extend_from_slice(&bytes);
            }
            asked.borrow_mut().push((uri, message));
            let head = http::Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            let framed = vec![0, 0, 0, 0, 2, 8, status.get()];
            stream.send_data(Bytes::from(framed), false).unwrap();
            let trailers = http::HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                http::HeaderValue::from_static("0"),
            )]);
            stream.send_trailers(trailers).unwrap();
        });
    }
}
