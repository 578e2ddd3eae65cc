//! file-log and http-log.

use std::io::{BufRead, BufReader};

use crate::gateway::{Gateway, Upstream, ask, get, reply};

/// The lines of a file, once there are so many.
fn lines(path: &std::path::Path, count: usize) -> Vec<serde_json::Value> {
    loop {
        let file = std::fs::File::open(path).map(BufReader::new);
        let lines: Vec<_> = file.map_or_else(
            |_| Vec::new(),
            |file| file.lines().map_while(Result::ok).collect(),
        );
        if lines.len() >= count {
            let read = |line: &String| serde_json::from_str(line).expect("a line of JSON");
            return lines.iter().map(read).collect();
        }
        std::thread::yield_now();
    }
}

#[test]
fn file_log_writes_kongs_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file.log");
    let upstream = Upstream::start();
    let yaml = format!(
        r#"
_format_version: "3.0"
services:
- name: s
  url: "{}"
  routes:
  - name: r
    paths: [/logged]
    plugins:
    - name: file-log
      config: {{path: "{}", reopen: true, custom_fields_by_lua: {{team: "return 'blue'", "request.querystring": "return nil"}}}}
    - {{name: key-auth}}
consumers:
- username: bob
  keyauth_credentials: [{{key: bob}}]
"#,
        upstream.url(),
        path.display()
    );
    let gateway = Gateway::declarative(&yaml);
    let answer = gateway.send(
        &get("/logged/x?a=1")
            .header("apikey", "bob")
            .header("authorization", "Bearer secret"),
    );
    assert_eq!(answer.status(), 200);
    // Another worker may write the next one first.
    lines(&path, 1);
    assert_eq!(gateway.send(&get("/logged")).status(), 401);
    let written = lines(&path, 2);
    let (first, second) = (&written[0], &written[1]);
    for (pointer, wanted) in [
        ("/request/method", "GET"),
        ("/request/uri", "/logged/x?a=1"),
        ("/request/headers/authorization", "REDACTED"),
        ("/request/headers/host", "test.example"),
        ("/upstream_uri", "/x?a=1"),
        ("/upstream_status", "200"),
        ("/consumer/username", "bob"),
        ("/route/name", "r"),
        ("/service/name", "s"),
        ("/client_ip", "127.0.0.1"),
        ("/source", "upstream"),
        ("/workspace_name", "default"),
        ("/team", "blue"),
    ] {
        let found = first.pointer(pointer).and_then(|value| value.as_str());
        assert_eq!(found, Some(wanted), "{pointer} in {first}");
    }
    assert_eq!(first["response"]["status"], 200);
    assert!(first["latencies"]["request"].is_u64(), "{first}");
    assert!(first["tries"][0]["port"].is_u64(), "{first}");
    assert!(first["request"].get("querystring").is_none(), "{first}");
    assert!(!first.to_string().contains("secret"), "{first}");
    assert_eq!(second["source"], "kong");
    assert_eq!(second["latencies"]["proxy"], -1);
    assert!(second.get("consumer").is_none(), "{second}");
    // After a rotation the next line is in a new file.
    std::fs::rename(&path, folder.path().join("file.log.1")).expect("a rename");
    gateway.send(&get("/logged"));
    assert_eq!(lines(&path, 1).len(), 1);
}

#[test]
fn http_log_sends_batches_and_tries_again() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let upstream = Upstream::start();
    let count = AtomicUsize::new(0);
    // The first call fails.
    let collector = Upstream::answering(move |_| {
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 {
            500
        } else {
            204
        };
        reply(status, &[], "")
    });
    let yaml = format!(
        r#"
_format_version: "3.0"
services:
- name: s
  url: "{}"
  routes:
  - name: single
    paths: [/single]
    plugins:
    - name: http-log
      config: {{http_endpoint: "http://me:pw@{}/in", method: PUT, headers: {{x-token: t}}}}
  - name: batch
    paths: [/batch]
    plugins:
    - name: http-log
      config: {{http_endpoint: "http://{}/batch", queue: {{max_batch_size: 3, max_coalescing_delay: 60}}}}
  - name: dead
    paths: [/dead]
    plugins:
    - name: http-log
      config: {{http_endpoint: "http://127.0.0.1:1/", queue: {{max_retry_time: 0, max_entries: 1}}}}
"#,
        upstream.url(),
        collector.address,
        collector.address
    );
    let gateway = Gateway::declarative(&yaml);
    let received = |count: usize| {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(collector.seen());
            std::thread::yield_now();
        }
        all
    };
    assert_eq!(
        gateway.send(&ask("POST", "/single").body("x")).status(),
        200
    );
    let calls = received(2);
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(calls[1].asked(), "PUT /in");
    assert_eq!(calls[1].header("authorization"), Some("Basic bWU6cHc="));
    assert_eq!(calls[1].header("x-token"), Some("t"));
    assert_eq!(calls[1].header("content-type"), Some("application/json"));
    assert_eq!(calls[1].json()["request"]["method"], "POST");
    for _ in 0..3 {
        gateway.send(&get("/batch"));
    }
    let calls = received(1);
    assert_eq!(calls[0].asked(), "POST /batch");
    assert_eq!(calls[0].json().as_array().map(Vec::len), Some(3));
    // A collector that is not there holds nothing up, and what is lost is said.
    for _ in 0..10 {
        assert_eq!(gateway.send(&get("/dead")).status(), 200);
    }
    while !gateway.log().contains("entries were lost") {
        std::thread::yield_now();
    }
}
