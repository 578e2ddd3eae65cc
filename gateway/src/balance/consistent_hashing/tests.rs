//! The vectors were made by Kong 3.9.3's own algorithm, run by LuaJIT.

use super::*;

struct Case {
    name: &'static str,
    slots: u32,
    targets: usize,
    places: &'static [(&'static str, u16, u32)],
    down: &'static [u32],
    /// Whom `key-1` to `key-24` lead to.
    first: [u32; 24],
    /// A hash over whom 5,000 more values lead to.
    digest: u32,
}

const ONE: &str = "[0000:0000:0000:0000:0000:0000:0000:0001]";

const EQUAL: &[(&str, u16, u32)] = &[
    ("10.0.0.1", 8000, 100),
    ("10.0.0.2", 8000, 100),
    ("10.0.0.3", 8000, 100),
];

const CASES: [Case; 5] = [
    Case {
        name: "equal weights",
        slots: 10_000,
        targets: 3,
        places: EQUAL,
        down: &[],
        first: [
            0, 0, 0, 1, 2, 1, 0, 2, 0, 1, 2, 2, 0, 1, 1, 2, 1, 1, 0, 1, 1, 0, 0, 2,
        ],
        digest: 1_984_383_621,
    },
    Case {
        name: "other weights, and a name with two addresses",
        slots: 1000,
        targets: 3,
        places: &[
            ("10.0.0.10", 80, 250),
            ("10.0.0.9", 80, 10),
            ("10.1.0.1", 80, 100),
            ("10.1.0.2", 80, 100),
        ],
        down: &[],
        first: [
            2, 0, 3, 3, 2, 0, 0, 3, 0, 3, 0, 0, 2, 2, 0, 0, 3, 3, 3, 2, 0, 0, 2, 3,
        ],
        digest: 2_941_132_832,
    },
    Case {
        name: "fewer slots than a ring has points",
        slots: 10,
        targets: 2,
        places: &[("10.0.0.1", 80, 100), ("10.0.0.1", 8080, 100)],
        down: &[],
        first: [
            1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0,
        ],
        digest: 2_231_646_927,
    },
    Case {
        name: "one is down",
        slots: 10_000,
        targets: 3,
        places: EQUAL,
        down: &[1],
        first: [
            0, 0, 0, 2, 2, 0, 0, 2, 0, 2, 2, 2, 0, 0, 2, 2, 2, 2, 0, 2, 2, 0, 0, 2,
        ],
        digest: 961_130_745,
    },
    Case {
        name: "IPv6, and services",
        slots: 65_536,
        targets: 2,
        places: &[(ONE, 80, 1), ("one.test", 8001, 5), ("two.test", 8002, 1)],
        down: &[],
        first: [
            2, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 2, 0, 1, 1, 1, 1, 2, 1, 1, 2, 0, 1,
        ],
        digest: 1_272_169_209,
    },
];

fn places(places: &'static [(&'static str, u16, u32)]) -> Vec<Place<'static>> {
    let place = |&(ip, port, weight): &(&'static str, u16, u32)| Place { ip, port, weight };
    places.iter().map(place).collect()
}

fn leads(found: &[u32], value: &str) -> u32 {
    found[point(value.as_bytes(), u32::try_from(found.len()).unwrap()) as usize]
}

#[test]
fn values_lead_where_kong_leads_them() {
    for case in CASES {
        let ring = ring(&places(case.places), case.targets, points(case.slots));
        let found = found(&ring, |index| !case.down.contains(&index));
        let first: Vec<_> = (1..=24)
            .map(|number| leads(&found, &format!("key-{number}")))
            .collect();
        assert_eq!(first, case.first, "{}", case.name);
        let mut digest = 0;
        for number in 1..=5000 {
            let (ip, port, _) = case.places[leads(&found, &format!("value {number}")) as usize];
            digest = xxh32(format!("{digest}{ip}|{port}").as_bytes(), 0);
        }
        assert_eq!(digest, case.digest, "{}", case.name);
    }
}

#[test]
fn hashes_are_kongs() {
    for (text, hash) in [
        ("", 46_947_589),
        ("a", 1_426_945_110),
        ("abc", 852_579_327),
        ("10.0.0.1::80 1", 1_053_262_915),
        ("consumer-0b7f3a52-4fd4-4c14-9f43-1f0c2a5a7d11", 322_803_644),
        ("/a b/c", 1_042_014_063),
    ] {
        assert_eq!(xxh32(text.as_bytes(), 0), hash, "{text}");
    }
    assert_eq!(xxh32("x".repeat(64).as_bytes(), 0), 4_129_382_658);
}

#[test]
fn who_goes_down_takes_nobody_elses_values_along() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20 {
        let count = random.u32(2..12);
        let ips: Vec<_> = (0..count)
            .map(|number| format!("10.0.0.{number}"))
            .collect();
        let places: Vec<_> = ips
            .iter()
            .map(|ip| Place {
                ip,
                port: 80,
                weight: random.u32(1..200),
            })
            .collect();
        let ring = ring(&places, places.len(), 10_000);
        let all = found(&ring, |_| true);
        let down = random.u32(0..count);
        let rest = found(&ring, |index| index != down);
        for number in 0..2000 {
            let value = format!("{number}");
            let (before, after) = (leads(&all, &value), leads(&rest, &value));
            assert!(
                after != down && (before == down || before == after),
                "{value}"
            );
        }
    }
}

#[test]
fn who_leaves_takes_hardly_anybody_elses_values_along() {
    let with = ring(&places(EQUAL), 3, 10_000);
    let without = ring(&places(&EQUAL[..2]), 2, 10_000);
    let (with, without) = (found(&with, |_| true), found(&without, |_| true));
    let moved = (0..10_000)
        .filter(|number| {
            let value = format!("{number}");
            let before = leads(&with, &value);
            before != 2 && before != leads(&without, &value)
        })
        .count();
    // Where points collided, the one that came second moved on and moves back.
    assert!(moved < 100, "{moved} of 10,000");
}

#[test]
fn a_ring_of_nobody_leads_nowhere() {
    let ring = ring(&[], 0, 1000);
    assert!(found(&ring, |_| true).iter().all(|index| *index == NOBODY));
    let idle = [Place {
        ip: "10.0.0.1",
        port: 80,
        weight: 0,
    }];
    let ring = super::ring(&idle, 1, 1000);
    assert!(ring.iter().all(|index| *index == NOBODY));
}

#[test]
fn a_ring_that_is_too_small_serves_those_that_found_a_place() {
    let ips: Vec<_> = (0..40).map(|number| format!("10.0.0.{number}")).collect();
    let places: Vec<_> = ips
        .iter()
        .map(|ip| Place {
            ip,
            port: 80,
            weight: 100,
        })
        .collect();
    let ring = ring(&places, 40, 1000);
    assert!(found(&ring, |_| true).iter().all(|index| *index != NOBODY));
}
