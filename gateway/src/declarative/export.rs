//! A configuration written down as YAML, to be loaded again.

use crate::entity::Entities;
use crate::error::Error;
use crate::schema::{Context, Schema, library};
use crate::store::{Query, now};
use crate::value::{Object, Value};

/// The whole configuration: flat, with references by id, secrets as they are stored.
pub async fn export(entities: &Entities) -> Result<String, Error> {
    let mut out = String::from("_format_version: '3.0'\n_transform: false\n");
    for schema in library::by_dependency()
        .iter()
        .filter(|schema| schema.meta.db_export)
    {
        let rows = rows(entities, schema).await?;
        if rows.is_empty() || schema.name == "workspaces" {
            continue;
        }
        out.push_str(&schema.name);
        out.push_str(":\n");
        for row in rows {
            list_item(&mut out, &row);
        }
    }
    Ok(out)
}

async fn rows(entities: &Entities, schema: &'static Schema) -> Result<Vec<Object>, Error> {
    let mut query = Query {
        size: 1000,
        ..Query::default()
    };
    let mut all = Vec::new();
    loop {
        let page = entities.store().page(schema, &query).await;
        let page =
            page.map_err(|error| Error::new(crate::error::Code::DatabaseError, error.to_string()))?;
        for row in page.rows {
            let mut entity = schema
                .process(row.entity, Context::Select { shorthands: false })
                .map_err(Error::schema_violation)?;
            for (field, _, _) in schema.foreign() {
                if let Some(id) = entity.get(field).and_then(|value| value.get("id")).cloned() {
                    entity.insert(field.into(), id);
                }
            }
            if let Some(left) = row
                .expires
                .and_then(|expires| u32::try_from(expires.saturating_sub(now())).ok())
            {
                entity.insert("ttl".into(), left.into());
            }
            all.push(entity);
        }
        match page.offset {
            Some(offset) => query.offset = Some(offset),
            None => return Ok(all),
        }
    }
}

fn list_item(out: &mut String, entity: &Object) {
    let mut lead = "- ";
    for (name, value) in entity.iter().filter(|(_, value)| !value.is_null()) {
        out.push_str(lead);
        lead = "  ";
        member(out, name, value, 1);
    }
}

fn member(out: &mut String, name: &str, value: &Value, depth: usize) {
    out.push_str(&scalar(&name.into()));
    out.push(':');
    nested(out, value, depth);
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                out.push_str(&indent);
                out.push('-');
                nested(out, item, depth + 1);
            }
        }
        Value::Object(members) if members.values().any(|value| !value.is_null()) => {
            out.push('\n');
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                out.push_str(&indent);
                out.push_str("  ");
                member(out, name, value, depth + 1);
            }
        }
        value => {
            out.push(' ');
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

/// JSON is YAML, and its texts never mean anything else.
fn scalar(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".into(),
        Value::String(text) if is_plain(text) => text.clone(),
        value => value.to_json(),
    }
}

/// Names need no quotes, unless YAML takes them for something else.
fn is_plain(text: &str) -> bool {
    let words = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        && !words.contains(&text.to_ascii_lowercase().as_str())
}
