//! Micro-benches of an event: what it takes to make one, to encode it, and to emit it.
//!
//! `cargo bench -p carbyne-benches --bench events`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot set up has nothing to measure"
)]

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use carbyne_events::emit::{Options, Outlet};
use carbyne_events::event::Event;
use carbyne_events::samples::Calls;
use criterion::{Criterion, criterion_group, criterion_main};

/// Events of one lap: the ring takes them, however late the writer is.
const LAP: u64 = 10_000;

fn events(criterion: &mut Criterion) {
    let mut calls = Calls::new(1);
    criterion.bench_function("events/make", |bencher| {
        bencher.iter(|| {
            black_box(calls.call());
        });
    });
    let mut body = Vec::with_capacity(1024);
    let call = calls.call();
    criterion.bench_function("events/encode", |bencher| {
        bencher.iter(|| {
            body.clear();
            black_box(&call).encode(&mut body);
        });
    });

    let folder = std::env::temp_dir().join(format!("carbyne-bench-{}", std::process::id()));
    let options = Options {
        ring_bytes: 16 << 20,
        ..Options::new("bench", "gateway")
    };
    let outlet = Outlet::open(&folder, options).unwrap();
    let emitter = outlet.emitter();
    criterion.bench_function("events/emit", |bencher| {
        bencher.iter_custom(|mut left| {
            let mut spent = Duration::ZERO;
            while left > 0 {
                while outlet.status().rings.iter().any(|(_, used)| *used > 0.1) {
                    thread::sleep(Duration::from_millis(1));
                }
                let lap = left.min(LAP);
                let started = Instant::now();
                for _ in 0..lap {
                    emitter.emit(black_box(&call)).unwrap();
                }
                spent += started.elapsed();
                left -= lap;
            }
            spent
        });
    });
    drop(emitter);
    drop(outlet);
    std::fs::remove_dir_all(folder).unwrap();
}

criterion_group!(benches, events);
criterion_main!(benches);
