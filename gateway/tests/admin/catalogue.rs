//! Every path of Kong's Admin API is there, with what may be asked of it; CORS, HEAD and OPTIONS; and the node's own switches.

use carbyne_gateway::value::Value;

use super::cases::report;
use super::client::Node;

/// Paths, each with its methods.
const ENDPOINTS: &str = include_str!("endpoints.tsv");

#[tokio::test]
async fn every_endpoint_of_kong_is_there() {
    let node = Node::embedded().await;
    let listed = node.get("/endpoints").await.expect(200, "/endpoints");
    let listed = listed
        .body
        .get("data")
        .unwrap()
        .as_array()
        .unwrap()
        .to_vec();
    let mut count = 0;
    for row in ENDPOINTS.lines().filter(|row| !row.starts_with('#')) {
        let (path, methods) = row.split_once('\t').unwrap();
        assert!(listed.contains(&path.into()), "{path} is not in /endpoints");
        let real: String = path.replace(['{', '}'], "");
        let options = node
            .send("OPTIONS", &real, &[], b"")
            .await
            .expect(204, &real);
        let allowed: Vec<_> = options.header("allow").split(", ").collect();
        let mut sorted = allowed.clone();
        sorted.sort_unstable();
        assert_eq!(allowed, sorted, "{path}");
        assert_eq!(
            options.header("access-control-allow-methods"),
            allowed.join(", "),
            "{path}"
        );
        for method in methods.split(' ') {
            // What may be read of a collection of tags is not written by anybody.
            let is_tag = path == "/tags/{tags}" && method != "GET";
            assert!(
                allowed.contains(&method) || is_tag,
                "{method} {path}: {allowed:?}"
            );
            count += 1;
        }
        let odd = node.send("TRACE", &real, &[], b"").await;
        assert_eq!(
            (odd.status, odd.text.as_str()),
            (405, r#"{"message":"Method not allowed"}"#),
            "{path}"
        );
        if allowed.contains(&"HEAD") {
            let (head, get) = (
                node.send("HEAD", &real, &[], b"").await,
                node.get(&real).await,
            );
            assert_eq!(
                (head.status, head.text.as_str()),
                (get.status, ""),
                "{path}"
            );
            count += 1;
        }
    }
    report("admin endpoints", count, count);
    assert!(count > 350, "{count}");
}

#[tokio::test]
async fn origins_are_those_of_the_manager_where_it_has_some() {
    let ask = [
        ("Origin", "https://elsewhere.example"),
        ("Access-Control-Request-Headers", "X-Custom"),
    ];
    let open = Node::embedded()
        .await
        .send("OPTIONS", "/services", &ask, b"")
        .await;
    assert_eq!(
        open.header("access-control-allow-origin"),
        "https://elsewhere.example"
    );
    assert_eq!(open.header("access-control-allow-headers"), "X-Custom");
    let told = [(
        "KONG_ADMIN_GUI_URL",
        "https://kong.example:8445/manager, http://localhost:8002",
    )];
    let node = Node::told(&told).await;
    for (origin, allowed) in [
        ("https://kong.example:8445", "https://kong.example:8445"),
        ("http://localhost:8002", "http://localhost:8002"),
        ("https://elsewhere.example", "https://kong.example:8445"),
        ("null", "https://kong.example:8445"),
    ] {
        let answer = node
            .send("GET", "/services", &[("Origin", origin)], b"")
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
    }
}

#[tokio::test]
async fn the_node_has_switches() {
    let node = Node::embedded().await;
    let put = async |path: &str| {
        let answer = node.send("PUT", path, &[], b"").await;
        (answer.status, answer.text)
    };
    let message = |text: &str| format!(r#"{{"message":"{text}"}}"#);
    let level = node.get("/debug/node/log-level").await.text;
    assert_eq!(level, message("log level: notice"));
    for (path, status, words) in [
        (
            "/debug/node/log-level/notice",
            200,
            "log level is already notice",
        ),
        ("/debug/node/log-level/loud", 400, "unknown log level: loud"),
        (
            "/debug/node/log-level/debug?timeout=-1",
            400,
            "timeout must be greater than or equal to 0",
        ),
        (
            "/debug/node/log-level/debug?timeout=600",
            200,
            "log level changed",
        ),
        (
            "/debug/cluster/log-level/debug",
            200,
            "log level is already debug",
        ),
        (
            "/debug/cluster/log-level/warn?timeout=0",
            200,
            "log level changed",
        ),
    ] {
        assert_eq!(put(path).await, (status, message(words)), "{path}");
    }
    // A time of nothing has passed.
    assert_eq!(
        node.get("/debug/node/log-level").await.text,
        message("log level: notice")
    );
    let dbless = Node::dbless().await;
    let refused = dbless
        .send("PUT", "/debug/node/log-level/debug", &[], b"")
        .await;
    assert_eq!(
        (refused.status, refused.text),
        (
            405,
            message("cannot change log level when not using a database")
        )
    );
    node.delete("/cache").await.expect(204, "cache");
    node.delete("/cache/any").await.expect(204, "cache");
    node.get("/cache/any").await.expect(404, "cache");
    let timers = node.get("/timers").await.expect(200, "timers");
    assert_eq!(timers.body.at("worker.id"), Some(&Value::from(0)));
    let dns = node.get("/status/dns").await.expect(501, "dns");
    assert_eq!(
        dns.text,
        message("not implemented with the legacy DNS client")
    );
    let clustering = node
        .get("/clustering/status")
        .await
        .expect(400, "clustering");
    assert!(
        clustering.text.contains("run as Control Plane"),
        "{}",
        clustering.text
    );
}
