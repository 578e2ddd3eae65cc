//! Which cases of a long table run.

use crate::support::report_cases;

/// Every case with `FULL=1`, else `count` of them, chosen by the seed; the runner is told.
pub fn of<T>(table: &str, mut cases: Vec<T>, count: usize) -> Vec<T> {
    let all = cases.len();
    let full = std::env::var("FULL").is_ok_and(|value| !value.is_empty() && value != "0");
    if !full && count < all {
        let mut random = random(table);
        while cases.len() > count {
            // Order is kept: neighbours run one after another.
            cases.remove(random.usize(..cases.len()));
        }
    }
    report_cases(table, cases.len(), all);
    cases
}

/// A source of numbers that depends on the seed and the table only.
pub fn random(table: &str) -> fastrand::Rng {
    let seed = std::env::var("CARBYNE_SEED").unwrap_or_default();
    let seed = seed.parse().unwrap_or(0_u64);
    let mixed = table.bytes().fold(seed, |mixed, byte| {
        mixed.rotate_left(7) ^ u64::from(byte).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    fastrand::Rng::with_seed(mixed)
}
