use crate::gateway::{Body, Case, SEEN, ask, get, run};

#[test]
fn requests_end_here() {
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: plain
    paths: [/plain]
    plugins: [{name: request-termination}]
  - name: said
    paths: [/said]
    plugins:
    - name: request-termination
      config: {status_code: 403, message: So long and thanks for all the fish!}
  - name: body
    paths: [/body]
    plugins:
    - name: request-termination
      config: {status_code: 200, content_type: text/html, body: "<b>x</b>"}
  - name: triggered
    paths: [/triggered]
    plugins:
    - name: request-termination
      config: {status_code: 404, trigger: gone}
  - name: echo
    paths: [/echo]
    plugins:
    - name: request-termination
      config: {status_code: 200, echo: true}
routes:
- name: alone
  paths: [/alone]
  plugins:
  - name: request-termination
    config: {status_code: 401}
"#;
    let case = |name, ask, status, body, seen| Case {
        name,
        ask,
        status,
        headers: &[],
        body,
        seen,
    };
    run(
        "request-termination",
        yaml,
        &[
            Case {
                name: "Kong's default",
                ask: get("/plain"),
                status: 503,
                headers: &[
                    ("content-type", Some("application/json; charset=utf-8")),
                    ("server", Some("kong/3.9.3")),
                    ("x-kong-response-latency", Some("*")),
                    ("x-kong-request-id", Some("*")),
                    ("via", None),
                ],
                body: Body::Is(r#"{"message":"Service unavailable"}"#),
                seen: None,
            },
            case(
                "a message",
                get("/said"),
                403,
                Body::Is(r#"{"message":"So long and thanks for all the fish!"}"#),
                None,
            ),
            Case {
                name: "a body with its type",
                ask: get("/body"),
                status: 200,
                headers: &[("content-type", Some("text/html"))],
                body: Body::Is("<b>x</b>"),
                seen: None,
            },
            case(
                "no trigger",
                get("/triggered"),
                200,
                Body::Is("hello"),
                Some(SEEN),
            ),
            case(
                "a trigger in the query",
                get("/triggered?gone=1"),
                404,
                Body::Is(r#"{"message":"Not found"}"#),
                None,
            ),
            case(
                "a trigger among the headers",
                get("/triggered").header("gone", "1"),
                404,
                Body::Any,
                None,
            ),
            case(
                "an echo",
                ask("POST", "/echo/x?a=1").body("content"),
                200,
                Body::Holds(r#""raw_body":"content""#),
                None,
            ),
            case(
                "a route without a service",
                get("/alone"),
                401,
                Body::Is(r#"{"message":"Unauthorized"}"#),
                None,
            ),
        ],
    );
}
