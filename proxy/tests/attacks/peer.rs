//! The four programs, each with four listeners: one a pair of protocols.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::row::{End, Outcome, Pair, Row, SILENCE, STALL, Sent, response_fault};
use crate::support::config::{
    bootstrap, cluster, http_filter, http2, listener, manager, virtual_host,
};
use crate::support::http1::find;
use crate::support::http1::{Connection, End as Ended};
use crate::support::http2::{Client, Failure, code_name, headers};
use crate::support::http2::{flag, kind};
use crate::support::place::Place;
use crate::support::process::{Process, Program, built};
use crate::support::upstream::Seen;
use crate::support::upstream::{Log, Upstream};
use crate::support::upstream2::Upstream2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Carbyne,
    Gateway,
    Envoy,
    Nginx,
    HaProxy,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Carbyne,
        Self::Gateway,
        Self::Envoy,
        Self::Nginx,
        Self::HaProxy,
    ];

    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Carbyne | Self::Gateway)
    }

    /// The head of its column.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Carbyne => "proxy",
            Self::Gateway => "gateway",
            Self::Envoy => "Envoy",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    /// Whether the program forwards between these protocols: a gateway in Kong's place speaks HTTP/2 only to services of gRPC.
    pub fn forwards(self, pair: Pair) -> bool {
        self != Self::Gateway || !pair.reaches_http2()
    }
}

/// The listener of a pair.
const PORT: u16 = 11000;

/// A running program with upstreams of its own.
pub struct Peer {
    process: Process,
    log: Log,
    upstream: Upstream,
    upstream2: Upstream2,
    /// Rows so far: each has a letter of its own.
    rows: usize,
}

impl Peer {
    pub fn start(kind: Kind) -> Self {
        let log = Log::default();
        let upstream = Upstream::telling("one", &log);
        let upstream2 = Upstream2::telling("two", &log);
        let ports = (upstream.port(), upstream2.port());
        let process = match kind {
            Kind::Carbyne => Process::proxy(Program::Carbyne, |place| envoy_kind(place, ports)),
            Kind::Envoy => Process::proxy(Program::Envoy, |place| envoy_kind(place, ports)),
            Kind::Gateway => gateway(ports.0),
            Kind::Nginx => other(kind, "nginx", &["-p", ".", "-c", "config"], |place| {
                nginx(place, ports)
            }),
            Kind::HaProxy => other(kind, "haproxy", &["-db", "-q", "-f", "config"], |place| {
                haproxy(place, ports)
            }),
        };
        Self {
            process,
            log,
            upstream,
            upstream2,
            rows: 0,
        }
    }

    /// Is the program still there?
    pub fn accepts(&mut self, pair: Pair) -> bool {
        self.process.is_running()
            && TcpStream::connect(self.process.at(PORT + pair.number())).is_ok()
    }

    /// One row over one connection.
    pub fn meet(&mut self, pair: Pair, row: &Row) -> Outcome {
        self.upstream.script(&[]);
        self.upstream2.script(&[]);
        self.log.lock().unwrap().clear();
        let address = self.process.at(PORT + pair.number());
        self.rows += 1;
        let letter = LETTERS[self.rows % LETTERS.len()];
        let mut outcome = match &row.sent {
            Sent::Bytes(bytes) => say(Connection::open(address).unwrap(), &lettered(bytes, letter)),
            Sent::Stalled(bytes) | Sent::Preface(bytes) => {
                stall(Connection::open(address).unwrap(), &lettered(bytes, letter))
            }
            Sent::Frames {
                settings,
                bytes,
                stream,
            } => {
                let mut client = opened(address, settings);
                client.send(&lettered(bytes, letter));
                frames(client, *stream)
            }
            Sent::StalledFrames { settings, bytes } => {
                let mut client = opened(address, settings);
                client.send(&lettered(bytes, letter));
                stall_frames(client)
            }
            Sent::Answered(script) => {
                self.upstream.script(std::slice::from_ref(script));
                ask(pair, address)
            }
            Sent::Answered2(script) => {
                self.upstream2.script(std::slice::from_ref(script));
                ask(pair, address)
            }
        };
        outcome.seen = self
            .log
            .lock()
            .unwrap()
            .drain(..)
            .filter(|seen| !seen.line.contains(PROBE) && !is_of_another(seen, letter))
            .collect();
        outcome
    }
}

/// What `/x` becomes, one after the other.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The same bytes with this row's letter.
fn lettered(bytes: &[u8], letter: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 1..bytes.len() {
        if bytes[at] == b'x' && bytes[at - 1] == b'/' {
            bytes[at] = letter;
        }
    }
    bytes
}

/// Does this request have the letter of another row?
fn is_of_another(seen: &Seen, letter: u8) -> bool {
    let target = seen.line.split(' ').nth(1).unwrap_or_default().as_bytes();
    matches!(target, [b'/', other] if LETTERS.contains(other) && *other != letter)
}

/// The target of the request that asks whether the connection still lives.
const PROBE: &str = "/probe";

/// An HTTP/2 connection. A peer that is still closing what the row before did to it may reset a new one:
/// that is no outcome of this row.
fn opened(address: std::net::SocketAddr, settings: &[(u16, u32)]) -> Client {
    let mut tries = (0..OPEN_TRIES).map(|_| Client::open(address, settings));
    let last = tries.find(Result::is_ok);
    last.unwrap_or_else(|| Client::open(address, settings))
        .unwrap()
}

const OPEN_TRIES: usize = 5;

/// A request of the good sort.
fn ask(pair: Pair, address: std::net::SocketAddr) -> Outcome {
    if !pair.speaks_http2() {
        return say(
            Connection::open(address).unwrap(),
            b"GET /good HTTP/1.1\r\nhost: a.test\r\n\r\n",
        );
    }
    let mut client = opened(address, &[]);
    client.send(&get(1, "/good"));
    frames(client, 1)
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(
        stream,
        true,
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", path),
        ],
    )
}

/// Sends bytes and reads responses until the one to a probe that follows.
fn say(mut connection: Connection, bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    connection.send(bytes);
    let mut probed = false;
    loop {
        match connection.response_within(false, SILENCE) {
            Ok(response) => {
                if String::from_utf8_lossy(&response.body).contains(PROBE) {
                    break;
                }
                outcome.statuses.push(response.status);
                outcome.answer_fault = outcome.answer_fault.or_else(|| response_fault(&response));
                let goes_on = response
                    .header("connection")
                    .is_none_or(|value| !value.eq_ignore_ascii_case("close"));
                if !probed && goes_on {
                    probed = true;
                    connection
                        .send(format!("GET {PROBE} HTTP/1.1\r\nhost: a.test\r\n\r\n").as_bytes());
                }
            }
            Err(end) => {
                outcome.end = match end {
                    Ended::Closed | Ended::Reset => End::Closed,
                    Ended::Silent => End::Silent,
                    Ended::Broken(text) => {
                        if let Some(status) = text
                            .strip_prefix("status ")
                            .and_then(|rest| rest.get(..3)?.parse().ok())
                        {
                            outcome.statuses.push(status);
                        }
                        End::Broken
                    }
                };
                break;
            }
        }
        if outcome.statuses.len() > 4 {
            break;
        }
    }
    outcome
}

/// Sends bytes and waits for the peer to lose its patience.
fn stall(mut connection: Connection, bytes: &[u8]) -> Outcome {
    connection.send(bytes);
    let (answer, end) = connection.read_to_end(STALL);
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let end = if end == Ended::Silent {
        End::Silent
    } else {
        End::Closed
    };
    Outcome {
        end,
        statuses: status.into_iter().collect(),
        ..Outcome::default()
    }
}

/// Reads frames and answers none, until the first stream, or the connection, is given up.
fn stall_frames(mut client: Client) -> Outcome {
    let mut outcome = Outcome {
        end: End::Silent,
        ..Outcome::default()
    };
    let until = Instant::now() + STALL;
    loop {
        match client
            .frames
            .next(until.saturating_duration_since(Instant::now()))
        {
            Err(Ended::Silent) => return outcome,
            Err(_) => outcome.end = End::Closed,
            Ok(frame) => match frame.kind {
                kind::GOAWAY => outcome.end = End::GoAway(code_name(frame.number(4))),
                kind::RST_STREAM => outcome.end = End::Reset(code_name(frame.number(0))),
                kind::HEADERS => {
                    let fields = client.frames.fields(&frame).unwrap_or_default();
                    let status: Option<u16> =
                        find(&fields, ":status").and_then(|value| value.parse().ok());
                    outcome.statuses.extend(status);
                    if frame.flags & flag::END_STREAM == 0
                        && status.is_none_or(|status| status < 400)
                    {
                        continue;
                    }
                    outcome.end = End::Open;
                }
                _ => continue,
            },
        }
        return outcome;
    }
}

/// Waits for the end of a stream, and asks then whether the connection lives.
fn frames(mut client: Client, stream: u32) -> Outcome {
    let mut outcome = Outcome::default();
    let end = |failure| match failure {
        Failure::Reset(code) => End::Reset(code_name(code)),
        Failure::GoAway(code) => End::GoAway(code_name(code)),
        Failure::End(Ended::Closed | Ended::Reset) => End::Closed,
        Failure::End(Ended::Silent) => End::Silent,
        Failure::End(Ended::Broken(_)) => End::Broken,
    };
    match client.answer(stream, SILENCE) {
        Ok(answer) => {
            outcome.statuses.push(answer.status);
            let length =
                find(&answer.headers, "content-length").and_then(|value| value.parse().ok());
            // A client sees that there is no final answer, or that something is missing.
            if answer.status < 200
                || length.is_some_and(|length: usize| length != answer.body.len())
            {
                outcome.statuses.retain(|status| *status >= 200);
                outcome.end = End::Broken;
            }
            let odd = |text: &str| text.contains(['\r', '\n', '\0']);
            if answer
                .headers
                .iter()
                .any(|(name, value)| odd(name) || odd(value))
            {
                outcome.answer_fault = Some("a control character reached the client".into());
            }
        }
        Err(failure) => outcome.end = end(failure),
    }
    if matches!(outcome.end, End::Open | End::Silent) {
        // An error of the connection that comes after the answer still ends it.
        let probe = 1_000_001;
        client.send(&get(probe, PROBE));
        match client.answer(probe, SILENCE) {
            Err(failure @ Failure::GoAway(_)) => outcome.end = end(failure),
            Err(failure @ Failure::End(Ended::Closed | Ended::Reset)) => outcome.end = end(failure),
            Ok(_) => outcome.goes_on = true,
            Err(_) => {}
        }
    }
    outcome
}

/// A program that is not of Envoy's kind.
fn other(
    kind: Kind,
    program: &str,
    arguments: &[&str],
    config: impl FnOnce(&Place) -> String,
) -> Process {
    let place = Place::new();
    std::fs::write(place.folder().join("config"), config(&place)).unwrap();
    let path = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .map(|folder| Path::new(folder).join(program))
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("{program} was not found: run `.ci/setup test` (it installs the Debian package)")
        });
    let mut command = Command::new(path);
    command.args(arguments);
    listening(kind, Process::start(program, command, place))
}

fn listening(kind: Kind, mut process: Process) -> Process {
    for pair in Pair::ALL.into_iter().filter(|pair| kind.forwards(*pair)) {
        process.wait_for_port(PORT + pair.number());
    }
    process
}

/// The gateway with the limits that all have here.
fn gateway(upstream: u16) -> Process {
    let place = Place::new();
    let program = built("carbyne-gateway").unwrap_or_else(|sentence| panic!("{sentence}"));
    let routes = json!({
        "_format_version": "3.0",
        "services": [
            {"name": "one", "url": format!("http://127.0.0.1:{upstream}"), "read_timeout": 1000, "write_timeout": 1000, "retries": 0,
                "routes": [{"name": "all", "paths": ["/"], "strip_path": false}]},
            {"name": "hidden", "url": "http://127.0.0.1:1",
                "routes": [{"name": "hidden", "paths": ["/secret"]}],
                "plugins": [{"name": "request-termination", "config": {"status_code": 403}}]},
        ],
    });
    std::fs::write(place.folder().join("kong.json"), routes.to_string()).unwrap();
    let at = |pair: Pair| place.at(PORT + pair.number());
    let listen = format!("{}, {} http2", at(Pair::OneToOne), at(Pair::TwoToOne));
    let mut command = Command::new(program);
    command.arg("start").env_clear().envs([
        ("KONG_PREFIX", "."),
        ("KONG_DATABASE", "off"),
        ("KONG_DECLARATIVE_CONFIG", "kong.json"),
        ("KONG_PROXY_LISTEN", &listen),
        ("KONG_PROXY_ACCESS_LOG", "off"),
        ("KONG_ADMIN_LISTEN", "off"),
        ("KONG_STATUS_LISTEN", "off"),
        ("KONG_NGINX_WORKER_PROCESSES", "1"),
        ("KONG_NGINX_HTTP_CLIENT_HEADER_TIMEOUT", "1s"),
        // Kong's default, as Envoy's and HAProxy's, lets them through: the row is about what can be asked for.
        ("KONG_NGINX_HTTP_UNDERSCORES_IN_HEADERS", "off"),
        ("KONG_NGINX_HTTP_CLIENT_BODY_TIMEOUT", "1s"),
        ("KONG_NGINX_HTTP_KEEPALIVE_TIMEOUT", "1s"),
        ("KONG_NGINX_HTTP_SEND_TIMEOUT", "1s"),
    ]);
    listening(
        Kind::Gateway,
        Process::start("carbyne-gateway", command, place),
    )
}

fn envoy_kind(place: &Place, ports: (u16, u16)) -> Value {
    let hidden = json!({"rules": {"action": "DENY", "policies": {"hidden": {"principals": [{"any": true}],
        "permissions": [{"url_path": {"path": {"prefix": "/secret"}}}]}}}});
    let listeners = Pair::ALL.map(|pair| {
        let name = format!("pair-{}", pair.number());
        let to = if pair.reaches_http2() { "two" } else { "one" };
        let route = json!([{"match": {"prefix": "/"}, "route": {"cluster": to, "timeout": "3s"}}]);
        let fields = json!({
            "codec_type": if pair.speaks_http2() { "HTTP2" } else { "HTTP1" },
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
            "request_headers_timeout": "1s",
            "stream_idle_timeout": "1s",
            // Of an idle connection: Envoy asks it to end first.
            "drain_timeout": "0.1s",
            "common_http_protocol_options": {"idle_timeout": "1s", "headers_with_underscores_action": "REJECT_REQUEST"},
            "http2_protocol_options": {"max_concurrent_streams": 100, "initial_stream_window_size": 65536,
                "initial_connection_window_size": 1_048_576},
            "access_log": [],
        });
        let filters = vec![http_filter("envoy.filters.http.rbac", "rbac.v3.RBAC", hidden.clone())];
        listener(place, &name, PORT + pair.number(), vec![manager(&name, json!([virtual_host("all", &["*"], route)]), filters, fields)])
    });
    bootstrap(
        place,
        listeners.into(),
        vec![
            cluster("one", &[ports.0], json!({})),
            cluster("two", &[ports.1], http2()),
        ],
    )
}

fn nginx(place: &Place, ports: (u16, u16)) -> String {
    let mut text = String::from(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\nevents {}\nhttp {\n  access_log off;\n  server_tokens off;\n\
         \x20 client_header_timeout 1s;\n  client_body_timeout 1s;\n  keepalive_timeout 1s;\n  http2_max_concurrent_streams 100;\n  send_timeout 1s;\n  proxy_read_timeout 3s;\n\
         \x20 client_header_buffer_size 8k;\n  large_client_header_buffers 8 8k;\n  proxy_http_version 1.1;\n",
    );
    for folder in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        text += &format!("  {folder}_temp_path temp-{folder};\n");
    }
    for pair in Pair::ALL {
        let protocol = if pair.speaks_http2() { " http2" } else { "" };
        let pass = if pair.reaches_http2() {
            format!(
                "grpc_pass grpc://127.0.0.1:{}; grpc_set_header Host $http_host;",
                ports.1
            )
        } else {
            format!(
                "proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; proxy_set_header Connection \"\";",
                ports.0
            )
        };
        text += &format!(
            "  server {{ listen {}:{}{protocol}; location / {{ {pass} }} location /secret {{ return 403; }} }}\n",
            place.address,
            PORT + pair.number()
        );
    }
    text + "}\n"
}

/// HAProxy's way to one spelling of a path.
const NORMAL: &str = "  http-request normalize-uri fragment-strip\n  http-request normalize-uri percent-decode-unreserved\n\
    \x20 http-request normalize-uri path-strip-dot\n  http-request normalize-uri path-strip-dotdot full\n\
    \x20 http-request normalize-uri path-merge-slashes\n";

fn haproxy(place: &Place, ports: (u16, u16)) -> String {
    let mut text = String::from(
        "global\n  maxconn 1000\n  expose-experimental-directives\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 1s\n  timeout server 3s\n\
         \x20 timeout http-request 1s\n  timeout http-keep-alive 1s\n",
    );
    for pair in Pair::ALL {
        let number = pair.number();
        let protocol = if pair.speaks_http2() { " proto h2" } else { "" };
        let to = if pair.reaches_http2() { "two" } else { "one" };
        text += &format!(
            "frontend pair{number}\n  bind {}:{}{protocol}\n{NORMAL}  http-request deny if {{ path_beg /secret }}\n  default_backend {to}\n",
            place.address,
            PORT + number
        );
    }
    text + &format!(
        "backend one\n  server one 127.0.0.1:{}\nbackend two\n  server two 127.0.0.1:{} proto h2\n",
        ports.0, ports.1
    )
}
