//! A connection breaks at any byte of a request or of a response, on either side, in every pair of protocols, with TLS
//! and without. Nothing crashes, nothing leaks, nobody takes half an answer for a whole one, and the log says what
//! happened.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::mesh::stat;
use super::plane::How;
use super::relay::{Break, Direction, Relay};
use super::slice;
use crate::support::config::{any, bootstrap, cluster, extension, listener, manager, virtual_host};
use crate::support::http1::{Connection, post};
use crate::support::http2::{Client, data, headers};
use crate::support::process::{Process, Program, settles};
use crate::support::tls::{Authority, ClientTls, ServerIdentity};
use crate::support::upstream::{Log, Upstream};
use crate::support::upstream2::Upstream2;
use crate::support::{PATIENCE, poll};

/// A protocol, with TLS or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Speech {
    http2: bool,
    tls: bool,
}

const SPEECHES: [Speech; 4] = [
    Speech {
        http2: false,
        tls: false,
    },
    Speech {
        http2: true,
        tls: false,
    },
    Speech {
        http2: false,
        tls: true,
    },
    Speech {
        http2: true,
        tls: true,
    },
];

#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Upstream,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    client: Speech,
    upstream: usize,
    side: Side,
    broken: Break,
}

const PLAIN: u16 = 8080;
const TLS: u16 = 8443;
const BODY: &str = "what the client says";

struct Setting {
    proxy: Process,
    /// In front of the listener, plain and TLS.
    clients: [Relay; 2],
    /// In front of each upstream, in the order of [`SPEECHES`].
    upstreams: [Relay; 4],
    offset: u64,
    number: usize,
}

#[test]
fn a_break_at_any_byte_is_one_broken_exchange() {
    let mut setting = Setting::start();
    let mut cases = Vec::new();
    for client in SPEECHES {
        for upstream in 0..SPEECHES.len() {
            // How many bytes a whole exchange has on each wire.
            let (answer, line) = setting.exchange(client, upstream);
            assert_eq!(answer, Some((200, true)), "{client:?} {upstream}: {line:?}");
            for (side, relay) in [
                (Side::Client, &setting.clients[usize::from(client.tls)]),
                (Side::Upstream, &setting.upstreams[upstream]),
            ] {
                for direction in [Direction::Forth, Direction::Back] {
                    for after in 0..relay.carried(direction) {
                        for how in [How::Close, How::Reset] {
                            let broken = Break {
                                direction,
                                after,
                                how,
                            };
                            cases.push(Case {
                                client,
                                upstream,
                                side,
                                broken,
                            });
                        }
                    }
                }
            }
        }
    }
    let descriptors = setting.proxy.descriptors();
    let cases = slice::of("breaks", cases, 480);
    let mut resident = 0;
    for (number, case) in cases.iter().enumerate() {
        setting.meets(*case);
        if number == cases.len() / 4 {
            resident = setting.resident();
        }
    }
    // All of them still serve.
    for client in SPEECHES {
        for upstream in 0..SPEECHES.len() {
            let (answer, line) = setting.exchange(client, upstream);
            assert_eq!(answer, Some((200, true)), "{client:?} {upstream}: {line:?}");
        }
    }
    let now = setting.resident();
    assert!(
        now <= resident + resident / 4 + 4096,
        "{resident} KiB after a quarter of the breaks, {now} KiB after all"
    );
    let proxy = &setting.proxy;
    let gauges = || {
        let (_, body) = proxy.admin("GET", "/stats").unwrap();
        let active = body.lines().filter(|line| {
            let Some((name, value)) = line.split_once(": ") else {
                return false;
            };
            let counts = name.ends_with("cx_active") || name.ends_with("rq_active");
            counts && value != "0"
        });
        active.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(
        settles(PATIENCE, || gauges().is_empty()),
        "still active: {:?}",
        gauges()
    );
    assert!(
        settles(PATIENCE, || proxy.descriptors() <= descriptors),
        "{descriptors} descriptors before, {} after",
        proxy.descriptors()
    );
    assert_eq!(stat(proxy, "filesystem.write_dropped"), 0);
}

impl Setting {
    fn start() -> Self {
        let authority = Authority::new("resets");
        let identity = authority.sign("proxy.test", &["proxy.test"], &[]);
        let log = Log::default();
        let server = |protocols: &[&str]| {
            let identity = authority.sign("upstream.test", &["upstream.test"], &[]);
            ServerIdentity::new(&identity, protocols, None)
        };
        let targets = [
            Upstream::http("h1", &log).address,
            Upstream2::plain("h2", &log).address,
            Upstream::https("h1", &log, server(&["http/1.1"])).address,
            Upstream2::tls("h2", &log, server(&["h2"])).address,
        ];
        let upstreams = targets.map(|target| {
            let relay = Relay::new();
            relay.leads_to(target);
            relay
        });
        let proxy = Process::proxy(Program::Carbyne, |place| {
            identity.write(place.folder(), "proxy");
            let routes: Vec<_> = (0..SPEECHES.len())
                .map(|index| {
                    let prefix = format!("/{index}/");
                    json!({"match": {"prefix": prefix}, "route": {"cluster": format!("c{index}")}})
                })
                .collect();
            let host = virtual_host("v", &["*"], routes.into());
            let serve = |name: &str, port| {
                let http = manager(
                    name,
                    json!([host]),
                    vec![],
                    json!({"delayed_close_timeout": "0.02s"}),
                );
                listener(place, name, port, vec![http])
            };
            let plain = serve("plain", PLAIN);
            let mut tls = serve("tls", TLS);
            tls["filter_chains"][0]["transport_socket"] = server_socket();
            let clusters = upstreams.iter().zip(SPEECHES).enumerate();
            let clusters = clusters.map(|(index, (relay, speech))| {
                upstream_cluster(&format!("c{index}"), relay.address.port(), speech)
            });
            bootstrap(place, vec![plain, tls], clusters.collect())
        });
        let clients = [PLAIN, TLS].map(|port| {
            let relay = Relay::new();
            relay.leads_to(proxy.at(port));
            relay
        });
        Self {
            proxy,
            clients,
            upstreams,
            offset: 0,
            number: 0,
        }
    }

    /// One exchange: status and whether the answer came to its end, and what the log says of it.
    fn exchange(
        &mut self,
        client: Speech,
        upstream: usize,
    ) -> (Option<(u16, bool)>, Option<Value>) {
        self.number += 1;
        let path = format!("/{upstream}/{}", self.number);
        let answer = ask(client, &self.clients[usize::from(client.tls)], &path);
        let line = answer.is_some().then(|| self.line(&path));
        (answer, line.flatten())
    }

    /// The line of a path, once it is there.
    fn line(&mut self, path: &str) -> Option<Value> {
        let mut found = None;
        poll(PATIENCE, || {
            let (lines, offset) = self.proxy.log_lines("access.log", self.offset);
            for line in lines {
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["path"] == path {
                    found = Some(line);
                }
            }
            self.offset = offset;
            found.clone()
        })
    }

    fn meets(&mut self, case: Case) {
        let Case {
            client,
            upstream,
            side,
            broken,
        } = case;
        let name = format!("{case:?}");
        {
            let relay = match side {
                Side::Client => &self.clients[usize::from(client.tls)],
                Side::Upstream => &self.upstreams[upstream],
            };
            relay.breaks(Some(broken));
        }
        self.number += 1;
        let path = format!("/{upstream}/{}", self.number);
        let answer = ask(client, &self.clients[usize::from(client.tls)], &path);
        for relay in self.clients.iter().chain(&self.upstreams) {
            relay.breaks(None);
        }
        assert!(self.proxy.is_running(), "{name}: the process ended");
        if let Side::Upstream = side {
            // The client's own wire is whole: it gets an answer, and the log has its line.
            let line = self
                .line(&path)
                .unwrap_or_else(|| panic!("{name}: no line"));
            let (status, whole) = match answer {
                Some(answer) => answer,
                // A reset of the stream overtakes the head that waits behind it (h2): no answer at all, but none that
                // could be taken for a whole one.
                None if client.http2 && line["status"] == 200 => (200, false),
                None => panic!("{name}: no answer, {line}"),
            };
            let flags = line["flags"].as_str().unwrap_or_default();
            let right = match (status, whole) {
                // Bytes of TLS or of the codec behind the answer may be lost without harm.
                (200, true) => matches!(flags, "" | "-"),
                (200, false) => flags == "UC" || flags == "UPE",
                (503, true) => matches!(flags, "UC" | "UF"),
                (502, true) => flags == "UPE",
                _ => false,
            };
            assert!(right, "{name}: {status}, whole: {whole}, {line}");
            assert_eq!(line["status"], status, "{name}: {line}");
        }
    }

    /// Resident memory in KiB.
    fn resident(&self) -> usize {
        let path = format!("/proc/{}/status", self.proxy.process_id());
        let text = std::fs::read_to_string(path).unwrap();
        let fields: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        let value = fields["VmRSS"].trim().trim_end_matches(" kB");
        value.parse().unwrap()
    }
}

/// Sends a request with a body and reads the answer; none where not even a head came.
fn ask(speech: Speech, relay: &Relay, path: &str) -> Option<(u16, bool)> {
    let (stream, socket) = if speech.tls {
        let protocols: &[&str] = if speech.http2 { &["h2"] } else { &["http/1.1"] };
        let tls = ClientTls {
            protocols,
            ..ClientTls::default()
        };
        let tls = tls.connect(relay.address).ok()?;
        let stream: Box<dyn crate::support::http1::Stream> = Box::new(tls.stream);
        (stream, tls.socket)
    } else {
        let socket = std::net::TcpStream::connect(relay.address).ok()?;
        socket.set_nodelay(true).ok()?;
        let stream: Box<dyn crate::support::http1::Stream> = Box::new(socket.try_clone().ok()?);
        (stream, socket)
    };
    if speech.http2 {
        let mut client = Client::over(stream, socket);
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", path),
            ("content-length", &BODY.len().to_string()),
        ];
        client.send(&[headers(1, false, &fields), data(1, true, BODY.as_bytes())].concat());
        let mut answer = crate::support::http2::Answer::default();
        let whole = client.answer_into(&mut answer, 1, PATIENCE).is_ok();
        (answer.status != 0).then_some((answer.status, whole))
    } else {
        let mut connection = Connection::over(stream, socket);
        connection.send(&post(path, BODY).header("connection", "close").bytes());
        match connection.response(false) {
            Ok(response) => Some((response.status, true)),
            Err(crate::support::http1::End::Broken(text)) => {
                let status = text
                    .strip_prefix("status ")?
                    .split(',')
                    .next()?
                    .parse()
                    .ok()?;
                Some((status, false))
            }
            Err(_) => None,
        }
    }
}

fn server_socket() -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{
                "certificate_chain": {"filename": "proxy.crt"},
                "private_key": {"filename": "proxy.key"},
            }],
        }}),
    )
}

/// A connection for each request: each meets the break.
fn upstream_cluster(name: &str, port: u16, speech: Speech) -> Value {
    let protocol = if speech.http2 {
        json!({"http2_protocol_options": {}})
    } else {
        json!({"http_protocol_options": {}})
    };
    let mut fields = json!({"typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            json!({
                "explicit_http_config": protocol,
                "common_http_protocol_options": {"max_requests_per_connection": 1},
            }),
        ),
    }});
    if speech.tls {
        fields["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            json!({"common_tls_context": {
                "alpn_protocols": [if speech.http2 { "h2" } else { "http/1.1" }],
            }}),
        );
    }
    cluster(name, &[port], fields)
}
