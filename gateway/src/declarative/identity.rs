//! Ids that are the same at each load: made of an entity's names.

use crate::schema::{OnDelete, Schema, uuid_of, uuid_text};
use crate::value::{Object, Value};

/// `fd02801f-0957-4a15-a55a-c8d9606f30b5`: Kong's namespace for ids.
const NAMESPACE: [u8; 16] = [
    0xfd, 0x02, 0x80, 0x1f, 0x09, 0x57, 0x4a, 0x15, 0xa5, 0x5a, 0xc8, 0xd9, 0x60, 0x6f, 0x30, 0xb5,
];

/// The entity in which another one is nested.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent<'a> {
    /// The child's field that refers to it.
    pub(super) field: &'a str,
    pub(super) id: &'a str,
}

/// The id of an entity without one, unless nothing about it is sure to be unique.
pub(super) fn identity(
    schema: &Schema,
    item: &Object,
    parent: Option<Parent<'_>>,
) -> Option<String> {
    let namespace = uuid_of(NAMESPACE, &schema.name);
    name(schema, item, parent).map(|name| uuid_text(uuid_of(namespace, &name)))
}

fn name(schema: &Schema, item: &Object, parent: Option<Parent<'_>>) -> Option<String> {
    if schema.key() != "id" || schema.meta.primary_key.len() > 1 {
        return None;
    }
    let workspace = item.get("ws_id").and_then(Value::as_str).unwrap_or("*");
    if !schema.meta.cache_key.is_empty() {
        let mut parts = vec![schema.name.clone(), workspace.to_owned()];
        for key in &schema.meta.cache_key {
            let field = schema.record.fields.get(key)?;
            if field.auto {
                return None;
            }
            match item.get(key) {
                Some(Value::String(text)) => parts.push(text.clone()),
                Some(_) => {}
                None => match parent.filter(|parent| parent.field == key) {
                    Some(parent) => parts.push(parent.id.to_owned()),
                    None if field.required => return None,
                    None => parts.push(String::new()),
                },
            }
        }
        return Some(parts.join(":"));
    }
    let endpoint_key = schema.meta.endpoint_key.as_ref()?;
    let field = schema.record.fields.get(endpoint_key)?;
    let mut name = item.get(endpoint_key)?.as_str()?.to_owned();
    if !field.unique {
        for (foreign, _, on_delete) in schema.foreign() {
            if on_delete == OnDelete::Cascade {
                let owner = parent
                    .map(|parent| parent.id)
                    .or_else(|| item.get(foreign)?.as_str());
                name = format!("{name}:{}", owner.unwrap_or_default());
            }
        }
        if !field.unique_across_ws {
            name = format!("{name}:{workspace}");
        }
    }
    Some(name)
}
