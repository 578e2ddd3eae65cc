//! What `router_flavor = expressions` makes of the schema of routes, as Kong's `routes.lua` and
//! `routes_subschemas.lua` do it.

use crate::object;
use crate::value::{Object, Value};

/// The highest priority of a route: what is above says that it has an expression.
const MAX_PRIORITY: f64 = 70_368_744_177_663.0;

/// Adds `expression` and `priority`; lets routes of requests have sources and destinations; lets an
/// expression stand for all other fields.
pub(super) fn with_expressions(routes: &mut Object) {
    let priority = object! {
        "type": "integer",
        "between": vec![Value::from(0.0), MAX_PRIORITY.into()],
        "required": true,
        "default": 0.0,
    };
    if let Some(Value::Array(fields)) = routes.get_mut("fields") {
        fields.push(object! { "expression": object! { "type": "string" } }.into());
        fields.push(object! { "priority": priority }.into());
    }
    let Some(Value::Array(subschemas)) = routes.get_mut("subschemas") else {
        return;
    };
    for subschema in subschemas {
        let Value::Object(subschema) = subschema else {
            continue;
        };
        if let Some(Value::Array(fields)) = subschema.get_mut("fields") {
            fields.retain(|field| {
                field.get("sources").is_none() && field.get("destinations").is_none()
            });
        }
        if let Some(Value::Array(checks)) = subschema.get_mut("entity_checks") {
            for check in checks {
                also_expression(check);
            }
        }
    }
}

fn also_expression(check: &mut Value) {
    let Value::Object(check) = check else {
        return;
    };
    let Some(Value::Object(check)) = check.get_mut("conditional_at_least_one_of") else {
        return;
    };
    for key in ["then_at_least_one_of", "else_then_at_least_one_of"] {
        if let Some(Value::Array(fields)) = check.get_mut(key) {
            fields.push("expression".into());
        }
    }
}
