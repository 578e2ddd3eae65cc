//! Several plugins on one route that find out who the client is.

use crate::gateway::{Body, Case, SEEN, Seen, get, run};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: ann
  keyauth_credentials: [{key: mouse}]
- username: bob
  basicauth_credentials: [{username: bob, password: kong}]
- username: nobody
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: both, paths: [/both], plugins: [{name: key-auth}, {name: basic-auth}]}
  - name: either
    paths: [/either]
    plugins:
    - {name: key-auth, config: {anonymous: nobody}}
    - {name: basic-auth, config: {anonymous: nobody}}
  - name: mixed
    paths: [/mixed]
    plugins:
    - {name: key-auth, config: {anonymous: nobody}}
    - {name: basic-auth}
  - name: closed
    paths: [/closed]
    plugins:
    - {name: key-auth, config: {anonymous: nobody}}
    - {name: basic-auth, config: {anonymous: nobody}}
  - {name: bare, paths: [/bare]}
plugins:
- {name: request-termination, consumer: nobody, route: closed, config: {status_code: 403, message: So say something}}
"#;

const ANN: &str = "mouse";
/// bob:kong
const BOB: &str = "Basic Ym9iOmtvbmc=";

#[test]
fn plugins_go_together() {
    let passes = |name, ask, headers| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(Seen { headers, ..SEEN }),
    };
    let refused = |name, ask, challenge, text| Case {
        name,
        ask,
        status: 401,
        headers: challenge,
        body: Body::Error(text),
        seen: None,
    };
    let key = |path: &str| get(path).header("apikey", ANN);
    let password = |path: &str| get(path).header("Authorization", BOB);
    let all = |path: &str| key(path).header("Authorization", BOB);
    let ann: &[_] = &[
        ("x-consumer-username", Some("ann")),
        ("x-anonymous-consumer", None),
        ("x-consumer-id", Some("*")),
        ("x-credential-identifier", Some("*")),
    ];
    let bob: &[_] = &[
        ("x-consumer-username", Some("bob")),
        ("x-credential-identifier", Some("bob")),
        ("x-anonymous-consumer", None),
    ];
    let nobody: &[_] = &[
        ("x-consumer-username", Some("nobody")),
        ("x-anonymous-consumer", Some("true")),
        ("x-credential-identifier", None),
    ];
    let of_key: &[_] = &[("www-authenticate", Some("Key"))];
    let of_password: &[_] = &[("www-authenticate", Some("Basic realm=\"service\""))];
    run(
        "several authentications",
        YAML,
        &[
            // Without `anonymous` all of them must succeed; the last says who it is.
            passes("both", all("/both"), bob),
            refused(
                "only the second",
                password("/both"),
                of_key,
                "No API key found in request",
            ),
            refused("only the first", key("/both"), of_password, "Unauthorized"),
            refused(
                "neither",
                get("/both"),
                of_key,
                "No API key found in request",
            ),
            // With it one is enough; the first that succeeds says who it is.
            passes("either: both", all("/either"), ann),
            passes("either: the first", key("/either"), ann),
            passes("either: the second", password("/either"), bob),
            passes("either: neither", get("/either"), nobody),
            passes(
                "either: a wrong key beside a password",
                get("/either")
                    .header("apikey", "guess")
                    .header("Authorization", BOB),
                bob,
            ),
            // Where one may be anonymous the other still must succeed.
            passes("mixed: both", all("/mixed"), bob),
            passes("mixed: the one that must", password("/mixed"), bob),
            refused(
                "mixed: the one that may",
                key("/mixed"),
                of_password,
                "Unauthorized",
            ),
            // The usual way to close such a door again.
            Case {
                name: "closed: neither",
                ask: get("/closed"),
                status: 403,
                headers: &[],
                body: Body::Is(r#"{"message":"So say something"}"#),
                seen: None,
            },
            passes("closed: the second", password("/closed"), bob),
            // Kong takes nothing off where nobody asks who the client is.
            passes(
                "nobody asks",
                get("/bare").header("X-Consumer-Username", "eve"),
                &[("x-consumer-username", Some("eve"))],
            ),
        ],
    );
}
