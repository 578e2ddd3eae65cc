//! Balancers as the configuration and requests see them.

use std::net::SocketAddr;
use std::time::Instant;

use carbyne_engine::http::Headers;

use super::*;
use crate::dns::tests::server::{Given, NameServer};
use crate::dns::{Settings, settings::Type};
use crate::value::{Object, Value};

const OK: Outcome = Outcome::Status {
    status: 200,
    took: Duration::from_millis(1),
};

fn object(text: &str) -> Object {
    match Value::from_json(text.as_bytes()) {
        Ok(Value::Object(object)) => object,
        other => panic!("{text}: {other:?}"),
    }
}

/// An upstream with these fields and targets of `address weight` each.
fn planned(name: &str, fields: &str, targets: &[&str]) -> Planned {
    let comma = if fields.is_empty() { "" } else { "," };
    let row = object(&format!(
        r#"{{"id":"id of {name}","name":"{name}"{comma}{fields}}}"#
    ));
    let target = |(number, target): (usize, &&str)| {
        let (address, weight) = target.split_once(' ').unwrap_or((target, "100"));
        let row = format!(
            r#"{{"id":"{address}","target":"{address}","weight":{weight},"created_at":{number},"upstream":{{"id":"id of {name}"}}}}"#
        );
        Arc::new(Target::read(&object(&row)).unwrap())
    };
    Planned {
        upstream: Arc::new(Upstream::read(&row).unwrap()),
        targets: targets.iter().enumerate().map(target).collect(),
        secrets: Secrets::default(),
    }
}

fn balancers() -> Arc<Balancers> {
    Balancers::new(Arc::new(Resolver::new(Settings::default())))
}

/// With names from this server, resolved and checked in the background.
fn driven(server: &NameServer) -> (Arc<Balancers>, Arc<Resolver>, tokio::task::JoinHandle<()>) {
    let mut settings = server.settings();
    settings.order = vec![
        Type::Kind(crate::dns::Kind::Srv),
        Type::Kind(crate::dns::Kind::A),
    ];
    let resolver = Arc::new(Resolver::new(settings));
    let balancers = Balancers::new(resolver.clone());
    let running = balancers.clone();
    let task = tokio::spawn(async move { running.run().await });
    (balancers, resolver, task)
}

fn pick(balancer: &Balancer) -> Result<Picked, PickError> {
    balancer.pick(&Affinity::default(), &[])
}

/// Whom so many picks go to, each address once.
fn reached(balancer: &Balancer, picks: usize) -> Vec<String> {
    let mut all: Vec<_> = (0..picks)
        .filter_map(|_| Some(pick(balancer).ok()?.host.address_text.to_string()))
        .collect();
    all.sort();
    all.dedup();
    all
}

const PASSIVE: &str = r#""healthchecks":{"passive":{"healthy":{"successes":1},"unhealthy":{"tcp_failures":2,"timeouts":1,"http_failures":1}}}"#;

#[test]
fn upstreams_go_before_hosts_of_the_same_name() {
    let balancers = balancers();
    let direct = balancers.of("10.0.0.1", 80);
    assert_eq!(reached(&direct, 3), ["10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&direct, &balancers.of("10.0.0.1", 80)));
    assert!(!Arc::ptr_eq(&direct, &balancers.of("10.0.0.1", 81)));
    let name = balancers.of("shop", 80);
    assert_eq!(pick(&name).unwrap_err(), PickError::Unresolved);
    balancers.update(vec![planned(
        "shop",
        "",
        &[
            "10.0.0.2:8000",
            "[0000:0000:0000:0000:0000:0000:0000:0001]:1",
        ],
    )]);
    let shop = balancers.of("shop", 80);
    assert_eq!(reached(&shop, 2), ["10.0.0.2:8000", "[::1]:1"]);
    assert!(Arc::ptr_eq(&shop, &balancers.by_id("id of shop").unwrap()));
    balancers.update(Vec::new());
    assert!(Arc::ptr_eq(&name, &balancers.of("shop", 80)));
    assert!(balancers.by_id("id of shop").is_none());
}

#[test]
fn what_a_host_is_called_follows_the_upstream() {
    let balancers = balancers();
    balancers.update(vec![
        planned("plain", "", &["10.0.0.1:8000"]),
        planned(
            "named",
            r#""host_header":"example.com""#,
            &["10.0.0.1:8000"],
        ),
    ]);
    for (upstream, name) in [("plain", "10.0.0.1"), ("named", "example.com")] {
        let picked = pick(&balancers.of(upstream, 1)).unwrap();
        assert_eq!((&*picked.name, picked.port), (name, 8000));
    }
}

#[test]
fn hosts_and_what_is_learnt_outlive_updates() {
    let balancers = balancers();
    balancers.update(vec![planned("u", PASSIVE, &["10.0.0.1:80", "10.0.0.2:80"])]);
    let balancer = balancers.of("u", 80);
    let first = std::iter::repeat_with(|| pick(&balancer).unwrap().host)
        .find(|host| &*host.address_text == "10.0.0.1:80")
        .unwrap();
    balancer.report(&first, Outcome::Timeout);
    assert_eq!(reached(&balancer, 4), ["10.0.0.2:80"]);
    // Other targets, other weights, another algorithm: the same balancer, the same hosts, the same health.
    for (fields, targets, left) in [
        (
            "",
            vec!["10.0.0.2:80 50", "10.0.0.1:80 7", "10.0.0.3:80"],
            vec!["10.0.0.2:80", "10.0.0.3:80"],
        ),
        (
            r#""algorithm":"least-connections","#,
            vec!["10.0.0.1:80", "10.0.0.2:80"],
            vec!["10.0.0.2:80"],
        ),
        // Gone, and back again.
        ("", vec!["10.0.0.2:80"], vec!["10.0.0.2:80"]),
        ("", vec!["10.0.0.2:80", "10.0.0.1:80"], vec!["10.0.0.2:80"]),
    ] {
        balancers.update(vec![planned("u", &format!("{fields}{PASSIVE}"), &targets)]);
        assert_eq!(reached(&balancers.of("u", 80), 200), left, "{targets:?}");
        assert!(Arc::ptr_eq(&balancer, &balancers.of("u", 80)));
    }
    balancer.report(&first, OK);
    assert_eq!(reached(&balancer, 4), ["10.0.0.1:80", "10.0.0.2:80"]);
    // Without checks nobody is down.
    balancer.report(&first, Outcome::Timeout);
    balancers.update(vec![planned("u", "", &["10.0.0.1:80"])]);
    assert_eq!(reached(&balancer, 2), ["10.0.0.1:80"]);
}

#[test]
fn connections_and_counters_stay_with_a_host() {
    let balancers = balancers();
    balancers.update(vec![planned("u", "", &["10.0.0.1:80"])]);
    let before = pick(&balancers.of("u", 80)).unwrap().host;
    let _request = before.start_request();
    balancers.update(vec![planned("u", "", &["10.0.0.9:80", "10.0.0.1:80 5"])]);
    let balancer = balancers.of("u", 80);
    let after = std::iter::repeat_with(|| pick(&balancer).unwrap().host)
        .find(|host| host.address == before.address)
        .unwrap();
    assert_eq!((after.id, after.active_requests()), (before.id, 1));
}

#[test]
fn passive_checks_count_tries() {
    // (outcomes, whether it serves after them)
    let status = |status| Outcome::Status {
        status,
        took: Duration::ZERO,
    };
    let cases: [(&[Outcome], bool); 7] = [
        (&[OK, status(404), status(502)], true),
        (&[status(500)], false),
        // A 504 is taken for a timeout, whoever said it.
        (&[status(504)], false),
        (&[Outcome::Timeout], false),
        (&[Outcome::TcpFailure], true),
        (&[Outcome::TcpFailure, Outcome::TcpFailure], false),
        (&[Outcome::TcpFailure, OK, Outcome::TcpFailure], true),
    ];
    for (outcomes, serves) in cases {
        let balancers = balancers();
        balancers.update(vec![planned("u", PASSIVE, &["10.0.0.1:80"])]);
        let balancer = balancers.of("u", 80);
        let host = pick(&balancer).unwrap().host;
        for outcome in outcomes {
            balancer.report(&host, *outcome);
        }
        let expected = if serves {
            Ok(())
        } else {
            Err(PickError::NoPeers)
        };
        assert_eq!(pick(&balancer).map(drop), expected, "{outcomes:?}");
    }
}

#[test]
fn operators_switch_health() {
    let balancers = balancers();
    balancers.update(vec![
        planned("u", PASSIVE, &["10.0.0.1:80", "10.0.0.2:80"]),
        planned("off", "", &["10.0.0.1:80"]),
    ]);
    let balancer = balancers.of("u", 80);
    balancer.switch("10.0.0.1", 80, None, false).unwrap();
    assert_eq!(reached(&balancer, 4), ["10.0.0.2:80"]);
    balancer
        .switch("10.0.0.2", 80, Some(("10.0.0.2", 80)), false)
        .unwrap();
    assert_eq!(pick(&balancer).unwrap_err(), PickError::NoPeers);
    balancer
        .switch("10.0.0.1", 80, Some(("10.0.0.1", 80)), true)
        .unwrap();
    assert_eq!(reached(&balancer, 4), ["10.0.0.1:80"]);
    // Nobody is there: nothing happens, as in Kong.
    balancer.switch("10.0.0.7", 80, None, true).unwrap();
    balancer
        .switch("10.0.0.2", 80, Some(("10.0.0.2", 81)), true)
        .unwrap();
    assert_eq!(reached(&balancer, 4), ["10.0.0.1:80"]);
    let off = balancers.of("off", 80).switch("10.0.0.1", 80, None, false);
    assert_eq!(
        off.unwrap_err().to_string(),
        "no healthchecker found for off"
    );
}

#[test]
fn consistent_hashing_brings_a_client_back() {
    let balancers = balancers();
    let fields = r#""algorithm":"consistent-hashing","hash_on":"cookie","hash_on_cookie":"sticky""#;
    balancers.update(vec![planned(
        "u",
        fields,
        &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"],
    )]);
    let balancer = balancers.of("u", 80);
    let mut headers = Headers::with_capacity(1);
    let affinity = |headers: &Headers| {
        balancer.affinity(&Keys {
            consumer: None,
            headers,
            ip: "10.9.9.9".parse().unwrap(),
            path: "/",
            query: None,
            captures: &[],
        })
    };
    let first = affinity(&headers);
    let cookie = first.cookie.clone().unwrap();
    let host = balancer.pick(&first, &[]).unwrap().host;
    let pair = cookie.field.split(';').next().unwrap();
    headers.append(http::header::COOKIE, pair.parse().unwrap());
    let again = affinity(&headers);
    assert_eq!(again.cookie, None);
    for _ in 0..5 {
        assert_eq!(balancer.pick(&again, &[]).unwrap().host.id, host.id);
    }
    assert_ne!(balancer.pick(&again, &[host.id]).unwrap().host.id, host.id);
}

#[tokio::test]
async fn names_become_addresses() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.2", "10.0.0.1"], 60));
    server.give("one.test", Given::a(&["10.1.0.1"], 60));
    server.give("two.test", Given::a(&["10.2.0.1", "10.2.0.2"], 60));
    server.give(
        "srv.test",
        Given::srv(
            &[
                (1, 30, 8001, "one.test"),
                (1, 10, 0, "two.test"),
                (2, 99, 1, "a.test"),
            ],
            60,
        ),
    );
    let (balancers, _, task) = driven(&server);
    balancers.update(vec![
        planned("names", "", &["a.test:80"]),
        planned("services", r#""use_srv_name":true"#, &["srv.test:80"]),
        planned("unnamed", "", &["srv.test:80"]),
    ]);
    let names = balancers.of("names", 1);
    names.ready().await;
    assert_eq!(reached(&names, 10), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(&*pick(&names).unwrap().name, "a.test");
    let services = balancers.of("services", 1);
    services.ready().await;
    // Three of four go to the first, and the second's share is halved between its addresses.
    let mut counts = HashMap::new();
    for _ in 0..400 {
        let picked = pick(&services).unwrap();
        *counts
            .entry((
                picked.host.address_text.to_string(),
                picked.name.to_string(),
                picked.port,
            ))
            .or_insert(0) += 1;
    }
    let expected = [
        (
            ("10.1.0.1:8001".to_owned(), "one.test".to_owned(), 8001),
            300,
        ),
        (("10.2.0.1:80".to_owned(), "two.test".to_owned(), 80), 50),
        (("10.2.0.2:80".to_owned(), "two.test".to_owned(), 80), 50),
    ];
    assert_eq!(counts, expected.into());
    let unnamed = balancers.of("unnamed", 1);
    unnamed.ready().await;
    assert_eq!(&*pick(&unnamed).unwrap().name, "srv.test");
    task.abort();
}

#[tokio::test]
async fn services_resolve_when_they_are_asked_for() {
    let server = NameServer::start().await;
    server.give("api.test", Given::srv(&[(1, 1, 9000, "a.test")], 60));
    server.give("a.test", Given::a(&["10.0.0.1"], 60));
    let (balancers, _, task) = driven(&server);
    let direct = balancers.of("api.test", 80);
    // A way to the balancers' side: what begins first is driven first.
    balancers.update(vec![planned("other", "", &["a.test:80"])]);
    balancers.of("other", 1).ready().await;
    assert!(
        server
            .take_asked()
            .iter()
            .all(|asked| !asked.starts_with("api.test"))
    );
    direct.ready().await;
    let picked = pick(&direct).unwrap();
    // The port is the record's, the name the service's.
    assert_eq!(
        (&*picked.host.address_text, &*picked.name, picked.port),
        ("10.0.0.1:9000", "api.test", 9000)
    );
    let nowhere = balancers.of("nowhere.test", 80);
    nowhere.ready().await;
    assert_eq!(pick(&nowhere).unwrap_err(), PickError::Unresolved);
    task.abort();
}

/// Resolves everything again, as the passing of time would.
async fn resolve_again(balancer: &Balancer, resolver: &Resolver) {
    resolver.let_expire();
    for (target, name) in balancer.take_due(Instant::now() + Duration::from_secs(3600)) {
        balancer.resolved(&target, drive::resolve(resolver, &target, &name).await);
    }
}

#[tokio::test]
async fn a_failing_name_never_empties_a_ring_that_has_an_address() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 60));
    server.give("b.test", Given::a(&["10.0.0.2", "10.0.0.3"], 60));
    let mut settings = server.settings();
    settings.stale_ttl = Duration::ZERO;
    let resolver = Resolver::new(settings);
    let balancers = balancers();
    balancers.update(vec![planned("u", PASSIVE, &["a.test:80", "b.test:80"])]);
    let balancer = balancers.of("u", 80);
    resolve_again(&balancer, &resolver).await;
    assert_eq!(
        reached(&balancer, 20),
        ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
    );
    // One address fewer, and what is known of the other stays.
    balancer
        .switch("b.test", 80, Some(("10.0.0.3", 80)), false)
        .unwrap();
    server.give("b.test", Given::a(&["10.0.0.3"], 60));
    resolve_again(&balancer, &resolver).await;
    assert_eq!(reached(&balancer, 20), ["10.0.0.1:80"]);
    balancer.switch("b.test", 80, None, true).unwrap();
    assert_eq!(reached(&balancer, 20), ["10.0.0.1:80", "10.0.0.3:80"]);
    for code in [3, 2] {
        server.give("b.test", Given::failure(code));
        resolve_again(&balancer, &resolver).await;
        assert_eq!(reached(&balancer, 20), ["10.0.0.1:80"]);
    }
    let status = balancer.status();
    assert_eq!(status.targets[1].health(), "DNS_ERROR");
    assert_eq!(status.targets[1].dns, "dns server error: 2 server failure");
    // The last that has an address keeps it, whatever the name servers say.
    server.give("a.test", Given::failure(3));
    resolve_again(&balancer, &resolver).await;
    assert_eq!(reached(&balancer, 20), ["10.0.0.1:80"]);
    server.give("b.test", Given::a(&["10.0.0.4"], 60));
    resolve_again(&balancer, &resolver).await;
    resolve_again(&balancer, &resolver).await;
    assert_eq!(reached(&balancer, 20), ["10.0.0.4:80"]);
}

#[tokio::test]
async fn a_momentary_name_is_one_address() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1", "10.0.0.2"], 0));
    let resolver = Resolver::new(server.settings());
    let balancers = balancers();
    balancers.update(vec![planned("u", "", &["a.test:80"])]);
    let balancer = balancers.of("u", 80);
    resolve_again(&balancer, &resolver).await;
    assert_eq!(reached(&balancer, 20), ["10.0.0.1:80", "10.0.0.2:80"]);
    let target = &balancer.status().targets[0];
    assert_eq!(
        (target.dns.as_str(), target.addresses.len()),
        ("ttl=0, virtual SRV", 1)
    );
}

#[test]
fn what_is_told_about_health_is_kongs() {
    let balancers = balancers();
    balancers.update(vec![
        planned(
            "u",
            PASSIVE,
            &["10.0.0.1:80 10", "10.0.0.2:80 30", "10.0.0.3:80 0"],
        ),
        planned("off", "", &["10.0.0.1:80"]),
    ]);
    let balancer = balancers.of("u", 80);
    balancer.switch("10.0.0.2", 80, None, false).unwrap();
    let status = balancer.status();
    let health: Vec<_> = status.targets.iter().map(TargetStatus::health).collect();
    assert_eq!(health, ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF"]);
    let data = Value::from(status.target("10.0.0.2:80").unwrap().data());
    assert_eq!(
        data.to_json(),
        r#"{"host":"10.0.0.2","port":80,"dns":"A","nodeWeight":30,"weight":{"total":30,"unavailable":30,"available":0},"addresses":[{"ip":"10.0.0.2","port":80,"weight":30,"health":"UNHEALTHY"}]}"#
    );
    let whole = status.balancer();
    assert_eq!(whole["health"], "HEALTHY".into());
    assert_eq!(whole["balancer_health"], "HEALTHY".into());
    assert_eq!(whole["id"], "id of u".into());
    assert_eq!(
        crate::value::at(&whole, "details.weight")
            .unwrap()
            .to_json(),
        r#"{"total":40,"unavailable":30,"available":10}"#
    );
    balancer.switch("10.0.0.1", 80, None, false).unwrap();
    assert_eq!(balancer.status().balancer()["health"], "UNHEALTHY".into());
    let off = balancers.of("off", 80).status();
    assert_eq!(
        (off.targets[0].health(), off.balancer()["health"].as_str()),
        ("HEALTHCHECKS_OFF", Some("HEALTHCHECKS_OFF"))
    );
    assert_eq!(off.balancer()["balancer_health"], "HEALTHY".into());
}

#[test]
fn workers_pick_and_report_at_once() {
    let balancers = balancers();
    let targets = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"];
    balancers.update(vec![planned("u", PASSIVE, &targets)]);
    let balancer = balancers.of("u", 80);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (balancer, balancers) = (&balancer, &balancers);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for round in 0..2000 {
                    // The first is never reported down: somebody is always there.
                    let picked = pick(balancer).unwrap();
                    let socket: SocketAddr = picked.host.address_text.parse().unwrap();
                    let outcome = match random.u8(0..10) {
                        0 if socket.ip().to_string() != "10.0.0.1" => Outcome::Timeout,
                        _ => OK,
                    };
                    balancer.report(&picked.host, outcome);
                    if round % 500 == 0 {
                        balancers.update(vec![planned(
                            "u",
                            PASSIVE,
                            &targets[..2 + random.usize(0..3)],
                        )]);
                    }
                }
            });
        }
    });
    assert!(pick(&balancer).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_waited_for_until_it_is_live() {
    let balancers = balancers();
    let knows = |port| {
        move |all: &Balancers| {
            let shop = all.upstream("shop");
            shop.is_some_and(|shop| shop.has(false, "10.0.0.1", port))
        }
    };
    let began = tokio::time::Instant::now();
    let update = async {
        tokio::task::yield_now().await;
        balancers.update(vec![planned("shop", "", &["10.0.0.1:80"])]);
    };
    tokio::join!(balancers.until(knows(80)), update);
    balancers.until(knows(80)).await;
    assert_eq!(began.elapsed(), Duration::ZERO, "as soon as it is there");
    balancers.until(knows(81)).await;
    assert_eq!(began.elapsed(), LONGEST_UPDATE, "what never comes");
}
