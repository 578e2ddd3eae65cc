//! Few words, alike: what a table and its requests are made of.

use fastrand::Rng;

const LABELS: [&str; 6] = ["a", "b", "aa", "ab", "com", "x-1"];
const SEGMENTS: [&str; 9] = ["a", "b", "ab", "aa", "1", "12", "", "é", "a.b"];
const PATTERNS: [&str; 19] = [
    "/a/\\d+",
    "/(?<v>a|b)/(\\d+)",
    "/a.*",
    "/a/(b)?(?<w>c)?",
    "/",
    "/[ab]+$",
    "(?i)/A",
    "/a|/b",
    ".*",
    "/a/b",
    "/ab?/a",
    "(?<p>/aa?)/",
    "/a{1,2}",
    "/\\w+/a",
    "(/a)(/b)?",
    "/a(?:/|$)",
    "/a\\.b",
    "/é",
    "$",
];
/// What no engine without backtracking can read, or nobody can.
const BROKEN: [&str; 4] = ["/(?=a)", "/(a", "/(a)\\1", "/(?<=a)b"];

pub(crate) fn pick<'w>(random: &mut Rng, words: &[&'w str]) -> &'w str {
    random.choice(words).unwrap()
}

pub(crate) fn host(random: &mut Rng) -> String {
    let labels: Vec<_> = (0..random.usize(1..4))
        .map(|_| pick(random, &LABELS))
        .collect();
    labels.join(".")
}

pub(crate) fn path(random: &mut Rng) -> String {
    let mut path = String::new();
    for _ in 0..random.usize(1..4) {
        path.push('/');
        path.push_str(pick(random, &SEGMENTS));
    }
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

pub(crate) fn pattern(random: &mut Rng) -> &'static str {
    match random.u8(..200) {
        0 => pick(random, &BROKEN),
        _ => pick(random, &PATTERNS),
    }
}

pub(crate) fn method(random: &mut Rng) -> &'static str {
    pick(random, &["GET", "GET", "POST", "PURGE"])
}

/// As a client or a route may write it.
pub(crate) fn header(random: &mut Rng) -> &'static str {
    pick(random, &["x-a", "X_A", "x-b", "X-B", "x_b-c", "x-b-c"])
}

pub(crate) fn value(random: &mut Rng) -> &'static str {
    pick(random, &["1", "A", "a", "ab", "aB", "", "É", "a\"#", "12"])
}

pub(crate) fn address(random: &mut Rng) -> &'static str {
    pick(
        random,
        &[
            "10.0.0.1",
            "10.1.2.3",
            "127.0.0.1",
            "192.168.0.7",
            "::1",
            "2001:db8::1",
        ],
    )
}

pub(crate) fn network(random: &mut Rng) -> &'static str {
    pick(
        random,
        &[
            "10.0.0.0/8",
            "10.1.2.3/16",
            "10.0.0.1/32",
            "0.0.0.0/0",
            "10.0.0.1/0",
            "2001:db8::/32",
            "::/0",
            "2001:db8::1/32",
            "::ffff:10.0.0.1",
        ],
    )
}

pub(crate) fn port(random: &mut Rng) -> u16 {
    *random.choice(&[80, 443, 8080, 9000]).unwrap()
}

pub(crate) fn sni(random: &mut Rng) -> String {
    let name = host(random);
    match random.u8(..6) {
        0 => format!("*.{name}"),
        1 => format!("{name}.*"),
        2 => format!("{name}."),
        _ => name,
    }
}
