use crate::gateway::{Ask, Body, Case, Gateway, SEEN, Seen, Upstream, ask, get, run};

const YAML: &str = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: headers
    paths: [/headers]
    plugins:
    - name: request-transformer
      config:
        remove: {headers: [x-one]}
        rename: {headers: ["X-Two:X-Renamed"]}
        replace: {headers: ["x-three:new", "x-missing:new", "host:other.example"]}
        add: {headers: ["x-three:other", "x-added:a:b"]}
        append: {headers: ["x-more:m"]}
  - name: query
    paths: [/query]
    plugins:
    - name: request-transformer
      config:
        remove: {querystring: [gone]}
        rename: {querystring: ["old:new"]}
        replace: {querystring: ["c:3", "absent:1"]}
        add: {querystring: ["c:4", "d:x y"]}
        append: {querystring: ["a:2"]}
  - name: body
    paths: [/body]
    plugins:
    - name: request-transformer
      config:
        remove: {body: [gone]}
        rename: {body: ["old:new"]}
        replace: {body: ["c:3", "absent:1"]}
        add: {body: ["c:4", "d:4"]}
        append: {body: ["a:2"]}
  - name: templates
    paths: ["~/t/(?<user>[^/]+)/(\\w+)"]
    plugins:
    - name: request-transformer
      config:
        replace: {uri: "/users/$(uri_captures.user)/$(uri_captures[2])"}
        add:
          headers: ["x-from:$(headers.x_one or 'nobody')", "x-query:$(query_params.q)", "x-joined:$('a' .. query_params['q'] .. 1)"]
  - name: method
    paths: [/method]
    plugins: [{name: request-transformer, config: {http_method: GET}}]
"#;

fn case(name: &'static str, ask: Ask, seen: Seen) -> Case {
    Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(seen),
    }
}

#[test]
fn requests_are_changed() {
    const MULTIPART: &str = "--b\r\nContent-Disposition: form-data; name=\"gone\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\n1\r\n--b--\r\n";
    let fields = get("/headers")
        .header("x-one", "1")
        .header("x-two", "2")
        .header("x-three", "3")
        .header("x-more", "l");
    let body = |content, kind| {
        ask("POST", "/body")
            .header("content-type", kind)
            .body(content)
    };
    const JSON: &str = "application/json";
    let left = |wanted| Seen {
        body: Some(wanted),
        ..SEEN
    };
    run(
        "request-transformer",
        YAML,
        &[
            case(
                "header fields",
                fields,
                Seen {
                    headers: &[
                        ("x-one", None),
                        ("x-two", None),
                        ("x-renamed", Some("2")),
                        ("x-three", Some("new")),
                        ("x-missing", None),
                        ("x-added", Some("a:b")),
                        ("x-more", Some("l")),
                        ("host", Some("other.example")),
                    ],
                    ..SEEN
                },
            ),
            case(
                "the query",
                get("/query?gone=1&old=o&c=1&a=1"),
                Seen {
                    line: Some("GET /?a=1&a=2&c=3&d=x%20y&new=o"),
                    ..SEEN
                },
            ),
            case(
                "a query of nothing",
                get("/query"),
                Seen {
                    line: Some("GET /?a=2&c=4&d=x%20y"),
                    ..SEEN
                },
            ),
            case(
                "JSON",
                body(r#"{"gone":1,"old":{"x":1},"c":false,"a":"1"}"#, JSON),
                left(r#"{"c":"4","a":["1","2"],"new":{"x":1},"d":"4"}"#),
            ),
            case(
                "JSON of nothing",
                ask("POST", "/body").header("content-type", JSON),
                left(r#"{"c":"4","d":"4","a":["2"]}"#),
            ),
            case("no JSON", body("[1", JSON), left("[1")),
            case(
                "a form",
                body("gone=1&old=o&c=1&a=1", "application/x-www-form-urlencoded"),
                left("new=o&c=3&a=1&a=2&d=4"),
            ),
            case(
                "parts",
                body(MULTIPART, "multipart/form-data; boundary=b"),
                left(
                    "--b\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\n3\r\n--b\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\n4\r\n--b--\r\n",
                ),
            ),
            case("another type", body("gone=1", "text/plain"), left("gone=1")),
            case(
                "templates",
                get("/t/bob/orders?q=5").header("x-one", "me"),
                Seen {
                    line: Some("GET /users/bob/orders?q=5"),
                    headers: &[
                        ("x-from", Some("me")),
                        ("x-query", Some("5")),
                        ("x-joined", Some("a51")),
                    ],
                    ..SEEN
                },
            ),
            case(
                "a template's default",
                get("/t/bob/orders?q=5"),
                Seen {
                    headers: &[("x-from", Some("nobody"))],
                    ..SEEN
                },
            ),
            Case {
                status: 500,
                body: Body::Is(r#"{"message":"An unexpected error occurred"}"#),
                seen: None,
                ..case("nothing joined", get("/t/bob/orders"), SEEN)
            },
            case(
                "a method without a body",
                ask("POST", "/method?a=1").form("b=2&a=3"),
                Seen {
                    line: Some("GET /?a=1&a=3&b=2"),
                    ..SEEN
                },
            ),
        ],
    );
}

#[test]
fn lua_is_refused_with_a_sentence() {
    let upstream = Upstream::start();
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: r, paths: [/], plugins: [{name: request-transformer, config: {add: {headers: ["x:$(headers.a:lower())"]}}}]}
"#;
    let gateway = Gateway::declarative(&yaml.replace("{upstream}", &upstream.url()));
    while !gateway.log().contains("$(headers.a:lower()) needs Lua") {
        std::thread::yield_now();
    }
}
