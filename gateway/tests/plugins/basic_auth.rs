use crate::gateway::{Body, Case, Gateway, SEEN, Seen, Upstream, ask, get, run};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: bob
  custom_id: b-1
  basicauth_credentials:
  - {username: bob, password: kong}
  - {username: user321, password: "password:123"}
  - {username: müller, password: Größe}
- username: nobody
services:
- name: s
  url: "{upstream}"
  routes:
  - name: plain
    paths: [/plain]
    plugins: [{name: basic-auth}]
  - name: hidden
    paths: [/hidden]
    plugins:
    - name: basic-auth
      config: {hide_credentials: true, realm: test-realm}
  - name: open
    paths: [/open]
    plugins:
    - name: basic-auth
      config: {anonymous: nobody}
  - name: astray
    paths: [/astray]
    plugins:
    - name: basic-auth
      config: {anonymous: somebody}
"#;

/// bob:kong
const BOB: &str = "Basic Ym9iOmtvbmc=";
/// eve:kong
const EVE: &str = "Basic ZXZlOmtvbmc=";
/// bob:wrong
const WRONG: &str = "Basic Ym9iOndyb25n";

#[test]
fn passwords_open_doors() {
    let refused = |name, ask| Case {
        name,
        ask,
        status: 401,
        headers: &[
            ("www-authenticate", Some("Basic realm=\"service\"")),
            ("content-type", Some("application/json; charset=utf-8")),
        ],
        body: Body::Error("Unauthorized"),
        seen: None,
    };
    let passes = |name, ask, headers| Case {
        name,
        ask,
        status: 200,
        headers: &[("server", Some("upstream"))],
        body: Body::Is("hello"),
        seen: Some(Seen { headers, ..SEEN }),
    };
    let plain = |value: &str| get("/plain").header("Authorization", value);
    let proxied = |value: &str| get("/plain").header("Proxy-Authorization", value);
    let bob: &[_] = &[
        ("x-consumer-username", Some("bob")),
        ("x-consumer-custom-id", Some("b-1")),
        ("x-consumer-id", Some("*")),
        ("x-credential-identifier", Some("bob")),
        ("x-anonymous-consumer", None),
        ("authorization", Some(BOB)),
    ];
    run(
        "basic-auth",
        YAML,
        &[
            refused("nothing", get("/plain")),
            refused("no scheme", plain("foobar")),
            refused("no scheme for proxies", proxied("foobar")),
            refused("no colon", plain("Basic a29uZw==")),
            refused("no base64", plain("Basic adXNlcjEyMzpwYXNzd29yZDEyMw==")),
            // bob: and :kong
            refused("no password", plain("Basic Ym9iOg==")),
            refused("no name", plain("Basic OmtvbmM=")),
            refused("an unknown name", plain(EVE)),
            refused("the same unknown name again", plain(EVE)),
            refused("a wrong password", plain(WRONG)),
            // bob:kong and a line
            refused("more than the password", plain("Basic Ym9iOmtvbmcKeA==")),
            refused("another scheme", plain("Bearer Ym9iOmtvbmc=")),
            refused(
                "a wrong password for proxies, whatever the other says",
                proxied(WRONG).header("Authorization", BOB),
            ),
            Case {
                name: "a realm, also for a preflight",
                ask: ask("OPTIONS", "/hidden"),
                status: 401,
                headers: &[("www-authenticate", Some("Basic realm=\"test-realm\""))],
                body: Body::Error("Unauthorized"),
                seen: None,
            },
            Case {
                name: "a page for browsers",
                ask: get("/plain").header("Accept", "text/html"),
                status: 401,
                headers: &[("content-type", Some("text/html; charset=utf-8"))],
                body: Body::Holds("<p>Unauthorized.</p>"),
                seen: None,
            },
            passes("the password", plain(BOB), bob),
            passes(
                "what a client says of itself does not count",
                plain(BOB)
                    .header("X-Consumer-Username", "eve")
                    .header("X-Consumer-ID", "1")
                    .header("X-Credential-Identifier", "eve")
                    .header("X-Anonymous-Consumer", "true"),
                bob,
            ),
            passes(
                "a password with a colon",
                plain("Basic dXNlcjMyMTpwYXNzd29yZDoxMjM="),
                &[
                    ("x-consumer-username", Some("bob")),
                    ("x-credential-identifier", Some("user321")),
                ],
            ),
            passes(
                "letters beyond ASCII",
                plain("Basic bcO8bGxlcjpHcsO2w59l"),
                &[("x-credential-identifier", Some("müller"))],
            ),
            passes(
                "in lower case, without padding",
                plain("basic Ym9iOmtvbmc"),
                &[],
            ),
            passes(
                "for proxies",
                proxied(BOB),
                &[("x-credential-identifier", Some("bob"))],
            ),
            passes(
                "an unknown name for proxies, a known one beside it",
                proxied(EVE).header("Authorization", BOB),
                &[("x-credential-identifier", Some("bob"))],
            ),
            passes(
                "hidden",
                get("/hidden").header("Authorization", BOB),
                &[
                    ("authorization", None),
                    ("x-credential-identifier", Some("bob")),
                ],
            ),
            passes(
                "hidden for proxies",
                get("/hidden")
                    .header("Proxy-Authorization", BOB)
                    .header("Authorization", "Bearer of the service's own"),
                &[
                    ("proxy-authorization", None),
                    ("authorization", Some("Bearer of the service's own")),
                ],
            ),
            passes(
                "anonymous",
                get("/open").header("X-Credential-Identifier", "bob"),
                &[
                    ("x-anonymous-consumer", Some("true")),
                    ("x-consumer-username", Some("nobody")),
                    ("x-consumer-custom-id", None),
                    ("x-credential-identifier", None),
                ],
            ),
            passes(
                "a wrong password is anonymous as well",
                get("/open").header("Authorization", WRONG),
                &[("x-anonymous-consumer", Some("true"))],
            ),
            passes(
                "a password beside anonymous",
                get("/open").header("Authorization", BOB),
                bob,
            ),
            Case {
                name: "an anonymous consumer who does not exist",
                ask: get("/astray"),
                status: 500,
                headers: &[],
                body: Body::Is(r#"{"message":"An unexpected error occurred"}"#),
                seen: None,
            },
        ],
    );
}

/// A password that is changed is another one at once, and one that is gone opens nothing.
#[test]
fn passwords_change() {
    let upstream = Upstream::start();
    let gateway = Gateway::embedded();
    let url = format!(r#"{{"url":"{}"}}"#, upstream.url());
    gateway.administer("PUT", "/services/s", &url);
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths":["/"]}"#);
    gateway.administer("POST", "/services/s/plugins", r#"{"name":"basic-auth"}"#);
    gateway.administer("PUT", "/consumers/bob", "{}");
    let right = get("/").header("Authorization", BOB);
    let wrong = get("/").header("Authorization", WRONG);
    gateway.until(&right, |answer| answer.status() == 401);
    let made = gateway.administer(
        "POST",
        "/consumers/bob/basic-auth",
        r#"{"username":"bob","password":"kong"}"#,
    );
    let stored = made["password"].as_str().expect("a hash");
    assert!(stored.len() == 40 && !stored.contains("kong"), "{stored}");
    gateway.until(&right, |answer| answer.status() == 200);
    assert_eq!(gateway.send(&wrong).status(), 401);
    // Who reads the store cannot log in with what it says.
    let hash = get("/").header("Authorization", &basic("bob", stored));
    assert_eq!(gateway.send(&hash).status(), 401);

    let path = format!(
        "/consumers/bob/basic-auth/{}",
        made["id"].as_str().expect("an id")
    );
    gateway.administer("PATCH", &path, r#"{"password":"wrong"}"#);
    gateway.until(&wrong, |answer| answer.status() == 200);
    assert_eq!(gateway.send(&right).status(), 401);

    gateway.administer("PATCH", "/consumers/bob", r#"{"custom_id":"b-2"}"#);
    gateway.until(&wrong, |_| {
        let seen = upstream.seen();
        let told = seen
            .last()
            .and_then(|seen| seen.header("x-consumer-custom-id"));
        told == Some("b-2")
    });
    gateway.administer("DELETE", "/consumers/bob", "");
    gateway.until(&wrong, |answer| answer.status() == 401);
}

fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = format!("{name}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {encoded}")
}
