//! audit-api-calls and security-events of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carbyne_events::event::Topic;

use crate::gateway::{Client, Gateway, Message, Reply, Start, Upstream, ask, get, reply};
use crate::spool::{self, end, of, read};

pub(crate) const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: alice
  keyauth_credentials: [{id: 5d2ff8c1-7e5c-4b9a-9a53-0b8f3ad2c7a1, key: opensesame}]
services:
- name: orders
  url: "{upstream}"
  routes:
  - name: open
    paths: [/open]
  - name: keyed
    paths: [/keyed]
    plugins: [{name: key-auth}]
  - name: near
    paths: [/near]
    plugins: [{name: ip-restriction, config: {allow: [10.0.0.1]}}]
  - name: small
    paths: [/small]
    plugins: [{name: request-size-limiting, config: {allowed_payload_size: 1, size_unit: bytes}}]
  - name: rare
    paths: [/rare]
    plugins: [{name: rate-limiting, config: {hour: 1, policy: local}}]
- name: gone
  url: "http://127.0.0.1:1"
  routes: [{name: gone, paths: [/gone]}]
"#;

pub(crate) fn declarative(upstream: &Upstream) -> Start {
    Start {
        yaml: Some(YAML.replace("{upstream}", &upstream.url())),
        ..Start::default()
    }
}

pub(crate) fn id(answer: &Message) -> String {
    let id = answer.header("x-kong-request-id");
    id.unwrap_or_else(|| panic!("no id: {answer:?}")).to_owned()
}

#[test]
fn every_answer_is_told_once_and_every_refusal_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let gateway = spool::start(folder.path(), declarative(&upstream));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let asks = [
        get("/open/a?page=1").header("traceparent", trace),
        ask("POST", "/open").body("12345"),
        ask("HEAD", "/open"),
        get("/keyed").header("apikey", "opensesame"),
        get("/keyed"),
        get("/keyed").header("apikey", "wrong"),
        get("/near"),
        ask("POST", "/small").body("too large"),
        get("/rare"),
        get("/rare"),
        get("/gone"),
        get("/nowhere"),
    ];
    let mut answers: Vec<_> = asks.iter().map(|ask| gateway.send(ask)).collect();
    let mut broken = gateway.client();
    broken.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    answers.push(broken.read(false).unwrap());
    end(gateway);
    let found = read(folder.path());
    let told = spool::requests(&found);
    assert_eq!(told.len(), answers.len(), "{told:?}");
    for answer in &answers {
        assert_eq!(told.get(&id(answer)), Some(&1), "{answer:?}");
    }
    let calls = of(&found, Topic::AuditApiCalls);
    let call = |index: usize| {
        let wanted = id(&answers[index]);
        let mut calls = calls.iter();
        &calls
            .find(|call| call.text("request_id") == wanted)
            .unwrap()
            .body
    };
    let first = call(0);
    for (field, expected) in [
        ("node", "node"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("route_name", "open"),
        ("service_name", "orders"),
        ("method", "GET"),
        ("protocol", "HTTP/1.1"),
        ("scheme", "http"),
        ("host", "test.example"),
        ("path_template", "/open"),
        ("answered_by", "service"),
        ("client_address", "127.0.0.0/24"),
    ] {
        assert_eq!(first[field], expected, "{field} of {first}");
    }
    assert!(
        first["path"].is_null() && first["query"].is_null(),
        "{first}"
    );
    assert_eq!(
        (first["status"].as_u64(), first["bytes_out"].as_u64()),
        (Some(200), Some(5))
    );
    let total = first["latency_total_us"].as_u64().unwrap();
    assert!(
        total >= first["latency_upstream_us"].as_u64().unwrap(),
        "{first}"
    );
    assert_eq!(call(1)["bytes_in"], 5);
    assert_eq!(
        (call(2)["method"].as_str(), call(2)["bytes_out"].as_u64()),
        (Some("HEAD"), Some(0))
    );
    assert_eq!(call(3)["consumer_name"], "alice");
    assert_eq!(
        call(3)["credential_id"],
        "5d2ff8c1-7e5c-4b9a-9a53-0b8f3ad2c7a1"
    );
    assert_eq!(call(4)["answered_by"], "plugin");
    assert_eq!(call(10)["answered_by"], "gateway");
    assert_eq!(call(11)["status"], 404);
    let refusals = of(&found, Topic::SecurityEvents);
    let mut reasons: Vec<_> = refusals
        .iter()
        .filter(|event| event.kind.event_type() == "carbyne.security.refusal")
        .map(|event| {
            (
                event.text("reason"),
                event.text("policy"),
                event.body["status"].as_u64().unwrap(),
            )
        })
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            ("address_denied", "ip-restriction", 403),
            ("authentication_invalid", "key-auth", 401),
            ("authentication_missing", "key-auth", 401),
            ("malformed_request", "", 400),
            ("rate_limited", "rate-limiting", 429),
            ("too_large", "request-size-limiting", 413),
        ]
    );
    assert!(refusals.iter().all(|event| event.key.is_some()));
    let health = of(&found, Topic::SystemHealth);
    let states: Vec<_> = health
        .iter()
        .map(|event| event.text("state"))
        .filter(|state| !state.is_empty())
        .collect();
    assert_eq!(states, ["ready", "draining", "stopped"]);
}

#[test]
fn refusals_that_are_alike_are_told_together() {
    const MANY: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let gateway = spool::start(folder.path(), declarative(&upstream));
    let mut client = gateway.client();
    let began = Instant::now();
    for _ in 0..MANY {
        assert_eq!(client.send(&get("/keyed")).status(), 401);
    }
    let seconds = began.elapsed().as_secs() as usize;
    end(gateway);
    let found = read(folder.path());
    assert_eq!(spool::requests(&found).len(), MANY);
    let refusals = of(&found, Topic::SecurityEvents);
    let refusals: Vec<_> = refusals
        .iter()
        .filter(|event| event.text("reason") == "authentication_missing")
        .collect();
    let count: u64 = refusals
        .iter()
        .map(|event| event.body["count"].as_u64().unwrap())
        .sum();
    assert_eq!(count, MANY as u64, "each is counted");
    // One at once and one a window, of one connection's worker.
    assert!(
        refusals.len() <= seconds + 3,
        "{} events in {seconds} s",
        refusals.len()
    );
    for event in &refusals {
        assert!(event.body["time"].as_u64() <= event.body["last_time"].as_u64());
        assert_eq!(event.key.as_deref(), Some("127.0.0.0/24"));
    }
}

/// The ledger is the client's: every request that got an answer is in the spool exactly once, whenever the process is killed.
#[test]
fn a_killed_gateway_has_told_every_answer() {
    let rounds = match std::env::var("FULL") {
        Ok(full) if full == "1" => 50,
        _ => 6,
    };
    let folder = tempfile::tempdir().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let upstream = Upstream::answering(move |asked| {
        count.fetch_add(1, Ordering::Relaxed);
        match asked.asked() {
            "GET /chunked" => Reply {
                bytes:
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                        .to_vec(),
                close: false,
            },
            "GET /empty" => reply(200, &[], ""),
            _ => reply(200, &[], "hello"),
        }
    });
    let seed = std::env::var("CARBYNE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(7_u64);
    println!("CARBYNE_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut answered = Vec::new();
    for round in 0..rounds {
        let gateway = spool::start(folder.path(), declarative(&upstream));
        let address = gateway.proxy[0];
        let clients: Vec<_> = (0..3)
            .map(|_| std::thread::spawn(move || requests_until_gone(address)))
            .collect();
        std::thread::sleep(Duration::from_micros(random.u64(1_000..400_000)));
        // Dropped: killed by SIGKILL.
        drop::<Gateway>(gateway);
        let before = answered.len();
        for client in clients {
            answered.extend(client.join().unwrap());
        }
        println!("round {round}: {} answers", answered.len() - before);
    }
    let found = read(folder.path());
    let told = spool::requests(&found);
    let missing: Vec<_> = answered
        .iter()
        .filter(|id| !told.contains_key(*id))
        .collect();
    let twice = told.values().filter(|times| **times > 1).count();
    println!(
        "{rounds} kills: {} answered, {} told, {} missing, {twice} twice; {} reached the service",
        answered.len(),
        told.len(),
        missing.len(),
        served.load(Ordering::Relaxed)
    );
    crate::cases::report("kill-points", rounds, 50);
    assert!(answered.len() > rounds, "too few answers to prove anything");
    assert!(missing.is_empty(), "answered and not told: {missing:?}");
    assert_eq!(twice, 0, "told twice");
}

/// The ids of all complete answers of one connection after the other, until there is nobody any more.
fn requests_until_gone(address: std::net::SocketAddr) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(mut client) = Client::try_connect(address) {
        for path in [
            "/open/a",
            "/open/chunked",
            "/keyed",
            "/open/empty",
            "/nowhere",
        ] {
            match client.try_send(&get(path)) {
                Some(answer) => ids.push(id(&answer)),
                None => break,
            }
        }
    }
    ids
}
