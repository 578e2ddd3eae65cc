//! decK's calls, in decK's order: what it syncs is what it reads afterwards, to the last default.

use std::collections::BTreeMap;

use carbyne_gateway::object;
use carbyne_gateway::schema::{library, uuid};
use carbyne_gateway::value::{Object, Value};

use super::client::Node;
use super::samples::{KINDS, sample};

/// A file's entities, by kind, with their ids.
type State = BTreeMap<&'static str, Vec<Object>>;

/// Kinds in the order in which decK writes them; it deletes in the reverse order.
const ORDER: [&str; 18] = [
    "certificates",
    "ca_certificates",
    "consumers",
    "vaults",
    "key_sets",
    "services",
    "upstreams",
    "snis",
    "keys",
    "keyauth_credentials",
    "basicauth_credentials",
    "hmacauth_credentials",
    "jwt_secrets",
    "oauth2_credentials",
    "acls",
    "routes",
    "targets",
    "plugins",
];

/// What decK never compares: the times, and passwords, which are hashed.
const UNCOMPARED: [&str; 3] = ["created_at", "updated_at", "password"];

fn collection(kind: &str) -> String {
    format!("/{}", library::entity(kind).unwrap().api_name())
}

/// A state that uses every kind of entity.
fn desired(tag: &str) -> State {
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    let mut state = State::new();
    for kind in KINDS.into_iter().filter(|kind| ORDER.contains(kind)) {
        for number in 0..2 {
            let mut entity = sample(kind, number, &|parent| {
                object! { "id": ids[parent].as_str() }.into()
            });
            let id = uuid();
            entity.insert("id".into(), id.as_str().into());
            entity.insert("tags".into(), vec![Value::from(tag)].into());
            ids.insert(kind, id);
            state.entry(kind).or_default().push(entity);
        }
    }
    let routes = state.get_mut("plugins").unwrap();
    for (name, config) in [
        (
            "rate-limiting",
            object! { "minute": 5, "redis": object! { "host": "redis.example.com" } },
        ),
        (
            "key-auth",
            object! { "key_names": vec![Value::from("apikey")] },
        ),
        ("acl", object! { "allow": vec![Value::from("admins")] }),
        (
            "http-log",
            object! { "http_endpoint": "http://logs.example.com/" },
        ),
        (
            "opentelemetry",
            object! { "traces_endpoint": "http://otel.example.com/" },
        ),
        (
            "request-transformer",
            object! { "add": object! { "headers": vec![Value::from("x-a:b")] } },
        ),
        ("proxy-cache", object! { "strategy": "memory" }),
        ("session", object! { "secret": "not so secret" }),
    ] {
        let tags = vec![Value::from(tag)];
        routes.push(object! { "id": uuid(), "name": name, "config": config, "tags": tags });
    }
    state
}

/// The current state, as decK fetches it.
async fn fetch(node: &Node, tag: &str) -> State {
    let mut state = State::new();
    for kind in ORDER.into_iter().filter(|kind| *kind != "targets") {
        let all = node
            .all(&format!("{}?tags={tag}", collection(kind)), 1000)
            .await;
        state.insert(
            kind,
            all.iter()
                .map(|entity| entity.as_object().unwrap().clone())
                .collect(),
        );
    }
    for upstream in state["upstreams"].clone() {
        let path = format!("/upstreams/{}/targets", upstream["id"].as_str().unwrap());
        let targets = node.all(&path, 1000).await;
        let targets = targets
            .iter()
            .map(|target| target.as_object().unwrap().clone());
        state.entry("targets").or_default().extend(targets);
    }
    // Targets come newest first, which is no part of a state.
    if let Some(targets) = state.get_mut("targets") {
        targets.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    }
    for path in ["consumer_groups", "partials", "licenses", "mtls-auths"] {
        node.get(&format!("/{path}?size=1000"))
            .await
            .expect(404, path);
    }
    node.get("/filter-chains?size=1000")
        .await
        .expect(400, "filter-chains");
    state
}

/// Fills in what a schema defaults, as go-kong does: recursing into records, null for the rest.
fn fill(fields: &Value, entity: &mut Object) {
    for entry in fields.as_array().unwrap() {
        let (name, field) = entry.as_object().unwrap().first().unwrap();
        let kind = field.get("type").and_then(Value::as_str);
        if kind == Some("record") && field.get("fields").is_some() {
            let inner = match entity.get(name) {
                Some(Value::Object(inner)) => Some(inner.clone()),
                Some(_) => None,
                None if field.get("required") == Some(&true.into())
                    || field.get("default").is_some() =>
                {
                    Some(
                        field
                            .get("default")
                            .and_then(Value::as_object)
                            .cloned()
                            .unwrap_or_default(),
                    )
                }
                None => None,
            };
            if let Some(mut inner) = inner {
                fill(field.get("fields").unwrap(), &mut inner);
                entity.insert(name.clone(), inner.into());
                continue;
            }
        }
        if !entity.contains_key(name) {
            entity.insert(
                name.clone(),
                field.get("default").cloned().unwrap_or_default(),
            );
        }
    }
}

/// The file's entity with everything that the node would add.
async fn filled(node: &Node, kind: &str, entity: &Object) -> Object {
    let mut entity = entity.clone();
    if kind == "plugins" || kind == "vaults" {
        let name = entity["name"].as_str().unwrap();
        let schema = node
            .get(&format!("/schemas/{kind}/{name}"))
            .await
            .expect(200, name);
        fill(schema.body.get("fields").unwrap(), &mut entity);
    }
    let schema = node
        .get(&format!("/schemas/{kind}"))
        .await
        .expect(200, kind);
    fill(schema.body.get("fields").unwrap(), &mut entity);
    entity
}

/// What decK compares: without times, and without deprecated names that mirror new ones.
fn comparable(kind: &str, entity: &Object, like: &Object) -> Value {
    let mut out: Object = entity
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    out.retain(|name, _| !UNCOMPARED.contains(&name.as_str()) && name != "ttl");
    // Generated on this side only, or made from other entities.
    for name in ["secret", "client_secret", "cert_digest", "snis"] {
        if like.get(name).is_none_or(Value::is_null) || kind == "certificates" {
            out.shift_remove(name);
        }
    }
    if let (Some(Value::Object(config)), Some(Value::Object(known))) =
        (out.get_mut("config"), like.get("config"))
    {
        config.retain(|name, _| known.contains_key(name));
    }
    sorted(&out.into())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members
                .iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

/// What a sync would write: creates and updates, then deletes.
async fn diff(
    node: &Node,
    file: &State,
    tag: &str,
) -> (Vec<(&'static str, Object)>, Vec<(&'static str, Object)>) {
    let version = node.get("/").await.expect(200, "/");
    assert!(
        version
            .body
            .get("version")
            .unwrap()
            .as_str()
            .unwrap()
            .starts_with("3.9.")
    );
    let current = fetch(node, tag).await;
    let (mut writes, mut deletes) = (Vec::new(), Vec::new());
    for kind in ORDER {
        let empty = Vec::new();
        let (wanted, have) = (
            file.get(kind).unwrap_or(&empty),
            current.get(kind).unwrap_or(&empty),
        );
        for entity in wanted {
            let full = filled(node, kind, entity).await;
            let same = have.iter().find(|other| other["id"] == entity["id"]);
            let equal = same.is_some_and(|other| {
                comparable(kind, other, &full) == comparable(kind, &full, &full)
            });
            if !equal {
                if let Some(other) = same {
                    println!(
                        "{kind}\n- {}\n+ {}",
                        comparable(kind, other, &full).to_json(),
                        comparable(kind, &full, &full).to_json()
                    );
                }
                writes.push((kind, full));
            }
        }
        for other in have
            .iter()
            .filter(|other| !wanted.iter().any(|entity| entity["id"] == other["id"]))
        {
            deletes.push((kind, other.clone()));
        }
    }
    deletes.reverse();
    (writes, deletes)
}

/// Where decK writes and deletes an entity: what belongs to a consumer or an upstream is under it.
fn place(kind: &str, entity: &Object) -> String {
    let id = entity["id"].as_str().unwrap();
    let parent = |field: &str| entity[field].get("id").unwrap().as_str().unwrap();
    let schema = library::entity(kind).unwrap();
    if kind == "targets" {
        return format!("/upstreams/{}/targets/{id}", parent("upstream"));
    }
    match schema.foreign().find(|(_, of, _)| *of == "consumers") {
        Some((field, _, _)) if kind != "plugins" => {
            format!("/consumers/{}/{}/{id}", parent(field), schema.nested_name())
        }
        _ => format!("{}/{id}", collection(kind)),
    }
}

async fn sync(node: &Node, file: &State, tag: &str) -> usize {
    let (writes, deletes) = diff(node, file, tag).await;
    write(node, writes, deletes).await
}

/// As `sync`, and nothing is taken away.
async fn apply(node: &Node, file: &State, tag: &str) -> usize {
    let (writes, _) = diff(node, file, tag).await;
    write(node, writes, Vec::new()).await
}

async fn write(
    node: &Node,
    writes: Vec<(&'static str, Object)>,
    deletes: Vec<(&'static str, Object)>,
) -> usize {
    let count = writes.len() + deletes.len();
    for (kind, entity) in writes {
        let id = entity["id"].as_str().unwrap();
        let known = kind != "targets"
            && node.get(&format!("{}/{id}", collection(kind))).await.status == 200;
        let mut sent: Object = entity.clone();
        // decK leaves out what is null, and lets the node set times.
        sent.retain(|name, value| !value.is_null() && name != "created_at" && name != "updated_at");
        let path = place(kind, &entity);
        if kind == "targets" {
            let put = node.json("PUT", &path, sent.clone()).await;
            if put.status == 404 {
                let collection = path.trim_end_matches(&format!("/{id}"));
                node.json("POST", collection, sent).await.expect(201, kind);
            }
            continue;
        }
        assert!(!known || count > 0);
        node.json("PUT", &path, sent)
            .await
            .expect(200, &format!("{kind} {}", Value::from(entity).to_json()));
    }
    for (kind, entity) in deletes {
        let path = place(kind, &entity);
        node.delete(&path).await.expect(204, &path);
    }
    count
}

#[tokio::test]
async fn after_a_sync_there_is_nothing_to_sync() {
    let node = Node::embedded().await;
    let file = desired("deck");
    for (kind, entities) in &file {
        for entity in entities {
            let validate = node
                .json("POST", &format!("/schemas/{kind}/validate"), entity.clone())
                .await;
            validate.expect(200, kind);
        }
    }
    let total: usize = file.values().map(Vec::len).sum();
    assert_eq!(sync(&node, &file, "deck").await, total);
    assert_eq!(
        sync(&node, &file, "deck").await,
        0,
        "the second diff is empty"
    );

    // One change is one write, and it is the only one.
    let mut changed = file.clone();
    changed.get_mut("services").unwrap()[0].insert("retries".into(), 7.into());
    assert_eq!(sync(&node, &changed, "deck").await, 1);
    assert_eq!(sync(&node, &changed, "deck").await, 0);
}

#[tokio::test]
async fn a_dump_makes_the_same_node_again() {
    let first = Node::embedded().await;
    let file = desired("deck");
    sync(&first, &file, "deck").await;
    let dump = fetch(&first, "deck").await;
    let mut portable = dump.clone();
    for entities in portable.values_mut() {
        for entity in entities {
            entity.retain(|name, value| {
                !value.is_null()
                    && !["created_at", "updated_at", "ttl", "snis"].contains(&name.as_str())
            });
        }
    }
    let second = Node::embedded().await;
    sync(&second, &portable, "deck").await;
    let again = fetch(&second, "deck").await;
    for kind in ORDER {
        assert_eq!(dump[kind].len(), again[kind].len(), "{kind}");
        for (one, other) in dump[kind].iter().zip(&again[kind]) {
            let plain = |entity: &Object| {
                let mut entity = entity.clone();
                entity.retain(|name, _| !UNCOMPARED.contains(&name.as_str()));
                Value::from(entity).to_json()
            };
            assert_eq!(plain(one), plain(other), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_reset_leaves_nothing_and_tags_bound_what_is_touched() {
    let node = Node::embedded().await;
    let mine = desired("mine");
    sync(&node, &mine, "mine").await;
    let other = node.json(
        "POST",
        "/services",
        object! { "name": "other", "host": "h", "tags": vec![Value::from("theirs")] },
    );
    other.await.expect(201, "other");
    assert!(sync(&node, &State::new(), "mine").await > 0);
    assert!(fetch(&node, "mine").await.values().all(Vec::is_empty));
    node.get("/services/other")
        .await
        .expect(200, "what has another tag stays");
}

#[tokio::test]
async fn apply_takes_nothing_away() {
    let node = Node::embedded().await;
    let file = desired("deck");
    sync(&node, &file, "deck").await;
    let mut part = State::new();
    let mut service = file["services"][0].clone();
    service.insert("retries".into(), 9.into());
    part.insert("services", vec![service]);
    assert_eq!(apply(&node, &part, "deck").await, 1);
    assert_eq!(apply(&node, &part, "deck").await, 0);
    let current = fetch(&node, "deck").await;
    for (kind, entities) in &file {
        assert_eq!(current[kind].len(), entities.len(), "{kind}");
    }
}

/// What a file gives no id is made by the node; what has one and is not in the selection is looked for first.
#[tokio::test]
async fn entities_without_ids_are_made_by_the_node() {
    let node = Node::embedded().await;
    let none = node.get(&format!("/services/{}", uuid())).await;
    none.expect(404, "an id that nobody has");
    for kind in ["services", "consumers", "upstreams", "key_sets"] {
        let mut entity = sample(kind, 0, &|_| Value::Null);
        entity.shift_remove("id");
        let made = node.json("POST", &collection(kind), entity).await;
        let made = made.expect(201, kind);
        let id = made.body.get("id").unwrap().as_str().unwrap();
        let path = format!("{}/{id}", collection(kind));
        node.get(&path).await.expect(200, kind);
        node.delete(&path).await.expect(204, kind);
        // Whoever deletes twice is told the same.
        node.delete(&path).await.expect(204, kind);
    }
}
