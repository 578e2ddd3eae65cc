use crate::gateway::{Body, Case, Gateway, SEEN, Seen, Upstream, ask, get, run};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: bob
  custom_id: b-1
  keyauth_credentials: [{id: 5d2ff8c1-7e5c-4b9a-9a53-0b8f3ad2c7a1, key: secret}]
- username: nobody
services:
- name: s
  url: "{upstream}"
  routes:
  - name: plain
    paths: [/plain]
    plugins: [{name: key-auth}]
  - name: hidden
    paths: [/hidden]
    plugins:
    - name: key-auth
      config: {hide_credentials: true, key_in_body: true, key_names: [apikey, other], realm: here}
  - name: open
    paths: [/open]
    plugins:
    - name: key-auth
      config: {anonymous: nobody, run_on_preflight: false}
"#;

#[test]
fn keys_open_doors() {
    let refused = |name, ask, text| Case {
        name,
        ask,
        status: 401,
        headers: &[
            ("www-authenticate", Some("Key")),
            ("content-type", Some("application/json; charset=utf-8")),
        ],
        body: Body::Error(text),
        seen: None,
    };
    let passes = |name, ask, seen| Case {
        name,
        ask,
        status: 200,
        headers: &[
            ("via", Some("1.1 kong/3.9.3")),
            ("server", Some("upstream")),
        ],
        body: Body::Is("hello"),
        seen: Some(seen),
    };
    let bob = Seen {
        headers: &[
            ("x-consumer-username", Some("bob")),
            ("x-consumer-custom-id", Some("b-1")),
            ("x-consumer-id", Some("*")),
            (
                "x-credential-identifier",
                Some("5d2ff8c1-7e5c-4b9a-9a53-0b8f3ad2c7a1"),
            ),
            ("x-anonymous-consumer", None),
        ],
        ..SEEN
    };
    run(
        "key-auth",
        YAML,
        &[
            refused("no key", get("/plain"), "No API key found in request"),
            refused(
                "a wrong key",
                get("/plain").header("apikey", "guess"),
                "Unauthorized",
            ),
            refused(
                "the same wrong key again",
                get("/plain").header("apikey", "guess"),
                "Unauthorized",
            ),
            refused(
                "two keys",
                get("/plain")
                    .header("apikey", "secret")
                    .header("apikey", "secret"),
                "Duplicate API key found",
            ),
            refused(
                "two arguments",
                get("/plain?apikey=secret&apikey=x"),
                "Duplicate API key found",
            ),
            passes("in a header", get("/plain").header("ApiKey", "secret"), bob),
            passes(
                "in the query",
                get("/plain?a=1&apikey=secret"),
                Seen {
                    line: Some("GET /?a=1&apikey=secret"),
                    ..bob
                },
            ),
            passes(
                "what a client says of itself does not count",
                get("/plain")
                    .header("apikey", "secret")
                    .header("X-Consumer-Username", "eve"),
                bob,
            ),
            passes(
                "a hidden header",
                get("/hidden").header("other", "secret"),
                Seen {
                    headers: &[("other", None), ("x-consumer-username", Some("bob"))],
                    ..SEEN
                },
            ),
            passes(
                "a hidden argument leaves the others as they are",
                get("/hidden?a=%2F&apikey=secret&b"),
                Seen {
                    line: Some("GET /?a=%2F&b"),
                    ..SEEN
                },
            ),
            passes(
                "a hidden member of a form",
                ask("POST", "/hidden").form("a=1&apikey=secret"),
                Seen {
                    body: Some("a=1"),
                    ..SEEN
                },
            ),
            passes(
                "a hidden member of JSON",
                ask("POST", "/hidden").json(r#"{"apikey":"secret","a":1}"#),
                Seen {
                    body: Some(r#"{"a":1}"#),
                    ..SEEN
                },
            ),
            Case {
                name: "a realm",
                ask: get("/hidden"),
                status: 401,
                headers: &[("www-authenticate", Some("Key realm=\"here\""))],
                body: Body::Any,
                seen: None,
            },
            passes(
                "anonymous",
                get("/open"),
                Seen {
                    headers: &[
                        ("x-anonymous-consumer", Some("true")),
                        ("x-consumer-username", Some("nobody")),
                        ("x-credential-identifier", None),
                    ],
                    ..SEEN
                },
            ),
            passes(
                "a key beside anonymous",
                get("/open").header("apikey", "secret"),
                bob,
            ),
            passes(
                "a preflight",
                ask("OPTIONS", "/open"),
                Seen {
                    headers: &[("x-anonymous-consumer", None), ("x-consumer-id", None)],
                    ..SEEN
                },
            ),
        ],
    );
}

/// What was looked up and not found is found once it is there, and no longer once it is gone.
#[test]
fn keys_come_and_go() {
    let upstream = Upstream::start();
    let gateway = Gateway::embedded();
    gateway.administer(
        "PUT",
        "/services/s",
        &format!(r#"{{"url":"{}"}}"#, upstream.url()),
    );
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths":["/"]}"#);
    gateway.administer("POST", "/services/s/plugins", r#"{"name":"key-auth"}"#);
    gateway.administer("PUT", "/consumers/bob", "{}");
    let asked = get("/").header("apikey", "later");
    gateway.until(&asked, |answer| answer.status() == 401);
    for _ in 0..4 {
        gateway.administer("POST", "/consumers/bob/key-auth", r#"{"key":"later"}"#);
        gateway.until(&asked, |answer| answer.status() == 200);
        let listed = gateway.administer("GET", "/consumers/bob/key-auth", "");
        let id = listed["data"][0]["id"].as_str().expect("an id").to_owned();
        gateway.administer("DELETE", &format!("/consumers/bob/key-auth/{id}"), "");
        gateway.until(&asked, |answer| answer.status() == 401);
    }
    gateway.administer(
        "POST",
        "/consumers/bob/key-auth",
        r#"{"key":"later","ttl":1}"#,
    );
    gateway.until(&asked, |answer| answer.status() == 200);
    gateway.until(&asked, |answer| answer.status() == 401);
}
