//! Where in a file an error is.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::value::{Object, Value};

/// An error with its line and column, and the way to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
    pub path: String,
    pub message: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}: {}",
            self.line, self.column, self.path, self.message
        )
    }
}

impl Place {
    /// All errors of a document in the order of its lines. An error about what is not there has
    /// the place of what it is missing in; where the text is no document, that is the place where it ceases to be one.
    pub fn find(text: &str, errors: &Object) -> Vec<Self> {
        let tree = serde_saphyr::from_str::<Spanned<Tree>>(text);
        let end = tree.as_ref().err().and_then(|error| {
            let location = error.location()?;
            Some((location.line(), location.column()))
        });
        let mut out = Vec::new();
        walk(
            tree.as_ref().ok(),
            end.unwrap_or((1, 1)),
            String::new(),
            &errors.clone().into(),
            &mut out,
        );
        out.sort_by_key(|place| (place.line, place.column));
        out
    }
}

/// A document without its values, but with their places.
#[derive(Debug)]
enum Tree {
    Leaf,
    List(Vec<Spanned<Self>>),
    Map(IndexMap<String, Spanned<Self>>),
}

fn walk(
    tree: Option<&Spanned<Tree>>,
    outer: (u64, u64),
    path: String,
    error: &Value,
    out: &mut Vec<Place>,
) {
    let at = tree.map_or(outer, |tree| {
        (tree.referenced.line(), tree.referenced.column())
    });
    let join = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match error {
        Value::String(message) => {
            let (line, column) = at;
            out.push(Place {
                line,
                column,
                path,
                message: message.clone(),
            });
        }
        Value::Object(members) => {
            for (name, error) in members {
                let (inner, path) = match tree.map(|tree| &tree.value) {
                    _ if name == "@entity" => (tree, path.clone()),
                    Some(Tree::Map(members)) => (members.get(name), join(name)),
                    // A reference that leads nowhere is reported under the entity's name.
                    _ => (None, join(name)),
                };
                walk(inner, at, path, error, out);
            }
        }
        Value::Array(items) => {
            for (index, error) in items
                .iter()
                .enumerate()
                .filter(|(_, error)| !error.is_null())
            {
                let (inner, path) = match tree.map(|tree| &tree.value) {
                    Some(Tree::List(items)) => (items.get(index), format!("{path}[{index}]")),
                    _ => (tree, path.clone()),
                };
                walk(inner, at, path, error, out);
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut members = IndexMap::new();
        while let Some((name, value)) = map.next_entry()? {
            members.insert(name, value);
        }
        Ok(Tree::Map(members))
    }
}
