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

const PLACES: &str = r#"
_format_version: "3.0"
consumers:
- username: bob
  keyauth_credentials: [{key: kong}]
- username: nobody
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: plain, paths: [/plain], plugins: [{name: key-auth, config: {realm: test-realm}}]}
  - {name: body, paths: [/body], plugins: [{name: key-auth, config: {key_in_body: true}}]}
  - {name: hidden, paths: [/hidden], plugins: [{name: key-auth, config: {key_in_body: true, hide_credentials: true}}]}
  - {name: only-body, paths: [/only-body], plugins: [{name: key-auth, config: {key_in_body: true, key_in_header: false, key_in_query: false}}]}
  - {name: underscore, paths: [/underscore], plugins: [{name: key-auth, config: {key_names: [api_key], hide_credentials: true}}]}
  - {name: hyphen, paths: [/hyphen], plugins: [{name: key-auth, config: {key_names: [api-key]}}]}
  - {name: names, paths: [/names], plugins: [{name: key-auth, config: {key_names: [first, second]}}]}
  - {name: astray, paths: [/astray], plugins: [{name: key-auth, config: {anonymous: 7e5c5d2f-0000-4b9a-9a53-0b8f3ad2c7a1}}]}
"#;

const MULTIPART: &str = "--x\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nkong\r\n\
    --x\r\nContent-Disposition: form-data; name=\"foo\"\r\n\r\nbar\r\n--x--\r\n";
const MULTIPART_HIDDEN: &str =
    "--x\r\nContent-Disposition: form-data; name=\"foo\"\r\n\r\nbar\r\n--x--\r\n";

/// Every place in which a key may be, and what is none.
#[test]
fn keys_have_their_places() {
    let refused = |name, ask, text| Case {
        name,
        ask,
        status: 401,
        headers: &[("www-authenticate", Some("*"))],
        body: Body::Error(text),
        seen: None,
    };
    let missing = |name, ask| refused(name, ask, "No API key found in request");
    let unknown = |name, ask| refused(name, ask, "Unauthorized");
    let duplicate = |name, ask| refused(name, ask, "Duplicate API key found");
    let passes = |name, ask, seen| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(seen),
    };
    let body = |body| Seen {
        body: Some(body),
        ..SEEN
    };
    let line = |line| Seen {
        line: Some(line),
        ..SEEN
    };
    let post = |path| ask("POST", path);
    let multipart = |path, body: &str| {
        let kind = "multipart/form-data; boundary=x";
        post(path).header("Content-Type", kind).body(body)
    };
    run(
        "key-auth: places",
        PLACES,
        &[
            Case {
                name: "an empty field",
                ask: get("/plain").header("apikey", ""),
                status: 401,
                headers: &[("www-authenticate", Some("Key realm=\"test-realm\""))],
                body: Body::Error("No API key found in request"),
                seen: None,
            },
            missing(
                "an empty field hides the query",
                get("/plain?apikey=kong").header("apikey", ""),
            ),
            missing("an argument without a value", get("/plain?apikey")),
            missing("an argument that is empty", get("/plain?apikey=")),
            unknown("a wrong argument", get("/plain?apikey=123")),
            unknown(
                "a wrong field hides the query",
                get("/plain?apikey=kong").header("apikey", "123"),
            ),
            unknown(
                "a key longer than any",
                get(&format!("/plain?apikey={}", "k".repeat(4000))),
            ),
            duplicate("an argument twice", get("/plain?apikey=kong&apikey=kong")),
            duplicate(
                "a field twice",
                get("/plain")
                    .header("apikey", "kong")
                    .header("ApiKey", "kong"),
            ),
            missing("a preflight", ask("OPTIONS", "/plain")),
            missing(
                "in the body, where nobody looks",
                post("/plain").form("apikey=kong"),
            ),
            // Forms.
            passes(
                "in a form",
                post("/body").form("apikey=kong"),
                body("apikey=kong"),
            ),
            passes(
                "in a form of another case",
                post("/body")
                    .header(
                        "Content-Type",
                        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
                    )
                    .body("apikey=kong"),
                SEEN,
            ),
            unknown("a wrong one in a form", post("/body").form("apikey=123")),
            duplicate(
                "twice in a form",
                post("/body").form("apikey=kong&apikey=kong"),
            ),
            missing(
                "a list in a form",
                post("/body").form("apikey[]=kong&apikey[]=kong"),
            ),
            missing("numbered in a form", post("/body").form("apikey[1]=kong")),
            missing(
                "in the query, where nobody looks",
                post("/only-body?apikey=kong").form("a=1"),
            ),
            passes(
                "only in a form",
                post("/only-body?apikey=x").form("apikey=kong"),
                SEEN,
            ),
            // JSON.
            passes("in JSON", post("/body").json(r#"{"apikey":"kong"}"#), SEEN),
            unknown(
                "a wrong one in JSON",
                post("/body").json(r#"{"apikey":"123"}"#),
            ),
            duplicate(
                "a list in JSON",
                post("/body").json(r#"{"apikey":["kong","kong"]}"#),
            ),
            duplicate(
                "an object in JSON",
                post("/body").json(r#"{"apikey":{"a":"kong"}}"#),
            ),
            missing("a number in JSON", post("/body").json(r#"{"apikey":1}"#)),
            missing("null in JSON", post("/body").json(r#"{"apikey":null}"#)),
            missing("a list of all", post("/body").json(r#"["kong"]"#)),
            missing("no JSON", post("/body").json("{")),
            // Parts.
            passes("in a part", multipart("/body", MULTIPART), body(MULTIPART)),
            unknown(
                "a wrong one in a part",
                multipart("/body", &MULTIPART.replace("kong", "123")),
            ),
            duplicate(
                "in two parts",
                multipart("/body", &MULTIPART.replace("foo", "apikey")),
            ),
            missing("no parts", multipart("/body", "--y--")),
            missing(
                "a body of another type",
                post("/body")
                    .header("Content-Type", "text/plain")
                    .body("apikey=kong"),
            ),
            missing("a body of no type", post("/body").body("apikey=kong")),
            // Hidden.
            passes(
                "hidden in a form",
                post("/hidden").form("a=1&apikey=kong&b"),
                body("a=1&b"),
            ),
            passes(
                "hidden in JSON",
                post("/hidden").json(r#"{"b":1,"apikey":"kong","a":[]}"#),
                body(r#"{"b":1,"a":[]}"#),
            ),
            passes(
                "hidden in a part",
                multipart("/hidden", MULTIPART),
                Seen {
                    headers: &[("content-type", Some("multipart/form-data; boundary=x"))],
                    body: Some(MULTIPART_HIDDEN),
                    ..SEEN
                },
            ),
            passes(
                "hidden wherever it is",
                post("/hidden?apikey=1&a=2")
                    .header("apikey", "kong")
                    .form("apikey=3&b=4"),
                Seen {
                    line: Some("POST /?a=2"),
                    headers: &[("apikey", None)],
                    body: Some("b=4"),
                },
            ),
            passes(
                "another body stays as it is",
                post("/hidden?apikey=kong")
                    .header("Content-Type", "text/plain")
                    .body("apikey=kong"),
                body("apikey=kong"),
            ),
            passes(
                "hidden in the query, the order kept",
                get("/hidden?c=value1&b=value2&apikey=kong&a=value3"),
                line("GET /?c=value1&b=value2&a=value3"),
            ),
            passes(
                "hidden in the query, its name escaped",
                get("/hidden?c=1&api%6B%65%79=kong&a=2"),
                line("GET /?c=1&a=2"),
            ),
            passes(
                "the only argument",
                get("/hidden?apikey=kong"),
                line("GET /"),
            ),
            // Names.
            passes(
                "an underscore",
                get("/underscore").header("api_key", "kong"),
                Seen {
                    headers: &[("api_key", None)],
                    ..SEEN
                },
            ),
            passes(
                "a hyphen for an underscore",
                get("/underscore").header("api-key", "kong"),
                Seen {
                    headers: &[("api-key", None)],
                    ..SEEN
                },
            ),
            unknown(
                "a wrong one behind a hyphen",
                get("/underscore").header("api-key", "123"),
            ),
            passes("a hyphen", get("/hyphen").header("api-key", "kong"), SEEN),
            missing(
                "no underscore for a hyphen",
                get("/hyphen").header("api_key", "kong"),
            ),
            passes(
                "the second name",
                get("/names?first").header("second", "kong"),
                SEEN,
            ),
            unknown(
                "the first name goes first",
                get("/names?first=x").header("second", "kong"),
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
