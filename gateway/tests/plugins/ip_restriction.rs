use crate::gateway::{Body, Case, Gateway, SEEN, Start, Upstream, get, run};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: bob
  keyauth_credentials: [{key: bob}]
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: deny, paths: [/deny], plugins: [{name: ip-restriction, config: {deny: [127.0.0.1]}}]}
  - {name: deny-net, paths: [/deny-net], plugins: [{name: ip-restriction, config: {deny: [10.0.0.0/8, 127.0.0.0/24]}}]}
  - {name: deny-other, paths: [/deny-other], plugins: [{name: ip-restriction, config: {deny: [127.0.0.2, "::1"]}}]}
  - {name: allow, paths: [/allow], plugins: [{name: ip-restriction, config: {allow: [127.0.0.0/8]}}]}
  - {name: allow-other, paths: [/allow-other], plugins: [{name: ip-restriction, config: {allow: [127.0.0.2, 4.4.4.4, "::/0"]}}]}
  - {name: both, paths: [/both], plugins: [{name: ip-restriction, config: {allow: [127.0.0.0/8], deny: [127.0.0.1]}}]}
  - {name: worded, paths: [/worded], plugins: [{name: ip-restriction, config: {deny: [0.0.0.0/0], status: 401, message: No entry}}]}
  - {name: odd, paths: [/odd], plugins: [{name: ip-restriction, config: {deny: [127.0.0.1], status: 200}}]}
  - name: of-consumer
    paths: [/of-consumer]
    plugins: [{name: key-auth, config: {key_in_query: true}}]
plugins:
- {name: ip-restriction, consumer: bob, config: {deny: [127.0.0.1], message: Not for bob}}
"#;

#[test]
fn addresses_open_doors() {
    let refused = |name, ask, status, text| Case {
        name,
        ask,
        status,
        headers: &[("content-type", Some("application/json; charset=utf-8"))],
        body: Body::Error(text),
        seen: None,
    };
    let passes = |name, ask| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(SEEN),
    };
    let local = "IP address not allowed: 127.0.0.1";
    run(
        "ip-restriction",
        YAML,
        &[
            refused("denied", get("/deny"), 403, local),
            refused("in a denied network", get("/deny-net"), 403, local),
            passes("others are denied", get("/deny-other")),
            passes("in an allowed network", get("/allow")),
            refused("others are allowed", get("/allow-other"), 403, local),
            refused("allowed and denied", get("/both"), 403, local),
            refused("in other words", get("/worded"), 401, "No entry"),
            refused(
                "a status that is no error",
                get("/odd"),
                500,
                "An unexpected error occurred",
            ),
            refused(
                "of one consumer",
                get("/of-consumer?apikey=bob"),
                403,
                "Not for bob",
            ),
            refused(
                "what a client says where it comes from does not count",
                get("/allow-other").header("X-Real-IP", "4.4.4.4"),
                403,
                local,
            ),
            passes(
                "nor against it",
                get("/deny-other").header("X-Real-IP", "127.0.0.2"),
            ),
            Case {
                name: "in plain text",
                ask: get("/deny").header("Accept", "text/plain"),
                status: 403,
                headers: &[("content-type", Some("text/plain; charset=utf-8"))],
                body: Body::Holds("IP address not allowed: 127.0.0.1\n"),
                seen: None,
            },
        ],
    );
}

/// The client's address is what a trusted proxy says it is.
#[test]
fn trusted_proxies_say_who_asks() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(Start {
        conf: vec![
            ("trusted_ips", "127.0.0.0/8".into()),
            ("real_ip_header", "X-Forwarded-For".into()),
            ("real_ip_recursive", "on".into()),
        ],
        yaml: Some(YAML.replace("{upstream}", &upstream.url())),
        ..Start::default()
    });
    for (path, told, status, text) in [
        ("/allow-other", "4.4.4.4", 200, "hello"),
        ("/allow-other", "4.4.4.4, 127.0.0.9", 200, "hello"),
        ("/allow-other", "2001:db8::1", 200, "hello"),
        (
            "/allow-other",
            "4.4.4.4, 5.5.5.5",
            403,
            "IP address not allowed: 5.5.5.5",
        ),
        (
            "/allow-other",
            "nonsense",
            403,
            "IP address not allowed: 127.0.0.1",
        ),
        ("/deny-other", "::1", 403, "IP address not allowed: ::1"),
        (
            "/deny-net",
            "10.1.2.3",
            403,
            "IP address not allowed: 10.1.2.3",
        ),
        ("/deny-net", "11.1.2.3", 200, "hello"),
        (
            "/deny",
            "127.0.0.1",
            403,
            "IP address not allowed: 127.0.0.1",
        ),
    ] {
        let answer = gateway.send(&get(path).header("X-Forwarded-For", told));
        assert_eq!(answer.status(), status, "{path} {told}");
        assert!(
            answer.text().contains(text),
            "{path} {told}: {}",
            answer.text()
        );
    }
}

/// What is denied follows the configuration while connections stay.
#[test]
fn rules_change() {
    let upstream = Upstream::start();
    let yaml = YAML.replace("{upstream}", &upstream.url());
    let gateway = Gateway::declarative(&yaml);
    let asked = get("/deny");
    assert_eq!(gateway.send(&asked).status(), 403);
    gateway.reload(&yaml.replace("deny: [127.0.0.1]}}]}", "deny: [127.0.0.3]}}]}"));
    gateway.until(&asked, |answer| answer.status() == 200);
    gateway.reload(&yaml);
    gateway.until(&asked, |answer| answer.status() == 403);
}
