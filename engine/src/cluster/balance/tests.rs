use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cluster::Cluster;
use crate::cluster::endpoint::{Assignment, Endpoint, EndpointHealth, Locality, LocalityEndpoints};
use crate::cluster::settings::{RingHashFunction, Settings, SlowStart};

fn endpoint(port: u16, weight: u32) -> Endpoint {
    Endpoint {
        weight,
        ..Endpoint::at(SocketAddr::from(([10, 0, 0, 1], port)))
    }
}

fn locality(zone: &str, priority: u8, weight: u32, endpoints: Vec<Endpoint>) -> LocalityEndpoints {
    LocalityEndpoints {
        locality: Locality {
            zone: Arc::from(zone),
            ..Locality::default()
        },
        priority,
        weight,
        endpoints,
    }
}

fn cluster_with(
    settings: Settings,
    localities: Vec<LocalityEndpoints>,
    now: Instant,
) -> Arc<Cluster> {
    let cluster = Cluster::new(settings, now);
    cluster.update_endpoints(Assignment::of(localities), now);
    cluster
}

fn settings(balancer: BalancerSettings) -> Settings {
    Settings {
        balancer,
        ..Settings::named("test")
    }
}

fn port_of(host: &Host) -> u16 {
    host.address_text
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// How often each port is picked.
fn tally(
    cluster: &Cluster,
    seed: u64,
    picks: u32,
    context: &PickContext<'_>,
) -> BTreeMap<u16, u32> {
    let set = cluster.endpoints();
    let mut picker = Picker::new(seed);
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        let host = picker.pick(&set, context).unwrap();
        *counts.entry(port_of(host)).or_insert(0) += 1;
    }
    counts
}

fn round_robin() -> BalancerSettings {
    BalancerSettings::RoundRobin { slow_start: None }
}

#[test]
fn equal_hosts_take_turns() {
    let now = Instant::now();
    let cluster = cluster_with(
        settings(round_robin()),
        vec![locality(
            "a",
            0,
            0,
            (1..=4).map(|port| endpoint(port, 1)).collect(),
        )],
        now,
    );
    let counts = tally(&cluster, 1, 400, &PickContext::first(now));
    assert!(
        counts.len() == 4 && counts.values().all(|count| *count == 100),
        "{counts:?}"
    );
}

#[test]
fn turns_carry_on_across_updates() {
    let now = Instant::now();
    let cluster = cluster_with(
        settings(round_robin()),
        vec![locality(
            "a",
            0,
            0,
            (1..=4).map(|port| endpoint(port, 1)).collect(),
        )],
        now,
    );
    let mut picker = Picker::new(5);
    let mut ports = Vec::new();
    for extra in 0..8u16 {
        let set = cluster.endpoints();
        ports.push(port_of(
            picker.pick(&set, &PickContext::first(now)).unwrap(),
        ));
        // Only something that does not change the order of the four.
        let mut endpoints: Vec<_> = (1..=4).map(|port| endpoint(port, 1)).collect();
        endpoints[0].hostname = Arc::from(format!("name-{extra}"));
        assert!(
            cluster.update_endpoints(Assignment::of(vec![locality("a", 0, 0, endpoints)]), now)
        );
    }
    let mut first_half = ports[..4].to_vec();
    first_half.sort_unstable();
    assert_eq!(first_half, [1, 2, 3, 4]);
    assert_eq!(ports[..4], ports[4..]);
}

#[test]
fn weights_are_met_exactly_by_schedules() {
    let now = Instant::now();
    for balancer in [round_robin(), BalancerSettings::least_request()] {
        let endpoints = vec![endpoint(1, 1), endpoint(2, 2), endpoint(3, 5)];
        let cluster = cluster_with(
            settings(balancer.clone()),
            vec![locality("a", 0, 0, endpoints)],
            now,
        );
        let counts = tally(&cluster, 9, 800, &PickContext::first(now));
        for (port, share) in [(1, 100), (2, 200), (3, 500)] {
            assert!(
                counts[&port].abs_diff(share) <= 2,
                "{balancer:?}: {counts:?}"
            );
        }
    }
}

#[test]
fn random_disregards_weights() {
    let now = Instant::now();
    let cluster = cluster_with(
        settings(BalancerSettings::Random),
        vec![locality("a", 0, 0, vec![endpoint(1, 1), endpoint(2, 9)])],
        now,
    );
    let counts = tally(&cluster, 4, 10_000, &PickContext::first(now));
    assert!(
        counts.values().all(|count| count.abs_diff(5000) < 300),
        "{counts:?}"
    );
}

#[test]
fn the_busier_of_two_choices_is_passed_over() {
    let now = Instant::now();
    let cluster = cluster_with(
        settings(BalancerSettings::least_request()),
        vec![locality("a", 0, 0, vec![endpoint(1, 1), endpoint(2, 1)])],
        now,
    );
    let set = cluster.endpoints();
    let busy = set.hosts().next().unwrap();
    let requests: Vec<_> = (0..5).map(|_| busy.start_request()).collect();
    assert_eq!(busy.active_requests(), 5);
    let counts = tally(&cluster, 2, 10_000, &PickContext::first(now));
    // The busy one is picked only when both choices fall on it: a quarter.
    assert!(counts[&1].abs_diff(2500) < 250, "{counts:?}");
    drop(requests);
    assert_eq!(busy.active_requests(), 0);
    let counts = tally(&cluster, 2, 10_000, &PickContext::first(now));
    assert!(counts[&1].abs_diff(5000) < 300, "{counts:?}");
}

#[test]
fn activity_weighs_on_differing_weights() {
    let now = Instant::now();
    let cluster = cluster_with(
        settings(BalancerSettings::least_request()),
        vec![locality("a", 0, 0, vec![endpoint(1, 2), endpoint(2, 1)])],
        now,
    );
    let set = cluster.endpoints();
    let heavy = set.hosts().next().unwrap();
    // 2 / (3 + 1) against 1: half as many.
    let _requests: Vec<_> = (0..3).map(|_| heavy.start_request()).collect();
    let counts = tally(&cluster, 2, 3000, &PickContext::first(now));
    assert!(counts[&1].abs_diff(1000) <= 3, "{counts:?}");
}

#[test]
fn new_hosts_start_slowly() {
    let born = Instant::now();
    let slow_start = Some(SlowStart {
        window: Duration::from_secs(100),
        ..SlowStart::default()
    });
    let seconds = |seconds| born + Duration::from_secs(seconds);
    let old = vec![endpoint(1, 1)];
    let both = vec![endpoint(1, 1), endpoint(2, 1)];
    let cluster = cluster_with(
        settings(BalancerSettings::RoundRobin { slow_start }),
        vec![locality("a", 0, 0, old)],
        born,
    );
    cluster.update_endpoints(
        Assignment::of(vec![locality("a", 0, 0, both)]),
        seconds(1000),
    );
    // (seconds after the second host came, its weight)
    for (age, weight) in [
        (0, 0.1),
        (5, 0.1),
        (50, 0.5),
        (99, 0.99),
        (101, 1.0),
        (500, 1.0),
    ] {
        let context = PickContext::first(seconds(1000 + age));
        let counts = tally(&cluster, 3, 10_000, &context);
        let expected = 10_000.0 * weight / (1.0 + weight);
        let actual = f64::from(counts.get(&2).copied().unwrap_or(0));
        assert!(
            (actual - expected).abs() < 20.0,
            "at {age} s: {actual}, not {expected}"
        );
    }
}

#[test]
fn tried_hosts_are_avoided_while_reselections_last() {
    let now = Instant::now();
    let hash_balancers = [
        BalancerSettings::RingHash {
            min_size: 1024,
            max_size: 8 << 20,
            hash: RingHashFunction::XxHash,
            use_hostname: false,
        },
        BalancerSettings::Maglev {
            table_size: 65_537,
            use_hostname: false,
        },
    ];
    let balancers = [
        round_robin(),
        BalancerSettings::Random,
        BalancerSettings::least_request(),
    ];
    for balancer in balancers.into_iter().chain(hash_balancers) {
        let cluster = cluster_with(
            settings(balancer.clone()),
            vec![locality(
                "a",
                0,
                0,
                (1..=3).map(|port| endpoint(port, 1)).collect(),
            )],
            now,
        );
        let set = cluster.endpoints();
        let ids: Vec<u64> = set.hosts().map(|host| host.id).collect();
        let context = PickContext {
            hash: Some(77),
            tried: &ids[..2],
            reselections: 200,
            ..PickContext::first(now)
        };
        let mut picker = Picker::new(8);
        for _ in 0..20 {
            assert_eq!(
                picker.pick(&set, &context).unwrap().id,
                ids[2],
                "{balancer:?}"
            );
        }
        // All tried: the last pick stands rather than none.
        let all = PickContext {
            tried: &ids,
            ..context
        };
        assert!(picker.pick(&set, &all).is_some());
    }
}

#[test]
fn nobody_is_picked_from_nothing() {
    let now = Instant::now();
    let maglev = BalancerSettings::Maglev {
        table_size: 7,
        use_hostname: false,
    };
    for balancer in [
        round_robin(),
        BalancerSettings::Random,
        BalancerSettings::least_request(),
        maglev,
    ] {
        let cluster = Cluster::new(settings(balancer), now);
        let mut picker = Picker::new(1);
        assert!(
            picker
                .pick(&cluster.endpoints(), &PickContext::first(now))
                .is_none()
        );
        cluster.update_endpoints(Assignment::of(vec![locality("a", 2, 0, vec![])]), now);
        assert!(
            picker
                .pick(&cluster.endpoints(), &PickContext::first(now))
                .is_none()
        );
    }
}

#[test]
fn load_moves_to_the_next_priority_with_health() {
    let now = Instant::now();
    let unhealthy = |port| Endpoint {
        health: EndpointHealth::Unhealthy,
        ..endpoint(port, 1)
    };
    // P0: 1 of 2 healthy → 70 %; P1: all.
    let localities = vec![
        locality("a", 0, 0, vec![endpoint(1, 1), unhealthy(2)]),
        locality("b", 1, 0, vec![endpoint(3, 1)]),
    ];
    let cluster = cluster_with(settings(round_robin()), localities, now);
    let counts = tally(&cluster, 6, 10_000, &PickContext::first(now));
    assert!(
        counts[&1].abs_diff(7000) < 250 && counts[&3].abs_diff(3000) < 250 && counts.len() == 2,
        "{counts:?}"
    );
    let untried = PickContext {
        tried_priorities: &[0],
        ..PickContext::first(now)
    };
    assert_eq!(
        tally(&cluster, 6, 100, &untried)
            .into_iter()
            .collect::<Vec<_>>(),
        [(3, 100)]
    );
}

#[test]
fn panic_uses_everybody_and_is_counted() {
    let now = Instant::now();
    let endpoints = (1..=4).map(|port| Endpoint {
        health: if port == 1 {
            EndpointHealth::Healthy
        } else {
            EndpointHealth::Unhealthy
        },
        ..endpoint(port, 1)
    });
    let cluster = cluster_with(
        settings(round_robin()),
        vec![locality("a", 0, 0, endpoints.collect())],
        now,
    );
    assert_eq!(tally(&cluster, 6, 100, &PickContext::first(now)).len(), 4);
    assert_eq!(cluster.stats().lb_healthy_panic.value(), 100);
    let strict = Settings {
        panic_threshold: 0,
        ..settings(round_robin())
    };
    assert!(cluster.update_settings(strict, now));
    assert_eq!(
        tally(&cluster, 6, 100, &PickContext::first(now))
            .into_iter()
            .collect::<Vec<_>>(),
        [(1, 100)]
    );
    assert_eq!(cluster.stats().lb_healthy_panic.value(), 100);
}

#[test]
fn localities_share_by_weight_and_health() {
    let now = Instant::now();
    let weighted = Settings {
        locality_weighted: true,
        ..settings(round_robin())
    };
    let half_ill = vec![
        endpoint(3, 1),
        Endpoint {
            health: EndpointHealth::Draining,
            ..endpoint(4, 1)
        },
    ];
    // a: 1; b: 2 × min(1, 1.4 × 1/2) = 1.4; c has no weight.
    let localities = vec![
        locality("a", 0, 1, vec![endpoint(1, 1), endpoint(2, 1)]),
        locality("b", 0, 2, half_ill),
        locality("c", 0, 0, vec![endpoint(5, 1)]),
    ];
    let cluster = cluster_with(weighted, localities, now);
    let counts = tally(&cluster, 6, 2400, &PickContext::first(now));
    for (port, share) in [(1, 500), (2, 500), (3, 1400)] {
        assert!(counts[&port].abs_diff(share) <= 3, "{counts:?}");
    }
    assert_eq!(counts.len(), 3);
}

#[test]
fn degraded_hosts_serve_the_rest() {
    let now = Instant::now();
    let degraded = |port| Endpoint {
        health: EndpointHealth::Degraded,
        ..endpoint(port, 1)
    };
    let cluster = cluster_with(
        settings(round_robin()),
        vec![locality("a", 0, 0, vec![endpoint(1, 1), degraded(2)])],
        now,
    );
    let counts = tally(&cluster, 6, 10_000, &PickContext::first(now));
    assert!(counts[&1].abs_diff(7000) < 250, "{counts:?}");
    assert_eq!(cluster.stats().membership_degraded.value(), 1);
}

#[test]
fn hash_picks_are_sticky_shared_and_kept() {
    let now = Instant::now();
    let ring = BalancerSettings::RingHash {
        min_size: 12,
        max_size: 8 << 20,
        hash: RingHashFunction::XxHash,
        use_hostname: false,
    };
    let endpoints = |weight| {
        (90..=95)
            .map(|port| Endpoint::at(SocketAddr::from(([127, 0, 0, 1], port))))
            .map(|endpoint| Endpoint { weight, ..endpoint })
            .collect()
    };
    let cluster = cluster_with(settings(ring), vec![locality("a", 0, 0, endpoints(1))], now);
    let before = cluster.endpoints();
    for seed in 0..4 {
        let context = PickContext {
            hash: Some(3_551_244_743_356_806_948),
            ..PickContext::first(now)
        };
        assert_eq!(
            port_of(Picker::new(seed).pick(&before, &context).unwrap()),
            93
        );
    }
    assert_eq!(cluster.stats().ring_size.value(), 12);
    // Equal weights of another size, new hosts objects: the entries are the same and are not built again.
    assert!(cluster.update_endpoints(Assignment::of(vec![locality("a", 0, 0, endpoints(7))]), now));
    let after = cluster.endpoints();
    let tables = [&before, &after].map(|set| set.levels[0].table.clone().unwrap());
    assert!(tables[0].shares_entries_with(&tables[1]));
    assert!(
        tally(&cluster, 1, 600, &PickContext::first(now)).len() > 4,
        "without a hash any host is picked"
    );
}

proptest! {
    /// Whatever the endpoints, a pick is a healthy host unless in panic, and never a panic of the program.
    #[test]
    fn picks_are_of_the_set(seed in any::<u64>()) {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(seed);
        let balancers = [
            round_robin(),
            BalancerSettings::Random,
            BalancerSettings::LeastRequest { choice_count: random.u32(0..4), active_request_bias: random.f64() * 3.0, slow_start: None },
            BalancerSettings::Maglev { table_size: 251, use_hostname: false },
            BalancerSettings::RingHash { min_size: random.u64(1..64), max_size: 64, hash: RingHashFunction::Murmur2, use_hostname: true },
        ];
        let chosen = Settings {
            locality_weighted: random.bool(),
            panic_threshold: random.u32(0..=100),
            ..settings(balancers[random.usize(0..5)].clone())
        };
        let cluster = Cluster::new(chosen, now);
        let mut picker = Picker::new(seed);
        for _ in 0..8 {
            let localities = (0..random.usize(0..5)).map(|index| {
                let endpoints = (0..random.u16(0..5)).map(|port| {
                    let health = [EndpointHealth::Healthy, EndpointHealth::Unhealthy, EndpointHealth::Degraded, EndpointHealth::Draining][random.usize(0..4)];
                    Endpoint { health, ..endpoint(100 * index as u16 + port, random.u32(0..4)) }
                }).collect();
                locality(&format!("zone-{}", index % 3), random.u8(0..4), random.u32(0..3), endpoints)
            }).collect();
            cluster.update_endpoints(Assignment::of(localities), now);
            let set = cluster.endpoints();
            for _ in 0..50 {
                let context = PickContext {
                    hash: random.bool().then(|| random.u64(..)),
                    tried: &[1, 2, 3],
                    reselections: 3,
                    tried_priorities: if random.bool() { &[0] } else { &[] },
                    now,
                };
                let picked = picker.pick(&set, &context);
                if let Some(host) = picked {
                    let panic = set.loads.panic[usize::from(host.priority)];
                    prop_assert!(panic || host.health() != crate::cluster::Health::Unhealthy);
                    prop_assert!(set.hosts().any(|member| Arc::ptr_eq(member, host)));
                } else {
                    // Hash balancers give localities without weight nothing, even in panic.
                    let weightless = set.locality_weighted && set.levels.iter().any(|level| level.table.is_some());
                    prop_assert!(set.is_empty() || weightless || set.loads.panic.iter().any(|panic| !panic));
                }
            }
        }
    }
}
