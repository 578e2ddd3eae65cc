//! Which instance of a plugin a request gets, and what plugins that do not run do.

use crate::gateway::{Body, Case, Gateway, Upstream, get, run};

/// Each instance answers with its own status: what comes back says which one it was.
#[test]
fn the_closest_instance_wins() {
    let yaml = r#"
_format_version: "3.0"
consumers:
- {username: none}
- {username: c, keyauth_credentials: [{key: c}]}
- {username: rc, keyauth_credentials: [{key: rc}]}
- {username: rsc, keyauth_credentials: [{key: rsc}]}
- {username: sc, keyauth_credentials: [{key: sc}]}
services:
- name: s
  url: "{upstream}"
  routes: [{name: r, paths: [/r]}, {name: joint, paths: [/joint]}, {name: other, paths: [/other]}]
- name: plain
  url: "{upstream}"
  routes: [{name: plain, paths: [/plain]}]
plugins:
- {name: key-auth, config: {anonymous: none}}
- {name: request-termination, config: {status_code: 210}}
- {name: request-termination, service: s, config: {status_code: 211}}
- {name: request-termination, route: r, config: {status_code: 212}}
- {name: request-termination, consumer: c, config: {status_code: 213}}
- {name: request-termination, route: joint, service: s, config: {status_code: 214}}
- {name: request-termination, service: s, consumer: sc, config: {status_code: 215}}
- {name: request-termination, route: r, consumer: rc, config: {status_code: 216}}
- {name: request-termination, route: r, service: s, consumer: rsc, config: {status_code: 217}}
- {name: request-termination, route: r, consumer: rsc, config: {status_code: 218}}
- {name: request-termination, service: s, consumer: rsc, config: {status_code: 219}}
- {name: request-termination, consumer: rsc, config: {status_code: 220}}
"#;
    let case = |name, target, key, status| Case {
        name,
        ask: get(target).header("apikey", key),
        status,
        headers: &[],
        body: Body::Any,
        seen: None,
    };
    run(
        "scopes",
        yaml,
        &[
            case("nobody in particular", "/plain", "-", 210),
            case("the service's", "/other", "-", 211),
            case("the route's before the service's", "/r", "-", 212),
            case("the consumer's before the route's", "/r", "c", 213),
            case("the consumer's before the service's", "/other", "c", 213),
            case("the consumer's before the global one", "/plain", "c", 213),
            case(
                "route and service together before the consumer's",
                "/joint",
                "c",
                214,
            ),
            case("service and consumer before both", "/joint", "sc", 215),
            case("service and consumer", "/other", "sc", 215),
            case("route and consumer", "/r", "rc", 216),
            case("all three", "/r", "rsc", 217),
            case(
                "service and consumer where the route has none",
                "/other",
                "rsc",
                219,
            ),
            case("the consumer alone elsewhere", "/plain", "rsc", 220),
        ],
    );
}

/// What guards is missed, what does not guard is not.
#[test]
fn plugins_that_do_not_run() {
    let upstream = Upstream::start();
    let gateway = Gateway::declarative(
        &r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: guarded, paths: [/guarded], plugins: [{name: ldap-auth, config: {base_dn: "dc=x", ldap_host: x, attribute: cn}}]}
  - {name: watched, paths: [/watched], plugins: [{name: udp-log, config: {host: 127.0.0.1, port: 9}}]}
  - {name: "off", paths: [/off], plugins: [{name: ldap-auth, enabled: false, config: {base_dn: "dc=x", ldap_host: x, attribute: cn}}]}
"#
        .replace("{upstream}", &upstream.url()),
    );
    let answer = gateway.send(&get("/guarded"));
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(upstream.seen(), []);
    assert_eq!(gateway.send(&get("/watched")).status(), 200);
    assert_eq!(gateway.send(&get("/off")).status(), 200);
    let log = gateway.log();
    for part in ["ldap-auth", "answered with 503", "udp-log", "has no effect"] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
}
