//! The gateway's router: what it costs to find one of ten routes and one of ten thousand, and to build the table.
//!
//! `cargo bench -p carbyne-benches --bench gateway`. For instructions, the program runs a given number of lookups and
//! nothing else: `valgrind --tool=callgrind gateway-… count SHAPE ROUTES LOOKUPS`, twice; the difference is what the
//! lookups cost.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot set up has nothing to measure"
)]

use std::hint::black_box;

use carbyne_engine::http::Headers;
use carbyne_gateway::object;
use carbyne_gateway::plan::route::Route;
use carbyne_gateway::router::{Flavor, Http, Lookup, Protocol, Router, Rules};
use carbyne_gateway::value::{Object, Value};
use criterion::Criterion;
use http::Method;

const SHAPES: [&str; 7] = [
    "host-and-prefix",
    "hosts",
    "prefixes",
    "wildcards",
    "regexes",
    "methods",
    "expressions",
];

/// One route of many, and a request that wants it.
fn route(shape: &str, index: usize) -> Object {
    let mut row = object! {
        "id": format!("00000000-0000-4000-8000-{index:012}"),
        "protocols": list(&["http", "https"]),
    };
    let host = format!("tenant-{index}.example.com");
    let path = format!("/api/v1/service-{index}");
    let fields: &[(&str, Value)] = match shape {
        "host-and-prefix" => &[("hosts", list(&[&host])), ("paths", list(&[&path]))],
        "hosts" => &[("hosts", list(&[&host]))],
        "prefixes" => &[("paths", list(&[&path]))],
        "wildcards" => &[
            ("hosts", list(&[&format!("*.{host}")])),
            ("paths", list(&["/"])),
        ],
        "regexes" => &[("paths", list(&[&format!("~{path}/(?<id>\\d+)$")]))],
        "methods" => &[
            ("hosts", list(&[&host])),
            ("paths", list(&[&path])),
            ("methods", list(&["GET", "HEAD"])),
        ],
        "expressions" => &[(
            "expression",
            format!("http.host == \"{host}\" && http.path ^= \"{path}\"").into(),
        )],
        other => unreachable!("{other}"),
    };
    for (name, value) in fields {
        row.insert((*name).to_owned(), value.clone());
    }
    row
}

fn list(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| Value::from(*text)).collect())
}

fn rules(shape: &str) -> Rules {
    Rules {
        flavor: match shape {
            "expressions" => Flavor::Expressions,
            _ => Flavor::TraditionalCompatible,
        },
        ..Rules::default()
    }
}

fn routes(shape: &str, count: usize) -> Vec<Route> {
    let rows = (0..count).map(|index| route(shape, index));
    rows.map(|row| Route::read(&row).unwrap()).collect()
}

fn router(shape: &str, routes: &[Route]) -> Router<usize> {
    let (router, rejected) = Router::build(rules(shape), routes.iter().zip(0..));
    assert!(rejected.is_empty(), "{rejected:?}");
    router
}

/// Requests for a few of the routes, so that no single one stays in the cache for free.
struct Requests {
    headers: Headers,
    targets: Vec<(String, String, usize)>,
}

impl Requests {
    fn new(shape: &str, count: usize) -> Self {
        let chosen = (0..64).map(|index| index * 7919 % count);
        let target = |index| {
            let host = match shape {
                "wildcards" => format!("www.tenant-{index}.example.com"),
                _ => format!("tenant-{index}.example.com"),
            };
            (host, format!("/api/v1/service-{index}/42"), index)
        };
        Self {
            headers: Headers::new(),
            targets: chosen.map(target).collect(),
        }
    }

    fn lookup(&self, turn: usize) -> (Lookup<'_>, usize) {
        let (host, path, index) = &self.targets[turn % self.targets.len()];
        let lookup = Lookup {
            protocol: Protocol::Https,
            sni: Some(host),
            source: ([10, 0, 0, 1], 40_000).into(),
            destination: ([10, 0, 0, 2], 8443).into(),
            http: Some(Http {
                method: &Method::GET,
                host: host.as_bytes(),
                port: None,
                path: path.as_bytes(),
                query: None,
                headers: &self.headers,
                authority: host.as_bytes(),
            }),
        };
        (lookup, *index)
    }
}

/// Lookups and nothing else, for callgrind.
fn count(shape: &str, routes_count: usize, lookups: usize) {
    let routes = routes(shape, routes_count);
    let router = router(shape, &routes);
    let requests = Requests::new(shape, routes_count);
    for turn in 0..lookups {
        let (lookup, index) = requests.lookup(turn);
        let found = black_box(&router).find(black_box(&lookup)).unwrap();
        assert_eq!(*found.payload, index);
        black_box(found.path());
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, verb, shape, routes, lookups] = arguments.as_slice()
        && verb == "count"
    {
        return count(shape, routes.parse().unwrap(), lookups.parse().unwrap());
    }
    let mut criterion = Criterion::default().configure_from_args();
    for shape in SHAPES {
        for size in [10, 1_000, 10_000] {
            let routes = routes(shape, size);
            let router = router(shape, &routes);
            let requests = Requests::new(shape, size);
            let mut turn = 0;
            criterion.bench_function(&format!("router/find/{shape}/{size}"), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    let (lookup, index) = requests.lookup(turn);
                    assert_eq!(*router.find(black_box(&lookup)).unwrap().payload, index);
                });
            });
        }
        let routes = routes(shape, 10_000);
        criterion.bench_function(&format!("router/build/{shape}/10000"), |bencher| {
            bencher.iter(|| router(shape, black_box(&routes)));
        });
    }
    criterion.final_summary();
}
