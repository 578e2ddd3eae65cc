//! Cases about paths, for every kind: pages, parents and children, methods.

use carbyne_gateway::object;
use carbyne_gateway::schema::uuid;
use carbyne_gateway::value::Value;

use super::generated::{World, id, schema};

/// Pages of every size have the same entities.
pub(crate) async fn pages(world: &mut World, kind: &'static str) {
    let mut made = Vec::new();
    for number in [7, 8, 9] {
        let created = world.create(kind, number).await.expect(201, kind);
        made.push(id(&created));
    }
    let collection = world.collection(kind);
    let ids = |all: Vec<Value>| {
        all.iter()
            .map(|entity| entity.get("id").unwrap().to_json())
            .collect::<Vec<_>>()
    };
    let whole = ids(world.node.all(&collection, 1000).await);
    for size in [1, 2] {
        assert_eq!(
            ids(world.node.all(&collection, size).await),
            whole,
            "{kind} by {size}"
        );
        world.count();
    }
    assert!(
        made.iter()
            .all(|id| whole.contains(&Value::from(id.as_str()).to_json())),
        "{kind}"
    );
    for (size, why) in [
        ("0", "integer between"),
        ("1001", "integer between"),
        ("x", "must be a number"),
    ] {
        let refused = world
            .node
            .get(&format!("{collection}?size={size}"))
            .await
            .expect(400, kind);
        assert!(refused.text.contains(why), "{}", refused.text);
        world.count();
    }
    for id in made {
        world
            .node
            .delete(&format!("{collection}/{id}"))
            .await
            .expect(204, kind);
    }
}

/// A child is found under its parent, and leads back to it.
pub(crate) async fn relations(world: &mut World, kind: &'static str) {
    let schema = schema(kind);
    for (field, parent, _) in schema.foreign() {
        let own = world
            .node
            .get(&format!(
                "{}/{}",
                world.collection(kind),
                world.parents[kind]
            ))
            .await;
        let own = own.expect(200, kind);
        let Some(owner) = own.body.at(&format!("{field}.id")).and_then(Value::as_str) else {
            continue;
        };
        let parent = super::generated::schema(parent);
        let nested = format!("/{}/{owner}/{}", parent.api_name(), schema.nested_name());
        let children = world.node.all(&nested, 1).await;
        assert!(
            children
                .iter()
                .any(|child| child.get("id") == own.body.get("id")),
            "{nested}"
        );
        let child = world
            .node
            .get(&format!("{nested}/{}", id(&own)))
            .await
            .expect(200, &nested);
        assert_eq!(child.body, own.body);
        world
            .node
            .get(&format!(
                "/{}/{}/{}",
                parent.api_name(),
                uuid(),
                schema.nested_name()
            ))
            .await
            .expect(404, kind);
        world
            .node
            .get(&format!("{nested}/{}", uuid()))
            .await
            .expect(404, &nested);
        world
            .node
            .delete(&format!("{nested}/{}", uuid()))
            .await
            .expect(404, &nested);
        world.cases += 5;
        if kind == "targets" || kind == "snis" {
            continue;
        }
        let linked = format!("/{}/{}/{field}", schema.api_name(), id(&own));
        assert_eq!(
            id(&world.node.get(&linked).await.expect(200, &linked)),
            owner
        );
        world.node.delete(&linked).await.expect(405, &linked);
        let mut sent = world.sample(kind, 10);
        sent.insert(field.into(), object! { "id": uuid() }.into());
        let refused = world
            .node
            .json("POST", &world.collection(kind), sent)
            .await
            .expect(400, kind);
        assert!(
            refused.text.contains("does not reference an existing"),
            "{}",
            refused.text
        );
        world.cases += 3;
    }
}

/// What each path answers to which method, and to which bodies.
pub(crate) async fn verbs(world: &mut World, kind: &'static str) {
    let collection = world.collection(kind);
    let entity = format!("{collection}/{}", world.parents[kind]);
    for (path, allowed, refused) in [
        (&collection, "GET, HEAD, OPTIONS, POST", "DELETE"),
        (&entity, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", "POST"),
    ] {
        let options = world
            .node
            .send("OPTIONS", path, &[("Origin", "https://manager")], b"")
            .await
            .expect(204, path);
        assert_eq!(options.header("allow"), allowed, "{path}");
        assert_eq!(options.header("access-control-allow-methods"), allowed);
        assert_eq!(
            options.header("access-control-allow-origin"),
            "https://manager"
        );
        let refused = world
            .node
            .send(refused, path, &[], b"")
            .await
            .expect(405, path);
        assert_eq!(refused.text, r#"{"message":"Method not allowed"}"#);
        world.cases += 2;
    }
    let headers = [("Content-Type", "application/xml")];
    world
        .node
        .send("POST", &collection, &headers, b"<a/>")
        .await
        .expect(415, kind);
    for body in ["{", "[1]", "\"x\"", ""] {
        let headers = [("Content-Type", "application/json")];
        let refused = world
            .node
            .send("POST", &collection, &headers, body.as_bytes())
            .await
            .expect(400, kind);
        assert_eq!(refused.text, r#"{"message":"Cannot parse JSON body"}"#);
        world.count();
    }
    world
        .node
        .get(&format!("{collection}/"))
        .await
        .expect(200, kind);
    world.count();
}
