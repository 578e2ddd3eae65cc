//! Endpoints and rules that are not every entity's.

use carbyne_gateway::object;
use carbyne_gateway::value::Value;

use super::client::Node;
use super::samples::{authority, certificate, short_certificate};

const FORM: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

#[tokio::test]
async fn the_node_says_what_it_is() {
    let node = Node::embedded().await;
    let root = node.get("/").await.expect(200, "/");
    assert_eq!(root.header("server"), "kong/3.9.3");
    assert_eq!(
        root.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(root.header("access-control-allow-origin"), "*");
    assert!(!root.header("x-kong-admin-latency").is_empty());
    assert_eq!(
        root.body.at("configuration.database"),
        Some(&"postgres".into())
    );
    assert_eq!(
        root.body.at("configuration.router_flavor"),
        Some(&"traditional_compatible".into())
    );
    assert_eq!(
        root.body.at("configuration.role"),
        Some(&"traditional".into())
    );
    let plugin = root
        .body
        .at("plugins.available_on_server")
        .unwrap()
        .get("key-auth")
        .unwrap();
    assert_eq!(plugin.to_json(), r#"{"version":"3.9.3","priority":1250}"#);
    node.json("POST", "/plugins", object! { "name": "cors" })
        .await
        .expect(201, "cors");
    let root = node.get("/").await;
    assert_eq!(
        root.body
            .at("plugins.enabled_in_cluster")
            .unwrap()
            .to_json(),
        r#"["cors"]"#
    );
    let status = node.get("/status").await.expect(200, "/status");
    assert_eq!(status.body.at("database.reachable"), Some(&true.into()));
    node.get("/status?unit=x").await.expect(400, "unit");
    let enabled = node.get("/plugins/enabled").await.expect(200, "enabled");
    assert_eq!(
        enabled
            .body
            .get("enabled_plugins")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        45
    );
    let endpoints = node.get("/endpoints").await.expect(200, "endpoints");
    let listed = endpoints.body.get("data").unwrap().as_array().unwrap();
    assert!(listed.contains(&"/consumers/{consumers}/acls/{acls}".into()));
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let node = Node::embedded().await;
    for path in [
        "/nothing",
        "/consumer_groups",
        "/metrics",
        "/workspaces",
        "/targets",
        "/default/services",
    ] {
        assert_eq!(
            node.get(path).await.expect(404, path).text,
            r#"{"message":"Not found"}"#
        );
    }
    for (path, message) in [
        ("/schemas/nothing", "No entity named 'nothing'"),
        ("/schemas/plugins/nothing", "No plugin named 'nothing'"),
        ("/schemas/vaults/nothing", "No vault named 'nothing'"),
        ("/schemas/filters/nothing", "Filter 'nothing' not found"),
    ] {
        let answer = node.get(path).await.expect(404, path);
        assert_eq!(answer.body.get("message"), Some(&message.into()));
    }
    node.get("/clustering/data-planes")
        .await
        .expect(400, "clustering");
    node.get("/config").await.expect(400, "config");
}

#[tokio::test]
async fn forms_and_parts_are_bodies() {
    let node = Node::embedded().await;
    let form = b"name=s&url=http%3A%2F%2Fexample.com%2Fa&tags%5B%5D=x&tags%5B%5D=y&retries=3&enabled=false";
    let service = node
        .send("POST", "/services", &FORM, form)
        .await
        .expect(201, "form");
    assert_eq!(service.body.get("retries"), Some(&3.into()));
    assert_eq!(service.body.get("enabled"), Some(&false.into()));
    assert_eq!(service.body.get("tags").unwrap().to_json(), r#"["x","y"]"#);
    let form = b"name=rate-limiting&config.minute=5&service.name=s";
    let plugin = node
        .send("POST", "/plugins", &FORM, form)
        .await
        .expect(201, "plugin");
    assert_eq!(plugin.body.at("config.minute"), Some(&5.into()));
    let path = format!(
        "/plugins/{}",
        plugin.body.get("id").unwrap().as_str().unwrap()
    );
    let patched = node
        .send("PATCH", &path, &FORM, b"config.hour=9")
        .await
        .expect(200, "patch");
    assert_eq!(
        (
            patched.body.at("config.minute"),
            patched.body.at("config.hour")
        ),
        (Some(&5.into()), Some(&9.into()))
    );
    let parts =
        "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n--b--\r\n";
    let headers = [("Content-Type", "multipart/form-data; boundary=b")];
    let consumer = node
        .send("POST", "/consumers", &headers, parts.as_bytes())
        .await
        .expect(201, "parts");
    assert_eq!(consumer.body.get("username"), Some(&"alice".into()));
    node.send("POST", "/consumers/alice/key-auth", &[], b"")
        .await
        .expect(201, "no body is an empty one");
}

#[tokio::test]
async fn certificates_have_names() {
    let node = Node::embedded().await;
    let (cert, key) = certificate();
    let names = vec![Value::from("b.example.com"), "a.example.com".into()];
    let sent = object! { "cert": cert.as_str(), "key": key.as_str(), "snis": names };
    let made = node
        .json("POST", "/certificates", sent.clone())
        .await
        .expect(201, "certificate");
    assert_eq!(
        made.body.get("snis").unwrap().to_json(),
        r#"["a.example.com","b.example.com"]"#
    );
    let id = made.body.get("id").unwrap().as_str().unwrap().to_owned();
    let by_name = node
        .get("/certificates/a.example.com")
        .await
        .expect(200, "by name");
    assert_eq!(by_name.body, made.body);
    let taken = node
        .json("POST", "/certificates", sent)
        .await
        .expect(400, "taken");
    let why = format!("a.example.com already associated with existing certificate '{id}'");
    assert_eq!(taken.body.at("fields.snis"), Some(&why.into()));
    let path = format!("/certificates/{id}");
    let patched = node.json(
        "PATCH",
        &path,
        object! { "snis": vec![Value::from("c.example.com")] },
    );
    assert_eq!(
        patched
            .await
            .expect(200, "patch")
            .body
            .get("snis")
            .unwrap()
            .to_json(),
        r#"["c.example.com"]"#
    );
    node.get("/snis/a.example.com")
        .await
        .expect(404, "the old name is gone");
    let put = object! { "cert": cert.as_str(), "key": key.as_str() };
    let new = node
        .json("PUT", "/certificates/new.example.com", put.clone())
        .await
        .expect(200, "put by name");
    assert_eq!(
        new.body.get("snis").unwrap().to_json(),
        r#"["new.example.com"]"#
    );
    node.json("PUT", &format!("/certificates/{id}"), put)
        .await
        .expect(200, "put without names");
    node.get("/snis/c.example.com")
        .await
        .expect(404, "has lost its names");
    node.get("/certificates/nobody.example.com")
        .await
        .expect(404, "no such name");
    let (_, other) = certificate();
    let mismatch = node
        .json(
            "POST",
            "/certificates",
            object! { "cert": cert, "key": other },
        )
        .await
        .expect(400, "key");
    assert_eq!(
        mismatch.body.at("fields.@entity").unwrap().to_json(),
        r#"["certificate does not match key"]"#
    );
    node.delete("/certificates/new.example.com")
        .await
        .expect(204, "with its names");
    node.get("/snis/new.example.com").await.expect(404, "gone");
}

#[tokio::test]
async fn authorities_stay_while_a_service_trusts_them() {
    let node = Node::embedded().await;
    let (leaf, _) = certificate();
    let leaf = node
        .json("POST", "/ca_certificates", object! { "cert": leaf })
        .await
        .expect(400, "a leaf");
    assert!(
        leaf.text
            .contains("missing the \\\"CA\\\" basic constraint"),
        "{}",
        leaf.text
    );
    let made = node
        .json("POST", "/ca_certificates", object! { "cert": authority() })
        .await
        .expect(201, "authority");
    assert_eq!(
        made.body
            .get("cert_digest")
            .unwrap()
            .as_str()
            .unwrap()
            .len(),
        64
    );
    let id = made.body.get("id").unwrap().clone();
    let service = object! { "host": "h", "protocol": "https", "ca_certificates": vec![id.clone()] };
    node.json("POST", "/services", service)
        .await
        .expect(201, "service");
    let kept = node
        .delete(&format!("/ca_certificates/{}", id.as_str().unwrap()))
        .await
        .expect(400, "referenced");
    assert_eq!(kept.body.get("code"), Some(&19.into()));
}

#[tokio::test]
async fn targets_are_listed_once_and_newest_first() {
    let node = Node::embedded().await;
    node.json("POST", "/upstreams", object! { "name": "u.x" })
        .await
        .expect(201, "upstream");
    for target in ["10.0.0.1", "[::1]:80", "example.com"] {
        node.json(
            "POST",
            "/upstreams/u.x/targets",
            object! { "target": target },
        )
        .await
        .expect(201, target);
    }
    let again = node
        .json(
            "POST",
            "/upstreams/u.x/targets",
            object! { "target": "10.0.0.1:8000" },
        )
        .await;
    again.expect(409, "the same target");
    let page = node
        .get("/upstreams/u.x/targets?size=2")
        .await
        .expect(200, "page");
    assert_eq!(page.body.get("offset"), Some(&"2".into()));
    let next = "/upstreams/u.x/targets?offset=2";
    assert_eq!(page.body.get("next"), Some(&next.into()));
    let refused = node.json(
        "POST",
        "/upstreams/u.x/targets",
        object! { "target": "a b" },
    );
    assert_eq!(
        refused.await.expect(400, "target").body.at("fields.target"),
        Some(&"Invalid target; not a valid hostname or ip address".into())
    );
    let all = node.all("/upstreams/u.x/targets", 2).await;
    let names: Vec<_> = all
        .iter()
        .map(|target| target.get("target").unwrap().to_json())
        .collect();
    assert_eq!(names.len(), 3);
    assert!(
        names.contains(&"\"[0000:0000:0000:0000:0000:0000:0000:0001]:80\"".to_owned()),
        "{names:?}"
    );
    node.json(
        "PUT",
        "/upstreams/u.x/targets/10.0.0.1:8000",
        object! { "weight": 7 },
    )
    .await
    .expect(200, "put patches");
    node.json(
        "PUT",
        "/upstreams/u.x/targets/10.0.0.9:8000",
        object! { "weight": 7 },
    )
    .await
    .expect(404, "no making");
    node.delete("/upstreams/u.x/targets/10.0.0.1:8000")
        .await
        .expect(204, "delete");
    assert_eq!(node.all("/upstreams/u.x/targets/all", 1).await.len(), 2);
}

#[tokio::test]
async fn what_belongs_to_a_parent_is_listed_by_the_name_that_was_asked_for() {
    let node = Node::embedded().await;
    node.json("POST", "/consumers", object! { "username": "a b" })
        .await
        .expect(201, "consumer");
    for key in ["k1", "k2"] {
        let tags = vec![Value::from(key)];
        let sent = object! { "key": key, "tags": tags };
        node.json("POST", "/consumers/a%20b/key-auth", sent)
            .await
            .expect(201, key);
    }
    let page = node
        .get("/consumers/a%20b/key-auth?size=1")
        .await
        .expect(200, "page");
    let next = page.body.get("next").unwrap().as_str().unwrap().to_owned();
    assert!(
        next.starts_with("/consumers/a%20b/key-auth?offset="),
        "{next}"
    );
    node.get(&next).await.expect(200, "next");
    // Tags choose nothing here, and must be well written all the same.
    assert_eq!(
        node.all("/consumers/a%20b/key-auth?tags=k1", 100)
            .await
            .len(),
        2
    );
    node.get("/consumers/a%20b/key-auth?tags=a,b/c")
        .await
        .expect(400, "tags");
}

#[tokio::test]
async fn a_query_or_a_form_of_more_than_1000_arguments_is_refused() {
    let node = Node::embedded().await;
    let arguments = |count| vec!["a=1"; count].join("&");
    for (count, status) in [(1000, 200), (1001, 400)] {
        node.get(&format!("/plugins?{}", arguments(count)))
            .await
            .expect(status, "query");
    }
    let form = arguments(1001);
    let refused = node.send("POST", "/plugins", &FORM, form.as_bytes()).await;
    assert_eq!(
        refused.expect(400, "form").text,
        r#"{"message":"Too many arguments"}"#
    );
}

/// RSA of 1024 bits, which OpenSSL takes, is stored; what cannot be shown to clients is said when it is planned.
#[tokio::test]
async fn short_keys_are_keys() {
    let node = Node::embedded().await;
    node.json("POST", "/certificates", short_certificate())
        .await
        .expect(201, "1024 bits");
    let mut mixed = short_certificate();
    mixed.insert("cert".into(), certificate().0.into());
    let refused = node.json("POST", "/certificates", mixed).await;
    assert_eq!(
        refused
            .expect(400, "of another key")
            .body
            .at("fields.@entity")
            .unwrap()
            .to_json(),
        r#"["certificate does not match key"]"#
    );
}

#[tokio::test]
async fn rules_between_entities_hold() {
    let node = Node::embedded().await;
    node.json("POST", "/services", object! { "name": "s", "host": "h" })
        .await
        .expect(201, "service");
    let route = node.json("POST", "/services/s/routes", object! { "name": "g", "protocols": vec![Value::from("grpc")], "hosts": vec![Value::from("a")] });
    route.await.expect(201, "route");
    let plugin = |field: &str, name: &str| {
        let mut plugin = object! { "name": "cors", "protocols": vec![Value::from("http")] };
        plugin.insert(field.into(), object! { "name": name }.into());
        plugin
    };
    // Kong looks at what was sent, in which a name is no reference yet: it is let through.
    node.json("POST", "/plugins", plugin("route", "g"))
        .await
        .expect(201, "by name");
    let under = node.json("POST", "/routes/g/plugins", object! { "name": "acl", "config": object! { "allow": vec![Value::from("a")] }, "protocols": vec![Value::from("http")] });
    let refused = under.await.expect(400, "protocols");
    assert_eq!(
        refused.body.at("fields.protocols"),
        Some(&"must match the associated route's protocols".into())
    );
    node.json(
        "POST",
        "/consumers",
        object! { "username": "alice", "custom_id": "c-1" },
    )
    .await
    .expect(201, "consumer");
    let found = node
        .get("/consumers?custom_id=c-1")
        .await
        .expect(200, "custom id");
    assert_eq!(found.body.get("data").unwrap().as_array().unwrap().len(), 1);
    node.get("/consumers?custom_id=").await.expect(400, "empty");
    let acl = node
        .json("PUT", "/consumers/alice/acls/admins", object! {})
        .await
        .expect(200, "group");
    assert_eq!(acl.body.get("group"), Some(&"admins".into()));
    let same = node
        .get("/consumers/alice/acls/admins")
        .await
        .expect(200, "by group");
    assert_eq!(same.body.get("id"), acl.body.get("id"));
    node.delete("/consumers/alice/acls/admins")
        .await
        .expect(204, "by group");
    let password = object! { "username": "u", "password": "p" };
    let basic = node
        .json("POST", "/consumers/alice/basic-auth", password)
        .await
        .expect(201, "basic");
    assert_eq!(
        basic.body.get("password").unwrap().as_str().unwrap().len(),
        40
    );
    let path = format!(
        "/basic-auths/{}",
        basic.body.get("id").unwrap().as_str().unwrap()
    );
    let kept = node
        .json("PATCH", &path, object! { "username": "v" })
        .await
        .expect(200, "rename");
    assert_eq!(
        kept.body.get("password"),
        basic.body.get("password"),
        "hashed once"
    );
    let unlinked = node
        .json(
            "POST",
            "/routes",
            object! { "paths": vec![Value::from("/")] },
        )
        .await
        .expect(201, "route");
    let linked = format!(
        "/routes/{}/service",
        unlinked.body.get("id").unwrap().as_str().unwrap()
    );
    node.get(&linked).await.expect(404, "no service yet");
    node.json("PUT", &linked, object! { "host": "new" })
        .await
        .expect(200, "made and linked");
    assert_eq!(
        node.get(&linked)
            .await
            .expect(200, "linked")
            .body
            .get("host"),
        Some(&"new".into())
    );
}

#[tokio::test]
async fn lifetimes_run_down() {
    let node = Node::embedded().await;
    node.json("POST", "/consumers", object! { "username": "alice" })
        .await
        .expect(201, "consumer");
    let made = node
        .json(
            "POST",
            "/consumers/alice/key-auth",
            object! { "key": "k", "ttl": 100 },
        )
        .await;
    let left = made
        .expect(201, "ttl")
        .body
        .get("ttl")
        .unwrap()
        .as_number()
        .unwrap();
    assert!((90.0..100.0).contains(&left), "Kong rounds down: {left}");
    let bad = node
        .json("POST", "/consumers/alice/key-auth", object! { "ttl": -1.0 })
        .await
        .expect(400, "ttl");
    assert_eq!(
        bad.body.get("message"),
        Some(&"invalid option (ttl: must be an integer between 0 and 100000000)".into())
    );
}

#[tokio::test]
async fn tags_are_listed_and_filtered() {
    let node = Node::embedded().await;
    for (name, tags) in [("a", vec!["x"]), ("b", vec!["x", "y"]), ("c", vec!["y"])] {
        let tags: Vec<_> = tags.into_iter().map(Value::from).collect();
        node.json(
            "POST",
            "/services",
            object! { "name": name, "host": "h", "tags": tags },
        )
        .await
        .expect(201, name);
    }
    for (filter, count) in [("x", 2), ("x,y", 1), ("x/y", 3), ("z", 0)] {
        assert_eq!(
            node.all(&format!("/services?tags={filter}"), 1).await.len(),
            count,
            "{filter}"
        );
    }
    assert_eq!(node.all("/tags", 1).await.len(), 4);
    assert_eq!(node.all("/tags/x", 1).await.len(), 2);
    for (filter, why) in [
        ("a,b/c", "invalid filter syntax"),
        ("", "cannot be null"),
        ("a,b,c,d,e,f", "more than 5"),
    ] {
        let refused = node
            .get(&format!("/services?tags={filter}"))
            .await
            .expect(400, filter);
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    node.json("POST", "/tags", object! { "tag": "a" })
        .await
        .expect(400, "tags are what entities have");
}
