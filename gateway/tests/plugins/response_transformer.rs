use crate::gateway::{Body, Case, SEEN, Upstream, get, reply, run_with};

#[test]
fn responses_are_changed() {
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: headers
    paths: [/headers]
    plugins:
    - name: response-transformer
      config:
        remove: {headers: [x-one]}
        rename: {headers: ["x-two:x-renamed"]}
        replace: {headers: ["x-three:new", "x-missing:new"]}
        add: {headers: ["x-three:other", "x-added:a:b"]}
        append: {headers: ["x-more:m"]}
  - name: json
    paths: [/json, /problem, /text, /broken, /chunked]
    strip_path: false
    plugins:
    - name: response-transformer
      config:
        remove: {json: [gone]}
        rename: {json: ["old:new"]}
        replace: {json: ["replaced:5", "absent:5"], json_types: [number, number]}
        add: {json: ["added:true", "replaced:no"], json_types: [boolean, string]}
        append: {json: ["text:b", "list:2", "fresh:x"], json_types: [string, number]}
"#;
    const BODY: &str = r#"{"gone":1,"old":"o","replaced":"r","text":"a","list":[1]}"#;
    const CHANGED: &str =
        r#"{"replaced":5,"text":["a","b"],"list":[1,2],"new":"o","added":true,"fresh":["x"]}"#;
    let upstream = Upstream::answering(|request| match request.asked() {
        "GET /json" => reply(
            200,
            &[("Content-Type", "application/json; charset=utf-8")],
            BODY,
        ),
        "GET /problem" => reply(200, &[("Content-Type", "application/problem+json")], BODY),
        "GET /text" => reply(200, &[("Content-Type", "text/plain")], BODY),
        "GET /broken" => reply(200, &[("Content-Type", "application/json")], "{"),
        "GET /chunked" => {
            let mut answer = reply(200, &[], "");
            let (one, two) = BODY.split_at(9);
            answer.bytes = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                one.len(),
                two.len()
            )
            .into_bytes();
            answer
        }
        _ => reply(
            200,
            &[
                ("X-One", "1"),
                ("X-Two", "2"),
                ("X-Three", "3"),
                ("X-More", "l"),
            ],
            "hello",
        ),
    });
    let case = |name, target: &str, headers, body| Case {
        name,
        ask: get(target),
        status: 200,
        headers,
        body,
        seen: Some(SEEN),
    };
    run_with(
        "response-transformer",
        yaml,
        &upstream,
        &[
            case(
                "header fields",
                "/headers",
                &[
                    ("x-one", None),
                    ("x-two", None),
                    ("x-renamed", Some("2")),
                    ("x-three", Some("new")),
                    ("x-missing", None),
                    ("x-added", Some("a:b")),
                    ("x-more", Some("l")),
                ],
                Body::Is("hello"),
            ),
            case("members", "/json", &[], Body::Is(CHANGED)),
            case(
                "members of a kind of JSON",
                "/problem",
                &[],
                Body::Is(CHANGED),
            ),
            case("members in chunks", "/chunked", &[], Body::Is(CHANGED)),
            case("no JSON by its type", "/text", &[], Body::Is(BODY)),
            case("no JSON by itself", "/broken", &[], Body::Is("{")),
        ],
    );
}
