//! The Admin API in OpenAPI's words, made from its table of endpoints and the schemas.

use super::routes::{Action, Table};
use crate::error::KONG_VERSION;
use crate::object;
use crate::schema::{Schema, openapi};
use crate::value::{Object, Value};

/// The description: OpenAPI 3.0, as JSON.
pub fn description() -> Object {
    let mut paths = Object::new();
    for (path, action, methods) in Table::admin().described() {
        let mut item = Object::new();
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| {
                let schema = object! { "type": "string", "minLength": 1 };
                object! { "name": name, "in": "path", "required": true, "schema": schema }.into()
            })
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        for method in methods {
            if !["HEAD", "OPTIONS"].contains(&method) {
                item.insert(
                    method.to_ascii_lowercase(),
                    operation(action, method).into(),
                );
            }
        }
        paths.insert(path, item.into());
    }
    object! {
        "openapi": "3.0.3",
        "info": object! { "title": "Admin API", "version": KONG_VERSION },
        "paths": paths,
        "components": object! { "schemas": openapi::components() },
    }
}

fn operation(action: &Action, method: &str) -> Object {
    let mut out = Object::new();
    let writes = ["PATCH", "POST", "PUT"].contains(&method);
    if writes && let Some(body) = body(action) {
        let media = |body: &Object| object! { "schema": body.clone() };
        let content = object! {
            "application/json": media(&body),
            "application/x-www-form-urlencoded": media(&body),
        };
        out.insert("requestBody".into(), object! { "content": content }.into());
    }
    if method == "GET" && is_listing(action) {
        let parameter = |name: &str, kind: &str| -> Value {
            object! { "name": name, "in": "query", "schema": object! { "type": kind } }.into()
        };
        out.insert(
            "parameters".into(),
            vec![
                parameter("offset", "string"),
                parameter("size", "integer"),
                parameter("tags", "string"),
            ]
            .into(),
        );
    }
    let answer = |words: &str| object! { "description": words };
    let responses = object! {
        "2XX": answer("done"), "4XX": answer("refused: `message`, and `code`, `name` and `fields`"),
    };
    out.insert("responses".into(), responses.into());
    out
}

fn body(action: &Action) -> Option<Object> {
    let of = |schema: &Schema| {
        let path = format!("#/components/schemas/{}", schema.name);
        Some(object! { "$ref": path })
    };
    match action {
        Action::Child { schema, .. }
        | Action::Children { schema, .. }
        | Action::Collection(schema)
        | Action::Entity(schema) => of(schema),
        Action::Linked { parent, .. } => of(parent),
        Action::Target | Action::Targets => {
            Some(object! { "$ref": "#/components/schemas/targets" })
        }
        Action::Config | Action::Validate => Some(object! { "type": "object" }),
        Action::ValidateNamed(name) => {
            Some(object! { "$ref": format!("#/components/schemas/{name}") })
        }
        _ => None,
    }
}

fn is_listing(action: &Action) -> bool {
    matches!(
        action,
        Action::Children { .. }
            | Action::Collection(_)
            | Action::Tag
            | Action::Tags
            | Action::Targets
            | Action::TargetsAll
    )
}
