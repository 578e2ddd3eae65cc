//! `router_flavor = expressions`, as the Admin API sees it: a program of its own, for schemas are
//! built once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a test: failing loudly is the point; the client can do more than is needed here"
)]

use carbyne_gateway::object;
use carbyne_gateway::router::Flavor;
use carbyne_gateway::schema::library;
use carbyne_gateway::value::{Object, Value};

#[path = "admin/client.rs"]
mod client;

use client::Node;

fn list(texts: &[&str]) -> Value {
    texts
        .iter()
        .map(|text| Value::from(*text))
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn routes_of_expressions() {
    assert!(library::choose(Flavor::Expressions));
    let node = Node::embedded().await;

    let schema = node.get("/schemas/routes").await.expect(200, "schema");
    let fields = schema.body.get("fields").unwrap().as_array().unwrap();
    let field = |name: &str| fields.iter().find_map(|field| field.get(name));
    assert_eq!(
        field("expression").unwrap().at("type"),
        Some(&"string".into())
    );
    let priority = field("priority").unwrap();
    assert_eq!(priority.at("default"), Some(&0.0.into()));
    let range = vec![0.0.into(), 70_368_744_177_663.0.into()];
    assert_eq!(priority.at("between"), Some(&range.into()));

    // What is right, and what it becomes.
    for (name, fields) in [
        (
            "plain",
            object! { "expression": "http.path ^= \"/a\"", "priority": 7.0 },
        ),
        ("fields", object! { "paths": list(&["/a"]) }),
        (
            "sources",
            object! { "sources": vec![object! { "ip": "10.0.0.0/8" }.into()], "paths": list(&["/"]) },
        ),
        (
            "stream",
            object! { "expression": "net.dst.port == 9000", "protocols": list(&["tcp"]) },
        ),
        (
            "passthrough",
            object! { "expression": "tls.sni == \"a\"", "protocols": list(&["tls_passthrough"]) },
        ),
        (
            "grpc",
            object! { "expression": "http.host == \"a\"", "protocols": list(&["grpcs"]) },
        ),
    ] {
        let mut route = fields.clone();
        route.insert("name".into(), name.into());
        let made = node.json("POST", "/routes", route).await.expect(201, name);
        let null = Value::Null;
        let expression = fields.get("expression").unwrap_or(&null);
        assert_eq!(made.body.get("expression"), Some(expression), "{name}");
        let zero = Value::from(0.0);
        let priority = fields.get("priority").unwrap_or(&zero);
        assert_eq!(made.body.get("priority"), Some(priority), "{name}");
    }

    let failed = "Router Expression failed validation: ";
    for (fields, field, why) in [
        (
            object! { "expression": "http.path" },
            "@entity",
            format!("{failed} --> 1:10"),
        ),
        (
            object! { "expression": "http.path == 1" },
            "@entity",
            format!("{failed}Type mismatch between the LHS and RHS values of predicate"),
        ),
        (
            object! { "expression": "net.dst.port == 1 && http.path == \"/\"", "protocols": list(&["tcp"]) },
            "@entity",
            format!("{failed}Unknown LHS field"),
        ),
        (
            object! { "expression": "http.path.segments.2_1 == \"a\"" },
            "@entity",
            format!("{failed}illformed http.path.segments.* field"),
        ),
        (
            object! { "expression": "http.path == \"/\"", "paths": list(&["/"]) },
            "@entity",
            format!(
                "{failed}cannot set 'expression' with 'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or \
                 'destinations' simultaneously"
            ),
        ),
        (
            object! { "expression": "http.path == \"/\"", "regex_priority": 1.0 },
            "@entity",
            format!("{failed}cannot set 'regex_priority' with 'expression' simultaneously"),
        ),
        (
            object! { "paths": list(&["/"]), "priority": 1.0 },
            "@entity",
            format!(
                "{failed}cannot set 'priority' with 'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or \
                 'destinations' simultaneously"
            ),
        ),
        (
            object! { "expression": "http.path == \"/\"", "priority": 70_368_744_177_664.0 },
            "priority",
            "value should be between 0 and 70368744177663".into(),
        ),
        (
            object! { "name": "nothing" },
            "@entity",
            "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis', 'expression' when 'protocols' is 'https'"
                .into(),
        ),
    ] {
        let answer = node.json("POST", "/routes", fields.clone()).await;
        let answer = answer.expect(400, &Value::from(fields).to_json());
        let said = answer.body.at(&format!("fields.{field}")).unwrap_or_else(|| panic!("{}", answer.text));
        let said = match said {
            Value::Array(all) => all[0].as_str().unwrap(),
            one => one.as_str().unwrap(),
        };
        assert!(said.starts_with(&why), "{said}\n{why}");
    }

    // A change is checked as a whole.
    let path = "/routes/plain";
    let change = |text: &str| object! { "expression": text };
    let patched = node
        .json("PATCH", path, change("http.path == \"/b\""))
        .await;
    assert_eq!(
        patched.expect(200, path).body.get("priority"),
        Some(&7.0.into())
    );
    node.json("PATCH", path, change("("))
        .await
        .expect(400, path);
    let to_fields: Object = object! { "paths": list(&["/"]) };
    node.json("PATCH", path, to_fields).await.expect(400, path);
}
