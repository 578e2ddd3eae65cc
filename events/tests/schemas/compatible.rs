//! Whether a schema reads what another one wrote, by Avro's rules of resolution.

use super::parse::{Field, Record, Type};

/// Everything that keeps `reader` from reading what `writer` wrote.
pub(crate) fn obstacles(reader: &Record, writer: &Record) -> Vec<String> {
    let mut found = Vec::new();
    if reader.full_name() != writer.full_name() {
        found.push(format!(
            "{} is now {}",
            writer.full_name(),
            reader.full_name()
        ));
    }
    for field in &reader.fields {
        match writer.field(&field.name) {
            None if !field.has_default => {
                found.push(format!("{} is new and has no default", field.name))
            }
            None => {}
            Some(old) if !reads(field, old) => {
                found.push(format!(
                    "{}: {:?} does not read {:?}",
                    field.name, field.of, old.of
                ));
            }
            Some(_) => {}
        }
    }
    // Not Avro's rule: topic and key say where readers look, and what the broker takes for the same.
    if (&reader.topic, &reader.key) != (&writer.topic, &writer.key) {
        found.push("topic or key changed".to_owned());
    }
    found
}

fn reads(reader: &Field, writer: &Field) -> bool {
    let widens = match (writer.of, reader.of) {
        (Type::Int, Type::Long | Type::Double) | (Type::Long, Type::Double) => true,
        (old, new) => old == new,
    };
    widens && (reader.optional || !writer.optional)
}

#[test]
fn changes_are_judged_by_avros_rules() {
    let old = super::parse::record("probe", super::parse::PROBE).unwrap();
    let last = r#"{"name": "count", "type": "int", "doc": "How many."}"#;
    let with = |fields: &str| super::parse::PROBE.replacen(last, fields, 1);
    for (new, count) in [
        (with(last), 0),
        (
            with(r#"{"name": "count", "type": "long", "doc": "Wider."}"#),
            0,
        ),
        (
            with(r#"{"name": "count", "type": ["null", "int"], "default": null, "doc": "Null."}"#),
            0,
        ),
        (
            with(&format!(
                r#"{last}, {{"name": "more", "type": "int", "default": 0, "doc": "New."}}"#
            )),
            0,
        ),
        (
            with(r#"{"name": "other", "type": "int", "default": 0, "doc": "Instead."}"#),
            0,
        ),
        (
            with(&format!(
                r#"{last}, {{"name": "more", "type": "int", "doc": "New."}}"#
            )),
            1,
        ),
        (
            with(r#"{"name": "count", "type": "string", "doc": "Another."}"#),
            1,
        ),
        (
            super::parse::PROBE
                .replace("[\"null\", \"string\"], \"default\": null", "\"string\"")
                .replace("trace_id", "trace"),
            1,
        ),
        (super::parse::PROBE.replace("Probe", "Sonde"), 1),
        (
            super::parse::PROBE.replace("system-health", "config-changes"),
            1,
        ),
    ] {
        let new = super::parse::record("probe", &new).unwrap();
        assert_eq!(obstacles(&new, &old).len(), count, "{new:?}");
    }
    let wide = with(r#"{"name": "count", "type": "long", "doc": "Wider."}"#);
    let wide = super::parse::record("probe", &wide).unwrap();
    assert_eq!(
        obstacles(&old, &wide).len(),
        1,
        "a long is not read as an int"
    );
}
