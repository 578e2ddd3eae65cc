use std::collections::HashMap;
use std::time::Instant;

use carbyne_engine::cluster::{Endpoint, Locality, Vitals};

use super::super::address::{Key, Learnt};
use super::*;
use crate::balance::health::Observed;

fn address(number: usize, weight: u32) -> Arc<Address> {
    let socket = format!("10.0.0.{number}:80").parse().unwrap();
    let vitals = Arc::new(Vitals::new(Instant::now(), &[]));
    let locality = Arc::new(Locality::default());
    let host = Host::new(number as u64, &Endpoint::at(socket), locality, 0, vitals);
    let ip: Arc<str> = format!("10.0.0.{number}").into();
    let key = Key {
        hostname: ip.clone(),
        ip: ip.clone(),
        port: 80,
    };
    Arc::new(Address::new(
        key,
        80,
        weight,
        ip,
        vec![Arc::new(host)],
        Arc::new(Learnt::default()),
    ))
}

fn addresses(weights: &[u32]) -> Vec<Arc<Address>> {
    (1..)
        .zip(weights)
        .map(|(number, weight)| address(number, *weight))
        .collect()
}

fn parts(algorithm: Algorithm, addresses: &[Arc<Address>]) -> Parts<'_> {
    Parts {
        algorithm,
        slots: 1000,
        threshold: 0.0,
        hashing: None,
        passive: Some(Limits::default()),
        addresses,
        targets: addresses.len(),
        seed: 5,
        now: Duration::ZERO,
    }
}

fn ring(algorithm: Algorithm, addresses: &[Arc<Address>]) -> Ring {
    Ring::new(parts(algorithm, addresses))
}

fn pick(ring: &Ring, turn: &AtomicUsize, tried: &[u64]) -> Option<u64> {
    let point = u32::try_from(turn.load(Ordering::Relaxed)).unwrap();
    ring.pick(turn, point, tried, || Duration::ZERO)
        .map(|(_, host)| host.id)
}

const ALL: [Algorithm; 4] = [
    Algorithm::ConsistentHashing,
    Algorithm::Latency,
    Algorithm::LeastConnections,
    Algorithm::RoundRobin,
];

#[test]
fn a_turn_of_the_wheel_gives_everybody_exactly_their_share() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..50 {
        let weights: Vec<_> = (0..random.usize(1..8))
            .map(|_| random.u32(0..6) * 25)
            .collect();
        let addresses = addresses(&weights);
        let ring = ring(Algorithm::RoundRobin, &addresses);
        let total: u32 = weights.iter().sum();
        let turn = AtomicUsize::new(0);
        let mut counts: HashMap<u64, u32> = HashMap::new();
        // Whatever the weights have in common: so many turns of the wheel, all of them whole.
        for _ in 0..total {
            *counts.entry(pick(&ring, &turn, &[]).unwrap()).or_default() += 1;
        }
        for (number, weight) in (1..).zip(&weights) {
            assert_eq!(
                counts.get(&number).copied().unwrap_or(0),
                *weight,
                "{weights:?}"
            );
        }
        assert_eq!(pick(&ring, &turn, &[]).is_some(), total > 0);
    }
}

#[test]
fn the_ring_is_never_empty_while_one_target_is_healthy() {
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..400 {
        let weights: Vec<_> = (0..random.usize(1..9))
            .map(|_| random.u32(0..4) * 10)
            .collect();
        let addresses = addresses(&weights);
        let mut alive = Vec::new();
        for (number, address) in (1..).zip(&addresses) {
            let healthy = random.bool();
            address.learnt.health.force(healthy);
            if healthy && address.weight > 0 {
                alive.push(number);
            }
        }
        for algorithm in ALL {
            let ring = ring(algorithm, &addresses);
            let turn = AtomicUsize::new(random.usize(0..1000));
            // With any tries behind it, even with everybody tried.
            let mut tried = Vec::new();
            for _ in 0..=weights.len() {
                match pick(&ring, &turn, &tried) {
                    Some(id) => {
                        assert!(alive.contains(&id), "round {round} {algorithm:?}");
                        let fresh = alive.iter().filter(|id| !tried.contains(*id)).count();
                        assert!(
                            fresh == 0 || !tried.contains(&id),
                            "round {round} {algorithm:?}: {id} again"
                        );
                        tried.push(id);
                    }
                    None => assert!(alive.is_empty(), "round {round} {algorithm:?}"),
                }
            }
        }
    }
}

#[test]
fn least_connections_go_by_weight() {
    let uneven = addresses(&[10, 30, 0]);
    let weighted = ring(Algorithm::LeastConnections, &uneven);
    let turn = AtomicUsize::new(0);
    let mut under_way = Vec::new();
    for _ in 0..40 {
        let (_, host) = weighted.pick(&turn, 0, &[], || Duration::ZERO).unwrap();
        under_way.push(host.start_request());
    }
    let active: Vec<_> = uneven
        .iter()
        .map(|address| address.active_requests())
        .collect();
    assert_eq!(active, [10, 30, 0]);
    // Those that end make room where they were.
    under_way.clear();
    let equal = addresses(&[5, 5]);
    let ring = ring(Algorithm::LeastConnections, &equal);
    let picked: Vec<_> = (0..6).map(|_| pick(&ring, &turn, &[]).unwrap()).collect();
    assert!(
        picked == [1, 2, 1, 2, 1, 2] || picked == [2, 1, 2, 1, 2, 1],
        "{picked:?}"
    );
}

#[test]
fn the_fastest_is_picked_until_it_slows() {
    let addresses = addresses(&[100, 100, 200]);
    let ring = ring(Algorithm::Latency, &addresses);
    let second = Duration::from_secs(1);
    for (address, milliseconds) in addresses.iter().zip([300, 100, 400]) {
        address
            .learnt
            .latency
            .put(f64::from(milliseconds) / 1000.0, second);
    }
    let pick = |tried: &[u64]| {
        let turn = AtomicUsize::new(1);
        ring.pick(&turn, 0, tried, || second)
            .map(|(_, host)| host.id)
    };
    assert_eq!(pick(&[]), Some(2));
    // 400 ms at twice the weight goes before 300 ms.
    assert_eq!(pick(&[2]), Some(3));
    assert_eq!(pick(&[2, 3]), Some(1));
    addresses[1]
        .learnt
        .latency
        .observe(Duration::from_secs(5), second * 11);
    let turn = AtomicUsize::new(1);
    let later = ring
        .pick(&turn, 0, &[], || second * 11)
        .map(|(_, host)| host.id);
    assert_eq!(later, Some(3));
}

#[test]
fn too_little_available_weight_is_nobody() {
    // (weights, down, threshold, usable)
    let cases: [(&[u32], &[usize], f64, bool); 8] = [
        (&[100, 100], &[], 0.0, true),
        (&[100, 100], &[0], 0.0, true),
        (&[100, 100], &[0, 1], 0.0, false),
        (&[100, 100], &[0], 50.0, false),
        (&[100, 100], &[0], 49.9, true),
        (&[10, 90], &[0], 80.0, true),
        (&[10, 90], &[1], 80.0, false),
        (&[0, 0], &[], 0.0, false),
    ];
    for (weights, down, threshold, usable) in cases {
        let addresses = addresses(weights);
        for place in down {
            addresses[*place].learnt.health.force(false);
        }
        let ring = Ring::new(Parts {
            threshold,
            ..parts(Algorithm::RoundRobin, &addresses)
        });
        assert_eq!(ring.is_healthy, usable, "{weights:?} {down:?} {threshold}");
        assert_eq!(pick(&ring, &AtomicUsize::new(0), &[]).is_some(), usable);
    }
}

#[test]
fn where_nothing_is_checked_everybody_serves() {
    let addresses = addresses(&[1]);
    let limits = Limits {
        tcp_failures: 1,
        ..Limits::default()
    };
    assert!(
        addresses[0]
            .learnt
            .health
            .observe(&limits, Observed::TcpFailure)
    );
    let mut parts = parts(Algorithm::RoundRobin, &addresses);
    parts.passive = None;
    assert!(Ring::new(parts).is_healthy);
    assert!(!ring(Algorithm::RoundRobin, &addresses).is_healthy);
}
