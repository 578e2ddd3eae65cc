use crate::gateway::{Ask, Body, Case, SEEN, ask, get, run};

#[test]
fn large_bodies_are_refused() {
    let yaml = r#"
_format_version: "3.0"
services:
- name: s
  url: "{upstream}"
  routes:
  - name: bytes
    paths: [/bytes]
    plugins: [{name: request-size-limiting, config: {allowed_payload_size: 10, size_unit: bytes}}]
  - name: kilobytes
    paths: [/kilobytes]
    plugins: [{name: request-size-limiting, config: {allowed_payload_size: 1, size_unit: kilobytes}}]
  - name: strict
    paths: [/strict]
    plugins: [{name: request-size-limiting, config: {allowed_payload_size: 10, size_unit: bytes, require_content_length: true}}]
"#;
    let passes = |name, ask: Ask| Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(SEEN),
    };
    let refused = |name, ask: Ask, status, text| Case {
        status,
        body: Body::Error(text),
        seen: None,
        ..passes(name, ask)
    };
    let post = |path: &str, size: usize| ask("POST", path).body("x".repeat(size));
    const LARGE: &str = "Request size limit exceeded";
    run(
        "request-size-limiting",
        yaml,
        &[
            passes("no body", get("/bytes")),
            passes("as large as allowed", post("/bytes", 10)),
            refused("one byte more", post("/bytes", 11), 413, LARGE),
            refused(
                "a client that asks first",
                post("/bytes", 11).header("expect", "100-continue"),
                413,
                LARGE,
            ),
            passes("a kilobyte", post("/kilobytes", 1024)),
            refused("more than one", post("/kilobytes", 1025), 413, LARGE),
            passes("chunks", post("/bytes", 10).chunked()),
            refused(
                "chunks that become too large",
                post("/bytes", 11).chunked(),
                413,
                LARGE,
            ),
            passes("a length where it is wanted", post("/strict", 10)),
            passes(
                "chunks where a length is wanted",
                post("/strict", 10).chunked(),
            ),
            refused(
                "no length where it is wanted",
                get("/strict"),
                411,
                "A valid Content-Length header is required",
            ),
        ],
    );
}
