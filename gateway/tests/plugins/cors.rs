use crate::gateway::{Ask, Body, Case, Gateway, SEEN, Seen, Upstream, ask, get, reply, run_with};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: plain, paths: [/plain], plugins: [{name: cors}]}
  - {name: empty, paths: [/empty], plugins: [{name: cors, config: {origins: []}}]}
  - name: full
    paths: [/full]
    plugins:
    - name: cors
      config: {origins: [example.test], methods: [GET], headers: [origin, type, accepts], exposed_headers: [x-auth-token], max_age: 23, credentials: true}
  - name: continued
    paths: [/continued]
    plugins:
    - name: cors
      config: {origins: [example.test], methods: [GET], exposed_headers: [x-auth-token, x-other], preflight_continue: true}
  - {name: guarded, paths: [/guarded], plugins: [{name: cors}, {name: key-auth}]}
  - {name: any, paths: [/any], plugins: [{name: cors, config: {origins: ["*"], credentials: true}}]}
  - {name: several, paths: [/several], plugins: [{name: cors, config: {origins: ["http://a.test", "https://b.test:9000"], credentials: true}}]}
  - {name: several-any, paths: [/several-any], plugins: [{name: cors, config: {origins: [foo.bar, "*"]}}]}
  - {name: regex, paths: [/regex], plugins: [{name: cors, config: {origins: ['.*\.?example(?:-foo)?.test']}}]}
  - {name: private, paths: [/private], plugins: [{name: cors, config: {origins: [a.test], private_network: true}}]}
- name: dead
  url: "http://127.0.0.1:1"
  retries: 0
  routes:
  - {name: dead, paths: [/dead], plugins: [{name: cors, config: {origins: [example.test], exposed_headers: [x-auth-token]}}]}
"#;

type Fields = &'static [(&'static str, Option<&'static str>)];

const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";

fn preflight(path: &str, origin: &str) -> Ask {
    ask("OPTIONS", path)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "GET")
}

fn from(path: &str, origin: &str) -> Ask {
    get(path).header("Origin", origin)
}

fn answered(name: &'static str, ask: Ask, headers: Fields) -> Case {
    Case {
        name,
        ask,
        status: 200,
        headers,
        body: Body::Is(""),
        seen: None,
    }
}

fn passed(name: &'static str, ask: Ask, headers: Fields) -> Case {
    Case {
        name,
        ask,
        status: 200,
        headers,
        body: Body::Is("hello"),
        seen: Some(SEEN),
    }
}

#[test]
fn origins_are_told_what_they_may() {
    let upstream = Upstream::answering(|_| {
        let headers = [
            ("Vary", "Accept-Encoding"),
            ("Access-Control-Allow-Origin", "of the service"),
        ];
        reply(200, &headers, "hello")
    });
    run_with("cors: preflights", YAML, &upstream, &preflights());
    run_with("cors: requests", YAML, &upstream, &requests());
}

fn preflights() -> Vec<Case> {
    vec![
        answered(
            "defaults",
            preflight("/plain", "http://a.test"),
            &[
                ("content-length", Some("0")),
                ("access-control-allow-origin", Some("*")),
                ("access-control-allow-methods", Some(METHODS)),
                ("access-control-allow-headers", None),
                ("access-control-expose-headers", None),
                ("access-control-allow-credentials", None),
                ("access-control-max-age", None),
                ("access-control-allow-private-network", None),
                ("vary", None),
            ],
        ),
        answered(
            "no origins are all",
            preflight("/empty", "http://a.test"),
            &[("access-control-allow-origin", Some("*")), ("vary", None)],
        ),
        answered(
            "any origin with credentials is told by name",
            preflight("/any", "http://a.test:80"),
            &[
                ("access-control-allow-origin", Some("http://a.test:80")),
                ("access-control-allow-credentials", Some("true")),
                ("vary", Some("Origin")),
            ],
        ),
        answered(
            "any beside another",
            preflight("/several-any", "http://a.test"),
            &[
                ("access-control-allow-origin", Some("*")),
                ("access-control-allow-credentials", None),
            ],
        ),
        answered(
            "everything that can be said",
            preflight("/full", "http://a.test"),
            &[
                ("access-control-allow-origin", Some("example.test")),
                ("access-control-allow-methods", Some("GET")),
                ("access-control-allow-headers", Some("origin,type,accepts")),
                ("access-control-allow-credentials", Some("true")),
                ("access-control-max-age", Some("23")),
                ("access-control-expose-headers", None),
                ("vary", Some("Origin")),
            ],
        ),
        answered(
            "what is asked for is allowed",
            preflight("/plain", "http://a.test")
                .header("Access-Control-Request-Headers", "origin,accepts"),
            &[("access-control-allow-headers", Some("origin,accepts"))],
        ),
        answered(
            "an origin of several",
            preflight("/several", "http://a.test"),
            &[
                ("access-control-allow-origin", Some("http://a.test")),
                ("vary", Some("Origin")),
            ],
        ),
        answered(
            "an origin that only begins like one",
            preflight("/several", "http://a.test.evil.test"),
            &[
                ("access-control-allow-origin", None),
                ("vary", Some("Origin")),
            ],
        ),
        answered(
            "a private network",
            preflight("/private", "a.test")
                .header("Access-Control-Request-Private-Network", "true"),
            &[("access-control-allow-private-network", Some("true"))],
        ),
        answered(
            "no private network was asked for",
            preflight("/private", "a.test"),
            &[("access-control-allow-private-network", None)],
        ),
        answered(
            "before a key is asked for",
            preflight("/guarded", "http://a.test"),
            &[("access-control-allow-origin", Some("*"))],
        ),
        passed(
            "for the service, which says everything itself",
            preflight("/continued", "http://a.test"),
            &[
                ("access-control-allow-origin", Some("of the service")),
                ("access-control-expose-headers", None),
                ("vary", Some("Accept-Encoding")),
            ],
        ),
    ]
}

fn requests() -> Vec<Case> {
    vec![
        passed(
            "defaults, also without an origin",
            get("/plain"),
            &[
                ("access-control-allow-origin", Some("*")),
                ("access-control-allow-methods", None),
                ("access-control-allow-headers", None),
                ("access-control-expose-headers", None),
                ("access-control-allow-credentials", None),
                ("access-control-max-age", None),
                ("vary", Some("Accept-Encoding")),
            ],
        ),
        Case {
            name: "an OPTIONS that is no preflight",
            ask: ask("OPTIONS", "/plain").header("Origin", "http://a.test"),
            status: 200,
            headers: &[
                ("access-control-allow-origin", Some("*")),
                ("access-control-allow-methods", None),
            ],
            body: Body::Is("hello"),
            seen: Some(Seen {
                line: Some("OPTIONS /"),
                ..SEEN
            }),
        },
        passed(
            "everything that can be said",
            get("/full"),
            &[
                ("access-control-allow-origin", Some("example.test")),
                ("access-control-expose-headers", Some("x-auth-token")),
                ("access-control-allow-credentials", Some("true")),
                ("access-control-allow-methods", None),
                ("access-control-allow-headers", None),
                ("access-control-max-age", None),
            ],
        ),
        passed(
            "several exposed",
            from("/continued", "http://a.test"),
            &[(
                "access-control-expose-headers",
                Some("x-auth-token,x-other"),
            )],
        ),
        passed(
            "an origin of several, its own port left off",
            from("/several", "http://a.test:80"),
            &[
                ("access-control-allow-origin", Some("http://a.test")),
                ("access-control-allow-credentials", Some("true")),
            ],
        ),
        passed(
            "another port",
            from("/several", "https://b.test:9000"),
            &[("access-control-allow-origin", Some("https://b.test:9000"))],
        ),
        passed(
            "another scheme: not even what the service said",
            from("/several", "https://a.test"),
            &[("access-control-allow-origin", None)],
        ),
        passed(
            "no origin where there are several",
            get("/several"),
            &[("access-control-allow-origin", None)],
        ),
        passed(
            "an expression",
            from("/regex", "www.example-foo.test"),
            &[("access-control-allow-origin", Some("www.example-foo.test"))],
        ),
        passed(
            "not the expression",
            from("/regex", "www.example-fo0.test"),
            &[("access-control-allow-origin", None)],
        ),
        passed(
            "any origin with credentials",
            from("/any", "http://a.test:3000"),
            &[
                ("access-control-allow-origin", Some("http://a.test:3000")),
                ("access-control-allow-credentials", Some("true")),
            ],
        ),
        passed(
            "credentials of nobody",
            get("/any"),
            &[
                ("access-control-allow-origin", Some("*")),
                ("access-control-allow-credentials", None),
            ],
        ),
        Case {
            name: "over what another plugin answers",
            ask: from("/guarded", "http://a.test"),
            status: 401,
            headers: &[("access-control-allow-origin", Some("*")), ("vary", None)],
            body: Body::Error("No API key found in request"),
            seen: None,
        },
        Case {
            name: "over an error of the gateway's own",
            ask: from("/dead", "http://a.test"),
            status: 502,
            headers: &[
                ("access-control-allow-origin", Some("example.test")),
                ("access-control-expose-headers", Some("x-auth-token")),
                ("vary", Some("Origin")),
            ],
            body: Body::Any,
            seen: None,
        },
    ]
}

/// Caches are told of the origin beside what the service tells them.
#[test]
fn vary_joins_the_services_own() {
    let upstream = Upstream::answering(|_| reply(200, &[("Vary", "Accept-Encoding")], "hello"));
    let gateway = Gateway::declarative(&YAML.replace("{upstream}", &upstream.url()));
    let answer = gateway.send(&from("/several", "http://a.test"));
    let named = answer.headers.iter().filter(|(name, _)| name == "vary");
    let values: Vec<_> = named.map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["Accept-Encoding", "Origin"]);
}
