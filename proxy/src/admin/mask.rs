//! Field masks over printed messages.

use carbyne_protos::schema::{self, Label, Message, Shape};
use serde_json::{Map, Value};

/// A list of paths such as `bootstrap.node.id`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mask {
    paths: Vec<Vec<String>>,
}

impl Mask {
    /// Parses the text form, paths with commas between.
    pub fn parse(text: &str) -> Self {
        let paths = text
            .split(',')
            .map(str::trim)
            .filter(|path| !path.is_empty());
        Self {
            paths: paths
                .map(|path| path.split('.').map(str::to_owned).collect())
                .collect(),
        }
    }

    /// Whether every path is one of the message: all its fields exist, and only the last may be a list. What is
    /// below an `Any` depends on what it holds, so anything goes there.
    pub fn fits(&self, full_name: &str) -> bool {
        schema::message(full_name)
            .is_some_and(|message| self.paths.iter().all(|path| fits(message, path)))
    }

    /// Keeps what the paths name, and every `@type` on the way.
    pub fn apply(&self, value: &Value) -> Value {
        let paths: Vec<&[String]> = self.paths.iter().map(Vec::as_slice).collect();
        keep(value, &paths)
    }
}

fn fits(message: &Message, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    let Some(field) = message.field_named(first) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    match field.kind.message() {
        _ if matches!(field.label, Label::Repeated | Label::Map) => false,
        Some(inner) if inner.shape == Shape::Plain => fits(inner, rest),
        Some(inner) => matches!(inner.shape, Shape::Any | Shape::Struct),
        None => false,
    }
}

fn keep(value: &Value, paths: &[&[String]]) -> Value {
    let Value::Object(object) = value else {
        return value.clone();
    };
    let mut kept = Map::new();
    for (name, inner) in object {
        let below: Vec<&[String]> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter_map(|(first, rest)| (first == name).then_some(rest))
            .collect();
        if name == "@type" || below.iter().any(|rest| rest.is_empty()) {
            kept.insert(name.clone(), inner.clone());
        } else if !below.is_empty() {
            kept.insert(name.clone(), keep(inner, &below));
        }
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_named_paths_only() {
        let value = json!({"@type": "t", "a": {"b": 1, "c": {"d": 2, "e": 3}}, "f": [1], "g": 4});
        let mask = Mask::parse("a.c.d, f");
        assert_eq!(
            mask.apply(&value),
            json!({"@type": "t", "a": {"c": {"d": 2}}, "f": [1]})
        );
    }

    #[test]
    fn paths_must_exist_and_may_end_at_a_list() {
        for (text, fits) in [
            ("bootstrap.node.id", true),
            ("bootstrap.static_resources.clusters", true),
            ("bootstrap.static_resources.clusters.name", false),
            ("bootstrap.nonsense", false),
            ("bogus.xx", false),
            ("bootstrap.node.metadata.anything", true),
        ] {
            assert_eq!(
                Mask::parse(text).fits("envoy.admin.v3.BootstrapConfigDump"),
                fits,
                "{text}"
            );
        }
        assert!(
            Mask::parse("cluster.name").fits("envoy.admin.v3.ClustersConfigDump.StaticCluster")
        );
    }
}
