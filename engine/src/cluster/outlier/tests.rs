use proptest::prelude::*;

use super::*;

struct Bench {
    detector: Detector,
    hosts: Vec<Arc<Vitals>>,
    stats: Arc<OutlierStats>,
    now: Instant,
}

impl Bench {
    fn new(settings: OutlierSettings, hosts: usize) -> Self {
        let now = Instant::now();
        let stats = Arc::new(OutlierStats::default());
        let hosts: Vec<_> = (0..hosts)
            .map(|_| Arc::new(Vitals::new(now, &[])))
            .collect();
        let mut detector = Detector::new(settings, Arc::clone(&stats), now, 1);
        detector.set_members(hosts.iter());
        Self {
            detector,
            hosts,
            stats,
            now,
        }
    }

    fn note(&mut self, host: usize, outcome: Outcome) -> bool {
        let settings = self.detector.settings.clone();
        let causes = self.hosts[host].monitor.note(&settings, outcome);
        let serial = self.hosts[host].serial();
        causes.into_iter().flatten().fold(false, |changed, cause| {
            changed | self.detector.detect(serial, cause, self.now)
        })
    }

    fn notes(&mut self, host: usize, outcome: Outcome, count: usize) {
        for _ in 0..count {
            self.note(host, outcome);
        }
    }

    fn pass(&mut self, seconds: u64) -> bool {
        self.now += Duration::from_secs(seconds);
        self.detector.tick(self.now)
    }

    fn is_ejected(&self, host: usize) -> bool {
        self.hosts[host].has(Flag::Ejected)
    }
}

fn lenient() -> OutlierSettings {
    OutlierSettings {
        max_ejection_percent: 100,
        ..OutlierSettings::default()
    }
}

fn with_runs(any: u32, gateway: u32, local: u32) -> OutlierSettings {
    let run = |enforcing| Run {
        length: 3,
        enforcing,
    };
    OutlierSettings {
        consecutive_5xx: run(any),
        consecutive_gateway_failure: run(gateway),
        consecutive_local_origin_failure: run(local),
        ..lenient()
    }
}

#[test]
fn runs_of_failures_eject() {
    use Outcome::{
        Connected, ConnectedFinally, LocalFailure as Local, RequestFailed, RequestSucceeded, Status,
    };
    let split = |settings: OutlierSettings| OutlierSettings {
        split_local_origin: true,
        ..settings
    };
    let (connect, timeout, reset) = (
        Local(LocalFailure::Connect),
        Local(LocalFailure::Timeout),
        Local(LocalFailure::Reset),
    );
    // settings, outcomes → ejected
    let cases: &[(OutlierSettings, &[Outcome], bool)] = &[
        (
            with_runs(100, 0, 0),
            &[Status(500), Status(501), Status(503)],
            true,
        ),
        (with_runs(100, 0, 0), &[Status(500), Status(501)], false),
        (
            with_runs(100, 0, 0),
            &[Status(500), Status(200), Status(500), Status(500)],
            false,
        ),
        (
            with_runs(100, 0, 0),
            &[Status(499), Status(600), Status(404)],
            false,
        ),
        (with_runs(0, 0, 0), &[Status(500); 9], false),
        (
            with_runs(0, 100, 0),
            &[Status(502), Status(503), Status(504)],
            true,
        ),
        (
            with_runs(0, 100, 0),
            &[Status(502), Status(500), Status(502), Status(502)],
            false,
        ),
        (with_runs(0, 100, 0), &[Status(500); 9], false),
        // Not split: failures here count as 503 and 504, a connection proves nothing (HTTP) or all (TCP).
        (with_runs(0, 100, 0), &[connect, timeout, reset], true),
        (
            with_runs(100, 0, 0),
            &[connect, Connected, timeout, Connected, reset],
            true,
        ),
        (
            with_runs(100, 0, 0),
            &[connect, connect, ConnectedFinally, connect],
            false,
        ),
        (
            with_runs(100, 0, 0),
            &[RequestFailed, RequestFailed, RequestFailed],
            true,
        ),
        (
            with_runs(100, 0, 0),
            &[
                RequestFailed,
                RequestFailed,
                RequestSucceeded,
                RequestFailed,
            ],
            false,
        ),
        // Split: they count apart.
        (
            split(with_runs(100, 100, 0)),
            &[connect, timeout, reset, connect],
            false,
        ),
        (
            split(with_runs(0, 0, 100)),
            &[connect, timeout, reset],
            true,
        ),
        (
            split(with_runs(0, 0, 100)),
            &[connect, timeout, Connected, reset],
            false,
        ),
        (
            split(with_runs(0, 0, 100)),
            &[connect, Status(200), timeout, Status(503), reset],
            true,
        ),
        (
            split(with_runs(100, 0, 100)),
            &[Status(503), Connected, Status(503), Connected, Status(503)],
            true,
        ),
        (
            split(with_runs(0, 0, 100)),
            &[connect, connect, RequestSucceeded, connect],
            false,
        ),
        (
            split(with_runs(0, 100, 0)),
            &[RequestFailed, RequestFailed, RequestFailed],
            true,
        ),
    ];
    for (settings, outcomes, expected) in cases {
        let mut bench = Bench::new(settings.clone(), 2);
        for outcome in *outcomes {
            bench.note(0, *outcome);
        }
        assert_eq!(
            bench.is_ejected(0),
            *expected,
            "{outcomes:?} split {}",
            settings.split_local_origin
        );
        assert!(!bench.is_ejected(1));
        assert_eq!(bench.stats.ejections_active.value(), u64::from(*expected));
    }
}

#[test]
fn detections_count_without_enforcement() {
    let mut bench = Bench::new(with_runs(0, 0, 0), 1);
    bench.notes(0, Outcome::Status(503), 6);
    assert_eq!(
        bench.stats.ejections_detected_consecutive_5xx.value(),
        2,
        "the run begins anew after each detection"
    );
    assert_eq!(
        bench
            .stats
            .ejections_detected_consecutive_gateway_failure
            .value(),
        2
    );
    assert_eq!(bench.stats.ejections_enforced_total.value(), 0);
}

#[test]
fn ejections_last_longer_each_time_and_calm_shortens_them() {
    let mut bench = Bench::new(lenient(), 1);
    let eject = |bench: &mut Bench| {
        bench.notes(0, Outcome::Status(500), 5);
        assert!(bench.is_ejected(0));
    };
    // 30 s, 60 s, 90 s: the host fails again as soon as it is back.
    for multiple in 1..=3 {
        eject(&mut bench);
        for tick in 1..=3 * multiple {
            assert!(bench.is_ejected(0), "ejection {multiple}, tick {tick}");
            bench.pass(10);
        }
        assert!(!bench.is_ejected(0), "ejection {multiple}");
    }
    // Two calm intervals: 3 → 1, and the next ejection is the second multiple.
    bench.pass(10);
    bench.pass(10);
    eject(&mut bench);
    for _ in 0..5 {
        bench.pass(10);
        assert!(bench.is_ejected(0));
    }
    assert!(bench.pass(10));
    assert!(!bench.is_ejected(0));
    assert_eq!(bench.detector.ejections(bench.hosts[0].serial()), 4);
}

#[test]
fn ejections_never_last_longer_than_the_maximum() {
    let settings = OutlierSettings {
        max_ejection_time: Duration::from_secs(70),
        ..lenient()
    };
    let mut bench = Bench::new(settings, 1);
    for _ in 0..6 {
        bench.notes(0, Outcome::Status(500), 5);
        assert!(bench.is_ejected(0));
        bench.pass(70);
        assert!(!bench.is_ejected(0));
    }
    let backoff = bench.detector.members.values().next().unwrap().backoff;
    assert_eq!(backoff, 4, "growth stops one step past the maximum");
}

#[test]
fn the_maximum_percentage_holds() {
    // (hosts, percent, always one) → ejected when all fail
    let cases = [
        (10, 10, false, 1),
        (9, 10, false, 0),
        (9, 10, true, 1),
        (10, 50, false, 5),
        (4, 50, false, 2),
        (3, 50, false, 1),
        (3, 0, false, 0),
        (3, 0, true, 1),
        (3, 100, false, 3),
        (1, 100, false, 1),
        (7, 150, false, 7),
    ];
    for (hosts, max_ejection_percent, always_eject_one, expected) in cases {
        let settings = OutlierSettings {
            max_ejection_percent,
            always_eject_one,
            ..OutlierSettings::default()
        };
        let mut bench = Bench::new(settings, hosts);
        for host in 0..hosts {
            bench.notes(host, Outcome::Status(500), 5);
        }
        let ejected = (0..hosts).filter(|host| bench.is_ejected(*host)).count();
        assert_eq!(
            ejected, expected,
            "{hosts} hosts, {max_ejection_percent} %, always one: {always_eject_one}"
        );
        assert_eq!(
            bench.stats.ejections_overflow.value(),
            (hosts - expected) as u64
        );
    }
}

#[test]
fn low_success_rates_eject() {
    let settings = OutlierSettings {
        consecutive_5xx: Run {
            length: 1000,
            enforcing: 0,
        },
        ..lenient()
    };
    let mut bench = Bench::new(settings, 5);
    for host in 0..5 {
        let failures = if host == 2 { 60 } else { 0 };
        bench.notes(host, Outcome::Status(500), failures);
        bench.notes(host, Outcome::Status(200), 100 - failures);
    }
    assert!(bench.pass(10));
    assert_eq!(
        (0..5)
            .map(|host| bench.is_ejected(host))
            .collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
    assert_eq!(bench.stats.ejections_enforced_success_rate.value(), 1);
    // The next interval begins with empty buckets.
    assert!(!bench.pass(10));
    assert_eq!(bench.stats.ejections_detected_success_rate.value(), 1);
}

#[test]
fn a_successful_check_ends_an_ejection_if_told_so() {
    for (successful_check_unejects, expected) in [(true, false), (false, true)] {
        let mut bench = Bench::new(
            OutlierSettings {
                successful_check_unejects,
                ..lenient()
            },
            1,
        );
        bench.notes(0, Outcome::Status(500), 5);
        let serial = bench.hosts[0].serial();
        assert_eq!(
            bench.detector.on_check_success(serial, bench.now),
            successful_check_unejects
        );
        assert_eq!(bench.is_ejected(0), expected);
    }
}

#[test]
fn members_that_leave_take_their_ejection_along() {
    let mut bench = Bench::new(lenient(), 3);
    bench.notes(0, Outcome::Status(500), 5);
    bench.notes(1, Outcome::Status(500), 5);
    assert_eq!(bench.stats.ejections_active.value(), 2);
    bench.detector.set_members(bench.hosts[1..].iter());
    assert_eq!(bench.stats.ejections_active.value(), 1);
    assert!(
        !bench.is_ejected(0) && bench.is_ejected(1),
        "who stays stays ejected"
    );
    bench.detector.release_all();
    assert!(!bench.is_ejected(1));
    assert_eq!(bench.stats.ejections_active.value(), 0);
}

proptest! {
    /// Whatever happens, the gauge is the number of ejected members and never passes the maximum.
    #[test]
    fn ejections_never_pass_the_maximum(seed in any::<u64>(), hosts in 1usize..12, percent in 0u32..=100, always_eject_one in any::<bool>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = OutlierSettings {
            max_ejection_percent: percent,
            always_eject_one,
            max_ejection_time_jitter: Duration::from_secs(5),
            split_local_origin: random.bool(),
            ..with_runs(100, 50, 100)
        };
        let mut bench = Bench::new(settings, hosts);
        for _ in 0..300 {
            let host = random.usize(0..hosts);
            match random.u32(0..10) {
                0 => { bench.pass(random.u64(1..40)); }
                1 => { bench.note(host, Outcome::Status(200)); }
                2 => { bench.note(host, Outcome::LocalFailure(LocalFailure::Connect)); }
                _ => bench.notes(host, Outcome::Status(503), 2),
            }
            let ejected = (0..hosts).filter(|host| bench.is_ejected(*host)).count();
            prop_assert_eq!(bench.stats.ejections_active.value(), ejected as u64);
            let allowed = (hosts * percent as usize / 100).max(usize::from(always_eject_one));
            prop_assert!(ejected <= allowed, "{} of {} ejected at {} %", ejected, hosts, percent);
        }
        // Everybody returns in the end.
        bench.pass(1000);
        prop_assert!((0..hosts).all(|host| !bench.is_ejected(host)));
    }
}
