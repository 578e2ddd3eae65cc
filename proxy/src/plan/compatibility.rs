//! The verdict on every field of the messages that istiod and bootstraps send.
//!
//! `compatibility.tsv` has a line per field: message, field (`*` for all of a message), verdict, note. It is part of the program: a field without
//! the verdict `served` or `ignored` is listed on arrival and, inside a guard, refuses traffic. `docs/compatibility.md` is made from it.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no effect here, and needs none: why.
    Ignored(&'static str),
    /// It is accepted and listed; inside a guard, and where it may be one, traffic is refused: why.
    Refused(&'static str),
    /// It does what Envoy's documentation says.
    Served,
    /// Nobody decided.
    Unknown,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Full name of the message.
    pub message: &'static str,
    /// Name of the field, or `*`.
    pub field: &'static str,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on a field of a message (full name).
pub fn verdict(message: &str, field: &str) -> Verdict {
    let Some(fields) = TABLE.get(message) else {
        return Verdict::Unknown;
    };
    let find = |wanted: &str| {
        fields
            .iter()
            .find_map(|(name, verdict)| (*name == wanted).then_some(*verdict))
    };
    find(field)
        .or_else(|| find("*"))
        .unwrap_or(Verdict::Unknown)
}

/// All lines in their order.
pub fn lines() -> impl Iterator<Item = Line> {
    TEXT.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(parse)
}

fn parse(line: &'static str) -> Option<Line> {
    let mut columns = line.split('\t');
    let (message, field, word) = (columns.next()?, columns.next()?, columns.next()?);
    let note = columns.next().unwrap_or_default();
    let verdict = match word {
        "served" => Verdict::Served,
        "ignored" => Verdict::Ignored(note),
        "refused" => Verdict::Refused(note),
        _ => return None,
    };
    Some(Line {
        message,
        field,
        verdict,
    })
}

type Fields = Vec<(&'static str, Verdict)>;

static TABLE: LazyLock<FxHashMap<&'static str, Fields>> = LazyLock::new(|| {
    let mut table: FxHashMap<&'static str, Fields> = FxHashMap::default();
    for line in lines() {
        table
            .entry(line.message)
            .or_default()
            .push((line.field, line.verdict));
    }
    table
});

const TEXT: &str = include_str!("../../compatibility.tsv");

#[cfg(test)]
mod tests {
    use carbyne_protos::schema;

    use super::*;

    #[test]
    fn every_line_is_of_a_field_that_exists() {
        let mut seen = rustc_hash::FxHashSet::default();
        for (number, text) in TEXT
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let line = parse(text).unwrap_or_else(|| panic!("line {}: {text}", number + 1));
            let message = schema::message(line.message)
                .unwrap_or_else(|| panic!("line {}: no message {}", number + 1, line.message));
            let exists = line.field == "*"
                || message
                    .fields()
                    .iter()
                    .any(|field| field.name() == line.field);
            assert!(
                exists,
                "line {}: {} has no field {}",
                number + 1,
                line.message,
                line.field
            );
            assert!(
                seen.insert((line.message, line.field)),
                "line {}: twice",
                number + 1
            );
            if let Verdict::Ignored(note) | Verdict::Refused(note) = line.verdict {
                assert!(!note.is_empty(), "line {}: no reason", number + 1);
            }
        }
    }
}
