//! A table of cases, one bootstrap, and both programs.
//!
//! A collector gets messages whenever a program likes, and spans that must not be there never come. So a table sends all its requests, then one that
//! is certainly traced, and waits for the span of that: a program tells spans in the order in which they end.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::config::{self, cluster, listener, manager, virtual_host};
use crate::support::http1::{Connection, Request, get};
use crate::support::place::Place;
use crate::support::process::{Process, Program};
use crate::support::transcript::Transcript;
use crate::support::upstream::{Act, Log, Seen, Upstream, dead_port};
use crate::support::{PATIENCE, poll, report_cases};
use crate::told::{Span, spans};

/// One request and what Envoy tells of it.
pub struct Case {
    pub name: &'static str,
    pub port: u16,
    pub request: Request,
    pub scripts: Vec<Vec<Act>>,
    pub expect: &'static [&'static str],
}

/// A listener that traces.
pub struct Traced {
    pub port: u16,
    /// `INBOUND` or `OUTBOUND`.
    pub direction: &'static str,
    pub tracing: Value,
    /// Fields of the connection manager.
    pub more: Value,
}

/// One bootstrap and its cases.
pub struct Scene {
    pub name: &'static str,
    pub listeners: Vec<Traced>,
    pub cases: Vec<Case>,
    /// Traced whatever it is asked: for the last request.
    pub sentinel: u16,
}

/// A trace that began elsewhere: its ids stand in a case's request as `{trace}`, `{wide}` without its first half, `{span}`.
struct Incoming {
    trace: String,
    span: String,
}

/// A case that expects these lines.
pub fn case(
    name: &'static str,
    port: u16,
    request: Request,
    expect: &'static [&'static str],
) -> Case {
    Case {
        name,
        port,
        request,
        scripts: Vec::new(),
        expect,
    }
}

impl Case {
    /// What the host does with the request's tries.
    pub fn script(mut self, scripts: Vec<Vec<Act>>) -> Self {
        self.scripts = scripts;
        self
    }
}

impl Incoming {
    fn of(index: usize) -> Self {
        Self {
            trace: format!("4bf92f3577b34da6a3ce929d0e0e{index:04x}"),
            span: format!("00f067aa0ba9{index:04x}"),
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{trace}", &self.trace)
            .replace("{wide}", &self.trace[16..])
            .replace("{span}", &self.span)
    }
}

/// Everything of one program's run.
struct Run {
    /// For each case: the response, and what reached the host.
    exchanges: Vec<(Transcript, Vec<Seen>)>,
    spans: Vec<Span>,
}

impl Scene {
    /// Runs all cases through both programs and fails with all that went wrong.
    pub fn run(self) {
        let envoy_only =
            std::env::var("CARBYNE_DIFFERENTIAL").is_ok_and(|value| value == "envoy-only");
        let wanted = std::env::var("CARBYNE_CASE").unwrap_or_default();
        let theirs = self.through(Program::Envoy);
        let ours = (!envoy_only).then(|| self.through(Program::Carbyne));
        let mut failures = Vec::new();
        let mut ran = 0;
        for (index, case) in self.cases.iter().enumerate() {
            if !case.name.contains(&wanted) {
                continue;
            }
            ran += 1;
            let theirs = theirs.transcript(index);
            let missing = case.expect.iter().filter(|line| !theirs.shows(line));
            let mut wrong: Vec<_> = missing
                .map(|line| format!("! Envoy does not show {line:?}"))
                .collect();
            if let Some(ours) = &ours {
                wrong.extend(ours.transcript(index).difference(&theirs));
            }
            if !wrong.is_empty() {
                failures.push(format!(
                    "## {}\n{}\n   Envoy showed:\n   | {}",
                    case.name,
                    wrong.join("\n"),
                    theirs.lines.join("\n   | ")
                ));
            }
        }
        report_cases(&format!("tracing-{}", self.name), ran, self.cases.len());
        assert!(
            failures.is_empty(),
            "{} of {ran} cases of {} failed (+ ours only, - Envoy only)\n{}",
            failures.len(),
            self.name,
            failures.join("\n")
        );
    }

    fn through(&self, program: Program) -> Run {
        let (log, told) = (Log::default(), Log::default());
        let host = Upstream::http("host", &log);
        let collector = Upstream::http("collector", &told);
        let begun = SystemTime::now();
        let process = Process::proxy(program, |place| self.bootstrap(place, &host, &collector));
        let mut exchanges = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            log.lock().unwrap().clear();
            host.script(&case.scripts);
            let request = case.request.clone().header("user-agent", &agent(index));
            let bytes = String::from_utf8(request.bytes()).unwrap();
            let bytes = Incoming::of(index).fill(&bytes);
            let transcript = exchange(&process, case.port, bytes.as_bytes());
            exchanges.push((transcript, log.lock().unwrap().clone()));
        }
        host.script(&[]);
        exchange(&process, self.sentinel, &get("/sentinel").bytes());
        let spans = poll(PATIENCE, || {
            let all: Vec<_> = told.lock().unwrap().iter().flat_map(spans).collect();
            let url = |span: &Span| span.tags.get("http.url").cloned().unwrap_or_default();
            all.iter()
                .any(|span| url(span).ends_with("/sentinel"))
                .then_some(all)
        });
        let spans = spans.unwrap_or_else(|| {
            panic!(
                "{program:?} told nobody of the last span: {}",
                process.stderr()
            )
        });
        let now = SystemTime::now();
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        for span in &spans {
            let (start, end) = span.times;
            let bounds = since(begun).as_nanos() / 1000..=since(now).as_nanos() / 1000;
            assert!(start <= end, "{span:?}");
            for time in [start, end] {
                assert!(bounds.contains(&(u128::from(time) / 1000)), "{span:?}");
            }
        }
        Run { exchanges, spans }
    }

    fn bootstrap(&self, place: &Place, host: &Upstream, collector: &Upstream) -> Value {
        let dead = dead_port();
        let listeners = self.listeners.iter().map(|traced| {
            let name = format!("listener-{}", traced.port);
            let mut fields = traced.more.clone();
            fields["tracing"] = traced.tracing.clone();
            fields["always_set_request_id_in_response"] = true.into();
            let hosts = json!([virtual_host("host", &["*"], routes())]);
            let filters = vec![manager(&name, hosts, Vec::new(), fields)];
            let mut listener = listener(place, &name, traced.port, filters);
            listener["traffic_direction"] = traced.direction.into();
            listener
        });
        let mut bootstrap = config::bootstrap(
            place,
            listeners.collect(),
            vec![
                cluster(
                    "host",
                    &[host.port()],
                    json!({"alt_stat_name": "host-alt", "metadata": {"filter_metadata": {"m": {"k": "of the cluster"}}}}),
                ),
                cluster("collector", &[collector.port()], json!({})),
                cluster("dead", &[dead], json!({})),
            ],
        );
        bootstrap["node"] = json!({"id": "sidecar~1", "cluster": "the-node-cluster", "locality": {"zone": "zone-1"}});
        bootstrap["layered_runtime"] = json!({"layers": [{"name": "static", "static_layer": {
            "tracing.opentelemetry.min_flush_spans": 1, "tracing.opentelemetry.flush_interval_ms": 50,
            "tracing.zipkin.min_flush_spans": 1, "tracing.zipkin.flush_interval_ms": 50,
        }}]});
        bootstrap
    }
}

fn routes() -> Value {
    let to = |path: &str, more: Value| {
        let mut route = json!({"match": {"prefix": path}, "route": {"cluster": "host"}});
        route
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        route
    };
    json!([
        to("/plain", json!({})),
        to(
            "/direct",
            json!({"route": null, "direct_response": {"status": 418}})
        ),
        to("/nowhere", json!({"route": {"cluster": "there-is-none"}})),
        to("/dead", json!({"route": {"cluster": "dead"}})),
        to(
            "/retry",
            json!({"route": {"cluster": "host", "retry_policy": {"retry_on": "5xx", "num_retries": 1}}})
        ),
        to(
            "/slow",
            json!({"route": {"cluster": "host", "timeout": "0.2s"}})
        ),
        to(
            "/rewritten",
            json!({"route": {"cluster": "host", "prefix_rewrite": "/short", "host_rewrite_literal": "other"}})
        ),
        to(
            "/quiet",
            json!({"decorator": {"operation": "quiet-operation", "propagate": false}})
        ),
        to(
            "/unsampled",
            json!({"tracing": {"random_sampling": {"numerator": 0}}})
        ),
        to(
            "/tagged",
            json!({"tracing": {"custom_tags": [
            {"tag": "of-the-route", "literal": {"value": "yes"}}, {"tag": "literal", "literal": {"value": "of the route"}}]}})
        ),
        to(
            "/named",
            json!({"decorator": {"operation": "decorated"}, "tracing": {
            "operation": "route-%REQ(:METHOD)%-%RESPONSE_CODE%", "upstream_operation": "try-%REQ(:PATH)%"}})
        ),
        to(
            "/",
            json!({
                "decorator": {"operation": "service.namespace:80/*"},
                "metadata": {"filter_metadata": {"m": {"k": "of the route", "n": 1.5, "b": true, "l": [1, "a"], "s": {"t": "u"}}}},
            })
        ),
    ])
}

fn exchange(process: &Process, port: u16, request: &[u8]) -> Transcript {
    let mut transcript = Transcript::default();
    let mut connection = Connection::open(process.at(port)).unwrap();
    connection.send(request);
    match connection.response(request.starts_with(b"HEAD ")) {
        Err(end) => transcript.line(format!("no response: {end}")),
        Ok(response) => {
            transcript.line(format!("status {}", response.status));
            for name in ["x-request-id", "x-envoy-decorator-operation"] {
                if let Some(value) = response.header(name) {
                    transcript.line(format!("told the client {name}: {}", reason(value)));
                }
            }
        }
    }
    transcript
}

impl Run {
    /// What one case showed.
    fn transcript(&self, index: usize) -> Transcript {
        let (mut transcript, seen) = self.exchanges[index].clone();
        let incoming = Incoming::of(index);
        let agent = agent(index);
        let of_case = |span: &&Span| span.tags.get("user_agent") == Some(&agent);
        let mut found: Vec<&Span> = self.spans.iter().filter(of_case).collect();
        let above: Vec<_> = found.iter().map(|span| span.id.clone()).collect();
        let is_try =
            |span: &&Span| !span.tags.contains_key("user_agent") && above.contains(&span.parent);
        found.extend(self.spans.iter().filter(is_try));
        let id = |id: &str| {
            if id.is_empty() {
                return "none".to_owned();
            }
            if id == incoming.span {
                return "incoming".to_owned();
            }
            match found.iter().find(|span| span.id == id) {
                Some(span) => format!("of {:?}", span.name),
                None => "unknown".to_owned(),
            }
        };
        let trace = |trace: &str| {
            if trace == incoming.trace {
                "incoming".to_owned()
            } else if trace == &incoming.trace[16..] {
                "incoming, short".to_owned()
            } else {
                let is = |span: &&&Span| span.trace == trace;
                let own = found.iter().find(is).map_or("unknown", |_| "own");
                format!("{own} of {} digits", trace.len())
            }
        };
        for seen in &seen {
            transcript.line(format!("host: {}", seen.line));
            for (name, value) in &seen.headers {
                let parts: Vec<_> = value.split('-').collect();
                let shown = match (name.as_str(), &*parts) {
                    ("x-request-id", _) => reason(value),
                    ("traceparent", [version, of, span, flags]) => {
                        format!("{version} trace {} span {} {flags}", trace(of), id(span))
                    }
                    ("b3", [of, span, rest @ ..]) => {
                        let rest: Vec<_> = rest
                            .iter()
                            .map(|part| {
                                if part.len() == 1 {
                                    (*part).to_owned()
                                } else {
                                    id(part)
                                }
                            })
                            .collect();
                        format!("trace {} span {} {rest:?}", trace(of), id(span))
                    }
                    ("x-b3-traceid", _) => trace(value),
                    ("x-b3-spanid" | "x-b3-parentspanid", _) => id(value),
                    // Envoy sends an empty one where there is nothing to tell.
                    ("tracestate", _) if value.is_empty() => continue,
                    ("b3" | "traceparent" | "tracestate" | "x-b3-sampled" | "x-b3-flags", _)
                    | ("x-envoy-decorator-operation" | "x-client-trace-id", _) => value.clone(),
                    _ => continue,
                };
                transcript.line(format!("host {name}: {shown}"));
            }
        }
        transcript.line(format!("{} spans", found.len()));
        for span in &found {
            let name = &span.name;
            let parent = id(&span.parent);
            let of = trace(&span.trace);
            transcript.line(format!(
                "span {name:?} {} below {parent} trace {of}",
                span.kind
            ));
            for line in &span.more {
                transcript.line(format!("span {name:?} {line}"));
            }
            for event in &span.events {
                transcript.line(format!("span {name:?} event {event}"));
            }
            for (tag, value) in &span.tags {
                let value = match tag.as_str() {
                    "guid:x-request-id" => reason(value),
                    // Ports differ between the programs' hosts.
                    "upstream_address" => without_port(value),
                    "peer.address" if span.kind == "CLIENT" => without_port(value),
                    _ => value.clone(),
                };
                transcript.line(format!("span {name:?} tag {tag}: {value}"));
            }
        }
        transcript
    }
}

/// A case's requests are known by their agent, which no proxy touches.
fn agent(index: usize) -> String {
    format!("case {index}")
}

/// An id of Envoy's making without what is random: the reason that it carries stays.
fn reason(id: &str) -> String {
    let groups: Vec<_> = id.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && !id.starts_with("0000") {
        format!("(uuid {})", &id[14..15])
    } else {
        id.to_owned()
    }
}

fn without_port(address: &str) -> String {
    address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .to_owned()
}
