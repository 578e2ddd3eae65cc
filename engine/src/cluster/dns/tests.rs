use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::cluster::settings::Settings;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn named(host: &str, port: u16) -> NamedEndpoint {
    NamedEndpoint {
        host: Arc::from(host),
        port,
        template: Endpoint::at(SocketAddr::from(([0, 0, 0, 0], 0))),
    }
}

fn names_of(settings: DnsSettings, hosts: &[&str], now: Instant) -> Names {
    let locality = NamedLocality {
        endpoints: hosts.iter().map(|host| named(host, 80)).collect(),
        ..NamedLocality::default()
    };
    Names::new(settings, vec![locality], Assignment::default(), now, 1)
}

fn printed(assignment: &Assignment) -> Vec<String> {
    let endpoints = assignment
        .localities
        .iter()
        .flat_map(|locality| &locality.endpoints);
    endpoints
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

fn resolution(texts: &[&str]) -> Resolution {
    Resolution {
        addresses: addresses(texts),
        ttl: None,
    }
}

#[test]
fn families_select_as_documented() {
    let both = ["10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.1"];
    let only_v4 = ["10.0.0.1"];
    let only_v6 = ["fd00::1"];
    let cases: &[(AddressFamily, &[&str], &[&str])] = &[
        (AddressFamily::V4Only, &both, &["10.0.0.1", "10.0.0.2"]),
        (AddressFamily::V6Only, &both, &["fd00::1"]),
        (AddressFamily::Auto, &both, &["fd00::1"]),
        (AddressFamily::Auto, &only_v4, &["10.0.0.1"]),
        (AddressFamily::V4Preferred, &both, &["10.0.0.1", "10.0.0.2"]),
        (AddressFamily::V4Preferred, &only_v6, &["fd00::1"]),
        (AddressFamily::V6Only, &only_v4, &[]),
        (
            AddressFamily::All,
            &both,
            &["10.0.0.1", "fd00::1", "10.0.0.2"],
        ),
    ];
    for (family, given, expected) in cases {
        assert_eq!(
            of_family(addresses(given).into_iter(), *family),
            addresses(expected),
            "{family:?} {given:?}"
        );
    }
}

#[test]
fn waits_follow_rate_ttl_and_back_off() {
    let now = Instant::now();
    let mut random = fastrand::Rng::with_seed(3);
    let seconds = Duration::from_secs;
    let fixed = DnsSettings {
        refresh: seconds(60),
        ..DnsSettings::default()
    };
    let by_ttl = DnsSettings {
        respect_ttl: true,
        ..fixed.clone()
    };
    // (settings, ttl, wait)
    let cases = [
        (&fixed, None, 60),
        (&fixed, Some(seconds(7)), 60),
        (&by_ttl, Some(seconds(7)), 7),
        (&by_ttl, None, 60),
        (&by_ttl, Some(Duration::ZERO), 60),
    ];
    for (settings, ttl, wait) in cases {
        let mut refresh = Refresh::new(now);
        refresh.succeed(now, ttl, settings, &mut random);
        assert_eq!(refresh.due() - now, seconds(wait), "{settings:?} {ttl:?}");
    }
    let mut refresh = Refresh::new(now);
    refresh.fail(now, &fixed, &mut random);
    assert_eq!(refresh.due() - now, seconds(60));
    let backing_off = DnsSettings {
        failure_refresh: Some(FailureRefresh {
            base: seconds(2),
            max: seconds(10),
        }),
        ..fixed
    };
    for bound in [2, 4, 8, 10, 10]
        .into_iter()
        .chain(std::iter::repeat_n(10, 40))
    {
        refresh.failures = refresh.failures.max(1) - 1;
        let failures = refresh.failures;
        refresh.fail(now, &backing_off, &mut random);
        let wait = refresh.due() - now;
        assert!(
            wait <= seconds(bound) && wait >= LEAST_WAIT,
            "{failures} failures: {wait:?}"
        );
        refresh.failures += 1;
    }
    refresh.succeed(now, None, &backing_off, &mut random);
    refresh.fail(now, &backing_off, &mut random);
    assert!(
        refresh.due() - now <= seconds(2),
        "a success starts the back-off anew"
    );
}

#[test]
fn strict_names_become_all_their_addresses_and_failures_keep_them() {
    let now = Instant::now();
    let mut names = names_of(DnsSettings::default(), &["a", "b", "a"], now);
    let started = names.start_due(now);
    assert_eq!(
        started,
        [(0, Arc::from("a")), (1, Arc::from("b"))],
        "a name is resolved once"
    );
    assert_eq!((names.next_due(), names.start_due(now).len()), (None, 0));
    names.answer(0, Some(&resolution(&["10.0.0.2", "10.0.0.1"])), now);
    assert!(!names.is_complete());
    names.answer(1, None, now);
    assert!(names.is_complete());
    let expected = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"];
    assert_eq!(printed(&names.assignment()), expected);
    let later = names.next_due().unwrap();
    assert_eq!(later, now + Duration::from_secs(5));
    let before = names.assignment();
    names.start_due(later);
    names.answer(0, None, later);
    names.answer(1, Some(&resolution(&[])), later);
    assert_eq!(names.assignment(), before);
    names.start_due(later + Duration::from_secs(5));
    names.answer(0, Some(&resolution(&["10.0.0.1", "10.0.0.2"])), later);
    assert_eq!(names.assignment(), before, "another order is no change");
}

#[test]
fn a_logical_name_is_one_host_whose_address_moves() {
    let now = Instant::now();
    let settings = DnsSettings {
        mode: DnsMode::Logical,
        ..DnsSettings::default()
    };
    let cluster = Cluster::new(Settings::named("logical"), now);
    let mut names = names_of(settings, &["svc.example"], now);
    let mut seen = Vec::new();
    for answer in [&["10.0.0.1", "10.0.0.2"], &["10.0.0.2", "10.0.0.1"]] {
        names.answer(0, Some(&resolution(answer)), now);
        cluster.update_endpoints(names.assignment(), now);
        let set = cluster.endpoints();
        let hosts: Vec<_> = set.hosts().collect();
        assert_eq!(hosts.len(), 1);
        seen.push((
            hosts[0].id,
            hosts[0].serial(),
            hosts[0].address_text.clone(),
        ));
    }
    assert_eq!((seen[0].0, seen[0].1), (seen[1].0, seen[1].1));
    assert_eq!([&*seen[0].2, &*seen[1].2], ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(cluster.stats().membership_change.value(), 1);
}

struct Scripted(Mutex<VecDeque<Option<Resolution>>>);

impl Resolve for Scripted {
    async fn resolve(&self, host: Arc<str>, _: AddressFamily) -> Result<Resolution, ResolveError> {
        let answer = self.0.lock().unwrap().pop_front();
        match answer {
            Some(answer) => answer.ok_or_else(|| ResolveError {
                host,
                source: io::Error::other("no such name"),
            }),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn the_loop_fills_the_cluster_and_survives_failures() {
    let now = Instant::now();
    let cluster = Cluster::new(Settings::named("names"), now);
    let settings = DnsSettings {
        refresh: Duration::from_millis(1),
        ..DnsSettings::default()
    };
    let names = names_of(settings, &["a"], now);
    let resolver = Scripted(Mutex::new(VecDeque::from([
        Some(resolution(&["10.0.0.1"])),
        None,
        Some(resolution(&["10.0.0.1", "10.0.0.9"])),
    ])));
    let mut generations = cluster.host_set_changed();
    let watched = async {
        cluster.wait_initialized().await;
        let mut sizes = vec![cluster.endpoints().hosts().count()];
        while sizes.last() != Some(&2) {
            generations.changed().await.unwrap();
            sizes.push(cluster.endpoints().hosts().count());
        }
        sizes
    };
    let sizes = tokio::select! {
        () = run(&cluster, names, &resolver) => Vec::new(),
        sizes = tokio::time::timeout(Duration::from_secs(10), watched) => sizes.unwrap(),
    };
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!(cluster.stats().update_failure.value(), 1);
}

#[tokio::test]
async fn the_system_resolves_literals() {
    for (text, expected) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1")] {
        let resolution = SystemResolver
            .resolve(Arc::from(text), AddressFamily::Auto)
            .await
            .unwrap();
        assert_eq!(resolution.addresses, addresses(&[expected]));
    }
}
