//! A node without a database.

use carbyne_gateway::object;
use carbyne_gateway::schema::uuid;
use carbyne_gateway::value::Value;

use super::client::Node;
use super::samples::sample;

#[tokio::test]
async fn without_a_database_everything_but_config_is_read() {
    let node = Node::dbless().await;
    let status = node.get("/status").await.expect(200, "status");
    assert_eq!(
        status.body.get("configuration_hash"),
        Some(&"00000000000000000000000000000000".into())
    );
    let yaml = "_format_version: '3.0'\nservices:\n- name: s\n  host: h\n  routes:\n  - name: r\n    paths: [/x]\n";
    let headers = [("Content-Type", "text/yaml")];
    let loaded = node
        .send("POST", "/config", &headers, yaml.as_bytes())
        .await
        .expect(201, "yaml");
    assert_eq!(
        loaded
            .body
            .get("services")
            .unwrap()
            .as_object()
            .unwrap()
            .len(),
        1
    );
    let hash = node
        .get("/status")
        .await
        .body
        .get("configuration_hash")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(hash, "0".repeat(32));
    node.send("POST", "/config?check_hash=1", &headers, yaml.as_bytes())
        .await
        .expect(304, "the same");
    node.get("/services/s/routes/r").await.expect(200, "route");
    let root = node.get("/").await;
    assert_eq!(root.body.at("configuration.database"), Some(&"off".into()));
    for (method, path, verb) in [
        ("POST", "/services", "create"),
        ("PUT", "/services/s", "create or update"),
        ("PATCH", "/services/s", "update"),
    ] {
        let refused = node
            .json(method, path, sample("services", 9, &|_| Value::Null))
            .await
            .expect(405, path);
        assert_eq!(refused.body.get("code"), Some(&12.into()));
        let by = if method == "POST" { "" } else { " by 'name'" };
        let why = format!("cannot {verb} 'services' entities{by} when not using a database");
        assert_eq!(refused.body.get("message"), Some(&why.into()));
    }
    node.json("POST", "/services", object! {})
        .await
        .expect(400, "validated first");
    node.delete("/routes/r").await.expect(405, "delete");
    node.delete(&format!("/routes/{}", uuid()))
        .await
        .expect(204, "nothing to delete");

    let exported = node.get("/config").await.expect(200, "export");
    let text = exported
        .body
        .get("config")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    let other = Node::dbless().await;
    other
        .json("POST", "/config", object! { "config": text })
        .await
        .expect(201, "what was exported");
    assert_eq!(
        other.get("/routes/r").await.body.get("id"),
        node.get("/routes/r").await.body.get("id")
    );

    // A configuration that is wrong changes nothing.
    let bad = object! { "_format_version": "3.0", "services": vec![Value::from(object! { "name": "s" }), object! { "host": "a:1" }.into()] };
    let refused = node
        .json("POST", "/config?flatten_errors=1", bad.clone())
        .await
        .expect(400, "bad");
    assert_eq!(refused.body.get("code"), Some(&14.into()));
    let flat = refused
        .body
        .get("flattened_errors")
        .unwrap()
        .as_array()
        .unwrap();
    assert_eq!(flat.len(), 2);
    // The last first, as Kong tells them, and the message has only what is left.
    assert_eq!(
        refused.body.get("message"),
        Some(&"declarative config is invalid: {}".into())
    );
    assert_eq!(flat[1].get("entity_type"), Some(&"service".into()));
    assert_eq!(flat[1].get("entity_name"), Some(&"s".into()));
    assert_eq!(
        flat[1].get("errors").unwrap().to_json(),
        r#"[{"type":"field","field":"host","message":"required field missing"}]"#
    );
    let refused = node.json("POST", "/config", bad).await.expect(400, "bad");
    assert_eq!(
        refused.body.get("fields").unwrap().to_json(),
        r#"{"services":[{"host":"required field missing"},{"host":"must not have a port"}]}"#
    );
    node.get("/routes/r").await.expect(200, "the old one stays");
}
