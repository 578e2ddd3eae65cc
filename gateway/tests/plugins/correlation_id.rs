use crate::gateway::{Body, Case, SEEN, Seen, get, run};

#[test]
fn ids_go_up_and_come_back() {
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: echoed
    paths: [/echoed]
    plugins:
    - name: correlation-id
      config: {header_name: X-Id, generator: uuid, echo_downstream: true}
  - name: counted
    paths: [/counted]
    plugins:
    - name: correlation-id
"#;
    let case = |name, ask, headers, seen| Case {
        name,
        ask,
        status: 200,
        headers,
        body: Body::Is("hello"),
        seen: Some(seen),
    };
    run(
        "correlation-id",
        yaml,
        &[
            case(
                "one that came stays",
                get("/echoed").header("X-Id", "mine"),
                &[("x-id", Some("mine"))],
                Seen {
                    headers: &[("x-id", Some("mine"))],
                    ..SEEN
                },
            ),
            case(
                "one is made",
                get("/echoed"),
                &[("x-id", Some("*"))],
                Seen {
                    headers: &[("x-id", Some("*"))],
                    ..SEEN
                },
            ),
            case(
                "it is not told where nobody asked for it",
                get("/counted"),
                &[("kong-request-id", None)],
                Seen {
                    headers: &[("kong-request-id", Some("*"))],
                    ..SEEN
                },
            ),
        ],
    );
}
