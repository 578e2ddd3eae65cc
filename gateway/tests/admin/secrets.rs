//! Secrets come back to whoever may read the entity, and to nobody in errors.

use carbyne_gateway::object;
use carbyne_gateway::schema::library;
use carbyne_gateway::value::{Object, Value};

use super::client::{Node, Response};
use super::samples::{KINDS, sample};

/// What no error may hold.
const SECRET: &str = "hush-7f3a";

/// The kinds with secrets, and their names; certificates and keys are parsed, and tried apart.
fn secrets() -> Vec<(&'static str, Vec<&'static str>)> {
    let of = |kind: &&'static str| {
        let fields = &library::entity(kind).unwrap().record.fields;
        let secret = fields.iter().filter(|(_, field)| field.secret);
        (*kind, secret.map(|(name, _)| name.as_str()).collect())
    };
    let all = KINDS.iter().map(of);
    all.filter(|(_, fields): &(_, Vec<_>)| !fields.is_empty())
        .collect()
}

fn told(kind: &str, fields: &[&str], parent: &dyn Fn(&str) -> Value) -> Object {
    let mut entity = sample(kind, 1, parent);
    for field in fields {
        entity.insert((*field).to_owned(), SECRET.into());
    }
    entity
}

#[track_caller]
fn refused(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status, status, "{what}: {}", response.text);
    assert!(!response.text.contains(SECRET), "{what}: {}", response.text);
}

#[tokio::test]
async fn errors_hold_no_secrets() {
    let node = Node::embedded().await;
    let created = |kind: &str, response: Response| {
        assert_eq!(response.status, 201, "{kind}: {}", response.text);
        object! { "id": response.body.get("id").unwrap().clone() }.into()
    };
    let consumer: Value = created(
        "consumers",
        node.json("POST", "/consumers", object! { "username": "c" })
            .await,
    );
    let credential = sample("oauth2_credentials", 7, &|_| consumer.clone());
    let credential: Value = created("oauth2", node.json("POST", "/oauth2", credential).await);
    let parent = |kind: &str| match kind {
        "consumers" => consumer.clone(),
        "oauth2_credentials" => credential.clone(),
        _ => Value::Null,
    };
    let mut unique = 0;
    for (kind, fields) in secrets() {
        let schema = library::entity(kind).unwrap();
        let path = format!("/{}", schema.api_name());
        let entity = told(kind, &fields, &parent);
        let validate = format!("/schemas/{kind}/validate");
        let mut wrong = entity.clone();
        wrong.insert("no_such_field".into(), SECRET.into());
        for path in [&path, &validate] {
            refused(&node.json("POST", path, wrong.clone()).await, 400, path);
        }
        if schema.is_secret(schema.meta.endpoint_key.as_deref().unwrap_or("id")) {
            let one = format!("{path}/{SECRET}");
            let absent = node.json("PATCH", &one, object! { "tags": vec![Value::from("a")] });
            let absent = absent.await;
            // Sessions have no tags.
            assert!(
                [400, 404].contains(&absent.status),
                "{kind}: {}",
                absent.text
            );
            assert!(!absent.text.contains(SECRET), "{kind}: {}", absent.text);
            refused(&node.get(&one).await, 404, &one);
        }
        if ["certificates", "keys"].contains(&kind) {
            refused(&node.json("POST", &path, entity).await, 400, kind);
            continue;
        }
        let whole = node.json("POST", &path, entity.clone()).await;
        assert_eq!(whole.status, 201, "{kind}: {}", whole.text);
        let mut again = entity;
        again.shift_remove("username");
        again.shift_remove("client_id");
        let keys: Vec<_> = schema.unique().map(|(name, _)| name).collect();
        if keys.iter().any(|key| fields.contains(key)) {
            let twice = node.json("POST", &path, again).await;
            refused(&twice, 409, kind);
            // What clients read stays where it is.
            assert_eq!(twice.body.get("code"), Some(&5.into()), "{kind}");
            assert!(
                twice.text.contains(r#"UNIQUE violation detected on '{"#),
                "{kind}"
            );
            let shown = twice.body.get("fields").unwrap().as_object().unwrap();
            assert!(
                shown.values().all(|value| value.as_str() == Some("******")),
                "{kind}: {}",
                twice.text
            );
            unique += 1;
        }
    }
    assert_eq!(
        unique, 3,
        "key-auth keys, access tokens and sessions are unique"
    );
}

#[tokio::test]
async fn a_refused_declarative_configuration_holds_no_secrets() {
    let node = Node::dbless().await;
    let mut tried = 0;
    for (kind, fields) in secrets() {
        let entity = told(kind, &fields, &|kind| format!("no-such-{kind}").into());
        let mut wrong = entity.clone();
        wrong.insert("no_such_field".into(), SECRET.into());
        for entities in [vec![wrong], vec![entity.clone(), entity]] {
            let entities: Vec<Value> = entities.into_iter().map(Value::from).collect();
            let mut document = object! { "_format_version": "3.0" };
            document.insert(kind.to_owned(), entities.into());
            for path in ["/config", "/config?flatten_errors=1"] {
                let response = node.json("POST", path, document.clone()).await;
                refused(&response, 400, &format!("{kind} to {path}"));
                tried += 1;
            }
        }
    }
    assert!(tried >= 28, "{tried}");
    // In plugins, and in text that does not parse.
    let plugin = object! {
        "name": "session", "config": object! { "secret": SECRET, "cookie_same_site": "no" },
    };
    let document = object! { "_format_version": "3.0", "plugins": vec![Value::from(plugin)] };
    let response = node
        .json("POST", "/config?flatten_errors=1", document)
        .await;
    refused(&response, 400, "a plugin");
    assert!(response.text.contains("******"), "{}", response.text);
    let text =
        format!("_format_version: '3.0'\nkeyauth_credentials:\n- key: {SECRET}\n  consumer: [a\n");
    let headers = [("Content-Type", "text/yaml")];
    let response = node
        .send("POST", "/config", &headers, text.as_bytes())
        .await;
    refused(&response, 400, "text");
}
