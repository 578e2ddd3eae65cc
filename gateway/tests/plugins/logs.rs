//! file-log and http-log.

use serde_json::json;

use crate::gateway::{Gateway, Start, Upstream, ask, curl, get, reply};

/// The lines of a file, once there are so many.
fn lines(path: &std::path::Path, count: usize) -> Vec<serde_json::Value> {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // What has no end yet is being written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines: Vec<_> = whole.lines().collect();
        if lines.len() >= count {
            let read = |line: &&str| serde_json::from_str(line).expect("a line of JSON");
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

/// Member by member, so that what differs is seen.
fn expect_members(found: &serde_json::Value, wanted: &serde_json::Value) {
    let (found, wanted) = (found.as_object(), wanted.as_object());
    let (found, wanted) = found.zip(wanted).expect("objects");
    for (name, wanted) in wanted {
        assert_eq!(found.get(name), Some(wanted), "{name}");
    }
    let more: Vec<_> = found
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .collect();
    assert!(more.is_empty(), "{more:?}");
}

/// A number that is not known beforehand.
fn blank(record: &mut serde_json::Value, pointers: &[&str]) {
    for pointer in pointers {
        let found = record.pointer_mut(pointer);
        let found = found.unwrap_or_else(|| panic!("nothing at {pointer}"));
        assert!(
            found.is_u64() || found.as_f64().is_some_and(|number| number >= 0.0),
            "{pointer}: {found}"
        );
        *found = "number".into();
    }
}

/// Everything that Kong 3.9.3 writes down, and nothing else: the whole record of a request that went to a service at the
/// second try, of one that a plugin answered, and of one that no route wanted.
#[test]
fn records_are_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file.log");
    let upstream = Upstream::answering(|_| reply(201, &[("X-A", "1"), ("X-A", "2")], "hello"));
    let port = upstream.address.port();
    let yaml = format!(
        r#"
_format_version: "3.0"
_transform: false
services:
- id: 10000000-0000-4000-8000-000000000001
  name: s
  host: hosts
  created_at: 1
  tags: [blue]
  routes:
  - {{id: 10000000-0000-4000-8000-000000000002, name: r, paths: [/logged], created_at: 2}}
upstreams:
- name: hosts
  algorithm: least-connections
  targets: [{{target: "127.0.0.1:1", weight: 1000}}, {{target: "127.0.0.1:{port}", weight: 1}}]
consumers:
- id: 10000000-0000-4000-8000-000000000003
  username: bob
  created_at: 3
  basicauth_credentials: [{{id: 10000000-0000-4000-8000-000000000004, username: bob, password: aadc53bcd47d9007d8cd7097d6575159f9c75020}}]
plugins:
- {{name: file-log, config: {{path: "{}"}}}}
- {{name: correlation-id, config: {{header_name: x-correlation, generator: uuid#counter}}}}
- name: basic-auth
  route: r
"#,
        path.display()
    );
    let gateway = Gateway::start(Start {
        yaml: Some(yaml),
        conf: vec![("proxy_listen", "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned())],
        ..Start::default()
    });
    let port_of = |index: usize| gateway.proxy[index].port();
    // One at a time: another worker may write the next one first.
    let record = |count: usize| lines(&path, count)[count - 1].clone();

    let answer = gateway.send(
        &ask("POST", "/logged/x?a=1&b&a=2&c=")
            .header("authorization", "Basic Ym9iOnNlY3JldA==")
            .header("x-two", "1")
            .header("x-two", "2")
            .body("text"),
    );
    let mut first = record(1);
    assert_eq!(answer.status(), 201, "{answer:?}\n{first}");
    blank(
        &mut first,
        &[
            "/started_at",
            "/latencies/kong",
            "/latencies/proxy",
            "/latencies/request",
            "/latencies/receive",
            "/request/size",
            "/response/size",
            "/route/updated_at",
            "/service/updated_at",
            "/consumer/updated_at",
        ],
    );
    for tried in first["tries"].as_array_mut().expect("tries") {
        blank(
            tried,
            &[
                "/balancer_latency",
                "/balancer_latency_ns",
                "/balancer_start",
                "/balancer_start_ns",
            ],
        );
    }
    let id = answer.header("x-kong-request-id").expect("an id");
    let correlation = first["correlation_id"].as_str().expect("an id").to_owned();
    let number = "number";
    expect_members(
        &first,
        &json!({
            "request": {
                "id": id,
                "uri": "/logged/x?a=1&b&a=2&c=",
                "url": format!("http://test.example:{}/logged/x?a=1&b&a=2&c=", port_of(0)),
                "querystring": {"a": ["1", "2"], "b": true, "c": ""},
                "method": "POST",
                "headers": {
                    "host": "test.example",
                    "authorization": "REDACTED",
                    "x-two": ["1", "2"],
                    "content-length": "4",
                    "x-consumer-id": "10000000-0000-4000-8000-000000000003",
                    "x-consumer-username": "bob",
                    "x-credential-identifier": "bob",
                    "x-correlation": correlation,
                },
                "size": number,
            },
            "upstream_uri": "/x?a=1&b&a=2&c=",
            "upstream_status": "502, 201",
            "response": {
                "status": 201,
                "headers": {
                    "x-a": ["1", "2"],
                    "content-length": "5",
                    "date": answer.header("date"),
                    "x-kong-upstream-latency": answer.header("x-kong-upstream-latency"),
                    "x-kong-proxy-latency": answer.header("x-kong-proxy-latency"),
                    "via": "1.1 kong/3.9.3",
                    "server": "kong/3.9.3",
                    "x-kong-request-id": id,
                },
                "size": number,
            },
            "latencies": {"kong": number, "proxy": number, "request": number, "receive": number},
            "tries": [
                {
                    "balancer_latency": number, "balancer_latency_ns": number,
                    "balancer_start": number, "balancer_start_ns": number,
                    "ip": "127.0.0.1", "port": 1, "state": "failed", "code": 502,
                },
                {
                    "balancer_latency": number, "balancer_latency_ns": number,
                    "balancer_start": number, "balancer_start_ns": number,
                    "ip": "127.0.0.1", "port": port,
                },
            ],
            "authenticated_entity": {
                "id": "10000000-0000-4000-8000-000000000004",
                "consumer_id": "10000000-0000-4000-8000-000000000003",
            },
            "route": {
                "id": "10000000-0000-4000-8000-000000000002",
                "name": "r",
                "paths": ["/logged"],
                "protocols": ["http", "https"],
                "service": {"id": "10000000-0000-4000-8000-000000000001"},
                "https_redirect_status_code": 426,
                "path_handling": "v0",
                "preserve_host": false,
                "regex_priority": 0,
                "request_buffering": true,
                "response_buffering": true,
                "strip_path": true,
                "created_at": 2,
                "updated_at": number,
                "ws_id": WORKSPACE,
            },
            "service": {
                "id": "10000000-0000-4000-8000-000000000001",
                "name": "s",
                "host": "hosts",
                "port": 80,
                "protocol": "http",
                "retries": 5,
                "connect_timeout": 60000,
                "read_timeout": 60000,
                "write_timeout": 60000,
                "enabled": true,
                "tags": ["blue"],
                "created_at": 1,
                "updated_at": number,
                "ws_id": WORKSPACE,
            },
            "consumer": {
                "id": "10000000-0000-4000-8000-000000000003",
                "username": "bob",
                "created_at": 3,
                "updated_at": number,
            },
            "client_ip": "127.0.0.1",
            "started_at": number,
            "source": "upstream",
            "workspace": WORKSPACE,
            "workspace_name": "default",
            "correlation_id": correlation,
        }),
    );

    // Answered by a plugin, over TLS: where it would have gone is known, nobody was asked.
    let url = format!("https://127.0.0.1:{}/logged/y", port_of(1));
    assert_eq!(curl(&[&url]).status(), 401);
    let second = record(2);
    for (pointer, wanted) in [
        ("/request/url", json!(url)),
        ("/request/querystring", json!({})),
        (
            "/request/tls",
            json!({"version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "client_verify": "NONE"}),
        ),
        ("/upstream_uri", json!("/y")),
        ("/upstream_status", json!("")),
        ("/response/status", json!(401)),
        (
            "/response/headers/www-authenticate",
            json!("Basic realm=\"service\""),
        ),
        ("/latencies/proxy", json!(-1)),
        ("/source", json!("kong")),
        ("/route/name", json!("r")),
        ("/service/name", json!("s")),
    ] {
        assert_eq!(
            second.pointer(pointer),
            Some(&wanted),
            "{pointer}: {second}"
        );
    }
    for absent in ["tries", "consumer", "authenticated_entity"] {
        assert_eq!(second.get(absent), None, "{second}");
    }

    // Wanted by no route.
    assert_eq!(gateway.send(&get("/nowhere?x")).status(), 404);
    let third = record(3);
    assert_eq!(third["upstream_uri"], "");
    assert_eq!(third["upstream_status"], "");
    assert_eq!(third["request"]["uri"], "/nowhere?x");
    assert_eq!(third["source"], "kong");
    for absent in ["route", "service", "tries"] {
        assert_eq!(third.get(absent), None, "{third}");
    }
    crate::cases::report("log records", 3, 3);
}

const WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";
