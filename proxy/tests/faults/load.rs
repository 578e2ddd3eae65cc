//! Traffic that goes on while something breaks, and what of it failed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::http1::{Connection, Response, get};
use crate::support::http2::{Client, Failure, headers};
use crate::support::tls::ClientTls;
use crate::support::{PATIENCE, poll};

/// How one client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection for each request.
    Fresh,
    /// One HTTP/1 connection as long as the proxy keeps it.
    Kept,
    /// One HTTP/2 connection as long as the proxy keeps it.
    Http2,
    /// A connection with a handshake for each request.
    FreshTls,
    /// One HTTP/1 connection over TLS as long as the proxy keeps it.
    KeptTls,
}

/// Clients that send one request after another.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    stop: AtomicBool,
    done: Vec<AtomicUsize>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Starts one client of each kind against `address`.
    pub fn start(address: SocketAddr, kinds: &[Kind]) -> Self {
        let shared = Arc::new(Shared {
            address,
            stop: AtomicBool::new(false),
            done: kinds.iter().map(|_| AtomicUsize::new(0)).collect(),
            failures: Mutex::default(),
        });
        let threads = kinds.iter().enumerate().map(|(index, kind)| {
            let (kind, shared) = (*kind, Arc::clone(&shared));
            std::thread::spawn(move || shared.run(index, kind))
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// Waits until each client has had `count` more answers.
    pub fn goes_on(&self, count: usize) {
        let done = || -> Vec<usize> {
            let done = self.shared.done.iter();
            done.map(|done| done.load(Ordering::Relaxed)).collect()
        };
        let before = done();
        let all = || {
            let now = done();
            let enough = before
                .iter()
                .zip(&now)
                .all(|(before, now)| now - before >= count);
            let failed = !self.shared.failures.lock().unwrap().is_empty();
            (enough || failed).then_some(())
        };
        assert!(
            poll(PATIENCE, all).is_some(),
            "traffic stopped: {before:?} requests, then {:?}",
            done()
        );
    }

    /// Ends the clients; fails if any request failed. How many there were.
    pub fn end(mut self) -> usize {
        self.stop();
        let failures = self.shared.failures.lock().unwrap().clone();
        let done = self.shared.done.iter();
        let done = done.map(|done| done.load(Ordering::Relaxed)).sum();
        assert!(
            failures.is_empty(),
            "{} of {done} requests failed:\n{}",
            failures.len(),
            failures[..failures.len().min(10)].join("\n")
        );
        done
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, index: usize, kind: Kind) {
        let mut kept: Option<Connection> = None;
        let mut multiplexed: Option<(Client, u32)> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let result = match kind {
                Kind::Http2 => over_http2(self.address, &mut multiplexed),
                Kind::Fresh | Kind::FreshTls => open(self.address, kind)
                    .and_then(|mut connection| ask(&mut connection).map(drop)),
                Kind::Kept | Kind::KeptTls => {
                    let connection = kept.take().map_or_else(|| open(self.address, kind), Ok);
                    connection.and_then(|mut connection| {
                        let response = ask(&mut connection)?;
                        if response.header("connection") != Some("close") {
                            kept = Some(connection);
                        }
                        Ok(())
                    })
                }
            };
            match result {
                Ok(()) => {
                    self.done[index].fetch_add(1, Ordering::Relaxed);
                }
                Err(text) => self
                    .failures
                    .lock()
                    .unwrap()
                    .push(format!("{kind:?}: {text}")),
            }
        }
    }
}

fn open(address: SocketAddr, kind: Kind) -> Result<Connection, String> {
    let failed = |error: std::io::Error| format!("cannot open: {error}");
    if matches!(kind, Kind::FreshTls | Kind::KeptTls) {
        let tls = ClientTls::default().connect(address).map_err(failed)?;
        Ok(Connection::over(Box::new(tls.stream), tls.socket))
    } else {
        Connection::open(address).map_err(failed)
    }
}

fn ask(connection: &mut Connection) -> Result<Response, String> {
    if !connection.send(&get("/load").bytes()) {
        return Err("cannot send".to_owned());
    }
    let response = connection.response(false).map_err(|end| end.to_string())?;
    if response.status == 200 {
        Ok(response)
    } else {
        Err(format!(
            "status {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        ))
    }
}

/// One request on the connection, or on another where the proxy has said goodbye: a stream above the last one of a
/// GOAWAY was not looked at and may be sent again (RFC 9113 6.8).
fn over_http2(address: SocketAddr, open: &mut Option<(Client, u32)>) -> Result<(), String> {
    for _ in 0..2 {
        let (client, stream) = match open {
            Some((client, next)) => {
                let stream = *next;
                *next += 2;
                (client, stream)
            }
            None => {
                let client = Client::open(address, &[]).map_err(|error| error.to_string())?;
                (&mut open.insert((client, 3)).0, 1)
            }
        };
        client.send(&headers(
            stream,
            true,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a.test"),
                (":path", "/load"),
            ],
        ));
        let answer = client.answer(stream, PATIENCE);
        let goodbye = client.goodbye;
        if goodbye.is_some() || stream > 1 << 20 {
            *open = None;
        }
        match answer {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => return Err(format!("status {}", answer.status)),
            Err(Failure::End(_)) if goodbye.is_some_and(|last| stream > last) => {}
            Err(failure) => {
                *open = None;
                return Err(format!(
                    "{failure:?} on stream {stream}, goodbye {goodbye:?}"
                ));
            }
        }
    }
    Err("told to go twice".to_owned())
}
