//! What differs between two JSON documents, by pointer.

use std::collections::BTreeMap;

use serde_json::Value;

/// One place.
#[derive(Debug)]
pub(crate) struct Difference {
    /// JSON pointer.
    pub(crate) path: String,
    /// What we said.
    pub(crate) ours: Option<Value>,
    /// What istiod said.
    pub(crate) theirs: Option<Value>,
}

impl Difference {
    /// A resource that only one side has.
    pub(crate) fn whole(ours: Option<&Value>, theirs: Option<&Value>) -> Self {
        Self {
            path: String::new(),
            ours: ours.map(|_| Value::from("present")),
            theirs: theirs.map(|_| Value::from("present")),
        }
    }
}

/// Every place where they differ.
pub(crate) fn between(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    walk("", Some(ours), Some(theirs), &mut out);
    out
}

fn walk(path: &str, ours: Option<&Value>, theirs: Option<&Value>, out: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                walk(&format!("{path}/{key}"), a.get(key), b.get(key), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(&format!("{path}/{index}"), a.get(index), b.get(index), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(Difference {
            path: path.to_owned(),
            ours: a.cloned(),
            theirs: b.cloned(),
        }),
    }
}

/// Differences grouped by path without array indexes, most frequent first, with one example each.
pub(crate) fn print(title: &str, found: &BTreeMap<String, Vec<Difference>>) {
    if found.is_empty() {
        return;
    }
    let mut groups: BTreeMap<String, Vec<(&String, &Difference)>> = BTreeMap::new();
    for (resource, differences) in found {
        for difference in differences {
            let general: Vec<&str> = difference
                .path
                .split('/')
                .map(|part| {
                    if part.parse::<usize>().is_ok() {
                        "#"
                    } else {
                        part
                    }
                })
                .collect();
            groups
                .entry(general.join("/"))
                .or_default()
                .push((resource, difference));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, examples)| std::cmp::Reverse(examples.len()));
    println!(
        "== {title}: {} resources, {} kinds of difference",
        found.len(),
        groups.len()
    );
    for (path, examples) in groups {
        let (resource, first) = examples[0];
        println!("{:5} {path}", examples.len());
        println!("        {resource} {}", first.path);
        println!("        ours   {}", short(first.ours.as_ref()));
        println!("        theirs {}", short(first.theirs.as_ref()));
    }
}

fn short(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "-".to_owned(), Value::to_string);
    if text.chars().count() > 400 {
        text.chars().take(400).collect::<String>() + "…"
    } else {
        text
    }
}
