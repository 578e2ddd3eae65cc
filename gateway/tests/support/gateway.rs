//! A real gateway on free ports, an upstream that records what it saw, and a client: everything in plain blocking sockets, so that
//! a table of cases reads as what happens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take before a test fails: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message: a request or a response, with lower-case names in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// The request line or status line.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.line.split(' ').nth(1).unwrap_or_default();
        status
            .parse()
            .unwrap_or_else(|_| panic!("no status line: {:?}", self.line))
    }

    /// Method and target of a request.
    pub(crate) fn asked(&self) -> &str {
        self.line
            .strip_suffix(" HTTP/1.1")
            .or_else(|| self.line.strip_suffix(" HTTP/1.0"))
            .unwrap_or(&self.line)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Reads one message; nothing where the peer closed before it.
    fn read(stream: &mut BufReader<TcpStream>, bodyless: bool) -> Option<Self> {
        let mut message = Self::default();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if message.line.is_empty() {
                line.clone_into(&mut message.line);
            } else if line.is_empty() {
                break;
            } else {
                let (name, value) = line.split_once(':')?;
                let value = value.trim().to_owned();
                message.headers.push((name.to_ascii_lowercase(), value));
            }
        }
        if !bodyless {
            message.read_body(stream)?;
        }
        Some(message)
    }

    fn read_body(&mut self, stream: &mut BufReader<TcpStream>) -> Option<()> {
        let is_response = self.line.starts_with("HTTP/");
        if is_response && matches!(self.status(), 100..=199 | 204 | 304) {
            return Some(());
        }
        if self.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                stream.read_line(&mut size).ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size];
                stream.read_exact(&mut chunk).ok()?;
                self.body.extend(chunk);
                if size == 0 {
                    // Trailers join the fields.
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line).ok()?;
                        match line.trim_end().split_once(':') {
                            Some((name, value)) => self
                                .headers
                                .push((name.to_ascii_lowercase(), value.trim().to_owned())),
                            None => return Some(()),
                        }
                    }
                }
                stream.read_line(&mut String::new()).ok()?;
            }
        }
        if let Some(length) = self.header("content-length") {
            self.body = vec![0; length.parse().ok()?];
            stream.read_exact(&mut self.body).ok()?;
        } else if is_response {
            stream.read_to_end(&mut self.body).ok()?;
        }
        Some(())
    }
}

/// A request to be sent: `ask("GET", "/path").header("x-a", "1").body("text")`.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

pub(crate) fn ask(method: &'static str, target: &str) -> Ask {
    Ask {
        method,
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        chunked: false,
    }
}

pub(crate) fn get(target: &str) -> Ask {
    ask("GET", target)
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Without a length told in advance.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let named = |name: &str| {
            let mut headers = self.headers.iter();
            headers.any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        if !named("host") {
            text.push_str("Host: test.example\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            text.push_str("Transfer-Encoding: chunked\r\n");
        } else if !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if self.chunked {
            for piece in self.body.chunks(7) {
                bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request and reads the answer.
    pub(crate) fn send(&mut self, ask: &Ask) -> Message {
        self.write(&ask.bytes());
        self.read(ask.method == "HEAD")
            .unwrap_or_else(|| panic!("no answer to {ask:?}"))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // A gateway that answers before it has read everything may have closed: the answer tells.
        drop(self.stream.get_mut().write_all(bytes));
    }

    /// Sends a request; no answer where the gateway ended before it was complete.
    pub(crate) fn try_send(&mut self, ask: &Ask) -> Option<Message> {
        self.write(&ask.bytes());
        self.read(ask.method == "HEAD")
    }

    pub(crate) fn read(&mut self, bodyless: bool) -> Option<Message> {
        Message::read(&mut self.stream, bodyless)
    }

    /// Whether the gateway closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }
}

/// What an upstream answers with.
pub(crate) type Answering = dyn Fn(&Message) -> Reply + Send + Sync;

/// An answer of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Bytes as they are sent.
    pub(crate) bytes: Vec<u8>,
    /// Closes behind them.
    pub(crate) close: bool,
}

/// An answer with fields and a body.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut text = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Reply {
        bytes: text.into_bytes(),
        close: false,
    }
}

/// A service that records what it saw.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Answers 200 with `hello`.
    pub(crate) fn start() -> Self {
        Self::answering(|_| {
            reply(
                200,
                &[("Content-Type", "text/plain"), ("Server", "upstream")],
                "hello",
            )
        })
    }

    pub(crate) fn answering(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let (record, answer) = (seen.clone(), Arc::<Box<Answering>>::new(Box::new(answer)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, answer) = (record.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(message) = Message::read(&mut stream, false) {
                        let reply = answer(&message);
                        record.lock().expect("nobody panics with it").push(message);
                        if stream.get_mut().write_all(&reply.bytes).is_err() || reply.close {
                            break;
                        }
                    }
                    drop(stream.get_mut().shutdown(Shutdown::Both));
                });
            }
        });
        Self { address, seen }
    }

    /// Takes what was seen since the last time.
    pub(crate) fn seen(&self) -> Vec<Message> {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it"))
    }

    /// `http://…`, for a service.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A running gateway, ended with the test.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Child,
    folder: tempfile::TempDir,
    pub(crate) proxy: Vec<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

/// How a gateway is started.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// `KONG_*` without the prefix, lower-case.
    pub(crate) conf: Vec<(&'static str, String)>,
    /// kong.yml; nothing is the embedded store.
    pub(crate) yaml: Option<String>,
    /// Other variables.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Gateway {
    /// Without a database, serving this kong.yml.
    pub(crate) fn declarative(yaml: &str) -> Self {
        Self::start(Start {
            yaml: Some(yaml.to_owned()),
            ..Start::default()
        })
    }

    /// With the embedded store and nothing in it.
    pub(crate) fn embedded() -> Self {
        Self::start(Start::default())
    }

    pub(crate) fn start(start: Start) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbyne-gateway"));
        command
            .arg("start")
            .env_clear()
            .env("KONG_PREFIX", folder.path())
            .env("KONG_PROXY_LISTEN", "127.0.0.1:0")
            .env("KONG_ADMIN_LISTEN", "127.0.0.1:0")
            .env("KONG_STATUS_LISTEN", "off")
            .env("KONG_NGINX_WORKER_PROCESSES", "2")
            .env("KONG_LOG_LEVEL", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let file = folder.path().join("kong.yml");
        if let Some(yaml) = &start.yaml {
            std::fs::write(&file, yaml).expect("a file in the folder");
            command.env("KONG_DATABASE", "off");
            command.env("KONG_DECLARATIVE_CONFIG", &file);
        }
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        for (key, value) in &start.conf {
            command.env(format!("KONG_{}", key.to_ascii_uppercase()), value);
        }
        let mut process = command.spawn().expect("the gateway's program");
        let stderr = process.stderr.take().expect("a pipe");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (tell, told) = mpsc::channel();
        let record = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody listens any more once it runs.
                drop(tell.send(line.clone()));
                record.lock().expect("nobody panics with it").push(line);
            }
        });
        let mut gateway = Self {
            process,
            folder,
            proxy: Vec::new(),
            admin: None,
            log,
        };
        loop {
            let Ok(line) = told.recv_timeout(PATIENCE) else {
                panic!("the gateway did not start:\n{}", gateway.log());
            };
            let line = without_colours(&line);
            let address = line
                .split("address=")
                .nth(1)
                .and_then(|address| address.split_whitespace().next()?.parse().ok());
            if line.contains("the proxy listens") {
                gateway.proxy.extend(address);
            } else if line.contains("the Admin API listens") {
                gateway.admin = address;
            } else if line.contains("the gateway serves") {
                return gateway;
            }
        }
    }

    /// The folder that it keeps things in.
    pub(crate) fn prefix(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has told on stderr.
    pub(crate) fn log(&self) -> String {
        without_colours(&self.log.lock().expect("nobody panics with it").join("\n"))
    }

    /// A connection to the first address of the proxy.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.proxy[0])
    }

    /// One request over a connection of its own.
    pub(crate) fn send(&self, ask: &Ask) -> Message {
        self.client().send(ask)
    }

    /// One request to the Admin API; the answer must be a success.
    pub(crate) fn administer(
        &self,
        method: &'static str,
        path: &str,
        body: &str,
    ) -> serde_json::Value {
        let answer = self.ask_admin(&ask(method, path).json(body));
        assert!(
            answer.status() < 300,
            "{method} {path}: {} {}",
            answer.line,
            answer.text()
        );
        if answer.body.is_empty() {
            return serde_json::Value::Null;
        }
        answer.json()
    }

    pub(crate) fn ask_admin(&self, ask: &Ask) -> Message {
        Client::connect(self.admin.expect("an Admin API")).send(ask)
    }

    /// Sends until the answer is the wanted one: what was just written goes live in a moment.
    pub(crate) fn until(&self, ask: &Ask, wanted: impl Fn(&Message) -> bool) -> Message {
        let began = std::time::Instant::now();
        loop {
            let answer = self.send(ask);
            if wanted(&answer) {
                return answer;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{ask:?} stays {answer:?}\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
    }

    /// Replaces kong.yml and tells the gateway.
    pub(crate) fn reload(&self, yaml: &str) {
        std::fs::write(self.kong_yml(), yaml).expect("a file in the folder");
        self.signal("HUP");
    }

    pub(crate) fn kong_yml(&self) -> PathBuf {
        self.prefix().join("kong.yml")
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(told.is_ok_and(|told| told.success()), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.process.wait().expect("a child")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the gateway said:\n{}", self.log());
        }
    }
}

/// The log colours what it writes, also into a pipe.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, behind)| behind);
    }
    plain + rest
}

/// One row of a table: a request, and what has to come of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) status: u16,
    /// Fields of the answer: a value, `None` where there must be none. `"*"` is any value.
    pub(crate) headers: &'static [(&'static str, Option<&'static str>)],
    pub(crate) body: Body,
    /// What the upstream saw; nothing where it must not have seen the request.
    pub(crate) seen: Option<Seen>,
}

/// What the body of an answer must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Any,
    Is(&'static str),
    Holds(&'static str),
    /// An error in Kong's template: its `message`.
    Error(&'static str),
}

/// What an upstream must have seen of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Method and target; nothing where it does not matter.
    pub(crate) line: Option<&'static str>,
    /// As those of an answer.
    pub(crate) headers: &'static [(&'static str, Option<&'static str>)],
    pub(crate) body: Option<&'static str>,
}

/// The upstream saw it, however it looked.
pub(crate) const SEEN: Seen = Seen {
    line: None,
    headers: &[],
    body: None,
};

/// Runs a table: every case against a gateway that serves `yaml`, in which `{upstream}` stands for the upstream's URL.
pub(crate) fn run(table: &str, yaml: &str, cases: &[Case]) {
    let upstream = Upstream::start();
    run_with(table, yaml, &upstream, cases);
}

/// The same with an upstream of the test's own.
pub(crate) fn run_with(table: &str, yaml: &str, upstream: &Upstream, cases: &[Case]) {
    let gateway = Gateway::declarative(&yaml.replace("{upstream}", &upstream.url()));
    let mut failed = Vec::new();
    for case in cases {
        let answer = gateway.send(&case.ask);
        let seen = upstream.seen();
        failed.extend(case.problems(&answer, &seen).into_iter().map(|problem| {
            format!(
                "{}: {problem}\n  answer: {answer:?}\n  seen: {seen:?}",
                case.name
            )
        }));
    }
    assert!(
        failed.is_empty(),
        "{table}:\n{}\n{}",
        failed.join("\n"),
        gateway.log()
    );
    super::cases::report(table, cases.len(), cases.len());
}

impl Case {
    fn problems(&self, answer: &Message, seen: &[Message]) -> Vec<String> {
        let mut problems = Vec::new();
        if answer.status() != self.status {
            problems.push(format!(
                "status {} instead of {}",
                answer.status(),
                self.status
            ));
        }
        compare(answer, self.headers, "answer", &mut problems);
        let text = answer.text();
        match self.body {
            Body::Any => {}
            Body::Is(wanted) if text == wanted => {}
            Body::Holds(part) if text.contains(part) => {}
            Body::Error(message)
                if serde_json::from_str::<serde_json::Value>(&text)
                    .is_ok_and(|body| body["message"] == message) => {}
            wanted => problems.push(format!("body {text:?} is not {wanted:?}")),
        }
        match (&self.seen, seen) {
            (None, []) => {}
            (Some(wanted), [request]) => {
                if let Some(line) = wanted.line
                    && request.asked() != line
                {
                    problems.push(format!(
                        "upstream: {:?} instead of {line:?}",
                        request.asked()
                    ));
                }
                compare(request, wanted.headers, "upstream", &mut problems);
                if let Some(body) = wanted.body
                    && request.text() != body
                {
                    problems.push(format!(
                        "upstream: body {:?} instead of {body:?}",
                        request.text()
                    ));
                }
            }
            (wanted, seen) => {
                problems.push(format!("upstream saw {} requests: {wanted:?}", seen.len()))
            }
        }
        problems
    }
}

fn compare(
    message: &Message,
    wanted: &[(&'static str, Option<&'static str>)],
    whose: &str,
    problems: &mut Vec<String>,
) {
    for (name, value) in wanted {
        let found = message.header(name);
        let same = match value {
            Some("*") => found.is_some(),
            value => found == *value,
        };
        if !same {
            problems.push(format!("{whose}: {name} is {found:?} instead of {value:?}"));
        }
    }
}
