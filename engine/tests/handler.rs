//! The seam `forward::Handler`, proved by a handler of Kong's shape: the target chosen for every try, the
//! body read by a filter, the error worded by the handler.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carbyne_engine::cluster::{Assignment, Cluster, Endpoint, LocalityEndpoints, Settings};
use carbyne_engine::forward::retry::{Conditions, RetryPolicy};
use carbyne_engine::forward::serve::{Refusal, Serve, ServeSettings};
use carbyne_engine::forward::{
    Answer, Downstream, Error, Exchange, Handler, Protocol, Route, Target,
};
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Accept, Accepted, Drain, Worker, Workers};
use http::{HeaderName, HeaderValue, StatusCode};

/// Tries its targets in order, one a try, as Kong's balancer hands out one target after another.
#[derive(Debug)]
struct Gateway {
    cluster: Arc<Cluster>,
    log: Sender<String>,
}

impl Handler for Gateway {
    type Context = usize;

    fn context(&self) -> usize {
        0
    }

    async fn request(&self, exchange: &mut Exchange<usize>) -> Result<Route, Answer> {
        let body = exchange
            .buffer_body(1024)
            .await
            .map_err(|_| Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "too large", "body_limit"))?;
        exchange.context = body.len();
        let mut retry = RetryPolicy {
            retries: 3,
            ..RetryPolicy::default()
        };
        retry.on = Conditions::parse("connect-failure,gateway-error").0;
        Ok(Route {
            timeout: Some(Duration::from_secs(10)),
            retry: Some(Arc::new(retry)),
            upgrade: true,
            buffer_limit: 64 * 1024,
            ..Route::default()
        })
    }

    async fn attempt(&self, _exchange: &mut Exchange<usize>, number: u32) -> Result<Target, Error> {
        let set = self.cluster.endpoints();
        let host = set
            .hosts()
            .nth(number as usize)
            .ok_or(Error::NoHealthyHost)?;
        Ok(Target {
            cluster: self.cluster.clone(),
            host: host.clone(),
            tls: None,
            protocol: Protocol::Http1,
            timeout: None,
            variant: 0,
        })
    }

    async fn response(&self, exchange: &mut Exchange<usize>) -> Result<(), Answer> {
        let length = exchange.context;
        if let Some(response) = &mut exchange.response {
            let name = HeaderName::from_static("x-request-length");
            response.headers.insert(name, HeaderValue::from(length));
        }
        Ok(())
    }

    fn error(&self, _exchange: &mut Exchange<usize>, error: &Error) -> Answer {
        let body = format!("{{\"message\":\"{error}\"}}");
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, body, "upstream")
    }

    fn answered(&self, _exchange: &mut Exchange<usize>) {}

    fn log(&self, exchange: &Exchange<usize>) {
        let status = exchange
            .response
            .as_ref()
            .map(|response| response.status.as_u16());
        let line = format!("{status:?} {} tries", exchange.attempts);
        // The test may be over already.
        drop(self.log.send(line));
    }

    fn refused(&self, _downstream: &Downstream, refusal: &Refusal) -> Answer {
        let status = match refusal {
            Refusal::Head(error) => error.status(),
            Refusal::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        };
        Answer::text(status, "", "refused")
    }
}

#[derive(Debug)]
struct Listener {
    cluster: Arc<Cluster>,
    log: Sender<String>,
    drain: Drain,
}

impl Accept for Listener {
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let downstream = Downstream {
                id: 1,
                local: accepted.local,
                remote: accepted.remote.clone(),
                direct_remote: accepted.remote,
                server_name: None,
                tls: None,
                accepted: Instant::now(),
            };
            let serve = Serve {
                worker,
                handler: Rc::new(Gateway {
                    cluster: self.cluster.clone(),
                    log: self.log.clone(),
                }),
                settings: Arc::new(ServeSettings::default()),
                downstream: Rc::new(downstream),
                drain: self.drain.signal(),
            };
            serve.run(accepted.socket.into()).await;
        })
    }
}

struct Running {
    address: SocketAddr,
    log: Receiver<String>,
    _workers: Workers,
    _listening: carbyne_engine::runtime::Listening,
}

/// A gateway in front of `targets`.
fn gateway(targets: &[SocketAddr]) -> Running {
    let cluster = Cluster::new(Settings::named("targets"), Instant::now());
    let endpoints = targets.iter().copied().map(Endpoint::at).collect();
    let locality = LocalityEndpoints {
        endpoints,
        weight: 1,
        ..LocalityEndpoints::default()
    };
    cluster.update_endpoints(Assignment::of(vec![locality]), Instant::now());
    let workers = Workers::start(1).unwrap();
    let (sender, log) = channel();
    let listener = Listener {
        cluster,
        log: sender,
        drain: Drain::new(),
    };
    let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listening = workers
        .listen(&address, ListenOptions::default(), Arc::new(listener))
        .unwrap();
    Running {
        address: listening.address().socket().unwrap(),
        log,
        _workers: workers,
        _listening: listening,
    }
}

/// A host that answers every connection's requests with `answer`, and what it was sent.
fn host(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let record = seen.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let record = record.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    record.lock().unwrap().push_str(&text);
                    if text.contains("\r\n\r\n") && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Sends `request` and reads until `until` was seen or the connection closed.
fn ask(address: SocketAddr, request: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains(until) {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => answer.push_str(&String::from_utf8_lossy(&buffer[..length])),
            _ => break,
        }
    }
    answer
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKS: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

#[test]
fn a_request_goes_through_and_comes_back() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target]);
    let answer = ask(
        running.address,
        "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        "hello",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-request-length: 0\r\n"), "{answer}");
    assert!(answer.contains("\r\ndate: "), "{answer}");
    assert!(
        seen.lock()
            .unwrap()
            .starts_with("GET /a?b HTTP/1.1\r\nhost: x\r\n")
    );
}

#[test]
fn chunks_come_through_as_chunks() {
    let (target, _) = host(CHUNKS);
    let running = gateway(&[target]);
    let answer = ask(
        running.address,
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "0\r\n\r\n",
    );
    assert!(
        answer.contains("transfer-encoding: chunked\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn the_next_target_is_tried_and_the_body_sent_again() {
    let (bad, _) = host(BAD_GATEWAY);
    let (good, seen) = host(HELLO);
    let running = gateway(&[nobody(), bad, good]);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    let answer = ask(running.address, request, "hello");
    assert!(answer.contains("x-request-length: 4\r\n"), "{answer}");
    assert!(seen.lock().unwrap().ends_with("\r\n\r\nbody"));
    let line = running.log.recv_timeout(Duration::from_secs(10));
    assert_eq!(line.as_deref(), Ok("Some(200) 3 tries"));
}

#[test]
fn the_handler_words_the_error() {
    let running = gateway(&[nobody()]);
    let answer = ask(running.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "}");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("{\"message\":\"no healthy upstream host\"}"),
        "{answer}"
    );
}

#[test]
fn a_filter_answers_a_body_above_its_limit_and_the_connection_closes() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target]);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n{}",
        "x".repeat(2000)
    );
    let answer = ask(running.address, &request, "too large");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (target, _) = host(HELLO);
    let running = gateway(&[target]);
    let request = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while answer.matches("hello").count() < 3 {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[test]
fn what_is_no_request_is_refused_and_closed() {
    let (target, seen) = host(HELLO);
    let running = gateway(&[target]);
    let answer = ask(
        running.address,
        "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "never",
    );
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let accepted =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(accepted.as_bytes()).unwrap();
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).unwrap();
        assert_eq!(&ping, b"ping");
        stream.write_all(b"pong").unwrap();
        String::from_utf8(head).unwrap()
    });
    let running = gateway(&[target]);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request =
        "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\npong"), "{answer}");
    let head = echo.join().unwrap();
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
}
