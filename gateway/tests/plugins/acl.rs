use crate::gateway::{Body, Case, Gateway, SEEN, Seen, Upstream, get, run};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: admin
  keyauth_credentials: [{key: admin}]
  acls: [{group: admin}]
- username: many
  keyauth_credentials: [{key: many}]
  acls: [{group: pro}, {group: hello}]
- username: alone
  keyauth_credentials: [{key: alone}]
- username: nobody
  acls: [{group: everyone}]
services:
- name: s
  url: "{upstream}"
  routes:
  - name: bare
    paths: [/bare]
    plugins:
    - {name: acl, config: {allow: [admin]}}
  - name: bare-deny
    paths: [/bare-deny]
    plugins:
    - {name: acl, config: {deny: [admin]}}
  - name: allow
    paths: [/allow]
    plugins:
    - {name: key-auth}
    - {name: acl, config: {allow: [admin, pro]}}
  - name: allow-always
    paths: [/allow-always]
    plugins:
    - {name: key-auth}
    - {name: acl, config: {allow: [admin], always_use_authenticated_groups: true}}
  - name: hidden
    paths: [/hidden]
    plugins:
    - {name: key-auth}
    - {name: acl, config: {allow: [admin], hide_groups_header: true}}
  - name: deny
    paths: [/deny]
    plugins:
    - {name: key-auth}
    - {name: acl, config: {deny: [admin]}}
  - name: anonymous
    paths: [/anonymous]
    plugins:
    - {name: key-auth, config: {anonymous: nobody}}
    - {name: acl, config: {allow: [everyone]}}
  - name: anonymous-out
    paths: [/anonymous-out]
    plugins:
    - {name: key-auth, config: {anonymous: nobody}}
    - {name: acl, config: {allow: [admin]}}
  - name: anonymous-alone
    paths: [/anonymous-alone]
    plugins:
    - {name: key-auth, config: {anonymous: alone}}
    - {name: acl, config: {allow: [admin]}}
  - name: anonymous-deny
    paths: [/anonymous-deny]
    plugins:
    - {name: key-auth, config: {anonymous: alone}}
    - {name: acl, config: {deny: [admin]}}
"#;

#[test]
fn groups_open_doors() {
    let refused = |name, ask, status, text| Case {
        name,
        ask,
        status,
        headers: &[("content-type", Some("application/json; charset=utf-8"))],
        body: Body::Error(text),
        seen: None,
    };
    let forbidden = |name, ask| refused(name, ask, 403, "You cannot consume this service");
    let unknown = |name, ask| refused(name, ask, 401, "Unauthorized");
    let passes = |name, ask, headers| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(Seen { headers, ..SEEN }),
    };
    let keyed = |path: &str, key: &str| get(path).header("apikey", key);
    run(
        "acl",
        YAML,
        &[
            unknown("nobody said who the client is", get("/bare")),
            unknown("nor where some are denied", get("/bare-deny")),
            unknown(
                "what a client says of itself does not count",
                get("/bare")
                    .header("X-Consumer-Groups", "admin")
                    .header("X-Authenticated-Groups", "admin")
                    .header("X-Consumer-Username", "admin"),
            ),
            passes(
                "in the group",
                keyed("/allow", "admin"),
                &[
                    ("x-consumer-groups", Some("admin")),
                    ("x-authenticated-groups", None),
                ],
            ),
            passes(
                "in one of the groups",
                keyed("/allow", "many"),
                &[("x-consumer-username", Some("many"))],
            ),
            passes(
                "nobody told groups: those of the consumer",
                keyed("/allow-always", "admin"),
                &[("x-consumer-groups", Some("admin"))],
            ),
            forbidden("in another group", keyed("/hidden", "many")),
            forbidden("in no group", keyed("/allow", "alone")),
            forbidden(
                "groups that a client claims do not count",
                keyed("/allow", "alone").header("X-Consumer-Groups", "admin"),
            ),
            passes(
                "hidden",
                keyed("/hidden", "admin"),
                &[("x-consumer-groups", None)],
            ),
            passes(
                "hidden, and not to be smuggled",
                keyed("/hidden", "admin")
                    .header("X-Consumer-Groups", "root")
                    .header("X-Authenticated-Groups", "root"),
                &[
                    ("x-consumer-groups", None),
                    ("x-authenticated-groups", None),
                ],
            ),
            forbidden("denied", keyed("/deny", "admin")),
            passes(
                "not denied",
                keyed("/deny", "many"),
                &[("x-consumer-username", Some("many"))],
            ),
            passes(
                "who is in no group is in none that is denied",
                keyed("/deny", "alone"),
                &[("x-consumer-groups", Some(""))],
            ),
            passes(
                "the anonymous consumer's group",
                get("/anonymous"),
                &[
                    ("x-consumer-groups", Some("everyone")),
                    ("x-anonymous-consumer", Some("true")),
                ],
            ),
            forbidden(
                "the anonymous consumer is in another group",
                get("/anonymous-out"),
            ),
            unknown(
                "the anonymous consumer is in no group",
                get("/anonymous-alone"),
            ),
            passes(
                "the anonymous consumer is in no group that is denied",
                get("/anonymous-deny"),
                &[("x-consumer-groups", Some(""))],
            ),
            passes(
                "a key beside anonymous",
                keyed("/anonymous-out", "admin"),
                &[("x-consumer-groups", Some("admin"))],
            ),
        ],
    );
}

/// Groups count from the moment at which they are written, and no longer.
#[test]
fn groups_come_and_go() {
    let upstream = Upstream::start();
    let gateway = Gateway::embedded();
    let url = format!(r#"{{"url":"{}"}}"#, upstream.url());
    gateway.administer("PUT", "/services/s", &url);
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths":["/"]}"#);
    gateway.administer("POST", "/services/s/plugins", r#"{"name":"key-auth"}"#);
    gateway.administer(
        "POST",
        "/services/s/plugins",
        r#"{"name":"acl","config":{"allow":["admin"]}}"#,
    );
    gateway.administer("PUT", "/consumers/bob", "{}");
    gateway.administer("POST", "/consumers/bob/key-auth", r#"{"key":"bob"}"#);
    let asked = get("/").header("apikey", "bob");
    gateway.until(&asked, |answer| answer.status() == 403);
    for _ in 0..3 {
        gateway.administer("POST", "/consumers/bob/acls", r#"{"group":"other"}"#);
        let made = gateway.administer("POST", "/consumers/bob/acls", r#"{"group":"admin"}"#);
        gateway.until(&asked, |answer| answer.status() == 200);
        let groups: Vec<String> = upstream
            .seen()
            .iter()
            .filter_map(|seen| seen.header("x-consumer-groups").map(str::to_owned))
            .collect();
        let told = groups.last().expect("groups were told");
        let mut told: Vec<_> = told.split(", ").collect();
        told.sort_unstable();
        assert_eq!(told, ["admin", "other"]);
        let id = made["id"].as_str().expect("an id");
        gateway.administer("DELETE", &format!("/consumers/bob/acls/{id}"), "");
        gateway.until(&asked, |answer| answer.status() == 403);
        gateway.administer("DELETE", "/consumers/bob/acls/other", "");
    }
}
