//! A case, and how a table of them runs through both programs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::recording::Recording;
use crate::support::http1::{Connection, End, Request};
use crate::support::process::Program;
use crate::support::tls::{ClientTls, Identity};
use crate::support::transcript::Transcript;
use crate::support::{poll, report_cases};
use crate::world::{Certificates, World};

/// How long a log line may take: both programs write theirs every ten milliseconds.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

type Exchange = Arc<dyn Fn(&World, &mut Transcript)>;

/// One exchange and what Envoy makes of it.
pub struct Case {
    name: String,
    exchange: Exchange,
    expect: Vec<String>,
    /// Lines of the access log to wait for.
    logs: usize,
    /// Chance decides which endpoint it is: its address and subset are not compared.
    any_endpoint: bool,
    /// Ours must show these lines instead of what Envoy shows, for a reason.
    differs: Option<(&'static str, Vec<String>)>,
}

/// Who opens the connection.
#[derive(Clone, Copy, Debug)]
pub enum From<'a> {
    /// The application of the pod.
    Inside,
    /// Somebody else, without TLS.
    Outside,
    /// Somebody else, with this certificate, server name and these protocols.
    Tls(Option<&'a Identity>, &'a str, &'a [&'a str]),
}

/// A case that needs its own steps.
pub fn does(
    name: &str,
    expect: &[&str],
    exchange: impl Fn(&World, &mut Transcript) + 'static,
) -> Case {
    Case {
        name: name.to_owned(),
        exchange: Arc::new(exchange),
        expect: expect.iter().map(|line| (*line).to_owned()).collect(),
        logs: 1,
        any_endpoint: false,
        differs: None,
    }
}

/// One request of the application.
pub fn calls(name: &str, to: (Ipv4Addr, u16), request: Request, expect: &[&str]) -> Case {
    asks(name, From::Inside, to, request, expect)
}

/// One request on a connection of its own.
pub fn asks(
    name: &str,
    from: From<'_>,
    to: (Ipv4Addr, u16),
    request: Request,
    expect: &[&str],
) -> Case {
    let opener = opener(from, to.into());
    does(name, expect, move |world, transcript| {
        let Some(mut connection) = opened(opener(world), transcript) else {
            return;
        };
        connection.send(&request.bytes());
        match connection.response(request.method == "HEAD") {
            // A close becomes a reset where bytes came that nobody read: when they came decides, in Envoy too.
            Err(End::Closed | End::Reset) => transcript.line("no response"),
            response => transcript.response(&response),
        }
    })
}

/// Says a line and shows what comes back, until there is an answer or the end.
pub fn says(
    name: &str,
    from: From<'_>,
    to: (Ipv4Addr, u16),
    line: &'static str,
    expect: &[&str],
) -> Case {
    let opener = opener(from, to.into());
    does(name, expect, move |world, transcript| {
        let Some(mut connection) = opened(opener(world), transcript) else {
            return;
        };
        connection.send(format!("{line}\n").as_bytes());
        let mut answer = Vec::new();
        let end = loop {
            match connection.read_exactly(1) {
                Ok(byte) if byte == b"\n" => break "answered".to_owned(),
                Ok(byte) => answer.extend(byte),
                // A reset and an end differ by what the kernel had received when the socket was closed.
                Err(_) => break "closed".to_owned(),
            }
        };
        transcript.line(format!(
            "line {:?}, {end}",
            String::from_utf8_lossy(&answer)
        ));
    })
}

fn opener(
    from: From<'_>,
    to: SocketAddr,
) -> impl Fn(&World) -> std::io::Result<Connection> + 'static {
    let tls = match from {
        From::Inside => Err(true),
        From::Outside => Err(false),
        From::Tls(identity, server_name, protocols) => Ok((
            identity.cloned(),
            server_name.to_owned(),
            protocols
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )),
    };
    move |world| match &tls {
        Err(true) => world.connect_inside(to),
        Err(false) => world.connect_outside(to),
        Ok((identity, server_name, protocols)) => {
            let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
            let tls = ClientTls {
                server_name: Some(server_name),
                protocols: &protocols,
                identity: identity.as_ref(),
            };
            world.over_tls(to, &tls)
        }
    }
}

/// The connection; where there is none the transcript says so, without the words of one library.
fn opened(
    connection: std::io::Result<Connection>,
    transcript: &mut Transcript,
) -> Option<Connection> {
    if connection.is_err() {
        transcript.line("no connection");
    }
    connection.ok()
}

impl Case {
    pub fn logs(mut self, lines: usize) -> Self {
        self.logs = lines;
        self
    }

    /// Which endpoint it is is chance.
    pub fn any_endpoint(mut self) -> Self {
        self.any_endpoint = true;
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

    /// One exchange through one program.
    fn show(&self, world: &mut World) -> Transcript {
        world.log.lock().unwrap().clear();
        let mut transcript = Transcript::default();
        (self.exchange)(world, &mut transcript);
        let mut lines = Vec::new();
        poll(LOG_PATIENCE, || {
            lines.extend(world.log_lines());
            (lines.len() >= self.logs).then_some(())
        });
        let mut seen = world.log.lock().unwrap().clone();
        // Spans come when the exporter has gathered enough of them.
        seen.retain(|request| !request.line.contains("/Export "));
        // One of ten requests to one service is copied: only the differential suite can wait for the copy.
        seen.retain(|request| request.header("x-envoy-internal") != Some("true"));
        // Copies of one request (mirrors) arrive in any order.
        seen.sort_by(|left, right| left.endpoint.cmp(&right.endpoint));
        for request in &seen {
            transcript.seen(request);
        }
        transcript.line(format!("reached {} times", seen.len()));
        for line in &lines {
            if let Ok(Value::Object(fields)) = serde_json::from_str(line) {
                for (name, value) in fields {
                    transcript.line(format!("log {name} {}", steady(&name, &value)));
                }
            }
        }
        transcript.line(format!("{} log lines", lines.len()));
        // W3C Trace Context section 3.3.1.1: an empty list means nothing and should not be sent; Envoy sends it.
        transcript
            .lines
            .retain(|line| !line.ends_with(" header tracestate: "));
        for line in &mut transcript.lines {
            if line.starts_with(COOKIE) {
                *line = format!("{COOKIE}(random){}", &line[COOKIE.len() + COOKIE_DIGITS..]);
            }
        }
        transcript.lines.sort();
        if self.any_endpoint {
            // Some have a sidecar, some have none; what is said about a subset goes with it.
            let chance = [" tls: ", "header x-served-by: ", "log upstream_cluster "];
            transcript
                .lines
                .retain(|line| !chance.iter().any(|part| line.contains(part)));
            for last in [11, 12, 13, 14, 15, 21, 22, 28, 29] {
                transcript = transcript.replaced(&format!("192.0.2.{last}:"), "ENDPOINT:");
            }
        }
        transcript
    }
}

/// The cookie that a client is told to come back with, and how long its random value is.
const COOKIE: &str = "header set-cookie: session=\"";
const COOKIE_DIGITS: usize = 16;

/// Values that are another each time, without what is another.
fn steady(name: &str, value: &Value) -> String {
    let without_port = |text: &str| {
        text.rsplit_once(':')
            .map_or_else(|| text.to_owned(), |(host, _)| format!("{host}:PORT"))
    };
    match (name, value) {
        ("start_time", Value::String(_)) => "(time)".to_owned(),
        ("duration" | "upstream_service_time", Value::Number(_) | Value::String(_)) => {
            "(milliseconds)".to_owned()
        }
        ("request_id", Value::String(_)) => "(uuid)".to_owned(),
        ("downstream_remote_address" | "upstream_local_address", Value::String(text)) => {
            without_port(text)
        }
        _ => value.to_string(),
    }
}

/// Runs a node's table through both programs and fails with all that went wrong.
pub fn run(node: &str, cases: impl FnOnce(&Certificates) -> Vec<Case>) {
    let Some(recording) = Recording::read(node) else {
        return;
    };
    let certificates = Certificates::new(&recording);
    let cases = cases(&certificates);
    let wanted = std::env::var("CARBYNE_CASE").unwrap_or_default();
    let mut envoy = World::new(Program::Envoy, &recording, &certificates);
    let mut ours = World::new(Program::Carbyne, &recording, &certificates);
    let mut failures = Vec::new();
    let mut ran = 0;
    for case in cases.iter().filter(|case| case.name.contains(&wanted)) {
        ran += 1;
        let theirs = case.show(&mut envoy);
        let own = case.show(&mut ours);
        write(node, case, "envoy", &theirs);
        write(node, case, "carbyne", &own);
        let unmet = |transcript: &Transcript, expect: &[String]| {
            let missing = expect.iter().filter(|line| !transcript.shows(line));
            missing
                .map(|line| format!("! expected {line:?}"))
                .collect::<Vec<_>>()
        };
        let mut wrong = unmet(&theirs, &case.expect);
        match &case.differs {
            None => wrong.extend(own.difference(&theirs)),
            Some((reason, expect)) => {
                wrong.extend(
                    unmet(&own, expect)
                        .into_iter()
                        .map(|line| format!("{line} (differs: {reason})")),
                );
                if own == theirs {
                    wrong.push(format!("nothing differs any more ({reason})"));
                }
            }
        }
        if !wrong.is_empty() {
            failures.push(format!("## {node}/{}\n{}", case.name, wrong.join("\n")));
        }
    }
    envoy.check();
    ours.check();
    report_cases(&format!("stock {node}"), ran, cases.len());
    assert!(
        failures.is_empty(),
        "{} of {ran} cases of {node} failed (+ ours only, - Envoy only)\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn write(node: &str, case: &Case, program: &str, transcript: &Transcript) {
    let Ok(folder) = std::env::var("CARBYNE_TRANSCRIPTS") else {
        return;
    };
    let folder = Path::new(&folder).join(node);
    std::fs::create_dir_all(&folder).unwrap();
    let name = case.name.replace(['/', ' '], "-");
    let text = transcript.lines.join("\n") + "\n";
    std::fs::write(folder.join(format!("{name}.{program}")), text).unwrap();
}
