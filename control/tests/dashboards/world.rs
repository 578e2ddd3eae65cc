//! The platform with a few services more, somebody who calls everything without a pause, a shipper of its events to a real Kafka, and a
//! Prometheus that scrapes all of it each second.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use carbyne_control::{
    dashboards::preview::{Found, PreviewError, Prometheus},
    running::Running,
};
use carbyne_events::broker::{Cluster, Options};
use serde_json::Value;
use tempfile::TempDir;

use crate::running::{Up, carbyne, example, real, within};

/// Everything, until it is dropped.
pub(crate) struct World {
    pub(crate) running: Running,
    prometheus: Scraper,
    shipping: Shipping,
    _traffic: Traffic,
    _outside: Vec<Outside>,
    _up: Up,
}

impl World {
    /// Starts all of it; `statistics` replaces what the example shows of Envoy's statistics.
    pub(crate) fn start(number: u8, statistics: Option<&str>, broker: Broker) -> Self {
        let folder = example(number);
        let own = network(folder.path());
        extend(folder.path(), &own, statistics);
        let outside = [("30", 9001, 503), ("31", 9001, 200), ("30", 9002, 503)];
        let outside = outside.map(|(last, port, status)| {
            let address = format!("{own}.{last}:{port}").parse().unwrap();
            Outside::start(address, status)
        });
        let mut up = Up::start(folder, &real());
        up.guide();
        let running = up.running();
        let shipping = Shipping::start(&running, broker);
        Self {
            prometheus: Scraper::start(&configuration(&running, &shipping)),
            running,
            shipping,
            _traffic: Traffic::start(&own),
            _outside: outside.into(),
            _up: up,
        }
    }

    /// Where the programs of a job tell their metrics.
    pub(crate) fn targets(&self, job: &str) -> BTreeSet<String> {
        targets(&self.running, &self.shipping, job)
    }

    /// What a query says now.
    pub(crate) fn now(&self, query: &str) -> Vec<Found> {
        let answer = block_on(Prometheus(self.prometheus.address).now(query));
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The values of a label.
    pub(crate) fn label_values(&self, selector: &str, label: &str) -> Vec<String> {
        let prometheus = Prometheus(self.prometheus.address);
        let answer = block_on(prometheus.label_values(selector, label));
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where Prometheus is.
    pub(crate) const fn prometheus(&self) -> SocketAddr {
        self.prometheus.address
    }

    /// What a page of Prometheus' interface says.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let (status, body) = http(self.prometheus.address, "prometheus", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, PreviewError>>) -> Result<T, PreviewError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// `127.x.y` of a copy of the example.
fn network(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("services.yaml")).unwrap();
    let at = text.find("address: 127.").unwrap() + "address: ".len();
    let address = text[at..].split(',').next().unwrap();
    address.rsplit_once('.').unwrap().0.to_owned()
}

fn extend(folder: &Path, own: &str, statistics: Option<&str>) {
    let more = include_str!("platform.yaml").replace("OWN", own);
    fs::write(folder.join("more.yaml"), more).unwrap();
    let path = folder.join("kong.yml");
    let kong = fs::read_to_string(&path).unwrap();
    let services = format!(
        "\nservices:\n  - name: broken\n    url: http://{own}.30:9002\n    routes: [{{name: broken, paths: [/broken]}}]\n\
         \x20 - name: gone\n    url: http://{own}.99:1\n    routes: [{{name: gone, paths: [/gone]}}]\n\
         \x20 - name: limited\n    url: http://{own}.31:9001\n    routes: [{{name: limited, paths: [/limited]}}]\n\
         \x20   plugins: [{{name: rate-limiting, config: {{minute: 3, policy: local}}}}]\n"
    );
    assert_eq!(kong.matches("\nservices:\n").count(), 1);
    fs::write(&path, kong.replace("\nservices:\n", &services)).unwrap();
    if let Some(statistics) = statistics {
        let path = folder.join("mesh.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let (kept, _) = text.split_once("    inclusionRegexps:\n").unwrap();
        fs::write(
            &path,
            format!("{kept}    inclusionRegexps: ['{statistics}']\n"),
        )
        .unwrap();
    }
}

/// A service outside of the mesh that always answers the same; `/slow` takes its time.
struct Outside(Arc<AtomicBool>, SocketAddr);

impl Outside {
    fn start(address: SocketAddr, status: u16) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                thread::spawn(move || serve(&stream, status));
            }
        });
        Self(over, address)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        // Wakes the one that waits.
        TcpStream::connect(self.1).ok();
    }
}

/// Requests without bodies, until the client leaves.
fn serve(stream: &TcpStream, status: u16) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        let rest = lines
            .by_ref()
            .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()));
        rest.for_each(drop);
        if line.contains("/slow") {
            // Longer than the route allows.
            thread::sleep(Duration::from_millis(200));
        }
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok");
        let mut out: &TcpStream = stream;
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Calls everything, over and over.
struct Traffic {
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(own: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mesh = |name: &str| format!("{name}.platform.svc.cluster.local");
        let key = "apikey: key-of-the-shop\r\n";
        // Address, host, path, more fields.
        let calls: Vec<(String, String, &str, &str)> = vec![
            (
                format!("{own}.10:8000"),
                "door".to_owned(),
                "/portal/call/catalogue/items",
                key,
            ),
            (
                format!("{own}.10:8000"),
                "door".to_owned(),
                "/portal/call/billing/invoices",
                key,
            ),
            (format!("{own}.10:8000"), "door".to_owned(), "/portal/", ""),
            (
                format!("{own}.10:8000"),
                "door".to_owned(),
                "/billing/",
                key,
            ),
            (format!("{own}.10:8000"), "door".to_owned(), "/broken", ""),
            (format!("{own}.10:8000"), "door".to_owned(), "/gone", ""),
            (format!("{own}.10:8000"), "door".to_owned(), "/limited", ""),
            (format!("{own}.20:8081"), mesh("catalogue"), "/items", ""),
            (format!("{own}.20:8082"), mesh("billing"), "/", ""),
            (
                format!("{own}.20:9001"),
                "flaky.example.com".to_owned(),
                "/",
                "",
            ),
            (
                format!("{own}.20:9001"),
                "flaky.example.com".to_owned(),
                "/slow",
                "",
            ),
            (
                format!("{own}.20:9002"),
                "broken.example.com".to_owned(),
                "/",
                "",
            ),
            (format!("{own}.20:9003"), mesh("ledger"), "/", ""),
            // From outside of the mesh, in the clear.
            (format!("{own}.20:8085"), mesh("driver"), "/", ""),
            (format!("{own}.21:9003"), mesh("ledger"), "/", ""),
        ];
        let callers = calls.into_iter().map(|(address, host, path, fields)| {
            let over = Arc::clone(&over);
            let address: SocketAddr = address.parse().unwrap();
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    try_http(address, &host, path, fields);
                    // A pace that two cores with other tests on them can keep.
                    thread::sleep(Duration::from_millis(40));
                }
            })
        });
        Self {
            callers: callers.collect(),
            over,
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers.drain(..) {
            caller.join().ok();
        }
    }
}

/// A Prometheus with the committed configuration, at this platform's addresses and each second.
struct Scraper {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Scraper {
    fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free();
        fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        let rules = monitoring().join("rules/carbyne.yml");
        fs::copy(rules, folder.path().join("rules/carbyne.yml")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("prometheus: {error}: install the Debian package prometheus")
        });
        let scraper = Self {
            process,
            address,
            _folder: folder,
        };
        within(Duration::from_secs(30), || {
            match try_http(address, "it", "/-/ready", "") {
                Some((200, _)) => Ok(()),
                answer => Err(format!("Prometheus is not ready: {answer:?}")),
            }
        });
        scraper
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        // Ended already: then both say so, which is as well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Whom events are shipped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    /// A real Kafka with the twelve topics.
    Kafka,
    /// Nobody answers.
    Away,
}

/// `carbyne events ship`, of all that the platform spools.
struct Shipping {
    process: Child,
    metrics: SocketAddr,
    _kafka: Option<Cluster>,
}

impl Shipping {
    fn start(running: &Running, broker: Broker) -> Self {
        let kafka = (broker == Broker::Kafka).then(|| Cluster::start(&Options::default()).unwrap());
        let bootstrap = match &kafka {
            None => free().to_string(),
            Some(kafka) => {
                let bootstrap = kafka.bootstrap();
                let apply = ["topics", "apply", "--yes", "--bootstrap", &bootstrap];
                let output = Command::new(carbyne()).args(apply).output().unwrap();
                assert!(output.status.success(), "{output:?}");
                bootstrap
            }
        };
        let metrics = free();
        let process = Command::new(carbyne())
            .args(["events", "ship"])
            .arg(&running.events.as_ref().unwrap().directory)
            .args(["--bootstrap", &bootstrap])
            .args(["--metrics", &metrics.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            metrics,
            _kafka: kafka,
        }
    }
}

impl Drop for Shipping {
    fn drop(&mut self) {
        // Ended already: then both say so, which is as well.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// An address that nobody has.
fn free() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap()
}

/// The committed configuration with the targets of this platform in each job's place.
fn configuration(running: &Running, shipping: &Shipping) -> String {
    let text = fs::read_to_string(monitoring().join("prometheus.yml")).unwrap();
    let mut document: Value = serde_saphyr::from_str(&text).unwrap();
    document["global"] = serde_json::json!({"scrape_interval": "1s", "evaluation_interval": "1s"});
    for job in document["scrape_configs"].as_array_mut().unwrap() {
        let name = job["job_name"].as_str().unwrap().to_owned();
        let targets = targets(running, shipping, &name);
        job["static_configs"] = serde_json::json!([{"targets": targets}]);
    }
    serde_saphyr::to_string(&document).unwrap()
}

fn targets(running: &Running, shipping: &Shipping, job: &str) -> BTreeSet<String> {
    use carbyne_control::running::Kind;
    let kind = match job {
        "carbyne-proxy" => Kind::Sidecar,
        "carbyne-gateway" => Kind::Gateway,
        "carbyne-shipper" => return BTreeSet::from([shipping.metrics.to_string()]),
        "carbyne-control" => {
            let page = running.control.page.iter();
            return page.map(ToString::to_string).collect();
        }
        _ => panic!("nobody is {job}"),
    };
    let members = running.members.iter();
    members
        .filter(|member| member.kind == kind)
        .filter_map(|member| Some(member.metrics?.to_string()))
        .collect()
}

/// The folder `deploy/monitoring`.
pub(crate) fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring")
}

/// A GET over a connection of its own: status and body.
pub(crate) fn http(address: SocketAddr, host: &str, path: &str, fields: &str) -> (u16, String) {
    try_http(address, host, path, fields).unwrap_or_else(|| panic!("{address} does not answer"))
}

fn try_http(address: SocketAddr, host: &str, path: &str, fields: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // Prometheus sends long answers in chunks.
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Some((status, body))
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        body.push_str(after.get(..size).unwrap_or_default());
        rest = after.get(size + 2..).unwrap_or_default();
    }
    body
}
