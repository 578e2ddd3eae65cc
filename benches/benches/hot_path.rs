//! Micro-benches of what every request passes: heads in and out, canonical host and path, metrics.
//!
//! `cargo bench -p carbyne-benches`. For whole-process figures see `make bench`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot set up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use carbyne_engine::http::canonical::{self, Policy};
use carbyne_engine::http::h1::encode::{Connection, encode_request};
use carbyne_engine::http::h1::{Framing, HeadScan, Limits, RequestHead};
use carbyne_engine::observe::metrics::{Counter, Histogram};
use criterion::{Criterion, criterion_group, criterion_main};

/// A request as a browser sends it through one proxy.
const HEAD: &[u8] = b"GET /api/v1/products/42?currency=EUR&lang=en HTTP/1.1\r\n\
    Host: catalogue.default.svc.cluster.local:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543\r\n\
    X-Request-Id: 0d5f2a4e-7b58-4b43-9a53-0d8a7c1e6f00\r\n\
    X-Forwarded-For: 10.1.2.3\r\n\
    X-Forwarded-Proto: https\r\n\r\n";

fn parse(head: &Bytes, limits: &Limits) -> RequestHead {
    let mut scan = HeadScan::default();
    let end = scan.find_end(head, limits).unwrap().unwrap();
    scan.request(head.slice(..end), limits).unwrap()
}

fn heads(criterion: &mut Criterion) {
    let limits = Limits::default();
    let head = Bytes::from_static(HEAD);
    criterion.bench_function("http1/parse", |bencher| {
        bencher.iter(|| parse(black_box(&head), &limits));
    });
    let parsed = parse(&head, &limits);
    let mut out = Vec::with_capacity(1024);
    criterion.bench_function("http1/encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_request(
                black_box(&parsed.request),
                Framing::None,
                Connection::KeepAlive,
                &mut out,
            )
            .unwrap();
        });
    });
    for (name, path) in [
        ("plain", "/api/v1/products/42"),
        ("dots", "/api/../v1/./%7Ep//x"),
    ] {
        let mut request = parsed.request.clone();
        request.path = Bytes::from_static(path.as_bytes());
        criterion.bench_function(&format!("canonical/{name}"), |bencher| {
            bencher.iter_batched_ref(
                || request.clone(),
                |request| canonical::apply(request, &Policy::EDGE),
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

fn metrics(criterion: &mut Criterion) {
    carbyne_engine::observe::metrics::enter_worker(0);
    let counter = Counter::new();
    criterion.bench_function("metrics/counter", |bencher| {
        bencher.iter(|| black_box(&counter).increment());
    });
    let histogram = Histogram::new(Arc::from([1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0]));
    criterion.bench_function("metrics/histogram", |bencher| {
        bencher.iter(|| black_box(&histogram).observe(black_box(12.5)));
    });
}

criterion_group!(hot_path, heads, metrics);
criterion_main!(hot_path);
