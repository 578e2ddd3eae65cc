//! Names resolved by a name server of the test's own.

pub(crate) mod server;

use std::time::Duration;

use self::server::{Given, NameServer};
use super::settings::Type;
use super::*;

fn addresses(answer: &Answer) -> Vec<String> {
    let text = |record: &Record| match record {
        Record::Address(address) => address.to_string(),
        Record::Service {
            priority,
            weight,
            port,
            host,
        } => format!("{priority} {weight} {port} {host}"),
    };
    answer.records.iter().map(text).collect()
}

fn asking(server: &NameServer, change: impl FnOnce(&mut Settings)) -> Resolver {
    let mut settings = server.settings();
    change(&mut settings);
    Resolver::new(settings)
}

#[tokio::test]
async fn addresses_and_services_come_in_the_order_of_types() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1", "10.0.0.2"], 60));
    server.give("both.test", Given::a(&["10.0.0.3"], 60));
    server.give("both.test", Given::srv(&[(1, 10, 8001, "a.test")], 60));
    server.give("six.test", Given::aaaa(&["fd00::1"], 60));
    let resolver = asking(&server, |_| {});
    let answer = resolver.resolve("A.Test").await.unwrap();
    assert_eq!(
        (addresses(&answer), answer.kind),
        (vec!["10.0.0.1".into(), "10.0.0.2".into()], Kind::A)
    );
    let answer = resolver.resolve("both.test").await.unwrap();
    assert_eq!(
        (addresses(&answer), answer.kind),
        (vec!["1 10 8001 a.test".into()], Kind::Srv)
    );
    assert_eq!(resolver.resolve("six.test").await, Err(DnsError::Empty));
    assert_eq!(resolver.resolve("none.test").await, Err(DnsError::Name));
    let six_first = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::Aaaa), Type::Kind(Kind::A)];
    });
    let answer = six_first.resolve("six.test").await.unwrap();
    assert_eq!(
        (addresses(&answer), answer.kind),
        (vec!["fd00::1".into()], Kind::Aaaa)
    );
    assert_eq!(
        addresses(&six_first.resolve("both.test").await.unwrap()),
        ["10.0.0.3"]
    );
}

#[tokio::test]
async fn the_type_that_answered_last_is_asked_for_first() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 0));
    let resolver = asking(&server, |_| {});
    resolver.resolve("a.test").await.unwrap();
    assert_eq!(server.take_asked(), ["a.test SRV", "a.test A"]);
    resolver.let_expire();
    resolver.resolve("a.test").await.unwrap();
    assert_eq!(server.take_asked(), ["a.test A"]);
}

#[tokio::test]
async fn the_search_list_is_used_by_dots() {
    let server = NameServer::start().await;
    server.give("one.default.test", Given::a(&["10.0.0.1"], 60));
    server.give("two.dots.here", Given::a(&["10.0.0.2"], 60));
    let resolver = asking(&server, |settings| {
        settings.search = vec!["default.test".into(), "test".into()];
        settings.ndots = 2;
        settings.order = vec![Type::Kind(Kind::A)];
    });
    // (name, what it resolves to, what was asked)
    let cases: [(&str, Option<&str>, &[&str]); 4] = [
        ("one", Some("10.0.0.1"), &["one.default.test A"]),
        ("two.dots.here", Some("10.0.0.2"), &["two.dots.here A"]),
        ("one.", None, &["one A"]),
        (
            "no.where",
            None,
            &["no.where.default.test A", "no.where.test A", "no.where A"],
        ),
    ];
    for (name, expected, asked) in cases {
        let answer = resolver.resolve(name).await.ok();
        assert_eq!(
            answer.map(|answer| addresses(&answer).concat()).as_deref(),
            expected,
            "{name}"
        );
        assert_eq!(server.take_asked(), asked, "{name}");
    }
}

#[tokio::test]
async fn aliases_are_followed_within_an_answer_and_out_of_it() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 60));
    server.give(
        "whole.test",
        Given::alias("a.test", 5).with(Given::a(&["10.0.0.1"], 60), "a.test"),
    );
    server.give("half.test", Given::alias("a.test", 60));
    server.give("circle.test", Given::alias("circle.test", 60));
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)]
    });
    for name in ["whole.test", "half.test"] {
        let answer = resolver.resolve(name).await.unwrap();
        assert_eq!(addresses(&answer), ["10.0.0.1"], "{name}");
    }
    assert_eq!(
        server.take_asked(),
        ["whole.test A", "half.test A", "a.test A"]
    );
    assert_eq!(resolver.resolve("circle.test").await, Err(DnsError::Empty));
}

#[tokio::test]
async fn answers_hold_for_their_time_to_live() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 1));
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)]
    });
    let before = Instant::now();
    let answer = resolver.resolve("a.test").await.unwrap();
    assert!(
        answer.expires >= before + Duration::from_secs(1)
            && answer.expires <= Instant::now() + Duration::from_secs(1)
    );
    server.give("a.test", Given::a(&["10.0.0.2"], 1));
    assert_eq!(
        addresses(&resolver.resolve("a.test").await.unwrap()),
        ["10.0.0.1"]
    );
    assert_eq!(server.take_asked().len(), 1);
    resolver.let_expire();
    assert_eq!(
        addresses(&resolver.resolve("a.test").await.unwrap()),
        ["10.0.0.2"]
    );
    let fixed = asking(&server, |settings| {
        settings.valid_ttl = Some(Duration::from_secs(100))
    });
    let answer = fixed.resolve("a.test").await.unwrap();
    assert!(answer.expires > Instant::now() + Duration::from_secs(90));
}

#[tokio::test]
async fn stale_answers_go_on_while_servers_fail_but_not_for_ever() {
    let server = NameServer::start().await;
    let order = vec![Type::Kind(Kind::A)];
    let resolver = asking(&server, |settings| settings.order.clone_from(&order));
    let impatient = asking(&server, |settings| {
        settings.order.clone_from(&order);
        settings.stale_ttl = Duration::ZERO;
    });
    for failure in [Given::failure(2), Given::a(&[], 1)] {
        server.give("a.test", Given::a(&["10.0.0.1"], 0));
        for resolver in [&resolver, &impatient] {
            resolver.resolve("a.test").await.unwrap();
        }
        server.give("a.test", failure);
        resolver.let_expire();
        impatient.let_expire();
        let answer = resolver.resolve("a.test").await.unwrap();
        assert_eq!(addresses(&answer), ["10.0.0.1"]);
        assert!(
            answer.expires > Instant::now(),
            "asked again, but not in a loop"
        );
        assert!(impatient.resolve("a.test").await.is_err());
        resolver.let_expire();
        impatient.let_expire();
    }
    // That there is no such name is an answer.
    server.give("a.test", Given::a(&["10.0.0.1"], 0));
    resolver.resolve("a.test").await.unwrap();
    server.give("a.test", Given::failure(3));
    resolver.let_expire();
    assert_eq!(resolver.resolve("a.test").await, Err(DnsError::Name));
}

#[tokio::test]
async fn failures_are_remembered_for_their_own_times() {
    let server = NameServer::start().await;
    server.give("broken.test", Given::failure(2));
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)];
        settings.error_ttl = Duration::from_secs(60);
        settings.not_found_ttl = Duration::from_secs(60);
    });
    let failed = DnsError::Server {
        code: 2,
        text: "server failure",
    };
    for _ in 0..3 {
        assert_eq!(resolver.resolve("broken.test").await, Err(failed.clone()));
        assert_eq!(resolver.resolve("none.test").await, Err(DnsError::Name));
    }
    assert_eq!(server.take_asked(), ["broken.test A", "none.test A"]);
    assert_eq!(failed.to_string(), "dns server error: 2 server failure");
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let server = NameServer::start().await;
    let many: Vec<_> = (0..200).map(|number| format!("10.0.1.{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    server.give("many.test", Given::a(&many, 60).truncated());
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)]
    });
    assert_eq!(
        addresses(&resolver.resolve("many.test").await.unwrap()).len(),
        200
    );
    assert_eq!(server.take_asked(), ["many.test A", "many.test A over TCP"]);
}

#[tokio::test]
async fn a_server_that_is_silent_is_passed_over() {
    let silent = NameServer::start().await;
    silent.give("a.test", Given::silence());
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 60));
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)];
        settings.servers.insert(0, silent.address());
        settings.timeout = Duration::from_millis(50);
    });
    assert_eq!(
        addresses(&resolver.resolve("a.test").await.unwrap()),
        ["10.0.0.1"]
    );
    assert_eq!(silent.take_asked().len(), 1);
    let alone = asking(&silent, |settings| {
        settings.order = vec![Type::Kind(Kind::A)];
        settings.timeout = Duration::from_millis(20);
        settings.attempts = 3;
    });
    assert!(matches!(
        alone.resolve("a.test").await,
        Err(DnsError::Silence(_))
    ));
    assert_eq!(silent.take_asked().len(), 3);
}

#[tokio::test]
async fn who_asks_the_same_waits_for_the_answer() {
    let server = NameServer::start().await;
    server.give("a.test", Given::a(&["10.0.0.1"], 60));
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)]
    });
    let all = futures_util::future::join_all((0..20).map(|_| resolver.resolve("a.test"))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.take_asked(), ["a.test A"]);
}

#[tokio::test]
async fn the_hosts_file_needs_no_server() {
    let resolver = Resolver::new(Settings {
        hosts: [(
            "box".to_owned(),
            vec!["::2".parse().unwrap(), "10.0.0.9".parse().unwrap()],
        )]
        .into(),
        ..Settings::default()
    });
    assert_eq!(
        addresses(&resolver.resolve("BOX").await.unwrap()),
        ["10.0.0.9"]
    );
    assert!(matches!(
        resolver.resolve("other").await,
        Err(DnsError::Silence(_))
    ));
}

#[tokio::test]
async fn the_cache_has_a_size() {
    let server = NameServer::start().await;
    for number in 0..10 {
        server.give(&format!("{number}.test"), Given::a(&["10.0.0.1"], 60));
    }
    let resolver = asking(&server, |settings| {
        settings.order = vec![Type::Kind(Kind::A)];
        settings.cache_size = 3;
    });
    for number in 0..10 {
        resolver.resolve(&format!("{number}.test")).await.unwrap();
    }
    assert_eq!(server.take_asked().len(), 10);
    resolver.resolve("9.test").await.unwrap();
    assert_eq!(server.take_asked().len(), 0);
    resolver.resolve("0.test").await.unwrap();
    assert_eq!(server.take_asked().len(), 1);
}

#[test]
fn addresses_are_written_as_kong_writes_them() {
    for (address, text) in [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "[2001:db8:0:0:0:0:0:1]"),
    ] {
        assert_eq!(text_of(address.parse().unwrap()), text);
    }
}
