use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::health::HealthCheckSettings;
use super::host::Flag;
use super::outlier::OutlierSettings;
use super::settings::{BalancerSettings, SlowStart};
use super::*;

fn endpoint(port: u16) -> Endpoint {
    Endpoint::at(SocketAddr::from(([10, 0, 0, 1], port)))
}

fn assignment(ports: &[u16]) -> Assignment {
    Assignment::of(vec![LocalityEndpoints {
        endpoints: ports.iter().map(|port| endpoint(*port)).collect(),
        ..LocalityEndpoints::default()
    }])
}

fn host_at(cluster: &Cluster, port: u16) -> Option<Arc<Host>> {
    let address = endpoint(port).address;
    cluster
        .endpoints()
        .hosts()
        .find(|host| host.address == address)
        .cloned()
}

fn ejecting() -> Settings {
    Settings {
        outlier: Some(OutlierSettings {
            max_ejection_percent: 100,
            ..OutlierSettings::default()
        }),
        panic_threshold: 0,
        ..Settings::named("test")
    }
}

#[test]
fn an_equal_update_touches_nothing() {
    let now = Instant::now();
    let cluster = Cluster::new(Settings::named("test"), now);
    assert!(!cluster.is_initialized());
    assert!(cluster.update_endpoints(assignment(&[1, 2]), now));
    assert!(cluster.is_initialized());
    let before = cluster.endpoints_cell().load_full();
    assert!(!cluster.update_endpoints(assignment(&[1, 2]), now));
    assert!(!cluster.update_settings(Settings::named("test"), now));
    assert!(Arc::ptr_eq(&before, &cluster.endpoints_cell().load_full()));
    let stats = cluster.stats();
    assert_eq!(
        (
            stats.update_success.value(),
            stats.update_no_rebuild.value(),
            stats.membership_change.value()
        ),
        (2, 1, 1)
    );
}

#[test]
fn hosts_survive_updates() {
    let now = Instant::now();
    let cluster = Cluster::new(ejecting(), now);
    cluster.update_endpoints(assignment(&[1, 2, 3]), now);
    let host = host_at(&cluster, 1).unwrap();
    let request = host.start_request();
    for _ in 0..5 {
        cluster.on_response(&host, 500);
    }
    cluster.process(now);
    assert_eq!(host.health(), Health::Unhealthy);

    // The same endpoint: the very same host. Another weight: the same connections. Another transport: other connections. Always the same vitals.
    let mut changed = assignment(&[1, 2, 4]);
    cluster.update_endpoints(changed.clone(), now);
    assert!(Arc::ptr_eq(&host, &host_at(&cluster, 1).unwrap()));
    changed.localities[0].endpoints[0].weight = 7;
    cluster.update_endpoints(changed.clone(), now);
    let heavier = host_at(&cluster, 1).unwrap();
    assert_eq!((heavier.weight, heavier.id), (7, host.id));
    changed.localities[0].endpoints[0].transport = 1;
    cluster.update_endpoints(changed, now);
    let other = host_at(&cluster, 1).unwrap();
    assert_ne!(other.id, host.id);
    for version in [&heavier, &other] {
        assert!(Arc::ptr_eq(version.vitals(), host.vitals()));
        assert_eq!(
            (version.health(), version.active_requests()),
            (Health::Unhealthy, 1)
        );
    }
    drop(request);
    assert_eq!(other.active_requests(), 0);
    assert_eq!(cluster.stats().membership_change.value(), 2);

    // Gone and back: a stranger.
    cluster.update_endpoints(assignment(&[2]), now);
    assert_eq!(cluster.outlier_stats().ejections_active.value(), 0);
    cluster.update_endpoints(assignment(&[1, 2]), now);
    let stranger = host_at(&cluster, 1).unwrap();
    assert_eq!(
        (stranger.health(), stranger.serial() == host.serial()),
        (Health::Healthy, false)
    );
}

#[test]
fn slow_start_survives_updates() {
    let now = Instant::now();
    let slow_start = SlowStart {
        window: Duration::from_secs(10),
        ..SlowStart::default()
    };
    let cluster = Cluster::new(
        Settings {
            balancer: BalancerSettings::RoundRobin {
                slow_start: Some(slow_start),
            },
            ..Settings::named("test")
        },
        now,
    );
    cluster.update_endpoints(assignment(&[1]), now);
    let later = now + Duration::from_secs(5);
    cluster.update_endpoints(assignment(&[1, 2]), later);
    let factor =
        |port| balance::slow_start::factor(&host_at(&cluster, port).unwrap(), &slow_start, later);
    assert!((factor(1) - 0.5).abs() < 1e-9 && (factor(2) - 0.1).abs() < 1e-9);
}

#[test]
fn ejected_hosts_leave_the_healthy_list_and_return() {
    let now = Instant::now();
    let cluster = Cluster::new(ejecting(), now);
    let mut changes = cluster.host_set_changed();
    cluster.update_endpoints(assignment(&[1, 2]), now);
    changes.mark_unchanged();
    let host = host_at(&cluster, 1).unwrap();
    for _ in 0..5 {
        cluster.on_local_failure(&host, LocalFailure::Connect);
    }
    assert!(
        !changes.has_changed().unwrap(),
        "workers only note, the control side decides"
    );
    let next = cluster.process(now).unwrap();
    assert_eq!(next, now + Duration::from_secs(10));
    assert!(changes.has_changed().unwrap());
    assert_eq!(cluster.stats().membership_healthy.value(), 1);
    let mut picker = Picker::new(1);
    for _ in 0..10 {
        let set = cluster.endpoints();
        assert_ne!(
            picker.pick(&set, &PickContext::first(now)).unwrap().id,
            host.id
        );
    }
    cluster.process(now + Duration::from_secs(29));
    assert_eq!(cluster.stats().membership_healthy.value(), 1);
    cluster.process(now + Duration::from_secs(39));
    assert_eq!(cluster.stats().membership_healthy.value(), 2);
    assert_eq!(host.stats.cx_connect_fail.value(), 5);
}

#[test]
fn settings_switch_outlier_detection_on_and_off() {
    let now = Instant::now();
    let cluster = Cluster::new(Settings::named("test"), now);
    cluster.update_endpoints(assignment(&[1, 2]), now);
    let host = host_at(&cluster, 1).unwrap();
    let fail = || {
        for _ in 0..5 {
            cluster.on_response(&host, 503);
        }
        cluster.process(now)
    };
    assert_eq!(fail(), None);
    assert_eq!(host.health(), Health::Healthy);
    assert!(cluster.update_settings(ejecting(), now));
    assert!(fail().is_some());
    assert_eq!(host.health(), Health::Unhealthy);
    assert!(cluster.update_settings(Settings::named("test"), now));
    assert_eq!(
        (host.health(), cluster.stats().membership_healthy.value()),
        (Health::Healthy, 2)
    );
    assert_eq!(host.stats.rq_error.value(), 10);
}

#[test]
fn active_checks_decide_on_new_hosts_and_keep_departed_ones() {
    let now = Instant::now();
    let settings = Settings {
        health_checks: vec![HealthCheckSettings::default()],
        panic_threshold: 0,
        ..Settings::named("test")
    };
    let passing = CheckVerdict {
        healthy: true,
        degraded: false,
        timed_out: false,
    };
    let failing = CheckVerdict {
        healthy: false,
        ..passing
    };
    let cluster = Cluster::new(settings.clone(), now);
    cluster.update_endpoints(assignment(&[1, 2]), now);
    assert!(
        !cluster.is_initialized(),
        "the first checks are yet to come"
    );
    assert_eq!(cluster.stats().membership_healthy.value(), 0);
    let (one, two) = (host_at(&cluster, 1).unwrap(), host_at(&cluster, 2).unwrap());
    cluster.on_health_check(&one, passing, now);
    cluster.on_health_check(
        &two,
        CheckVerdict {
            degraded: true,
            ..passing
        },
        now,
    );
    assert_eq!(
        (one.health(), two.health()),
        (Health::Healthy, Health::Degraded)
    );
    // Neither is assigned any more: they stay while they pass.
    cluster.update_endpoints(assignment(&[3]), now);
    assert_eq!(cluster.stats().membership_total.value(), 3);
    cluster.on_health_check(&one, failing, now);
    assert!(host_at(&cluster, 1).is_none() && host_at(&cluster, 2).is_some());
    // Assigned again: no longer about to go.
    cluster.update_endpoints(assignment(&[2, 3]), now);
    cluster.on_health_check(&two, failing, now);
    assert!(host_at(&cluster, 2).is_some());

    // Without checks nobody fails them, and nobody lingers because of them.
    cluster.update_endpoints(assignment(&[3]), now);
    cluster.on_health_check(&host_at(&cluster, 3).unwrap(), passing, now);
    cluster.update_endpoints(assignment(&[4]), now);
    assert_eq!(cluster.stats().membership_total.value(), 2);
    let unchecked = Settings {
        health_checks: Vec::new(),
        ..settings.clone()
    };
    assert!(cluster.update_settings(unchecked, now));
    let set = cluster.endpoints();
    assert_eq!(
        set.hosts()
            .map(|host| (host.address_text.to_string(), host.health()))
            .collect::<Vec<_>>(),
        [("10.0.0.1:4".to_owned(), Health::Healthy)]
    );

    let draining = Cluster::new(
        Settings {
            drain_on_removal: true,
            ignore_new_hosts_until_first_check: true,
            ..settings
        },
        now,
    );
    draining.update_endpoints(assignment(&[1, 2]), now);
    assert_eq!(draining.stats().membership_excluded.value(), 2);
    draining.on_health_check(&host_at(&draining, 1).unwrap(), passing, now);
    assert_eq!(
        (
            draining.stats().membership_excluded.value(),
            draining.stats().membership_healthy.value()
        ),
        (1, 1)
    );
    draining.update_endpoints(assignment(&[2]), now);
    assert_eq!(draining.stats().membership_total.value(), 1);
}

#[test]
fn an_address_counts_once_in_a_priority() {
    let now = Instant::now();
    let cluster = Cluster::new(Settings::named("test"), now);
    let mut twice = assignment(&[1, 1, 2]);
    twice.localities.push(LocalityEndpoints {
        priority: 1,
        ..twice.localities[0].clone()
    });
    cluster.update_endpoints(twice, now);
    let set = cluster.endpoints();
    assert_eq!(
        set.levels
            .iter()
            .map(|level| level.hosts.len())
            .collect::<Vec<_>>(),
        [2, 2]
    );
    assert!(Arc::ptr_eq(
        set.levels[0].hosts[0].vitals(),
        set.levels[1].hosts[0].vitals()
    ));
}

#[test]
fn hosts_that_left_are_known_to_be_gone() {
    let now = Instant::now();
    let cluster = Cluster::new(ejecting(), now);
    cluster.update_endpoints(assignment(&[1, 2]), now);
    let [one, two] = [1, 2].map(|port| host_at(&cluster, port).unwrap());
    cluster.update_endpoints(assignment(&[2, 3]), now);
    assert!(one.has(Flag::Gone) && !two.has(Flag::Gone));
    cluster.update_endpoints(assignment(&[1, 2, 3]), now);
    assert!(!host_at(&cluster, 1).unwrap().has(Flag::Gone));
    cluster.retire();
    assert!(two.has(Flag::Gone));
}

#[tokio::test]
async fn the_supervisor_ejects_and_returns() {
    let cluster = Cluster::new(ejecting(), Instant::now());
    cluster.update_endpoints(assignment(&[1, 2]), Instant::now());
    let host = host_at(&cluster, 1).unwrap();
    let mut changes = cluster.host_set_changed();
    changes.mark_unchanged();
    let watched = async {
        for _ in 0..5 {
            cluster.on_response(&host, 500);
        }
        changes.changed().await.unwrap();
        host.health()
    };
    let health = tokio::select! {
        () = cluster.supervise() => Health::Healthy,
        health = watched => health,
    };
    assert_eq!(health, Health::Unhealthy);
}

proptest! {
    /// Random updates: an address that stays keeps its vitals, one that leaves is forgotten, gauges tell the truth.
    #[test]
    fn registries_follow_assignments(seed in any::<u64>()) {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(seed);
        let cluster = Cluster::new(ejecting(), now);
        let mut known: std::collections::BTreeMap<u16, u64> = Default::default();
        for _ in 0..30 {
            let ports: Vec<u16> = (1..=12).filter(|_| random.bool()).collect();
            cluster.update_endpoints(assignment(&ports), now);
            known.retain(|port, _| ports.contains(port));
            for port in &ports {
                let host = host_at(&cluster, *port).unwrap();
                let serial = *known.entry(*port).or_insert_with(|| host.serial());
                prop_assert_eq!(host.serial(), serial);
                if random.u8(0..4) == 0 {
                    (0..5).for_each(|_| cluster.on_response(&host, 500));
                }
            }
            cluster.process(now);
            let set = cluster.endpoints();
            let unhealthy = set.hosts().filter(|host| host.health() == Health::Unhealthy).count() as u64;
            prop_assert_eq!(set.hosts().count(), ports.len());
            prop_assert_eq!(cluster.stats().membership_total.value(), ports.len() as u64);
            prop_assert_eq!(cluster.stats().membership_healthy.value(), ports.len() as u64 - unhealthy);
            prop_assert_eq!(cluster.outlier_stats().ejections_active.value(), unhealthy);
        }
    }
}
