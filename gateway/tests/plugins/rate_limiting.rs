use crate::gateway::{Body, Case, Gateway, SEEN, Start, Upstream, get, run};

/// Windows of a year: no test runs over the end of one.
const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: address
    paths: [/address]
    plugins: [{name: rate-limiting, config: {year: 2, limit_by: ip}}]
  - name: several
    paths: [/several]
    plugins: [{name: rate-limiting, config: {month: 2, year: 2, limit_by: ip}}]
  - name: tight
    paths: [/tight]
    plugins: [{name: rate-limiting, config: {day: 10, year: 11, limit_by: ip}}]
  - name: hidden
    paths: [/hidden]
    plugins: [{name: rate-limiting, config: {year: 1, limit_by: ip, hide_client_headers: true}}]
  - name: worded
    paths: [/worded]
    plugins: [{name: rate-limiting, config: {year: 1, limit_by: ip, error_code: 403, error_message: Enough}}]
  - name: fraction
    paths: [/fraction]
    plugins: [{name: rate-limiting, config: {year: 1.5, limit_by: ip}}]
  - name: by-header
    paths: [/header]
    plugins: [{name: rate-limiting, config: {year: 1, limit_by: header, header_name: X-Who}}]
  - name: by-path
    paths: [/path]
    plugins: [{name: rate-limiting, config: {year: 1, limit_by: path, path: /path/one}}]
  - name: by-consumer
    paths: [/consumer]
    plugins:
    - {name: key-auth}
    - {name: rate-limiting, config: {year: 1}}
  - name: by-credential
    paths: [/credential]
    plugins:
    - {name: key-auth}
    - {name: rate-limiting, config: {year: 1, limit_by: credential}}
  - name: redis
    paths: [/redis]
    plugins: [{name: rate-limiting, config: {year: 9, policy: redis, redis: {host: 127.0.0.1}}}]
- name: limited
  url: "{upstream}"
  plugins: [{name: rate-limiting, config: {year: 2, limit_by: service}}]
  routes:
  - {name: one, paths: [/one]}
  - {name: two, paths: [/two]}
consumers:
- username: bob
  keyauth_credentials: [{key: bob-1}, {key: bob-2}]
- username: gold
  keyauth_credentials: [{key: gold}]
  plugins: [{name: rate-limiting, config: {year: 3}}]
"#;

fn passes(name: &'static str, target: &str, headers: &'static [(&str, Option<&str>)]) -> Case {
    Case {
        name,
        ask: get(target),
        status: 200,
        headers,
        body: Body::Is("hello"),
        seen: Some(SEEN),
    }
}

fn refused(name: &'static str, target: &str, headers: &'static [(&str, Option<&str>)]) -> Case {
    Case {
        status: 429,
        body: Body::Error("API rate limit exceeded"),
        seen: None,
        ..passes(name, target, headers)
    }
}

fn with(mut case: Case, name: &str, value: &str) -> Case {
    case.ask = case.ask.header(name, value);
    case
}

#[test]
fn requests_are_counted() {
    let cases = [
        passes(
            "the first of two",
            "/address",
            &[
                ("x-ratelimit-limit-year", Some("2")),
                ("x-ratelimit-remaining-year", Some("1")),
                ("ratelimit-limit", Some("2")),
                ("ratelimit-remaining", Some("1")),
                ("ratelimit-reset", Some("*")),
                ("retry-after", None),
                ("x-ratelimit-limit-minute", None),
            ],
        ),
        passes(
            "the second",
            "/address",
            &[("x-ratelimit-remaining-year", Some("0"))],
        ),
        refused(
            "one too many",
            "/address",
            &[
                ("x-ratelimit-limit-year", Some("2")),
                ("x-ratelimit-remaining-year", Some("0")),
                ("ratelimit-remaining", Some("0")),
                ("ratelimit-reset", Some("*")),
                ("retry-after", Some("*")),
                ("content-type", Some("application/json; charset=utf-8")),
            ],
        ),
        passes(
            "the longest of equally tight windows",
            "/several",
            &[
                ("x-ratelimit-remaining-month", Some("1")),
                ("x-ratelimit-remaining-year", Some("1")),
                ("ratelimit-limit", Some("2")),
            ],
        ),
        passes(
            "the tightest window",
            "/tight",
            &[
                ("ratelimit-limit", Some("10")),
                ("ratelimit-remaining", Some("9")),
                ("x-ratelimit-remaining-year", Some("10")),
            ],
        ),
        passes(
            "nothing is told",
            "/hidden",
            &[
                ("x-ratelimit-limit-year", None),
                ("ratelimit-limit", None),
                ("ratelimit-reset", None),
            ],
        ),
        refused(
            "nor where it ends",
            "/hidden",
            &[("retry-after", None), ("ratelimit-remaining", None)],
        ),
        passes("own words: passes", "/worded", &[]),
        Case {
            status: 403,
            body: Body::Error("Enough"),
            ..refused("own words", "/worded", &[("retry-after", Some("*"))])
        },
        passes(
            "a fraction",
            "/fraction",
            &[
                ("x-ratelimit-limit-year", Some("1.5")),
                ("x-ratelimit-remaining-year", Some("0.5")),
            ],
        ),
        passes(
            "a fraction is let through once more",
            "/fraction",
            &[("x-ratelimit-remaining-year", Some("0"))],
        ),
        refused("a fraction is over", "/fraction", &[]),
        with(passes("a", "/header", &[]), "x-who", "a"),
        with(passes("b", "/header", &[]), "x-who", "b"),
        with(refused("a again", "/header", &[]), "x-who", "a"),
        passes("by address without the header", "/header", &[]),
        with(
            passes("a header that looks like the address", "/header", &[]),
            "x-who",
            "127.0.0.1",
        ),
        refused("by address again", "/header", &[]),
        passes("the path", "/path/one", &[]),
        refused("the path again", "/path/one?x=1", &[]),
        passes("another path is an address", "/path/two", &[]),
        refused("a third is the same address", "/path/three", &[]),
        with(passes("a consumer", "/consumer", &[]), "apikey", "bob-1"),
        with(
            refused("with another key", "/consumer", &[]),
            "apikey",
            "bob-2",
        ),
        Case {
            status: 401,
            body: Body::Error("No API key found in request"),
            ..refused(
                "nobody is not counted",
                "/consumer",
                &[("ratelimit-limit", None)],
            )
        },
        with(
            passes(
                "a consumer's own limit",
                "/consumer",
                // The route's is the nearer one: Kong's order has route before consumer only where both are named.
                &[("x-ratelimit-limit-year", Some("3"))],
            ),
            "apikey",
            "gold",
        ),
        with(
            passes("a credential", "/credential", &[]),
            "apikey",
            "bob-1",
        ),
        with(
            passes("another credential", "/credential", &[]),
            "apikey",
            "bob-2",
        ),
        with(
            refused("the first again", "/credential", &[]),
            "apikey",
            "bob-1",
        ),
        passes("a service by one route", "/one", &[]),
        passes("and by the other", "/two", &[]),
        refused("is over by both", "/one", &[]),
        refused("is over by both, too", "/two", &[]),
        Case {
            status: 503,
            body: Body::Is(r#"{"message":"Service unavailable"}"#),
            ..refused("redis is refused", "/redis", &[("ratelimit-limit", None)])
        },
    ];
    run("rate-limiting", YAML, &cases);
}

#[test]
fn what_cannot_be_counted_is_refused_and_said() {
    let upstream = Upstream::start();
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: r, paths: [/], plugins: [{name: rate-limiting, config: {year: 9, policy: cluster}}]}
"#;
    let gateway = Gateway::declarative(&yaml.replace("{upstream}", &upstream.url()));
    assert_eq!(gateway.send(&get("/")).status(), 503);
    for said in ["cluster counts in a database", "answered with 503"] {
        // The line is on its way through a pipe.
        while !gateway.log().contains(said) {
            std::thread::yield_now();
        }
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn bursts_over_workers_pass_exactly_the_limit_and_reloads_forget_nothing() {
    const CLIENTS: usize = 24;
    const EACH: usize = 20;
    let upstream = Upstream::start();
    let gateway = Gateway::start(Start {
        conf: vec![("nginx_worker_processes", "4".to_owned())],
        yaml: None,
        ..Start::default()
    });
    gateway.administer(
        "PUT",
        "/services/s",
        &format!(r#"{{"url":"{}"}}"#, upstream.url()),
    );
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths":["/"]}"#);
    // The policy of a database is this node's own where the database is.
    let config = |year| {
        format!(
            r#"{{"name":"rate-limiting","config":{{"year":{year},"limit_by":"ip","policy":"cluster"}}}}"#
        )
    };
    const ID: &str = "/plugins/6d1e5f6c-1f0b-4f0e-9d36-2f0a54a1c0de";
    gateway.administer("PUT", ID, &config(100));
    let told = |answer: &crate::gateway::Message| answer.header("x-ratelimit-limit-year").is_some();
    gateway.until(&get("/"), told);
    // Those that passed before the plugin was live were not counted: the last of them was.
    upstream.seen();
    let burst = || {
        let clients: Vec<_> = (0..CLIENTS).map(|_| gateway.client()).collect();
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .map(|mut client| {
                    scope.spawn(move || {
                        let statuses = (0..EACH).map(|_| client.send(&get("/")).status());
                        statuses.filter(|status| *status == 200).count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a client"))
                .collect()
        });
        counts.iter().sum::<usize>()
    };
    let counted = burst();
    assert_eq!(1 + counted, 100);
    assert_eq!(upstream.seen().len(), counted);
    gateway.administer("PUT", ID, &config(130));
    let more =
        |answer: &crate::gateway::Message| answer.header("x-ratelimit-limit-year") == Some("130");
    let first = gateway.until(&get("/"), more);
    assert_eq!(first.status(), 200);
    assert_eq!(1 + burst(), 30);
}
