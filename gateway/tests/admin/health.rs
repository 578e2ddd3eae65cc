//! What the Admin API tells of the health of upstreams, and the switches of operators.

use carbyne_gateway::object;
use carbyne_gateway::value::{Object, Value, at};

use crate::client::Node;

const CHECKED: &str =
    r#"{"name":"checked","healthchecks":{"passive":{"unhealthy":{"tcp_failures":1}}}}"#;

async fn node() -> Node {
    let node = Node::embedded().await;
    let body = Value::from_json(CHECKED.as_bytes()).unwrap();
    node.json("POST", "/upstreams", body)
        .await
        .expect(201, "checked");
    node.json("POST", "/upstreams", object! { "name": "plain" })
        .await
        .expect(201, "plain");
    for (upstream, target, weight) in [
        ("checked", "10.0.0.1:80", 100),
        ("checked", "10.0.0.2", 50),
        ("checked", "[::1]:81", 0),
        ("checked", "unresolved.test:80", 10),
        ("plain", "10.0.0.1:80", 100),
    ] {
        let path = format!("/upstreams/{upstream}/targets");
        let body = object! { "target": target, "weight": f64::from(weight) };
        node.json("POST", &path, body).await.expect(201, target);
    }
    node.balance().await;
    node
}

/// Targets with their health, newest first.
async fn health(node: &Node, upstream: &str) -> Vec<(String, String)> {
    let path = format!("/upstreams/{upstream}/health");
    let body = node.get(&path).await.expect(200, &path).object();
    assert_eq!(body["next"], Value::Null);
    assert_eq!(body["node_id"].as_str().map(str::len), Some(36));
    let text = |target: &Value, field| target.get(field).unwrap().as_str().unwrap().to_owned();
    let all = body["data"].as_array().unwrap().iter();
    all.map(|target| (text(target, "target"), text(target, "health")))
        .collect()
}

async fn balancer_health(node: &Node, upstream: &str) -> Object {
    let path = format!("/upstreams/{upstream}/health?balancer_health=1");
    let body = node.get(&path).await.expect(200, &path).object();
    body["data"].as_object().unwrap().clone()
}

#[tokio::test]
async fn health_is_told_for_each_target_and_for_the_whole() {
    let node = node().await;
    let expected = |first: &str, second: &str| -> Vec<(String, String)> {
        let v6 = "[0000:0000:0000:0000:0000:0000:0000:0001]:81";
        [
            ("unresolved.test:80", "DNS_ERROR"),
            (v6, "HEALTHCHECKS_OFF"),
            ("10.0.0.2:8000", second),
            ("10.0.0.1:80", first),
        ]
        .map(|(target, health)| (target.into(), health.into()))
        .into()
    };
    assert_eq!(
        health(&node, "checked").await,
        expected("HEALTHY", "HEALTHY")
    );
    assert_eq!(
        health(&node, "plain").await,
        [("10.0.0.1:80".into(), "HEALTHCHECKS_OFF".into())]
    );
    // (path below the targets, what it answers, the health of the first two afterwards)
    let cases = [
        ("10.0.0.1:80/unhealthy", 204, "UNHEALTHY", "HEALTHY"),
        (
            "10.0.0.2:8000/10.0.0.2:8000/unhealthy",
            204,
            "UNHEALTHY",
            "UNHEALTHY",
        ),
        (
            "10.0.0.2:8000/10.0.0.2/healthy",
            204,
            "UNHEALTHY",
            "HEALTHY",
        ),
        ("10.0.0.1:80/10.0.0.1/healthy", 204, "UNHEALTHY", "HEALTHY"),
        ("10.0.0.1:80/10.0.0.1:80/healthy", 204, "HEALTHY", "HEALTHY"),
        ("10.0.0.9:80/healthy", 404, "HEALTHY", "HEALTHY"),
    ];
    for (path, status, first, second) in cases {
        let path = format!("/upstreams/checked/targets/{path}");
        let answer = node
            .json("PUT", &path, object! {})
            .await
            .expect(status, &path);
        let text = if status == 204 {
            ""
        } else {
            r#"{"message":"Not found"}"#
        };
        assert_eq!(answer.text, text, "{path}");
        assert_eq!(
            health(&node, "checked").await,
            expected(first, second),
            "{path}"
        );
    }
    let whole = balancer_health(&node, "checked").await;
    assert_eq!(whole["health"], "HEALTHY".into());
    assert_eq!(at(&whole, "details.weight.total"), Some(&150.0.into()));
    let plain = balancer_health(&node, "plain").await;
    assert_eq!(plain["health"], "HEALTHCHECKS_OFF".into());
    assert_eq!(plain["balancer_health"], "HEALTHY".into());
}

#[tokio::test]
async fn a_target_is_told_with_its_addresses() {
    let node = node().await;
    let body = node.get("/upstreams/checked/health?size=1&offset=3").await;
    let target = body.object()["data"].as_array().unwrap()[0].clone();
    assert_eq!(target.get("weight"), Some(&100.0.into()));
    assert_eq!(
        target.get("data").unwrap().to_json(),
        r#"{"host":"10.0.0.1","port":80,"dns":"A","nodeWeight":100,"weight":{"total":100,"unavailable":0,"available":100},"addresses":[{"ip":"10.0.0.1","port":80,"weight":100,"health":"HEALTHY"}]}"#
    );
    let page = node.get("/upstreams/checked/health?size=2").await.object();
    assert_eq!(page["offset"], "2".into());
    assert_eq!(page["next"], "/upstreams/checked/health?offset=2".into());
}

#[tokio::test]
async fn targets_are_switched_by_id_and_only_where_something_is_checked() {
    let node = node().await;
    let targets = node.get("/upstreams/checked/targets").await.object();
    let target = targets["data"].as_array().unwrap()[3].clone();
    let id = target.get("id").unwrap().as_str().unwrap();
    let path = format!("/upstreams/checked/targets/{id}/unhealthy");
    node.json("PUT", &path, object! {})
        .await
        .expect(204, "by id");
    assert_eq!(health(&node, "checked").await[3].1, "UNHEALTHY");
    // (method, path, status, body)
    let foreign = format!("/upstreams/plain/targets/{id}/healthy");
    let cases = [
        ("PUT", foreign.as_str(), 404, r#"{"message":"Not found"}"#),
        (
            "PUT",
            "/upstreams/none/targets/10.0.0.1:80/healthy",
            404,
            r#"{"message":"Not found"}"#,
        ),
        (
            "PUT",
            "/upstreams/plain/targets/10.0.0.1:80/healthy",
            400,
            r#"{"message":"no healthchecker found for plain"}"#,
        ),
        (
            "POST",
            path.as_str(),
            405,
            r#"{"message":"Method not allowed"}"#,
        ),
        (
            "GET",
            "/upstreams/none/health",
            404,
            r#"{"message":"Not found"}"#,
        ),
        (
            "PUT",
            "/upstreams/checked/health",
            405,
            r#"{"message":"Method not allowed"}"#,
        ),
    ];
    for (method, path, status, body) in cases {
        let answer = node.send(method, path, &[], b"").await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (status, body),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn without_a_database_health_is_told_and_switched() {
    let node = Node::dbless().await;
    let config = format!(
        r#"{{"_format_version":"3.0","upstreams":[{},{{"name":"other"}}]}}"#,
        CHECKED.replace("\"name\"", r#""targets":[{"target":"10.0.0.1:80"}],"name""#)
    );
    let config = Value::from_json(config.as_bytes()).unwrap();
    node.json("POST", "/config", config)
        .await
        .expect(201, "config");
    node.balance().await;
    let path = "/upstreams/checked/targets/10.0.0.1:80/unhealthy";
    node.json("PUT", path, object! {}).await.expect(204, path);
    assert_eq!(
        health(&node, "checked").await,
        [("10.0.0.1:80".into(), "UNHEALTHY".into())]
    );
    assert_eq!(
        balancer_health(&node, "checked").await["health"],
        "UNHEALTHY".into()
    );
}
