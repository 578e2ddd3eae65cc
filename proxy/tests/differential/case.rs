//! A case, the table that it belongs to, and how a table runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::http1::{Connection, Request};
use crate::support::http2::Client;
use crate::support::place::Place;
use crate::support::process::{Process, Program};
use crate::support::transcript::Transcript;
use crate::support::upstream::{Act, Log, Upstream};
use crate::support::upstream2::{Act as Act2, Upstream2};
use crate::support::{PATIENCE, config, poll, report_cases};

/// The port of the only listener of most tables.
pub const PORT: u16 = 10000;

/// How long a log line may take: both programs write theirs every ten milliseconds.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// One bootstrap and the cases that run through it.
pub struct Table {
    pub name: &'static str,
    /// Listeners and clusters, for a place.
    pub resources: Box<dyn Fn(&Place) -> (Vec<Value>, Vec<Value>)>,
    /// Fields of the bootstrap beside them.
    pub more: Value,
    pub cases: Vec<Case>,
    pub log: Log,
    pub upstreams: Vec<Upstream>,
    pub upstreams2: Vec<Upstream2>,
}

/// Where one exchange takes place.
pub struct Side<'a> {
    pub process: &'a Process,
    pub port: u16,
    pub upstreams: &'a [Upstream],
    pub log: &'a Log,
}

type Exchange = Arc<dyn Fn(&Side<'_>, &mut Transcript)>;

/// One exchange and what Envoy makes of it.
pub struct Case {
    name: String,
    port: u16,
    exchange: Exchange,
    expect: Vec<String>,
    never: Vec<String>,
    /// Lines of the access log to wait for.
    logs: usize,
    /// Requests at upstreams to wait for; those beyond are shown too.
    reaches: usize,
    scripts: Vec<(usize, Vec<Vec<Act>>)>,
    scripts2: Vec<(usize, Vec<Vec<Act2>>)>,
    /// Where ours does something else on purpose: why, and what.
    differs: Option<(&'static str, Vec<String>)>,
}

/// A case of one request over HTTP/1.
pub fn case(name: &str, request: Request, expect: &[&str]) -> Case {
    let bodiless = request.method == "HEAD";
    sends(name, request.bytes(), &[bodiless], expect)
}

/// A case of bytes over one connection, and the responses to read: whether each is the answer to HEAD.
pub fn sends(name: &str, bytes: Vec<u8>, responses: &[bool], expect: &[&str]) -> Case {
    let bodiless = responses.to_vec();
    let mut case = does(name, expect, move |side, transcript| {
        let mut connection = side.connect();
        connection.send(&bytes);
        for bodiless in &bodiless {
            let response = connection.response(*bodiless);
            transcript.response(&response);
            let Ok(response) = response else { return };
            if response
                .header("connection")
                .is_some_and(|value| value == "close")
            {
                let closed = connection.closes(PATIENCE);
                transcript.line(format!(
                    "then {}",
                    closed.map_or_else(|end| end.to_string(), |()| "closed".into())
                ));
            }
        }
    });
    case.logs = responses.len();
    case
}

/// A case that needs its own steps.
pub fn does(
    name: &str,
    expect: &[&str],
    exchange: impl Fn(&Side<'_>, &mut Transcript) + 'static,
) -> Case {
    Case {
        name: name.to_owned(),
        port: PORT,
        exchange: Arc::new(exchange),
        expect: expect.iter().map(|line| (*line).to_owned()).collect(),
        never: Vec::new(),
        logs: 1,
        reaches: 0,
        scripts: Vec::new(),
        scripts2: Vec::new(),
        differs: None,
    }
}

impl Case {
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// What the upstream with this number does with its next requests.
    pub fn script(mut self, upstream: usize, scripts: Vec<Vec<Act>>) -> Self {
        self.scripts.push((upstream, scripts));
        self
    }

    pub fn script2(mut self, upstream: usize, scripts: Vec<Vec<Act2>>) -> Self {
        self.scripts2.push((upstream, scripts));
        self
    }

    pub fn logs(mut self, lines: usize) -> Self {
        self.logs = lines;
        self
    }

    pub fn reaches(mut self, requests: usize) -> Self {
        self.reaches = requests;
        self
    }

    /// Lines that must not be there.
    pub fn never(mut self, lines: &[&str]) -> Self {
        self.never
            .extend(lines.iter().map(|line| (*line).to_owned()));
        self
    }

    /// Ours must show these lines instead of what Envoy shows, for a reason.
    pub fn differs(mut self, reason: &'static str, expect: &[&str]) -> Self {
        self.differs = Some((
            reason,
            expect.iter().map(|line| (*line).to_owned()).collect(),
        ));
        self
    }
}

impl Side<'_> {
    pub fn connect(&self) -> Connection {
        Connection::open(self.process.at(self.port)).unwrap()
    }

    /// Requests that upstreams have seen in this case.
    pub fn seen(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    pub fn connect2(&self) -> Client {
        Client::open(self.process.at(self.port), &[]).unwrap()
    }
}

impl Table {
    pub fn new(name: &'static str, upstreams: &[&str]) -> Self {
        let log = Log::default();
        Self {
            name,
            resources: Box::new(|_| (Vec::new(), Vec::new())),
            more: Value::Null,
            cases: Vec::new(),
            upstreams: upstreams
                .iter()
                .map(|name| Upstream::http(name, &log))
                .collect(),
            upstreams2: Vec::new(),
            log,
        }
    }

    /// The ports of upstreams, by number.
    pub fn ports(&self, numbers: &[usize]) -> Vec<u16> {
        numbers
            .iter()
            .map(|number| self.upstreams[*number].port())
            .collect()
    }

    /// Runs every case through both programs and fails with all that went wrong.
    pub fn run(self) {
        let envoy_only =
            std::env::var("CARBYNE_DIFFERENTIAL").is_ok_and(|value| value == "envoy-only");
        let wanted = std::env::var("CARBYNE_CASE").unwrap_or_default();
        let envoy = self.start(Program::Envoy);
        let ours = (!envoy_only).then(|| self.start(Program::Carbyne));
        let mut offsets = [0, 0];
        let mut failures = Vec::new();
        let mut ran = 0;
        for case in self.cases.iter().filter(|case| case.name.contains(&wanted)) {
            ran += 1;
            let theirs = self.show(case, &envoy, &mut offsets[0]);
            self.write(case, "envoy", &theirs);
            let mut wrong = unmet(&theirs, &case.expect, &case.never);
            let mut shown = &theirs;
            let own = ours
                .as_ref()
                .map(|ours| self.show(case, ours, &mut offsets[1]));
            if let Some(own) = &own {
                self.write(case, "carbyne", own);
                match &case.differs {
                    None => wrong.extend(own.difference(&theirs)),
                    Some((reason, expect)) => wrong.extend(
                        unmet(own, expect, &[])
                            .into_iter()
                            .map(|line| format!("{line} (differs: {reason})")),
                    ),
                }
                shown = own;
            }
            let full_name = format!("{}/{}", self.name, case.name);
            let listed = KNOWN.lines().any(|line| line == full_name);
            if listed && own.is_some() {
                if wrong.is_empty() {
                    failures.push(format!(
                        "## {full_name}\nequal now: strike it off known_differences.txt"
                    ));
                }
                continue;
            }
            if !wrong.is_empty() {
                let whose = if own.is_some() { "ours" } else { "Envoy" };
                failures.push(format!(
                    "## {}/{}\n{}\n   {whose} showed:\n   | {}",
                    self.name,
                    case.name,
                    wrong.join("\n"),
                    shown.lines.join("\n   | ")
                ));
            }
        }
        report_cases(
            &format!("differential-{}", self.name),
            ran,
            self.cases.len(),
        );
        // A case that was renamed or went away must not leave its excuse behind.
        let prefix = format!("{}/", self.name);
        let left = KNOWN
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .filter(|name| !self.cases.iter().any(|case| case.name == **name));
        failures.extend(
            left.map(|name| format!("## {prefix}{name}\nlisted, but there is no such case")),
        );
        assert!(
            failures.is_empty(),
            "{} of {ran} cases of {} failed (+ ours only, - Envoy only)\n{}",
            failures.len(),
            self.name,
            failures.join("\n")
        );
    }

    fn start(&self, program: Program) -> Process {
        Process::proxy(program, |place| {
            let (listeners, clusters) = (self.resources)(place);
            let mut bootstrap = config::bootstrap(place, listeners, clusters);
            if let (Value::Object(bootstrap), Value::Object(more)) = (&mut bootstrap, &self.more) {
                bootstrap.extend(more.clone());
            }
            bootstrap
        })
    }

    /// One exchange through one program.
    fn show(&self, case: &Case, process: &Process, offset: &mut u64) -> Transcript {
        self.log.lock().unwrap().clear();
        for upstream in &self.upstreams {
            upstream.script(&[]);
        }
        for upstream in &self.upstreams2 {
            upstream.script(&[]);
        }
        for (upstream, scripts) in &case.scripts {
            self.upstreams[*upstream].script(scripts);
        }
        for (upstream, scripts) in &case.scripts2 {
            self.upstreams2[*upstream].script(scripts);
        }
        let mut transcript = Transcript::default();
        let side = Side {
            process,
            port: case.port,
            upstreams: &self.upstreams,
            log: &self.log,
        };
        (case.exchange)(&side, &mut transcript);
        poll(PATIENCE, || {
            (self.log.lock().unwrap().len() >= case.reaches).then_some(())
        });
        let mut lines = Vec::new();
        poll(LOG_PATIENCE, || {
            let (more, behind) = process.log_lines(config::ACCESS_LOG, *offset);
            *offset = behind;
            lines.extend(more);
            (lines.len() >= case.logs).then_some(())
        });
        let mut seen = self.log.lock().unwrap().clone();
        // Copies of one request (mirrors) arrive in any order.
        seen.sort_by(|left, right| left.endpoint.cmp(&right.endpoint));
        for request in &seen {
            transcript.seen(request);
        }
        transcript.line(format!("reached {} times", seen.len()));
        for line in &lines {
            transcript.log(line);
        }
        transcript.line(format!("{} log lines", lines.len()));
        self.named(transcript.replaced(&process.place.address.to_string(), "PROXY"))
    }

    /// Ports of upstreams by their names: they are others in each run.
    fn named(&self, transcript: Transcript) -> Transcript {
        let mut transcript = transcript;
        for upstream in &self.upstreams {
            transcript = transcript.replaced(&upstream.address.to_string(), &upstream.name);
        }
        for upstream in &self.upstreams2 {
            transcript = transcript.replaced(&upstream.address.to_string(), &upstream.name());
        }
        transcript
    }

    fn write(&self, case: &Case, program: &str, transcript: &Transcript) {
        let Ok(folder) = std::env::var("CARBYNE_TRANSCRIPTS") else {
            return;
        };
        let folder = Path::new(&folder).join(self.name);
        std::fs::create_dir_all(&folder).unwrap();
        let name = case.name.replace(['/', ' '], "-");
        std::fs::write(
            folder.join(format!("{name}.{program}")),
            transcript.lines.join("\n") + "\n",
        )
        .unwrap();
    }
}

/// What of the expectations is not met.
fn unmet(transcript: &Transcript, expect: &[String], never: &[String]) -> Vec<String> {
    let missing = expect.iter().filter(|line| !transcript.shows(line));
    let unwanted = never.iter().filter(|line| transcript.shows(line));
    let missing = missing.map(|line| format!("! expected {line:?}"));
    missing
        .chain(unwanted.map(|line| format!("! must not show {line:?}")))
        .collect()
}

/// Cases in which we are known to differ from Envoy. They run; one that has become equal fails until it is
/// struck off, so the list can only get shorter.
const KNOWN: &str = include_str!("known_differences.txt");
