//! What to write instead of what is wrong.

use carbyne_protos::json::JsonError;
use carbyne_protos::schema;

/// Advice for one error of the JSON parser, from the schema of the message that it names.
pub(super) fn hint(error: &JsonError) -> Option<String> {
    let name = error.path.rsplit('.').next().unwrap_or_default();
    if let Some(message) = error.reason.strip_suffix(" has no such field") {
        let fields = schema::message(message)?
            .fields()
            .iter()
            .map(|field| field.name());
        return Some(match nearest(name, fields) {
            Some(near) => format!("write {near:?}, or start with --allow-unknown-static-fields"),
            None => "remove it, or start with --allow-unknown-static-fields".to_owned(),
        });
    }
    if let Some((name, value)) = error.reason.split_once(" has no value ") {
        let values = enum_values(name)?;
        return Some(
            match nearest(value.trim_matches('"'), values.iter().copied()) {
                Some(near) => format!("write {near}"),
                None => format!("write one of {}", values.join(", ")),
            },
        );
    }
    if error.reason.ends_with("is not a message of this program") {
        return Some("correct the type, or start with --allow-unknown-static-fields".to_owned());
    }
    if error.reason == "\"@type\" is missing" {
        return Some(
            "write \"@type\": \"type.googleapis.com/…\" with the message's full name".to_owned(),
        );
    }
    if error.reason == "another member of the same oneof is given too"
        || error.reason == "given in both spellings"
    {
        return Some("keep one of the two".to_owned());
    }
    None
}

/// The candidate that is at most a third of its letters away.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(name);
    candidates
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .min()
        .filter(|&(distance, candidate)| distance * 3 <= candidate.len())
        .map(|(_, candidate)| candidate)
}

/// The value names of an enum: the schema finds enums only through the fields that have them.
fn enum_values(name: &str) -> Option<Vec<&'static str>> {
    schema::message_names()
        .filter_map(schema::message)
        .flat_map(|message| message.fields())
        .filter_map(|field| field.kind.enumeration())
        .find(|declared| declared.name() == name)
        .map(|declared| declared.values().map(|value| value.0).collect())
}

/// Edits between two names (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let edit = (diagonal + usize::from(letter != *other))
                .min(row[column] + 1)
                .min(row[column + 1] + 1);
            diagonal = std::mem::replace(&mut row[column + 1], edit);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let names = ["static_resources", "dynamic_resources", "node", "admin"];
        for (name, expected) in [
            ("static_resource", Some("static_resources")),
            ("staticResources", Some("static_resources")),
            ("nod", Some("node")),
            ("entirely_else", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), expected, "{name}");
        }
    }
}
