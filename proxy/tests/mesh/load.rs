//! Requests that go on while something else happens; every one that fails is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::http1::{Connection, Request};
use crate::support::network::Namespace;
use crate::support::{PATIENCE, poll};

/// Clients that each send one request after the other, on connections that they keep.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    /// How many may still be begun; none where it goes on until it is over.
    left: Option<AtomicUsize>,
    done: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Goes on until [`Load::finish`].
    pub fn start(from: &Namespace, to: SocketAddr, request: &Request, clients: usize) -> Self {
        Self::run(from, to, request, clients, None)
    }

    /// Exactly so many requests, none of which may fail.
    pub fn send(
        from: &Namespace,
        to: SocketAddr,
        request: &Request,
        clients: usize,
        requests: usize,
    ) {
        let load = Self::run(from, to, request, clients, Some(requests));
        assert_eq!(load.join(), requests);
    }

    fn run(
        from: &Namespace,
        to: SocketAddr,
        request: &Request,
        clients: usize,
        requests: Option<usize>,
    ) -> Self {
        let shared = Arc::new(Shared {
            left: requests.map(AtomicUsize::new),
            ..Shared::default()
        });
        let clients = (0..clients).map(|_| {
            let (shared, bytes) = (Arc::clone(&shared), request.bytes());
            from.spawn(move || shared.run(to, &bytes))
        });
        Self {
            clients: clients.collect(),
            shared,
        }
    }

    /// Waits until so many more requests are done.
    pub fn wait_for(&self, more: usize) {
        let target = self.shared.done.load(Ordering::SeqCst) + more;
        let reached = poll(PATIENCE, || {
            (self.shared.done.load(Ordering::SeqCst) >= target).then_some(())
        });
        assert!(reached.is_some(), "the load stands still");
    }

    /// Ends it: how many requests were done, none of which may have failed.
    pub fn finish(self) -> usize {
        self.shared.over.store(true, Ordering::SeqCst);
        self.join()
    }

    fn join(self) -> usize {
        for client in self.clients {
            client.join().unwrap();
        }
        let failures = self.shared.failures.lock().unwrap();
        let done = self.shared.done.load(Ordering::SeqCst);
        assert!(
            failures.is_empty(),
            "{} of {done} requests failed: {:#?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        done
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        match &self.left {
            None => !self.over.load(Ordering::SeqCst),
            Some(left) => left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok(),
        }
    }

    fn run(&self, to: SocketAddr, request: &[u8]) {
        let mut connection = None;
        while self.goes_on() {
            if let Err(reason) = once(&mut connection, to, request) {
                connection = None;
                let number = self.done.load(Ordering::SeqCst);
                self.failures
                    .lock()
                    .unwrap()
                    .push(format!("after {number}: {reason}"));
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One request; a connection that the response closes is not used again.
fn once(kept: &mut Option<Connection>, to: SocketAddr, request: &[u8]) -> Result<(), String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(to).map_err(|error| error.to_string())?,
    };
    connection.send(request);
    let response = connection.response(false).map_err(|end| end.to_string())?;
    if response.status != 200 {
        let body = String::from_utf8_lossy(&response.body).into_owned();
        return Err(format!("{} {body}", response.status));
    }
    if response.header("connection") != Some("close") {
        *kept = Some(connection);
    }
    Ok(())
}
