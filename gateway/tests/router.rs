//! The compiled router against Kong's own engine, on tables and requests that overlap as much as
//! they can.
//!
//! | variable | what it does |
//! |---|---|
//! | `CARBYNE_SEED` | which tables |
//! | `FULL` | 100,000 tables in place of a slice |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: failing loudly is the point"
)]

use carbyne_gateway::plan::route::Route;
use carbyne_gateway::router::{Calculation, Flavor, Router, Rules};

#[path = "support/cases.rs"]
mod cases;
#[path = "router/expressions.rs"]
mod expressions;
#[path = "router/reference.rs"]
mod reference;
#[path = "router/request.rs"]
mod request;
#[path = "router/routes.rs"]
mod routes;
#[path = "router/words.rs"]
mod words;

use reference::{Outcome, Reference};
use request::Asked;

/// All tables there are to run, and how many requests each gets.
const TABLES: u64 = 100_000;
const SLICE: u64 = 600;
const REQUESTS: usize = 12;

#[test]
fn the_compiled_router_and_kongs_engine_agree() {
    let full = std::env::var("FULL").is_ok_and(|full| !["", "0"].contains(&full.as_str()));
    let seed = std::env::var("CARBYNE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0_u64);
    let count = if full { TABLES } else { SLICE };
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let matched: usize = std::thread::scope(|scope| {
        let work = |first| {
            move || {
                (first..count)
                    .step_by(threads as usize)
                    .map(|table| run(seed, table))
                    .sum::<usize>()
            }
        };
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    cases::report("router-tables", count as usize, TABLES as usize);
    let asked = count as usize * REQUESTS;
    println!("{matched} of {asked} requests found a route");
    // A generator whose requests find nothing, or always something, proves nothing.
    assert!(matched > asked / 4 && matched < asked * 19 / 20);
}

/// Runs one table; how many of its requests found a route.
fn run(seed: u64, table: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(TABLES).wrapping_add(table));
    let rules = Rules {
        flavor: *random
            .choice(&[Flavor::TraditionalCompatible, Flavor::Expressions])
            .unwrap(),
        calculation: *random
            .choice(&[Calculation::Original, Calculation::Strict])
            .unwrap(),
    };
    let stream = random.u8(..5) == 0;
    let most = *random.choice(&[3, 8, 20, 60]).unwrap();
    let count = random.usize(1..=most);
    let routes: Vec<Route> = (0..count)
        .map(|_| routes::route(&mut random, rules.flavor, stream))
        .collect();
    let (router, rejected) = Router::build(rules, routes.iter().zip(0_usize..));
    let reference = Reference::new(rules, &routes, stream);
    let rejected: Vec<_> = rejected
        .iter()
        .map(|rejected| rejected.id.clone())
        .collect();
    assert_eq!(rejected, reference.rejected, "seed {seed} table {table}");
    let mut mixed = fastrand::Rng::with_seed(random.clone().u64(..));
    let laid_over = laid_over(&mut mixed, rules, &routes, stream);
    assert_eq!(laid_over.len(), router.len(), "seed {seed} table {table}");
    let mut matched = 0;
    for _ in 0..REQUESTS {
        let asked = Asked::new(&mut random, &routes, stream);
        let expected = reference.ask(&asked);
        matched += usize::from(expected.is_some());
        for router in [&router, &laid_over] {
            assert_eq!(
                outcome(router, &asked),
                expected,
                "seed {seed} table {table}: {asked:#?}\n{}",
                reference.show()
            );
        }
    }
    matched
}

fn outcome(router: &Router<usize>, asked: &Asked) -> Option<Outcome> {
    let lookup = asked.lookup();
    let found = router.find(&lookup)?;
    Some(Outcome {
        route: *found.payload,
        path: found.path().map(Into::into),
        captures: found.captures().map(|captures| {
            let values = captures.iter();
            values
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        }),
    })
}

/// The same routes, of which some were there before and are others now, some came, and others went.
fn laid_over(
    random: &mut fastrand::Rng,
    rules: Rules,
    routes: &[Route],
    stream: bool,
) -> Router<usize> {
    let (mut base, mut came, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for now in (0..).zip(routes) {
        match random.u8(..4) {
            0 => came.push(now),
            1 => {
                let mut before = routes::route(random, rules.flavor, stream);
                before.id = now.1.id.clone();
                gone.push(before);
                came.push(now);
            }
            _ => base.push(now),
        }
    }
    let left = random.usize(..=routes.len());
    gone.extend((0..left).map(|_| routes::route(random, rules.flavor, stream)));
    let all = base
        .iter()
        .map(|(place, route)| (*route, *place))
        .chain(gone.iter().map(|route| (route, usize::MAX)));
    let (base, _) = Router::build(rules, all);
    let came = came.iter().map(|(place, route)| (*route, *place));
    let (router, _) = base.with(rules, &gone, came);
    router
}
