//! Clients that write down what they were answered.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    gateway::Addresses,
    world::{PATIENCE, SERVICES, eventually},
};

/// Where the gateway of the moment listens.
pub(crate) type Address = Arc<Mutex<Addresses>>;

/// What clients were answered.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) requests: Vec<Request>,
    /// Traces of operations of the Admin API.
    pub(crate) operations: Vec<String>,
}

/// A request whose answer was read to its last byte.
#[derive(Debug)]
pub(crate) struct Request {
    /// What the answer calls it.
    pub(crate) id: String,
    /// What its client called it.
    pub(crate) trace: String,
    pub(crate) status: u16,
}

/// Clients of the proxy and one of the Admin API, as fast as they are answered.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<Answered>>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    operations: AtomicU64,
}

impl Load {
    pub(crate) fn start(address: &Address) -> Self {
        let (stop, counts) = (Arc::<AtomicBool>::default(), Arc::<Counts>::default());
        let clients = (1..=CLIENTS).map(|number| {
            let client = Client {
                number,
                asked: 0,
                address: Arc::clone(address),
                stop: Arc::clone(&stop),
                counts: Arc::clone(&counts),
                answered: Answered::default(),
            };
            thread::spawn(move || client.run())
        });
        Self {
            clients: clients.collect(),
            stop,
            counts,
        }
    }

    /// Waits until more is answered: requests and operations.
    pub(crate) fn goes_on(&self) {
        let counts = || {
            (
                self.counts.requests.load(Relaxed),
                self.counts.operations.load(Relaxed),
            )
        };
        let before = counts();
        eventually("more is answered", || {
            let now = counts();
            now.0 >= before.0 + 200 && now.1 >= before.1 + 2
        });
    }

    /// What was answered to all of them.
    pub(crate) fn stop(self) -> Answered {
        self.stop.store(true, Relaxed);
        let mut all = Answered::default();
        for client in self.clients {
            let answered = client.join().unwrap();
            all.requests.extend(answered.requests);
            all.operations.extend(answered.operations);
        }
        all
    }
}

struct Client {
    number: u64,
    asked: u64,
    address: Address,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    answered: Answered,
}

/// An answer that came whole.
struct Answer {
    status: u16,
    id: Option<String>,
    /// The connection carries no other.
    last: bool,
}

impl Client {
    fn run(mut self) -> Answered {
        while !self.stop.load(Relaxed) {
            let addresses = *self.address.lock().unwrap();
            let address = match self.number {
                ADMINISTRATOR => addresses.admin,
                _ => addresses.proxy,
            };
            match TcpStream::connect(address) {
                Ok(stream) => self.connection(stream),
                // It was killed and is not back.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        self.answered
    }

    /// Asks until the connection or the test ends.
    fn connection(&mut self, stream: TcpStream) {
        // A gateway that answers late is another fault than any of these.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        while !self.stop.load(Relaxed) {
            self.asked += 1;
            let trace = format!("{:016x}{:016x}", self.number, self.asked);
            let request = self.request(&trace);
            let bodyless = request.starts_with("HEAD");
            if stream.get_mut().write_all(request.as_bytes()).is_err() {
                return;
            }
            let Some(answer) = read(&mut stream, bodyless) else {
                return;
            };
            if self.number == ADMINISTRATOR {
                assert_eq!(answer.status, 200, "{request}");
                self.answered.operations.push(trace);
                self.counts.operations.fetch_add(1, Relaxed);
                // Each is synced twice and makes a table of routes: this is not what the load is of.
                thread::sleep(Duration::from_millis(5));
            } else {
                let id = answer.id.unwrap_or_else(|| panic!("no id: {request}"));
                let status = answer.status;
                self.answered.requests.push(Request { id, trace, status });
                self.counts.requests.fetch_add(1, Relaxed);
            }
            if answer.last {
                return;
            }
        }
    }

    fn request(&self, trace: &str) -> String {
        let parent = format!("traceparent: 00-{trace}-{:016x}-01\r\n", self.asked);
        if self.number == ADMINISTRATOR {
            let service = SERVICES[self.asked as usize % SERVICES.len()];
            let body = format!(r#"{{"retries": {}}}"#, self.asked % 30);
            return format!(
                "PATCH /services/{service} HTTP/1.1\r\nHost: admin.example\r\n{parent}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        // The service's answers in every form, a plugin's and the gateway's own.
        const ASKED: [&str; 8] = [
            "GET /open/hello",
            "GET /open/chunks",
            "GET /keyed/hello",
            "HEAD /open/hello",
            "GET /open/nothing",
            "GET /nowhere",
            "GET /open/until-the-end",
            "GET /open/hello",
        ];
        let asked = ASKED[self.asked as usize % ASKED.len()];
        format!("{asked} HTTP/1.1\r\nHost: test.example\r\n{parent}\r\n")
    }
}

/// Reads an answer to its last byte; none where the connection ends before.
fn read(stream: &mut BufReader<TcpStream>, bodyless: bool) -> Option<Answer> {
    let mut answer = Answer {
        status: line(stream)?.split(' ').nth(1)?.parse().ok()?,
        id: None,
        last: false,
    };
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "x-kong-request-id" => answer.id = Some(value.to_owned()),
            "content-length" => length = Some(value.parse::<u64>().ok()?),
            "transfer-encoding" => chunked = value == "chunked",
            "connection" => answer.last = value == "close",
            _ => {}
        }
    }
    if bodyless || answer.status == 204 {
        return Some(answer);
    }
    if chunked {
        loop {
            let size = u64::from_str_radix(&line(stream)?, 16).ok()?;
            skip(stream, size)?;
            // Behind a chunk, and behind the last one where there are no trailers.
            line(stream)?;
            if size == 0 {
                return Some(answer);
            }
        }
    }
    skip(stream, length?)?;
    Some(answer)
}

/// A line without its end.
fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn skip(stream: &mut BufReader<TcpStream>, length: u64) -> Option<()> {
    let skipped = std::io::copy(&mut stream.take(length), &mut std::io::sink());
    skipped.is_ok_and(|skipped| skipped == length).then_some(())
}

const CLIENTS: u64 = 4;
/// The client that changes services.
const ADMINISTRATOR: u64 = 1;
