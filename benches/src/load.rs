//! The load generator: a fleet of connections that sends one kind of request and checks every answer.
//!
//! A request counts only if status, length, every byte of the body and the backend's own header were
//! right. [`Fleet::run`] is a closed loop of a fixed count (what instructions per request need);
//! [`Fleet::pace`] sends at a fixed rate and takes the latency from the moment at which the request
//! was due, so that a stalled peer is charged for the requests that it kept waiting.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

use crate::certificates::HOST;
use crate::scenario::{Door, Message, Traffic};

mod http1;
mod http2;
mod tcp;
mod wire;

/// What bodies are made of.
pub(crate) const FILL: u8 = b'c';
/// Bytes in the answer to a GET.
pub(crate) const GET_BYTES: usize = 1024;
/// Bytes of the POST that is echoed.
const ECHO_BYTES: usize = 16 * 1024;
/// Bytes of the unary call, either way.
const UNARY_BYTES: usize = 128;
/// Bytes of one "megabyte" of a TCP stream.
pub(crate) const MEGABYTE: usize = 1_000_000;
/// The header that must pass the peer in both directions.
pub(crate) const MARKER: &str = "x-bench";
/// A peer that is silent for so long has lost the request.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where and how to connect, and what to send.
#[derive(Clone, Debug)]
pub struct Job {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    traffic: Traffic,
    call: Rc<Call>,
}

impl Job {
    /// The scenario's traffic through a peer's door.
    #[must_use]
    pub fn through(traffic: Traffic, tls: &Arc<ClientConfig>) -> Self {
        Self {
            address: traffic.door.address(),
            tls: (traffic.door == Door::Mtls).then(|| Arc::clone(tls)),
            traffic,
            call: Rc::new(Call::new(traffic.message)),
        }
    }

    /// The same traffic with no peer in between.
    #[must_use]
    pub fn direct(traffic: Traffic) -> Self {
        Self {
            address: traffic.door.direct(),
            tls: None,
            traffic,
            call: Rc::new(Call::new(traffic.message)),
        }
    }

    /// One connection, one request: is somebody there, and right?
    ///
    /// # Errors
    /// What was wrong, in words.
    pub async fn once(&self) -> Result<(), Fault> {
        let mut client = self.connect().await?;
        client.exchange(&self.call).await
    }

    async fn connect(&self) -> Result<Client, Fault> {
        match self.traffic.door {
            Door::Http2 => Ok(Client::Http2(http2::Http2::connect(self.address).await?)),
            Door::Tcp => Ok(Client::Tcp(tcp::Tcp::connect(self.address).await?)),
            _ => {
                let stream = wire::connect(self.address, self.tls.as_ref()).await?;
                Ok(Client::Http1(http1::Http1::new(stream)))
            }
        }
    }
}

/// A request in the forms that the protocols need, and its one right answer.
#[derive(Debug)]
struct Call {
    /// Head and body as HTTP/1.1 puts them on the wire.
    http1: Vec<u8>,
    request_body: Bytes,
    answer_body: Bytes,
}

impl Call {
    fn new(message: Message) -> Self {
        let filled = |length: usize| Bytes::from(vec![FILL; length]);
        let (method, path, request_body, answer_body) = match message {
            Message::Get => ("GET", "/1k", Bytes::new(), filled(GET_BYTES)),
            Message::Echo => ("POST", "/echo", filled(ECHO_BYTES), filled(ECHO_BYTES)),
            Message::Unary => ("POST", "/echo", filled(UNARY_BYTES), filled(UNARY_BYTES)),
            Message::Megabyte => ("", "", Bytes::new(), filled(64 * 1024)),
        };
        let mut http1 = format!(
            "{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: carbyne-bench\r\naccept: */*\r\n{MARKER}: 1\r\n"
        );
        if !request_body.is_empty() {
            http1.push_str(&format!("content-length: {}\r\n", request_body.len()));
        }
        http1.push_str("\r\n");
        let mut http1 = http1.into_bytes();
        http1.extend_from_slice(&request_body);
        Self {
            http1,
            request_body,
            answer_body,
        }
    }
}

/// What was wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection failed or ended early.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
    /// HTTP/2 said no.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    /// Nothing came.
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Silent,
    /// An answer came, and is not the right one.
    #[error("{0}")]
    Wrong(String),
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Right answers.
    pub right: u64,
    /// Everything else.
    pub faults: u64,
    /// What was wrong with the first of them.
    pub first_fault: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Sorted, only of a paced run.
    pub latencies: Vec<Duration>,
    /// The same with the moments at which the requests were due, in no order.
    pub paced: Vec<(Instant, Duration)>,
}

impl Tally {
    /// The latency that this share (0 to 1) of the answers kept.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let Some(last) = self.latencies.len().checked_sub(1) else {
            return Duration::ZERO;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list of at most some millions"
        )]
        let index = (last as f64 * share).ceil() as usize;
        self.latencies[index.min(last)]
    }

    /// The latencies of the requests that were due in this time.
    #[must_use]
    pub fn during(&self, from: Instant, until: Instant) -> Self {
        let due = |(due, _): &&(Instant, Duration)| (from..until).contains(due);
        let mut latencies: Vec<_> = self
            .paced
            .iter()
            .filter(due)
            .map(|(_, taken)| *taken)
            .collect();
        latencies.sort_unstable();
        Self {
            latencies,
            ..Self::default()
        }
    }

    fn count(&mut self, outcome: Result<(), Fault>) -> bool {
        match outcome {
            Ok(()) => {
                self.right += 1;
                true
            }
            Err(fault) => {
                self.faults += 1;
                self.first_fault.get_or_insert_with(|| fault.to_string());
                false
            }
        }
    }

    fn absorb(&mut self, other: Self) {
        self.right += other.right;
        self.faults += other.faults;
        self.first_fault = self.first_fault.take().or(other.first_fault);
        self.paced.extend(other.paced);
    }
}

/// Open connections, each driven by a task of its own while a run lasts.
#[derive(Debug)]
pub struct Fleet {
    job: Job,
    /// `None`: this one connects anew for the next request.
    clients: Vec<Option<Client>>,
}

impl Fleet {
    /// Connects, unless the traffic connects for each request. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// When a connection fails.
    pub async fn open(job: Job) -> Result<Self, Fault> {
        let mut clients = Vec::new();
        for _ in 0..job.traffic.connections {
            if job.traffic.fresh {
                clients.push(None);
                continue;
            }
            let client = job.connect().await?;
            for _ in 1..job.traffic.streams {
                clients.push(client.another());
            }
            clients.push(Some(client));
        }
        Ok(Self { job, clients })
    }

    /// Adds one connection that has had one right answer, and keeps it.
    ///
    /// # Errors
    /// What was wrong with the connection or its answer.
    pub async fn grow(&mut self) -> Result<(), Fault> {
        let mut client = self.job.connect().await?;
        client.exchange(&self.job.call).await?;
        self.clients.push(Some(client));
        Ok(())
    }

    /// An empty fleet, for [`Self::grow`].
    #[must_use]
    pub fn empty(job: Job) -> Self {
        Self {
            job,
            clients: Vec::new(),
        }
    }

    /// Sends `requests` in all, each connection one after the other.
    pub async fn run(&mut self, requests: u64) -> Tally {
        let left = Rc::new(Cell::new(requests));
        let started = Instant::now();
        let mut tally = self
            .each(|mut worker| {
                let left = Rc::clone(&left);
                async move {
                    while let Some(rest) = left.get().checked_sub(1) {
                        left.set(rest);
                        let outcome = worker.exchange().await;
                        worker.tally.count(outcome);
                    }
                    worker
                }
            })
            .await;
        tally.elapsed = started.elapsed();
        tally
    }

    /// Sends at `rate` per second for `length`, whatever the answers do.
    pub async fn pace(&mut self, rate: f64, length: Duration) -> Tally {
        let due: Rc<RefCell<VecDeque<Option<Instant>>>> = Rc::default();
        let waiting = Rc::new(Semaphore::new(0));
        let started = Instant::now();
        let workers = self.clients.len();
        let clock = {
            let (due, waiting) = (Rc::clone(&due), Rc::clone(&waiting));
            tokio::task::spawn_local(async move {
                let gap = Duration::from_secs_f64(1.0 / rate);
                let mut next = started;
                while next < started + length {
                    // The runtime's timers tick in milliseconds: this core is ours, so watch the clock.
                    while Instant::now() < next {
                        yield_now().await;
                    }
                    due.borrow_mut().push_back(Some(next));
                    waiting.add_permits(1);
                    next += gap;
                }
                due.borrow_mut().extend(std::iter::repeat_n(None, workers));
                waiting.add_permits(workers);
            })
        };
        let mut tally = self
            .each(|mut worker| {
                let (due, waiting) = (Rc::clone(&due), Rc::clone(&waiting));
                async move {
                    while let Ok(permit) = waiting.acquire().await {
                        permit.forget();
                        let Some(intended) = due.borrow_mut().pop_front().flatten() else {
                            break;
                        };
                        let outcome = worker.exchange().await;
                        if worker.tally.count(outcome) {
                            worker.tally.paced.push((intended, intended.elapsed()));
                        }
                    }
                    worker
                }
            })
            .await;
        clock.abort();
        tally.elapsed = started.elapsed();
        tally.latencies = tally.paced.iter().map(|(_, taken)| *taken).collect();
        tally.latencies.sort_unstable();
        tally
    }

    async fn each<F, Fut>(&mut self, drive: F) -> Tally
    where
        F: Fn(Worker) -> Fut,
        Fut: Future<Output = Worker> + 'static,
    {
        let mut tasks = JoinSet::new();
        for client in self.clients.drain(..) {
            tasks.spawn_local(drive(Worker {
                job: self.job.clone(),
                client,
                tally: Tally::default(),
            }));
        }
        let mut tally = Tally::default();
        while let Some(worker) = tasks.join_next().await {
            match worker {
                Ok(worker) => {
                    self.clients.push(worker.client);
                    tally.absorb(worker.tally);
                }
                Err(error) => {
                    tally.count(Err(Fault::Wrong(error.to_string())));
                }
            }
        }
        tally
    }
}

/// One connection's part in a run.
#[derive(Debug)]
struct Worker {
    job: Job,
    client: Option<Client>,
    tally: Tally,
}

impl Worker {
    async fn exchange(&mut self) -> Result<(), Fault> {
        tokio::time::timeout(PATIENCE, self.attempt())
            .await
            .unwrap_or(Err(Fault::Silent))
    }

    /// A connection whose answer was wrong is not used again.
    async fn attempt(&mut self) -> Result<(), Fault> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.job.connect().await?,
        };
        client.exchange(&self.job.call).await?;
        if !self.job.traffic.fresh {
            self.client = Some(client);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Client {
    Http1(http1::Http1),
    Http2(http2::Http2),
    Tcp(tcp::Tcp),
}

impl Client {
    async fn exchange(&mut self, call: &Call) -> Result<(), Fault> {
        match self {
            Self::Http1(client) => client.exchange(call).await,
            Self::Http2(client) => client.exchange(call).await,
            Self::Tcp(client) => client.exchange(call).await,
        }
    }

    /// A second request at a time on the same connection, where the protocol has that.
    fn another(&self) -> Option<Self> {
        match self {
            Self::Http2(client) => Some(Self::Http2(client.clone())),
            Self::Http1(_) | Self::Tcp(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_latency_that_happened() {
        let tally = Tally {
            latencies: (1..=100).map(Duration::from_millis).collect(),
            ..Tally::default()
        };
        let cases = [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)];
        for (share, milliseconds) in cases {
            assert_eq!(tally.quantile(share), Duration::from_millis(milliseconds));
        }
        assert_eq!(Tally::default().quantile(0.5), Duration::ZERO);
    }
}
