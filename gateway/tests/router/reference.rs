//! Kong's engine itself: the expressions that routes stand for, as texts, read by the crate, and
//! asked one after another. Of the router that is tested only the texts and the order are taken;
//! unit tests hold these against Kong's.

use std::collections::{BTreeMap, HashMap};

use atc_router::ast::{Expression, Value};
use atc_router::context::{Context, Match};
use atc_router::interpreter::Execute;
use atc_router::parser;
use atc_router::schema::Schema;
use atc_router::semantics::{FieldCounter, Validate};
use carbyne_gateway::plan::route::Route;
use carbyne_gateway::router::{self, Rules};

use crate::request::Asked;

/// What came of a request.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// The route's place in the table.
    pub(crate) route: usize,
    pub(crate) path: Option<String>,
    pub(crate) captures: Option<BTreeMap<String, String>>,
}

pub(crate) struct Reference {
    matchers: BTreeMap<(u64, [u8; 16]), (usize, Expression)>,
    schema: &'static Schema,
    fields: HashMap<String, usize>,
    pub(crate) rejected: Vec<Box<str>>,
    texts: Vec<String>,
}

impl Reference {
    pub(crate) fn new(rules: Rules, routes: &[Route], stream: bool) -> Self {
        let mut reference = Self {
            matchers: BTreeMap::new(),
            schema: router::schema(stream),
            fields: HashMap::new(),
            rejected: Vec::new(),
            texts: Vec::new(),
        };
        for (index, route) in routes.iter().enumerate() {
            if !reference.add(rules, index, route) {
                reference.rejected.push(route.id.clone());
            }
        }
        reference
    }

    fn add(&mut self, rules: Rules, index: usize, route: &Route) -> bool {
        // What the engine cannot read is what the router leaves out: of a text that a user wrote,
        // the engine's word counts.
        let own = route.expression.as_ref().map(|text| {
            let text = text.replace("net.port", "net.dst.port");
            let tree = parser::parse(&text).ok()?;
            tree.validate(self.schema).ok()?;
            (!text.contains("2_1")).then_some(tree)
        });
        if let Some(None) = own {
            return false;
        }
        let Ok(matchers) = router::matchers(rules, route) else {
            assert!(own.is_none(), "refused: {:?}", route.expression);
            return false;
        };
        for matcher in matchers {
            let text = matcher.expression.to_string();
            let tree = parser::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            tree.validate(self.schema)
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            tree.add_to_counter(&mut self.fields);
            self.texts
                .push(format!("{:016x} {index} {text}", matcher.priority));
            self.matchers
                .insert((matcher.priority, matcher.id), (index, tree));
        }
        true
    }

    pub(crate) fn show(&self) -> String {
        let mut texts = self.texts.clone();
        texts.sort_by(|a, b| b.cmp(a));
        texts.join("\n")
    }

    pub(crate) fn ask(&self, asked: &Asked) -> Option<Outcome> {
        let mut context = Context::new(self.schema);
        for field in self.fields.keys() {
            for value in values(field, asked) {
                // The engine takes no text but UTF-8; Kong finds no route then.
                context.add_value(field, value?);
            }
        }
        for (route, tree) in self.matchers.values().rev() {
            let mut matched = Match::new();
            if tree.execute(&mut context, &mut matched) {
                let path = match matched.matches.get("http.path") {
                    Some(Value::String(path)) => Some(path.clone()),
                    _ => None,
                };
                let captures: BTreeMap<_, _> = matched.captures.into_iter().collect();
                return Some(Outcome {
                    route: *route,
                    path,
                    captures: (captures.len() > 1).then_some(captures),
                });
            }
        }
        None
    }
}

/// A field as `kong/router/fields.lua` has it; `None` for what is no text.
fn values(field: &str, asked: &Asked) -> Vec<Option<Value>> {
    let text = |text: &[u8]| String::from_utf8(text.into()).ok().map(Value::String);
    let int = |number: u16| vec![Some(Value::Int(number.into()))];
    let path = &asked.path;
    match field {
        "net.protocol" => vec![text(asked.protocol.name().as_bytes())],
        "tls.sni" => asked.sni.iter().map(|sni| text(sni.as_bytes())).collect(),
        "net.src.ip" => vec![Some(Value::IpAddr(asked.source.ip().to_canonical()))],
        "net.src.port" => int(asked.source.port()),
        "net.dst.ip" => vec![Some(Value::IpAddr(asked.destination.ip().to_canonical()))],
        "net.dst.port" => match asked.lookup().http.and(asked.port) {
            Some(port) => int(port),
            None => int(asked.destination.port()),
        },
        "http.method" => vec![text(asked.method.as_str().as_bytes())],
        "http.host" if asked.host.is_empty() => vec![],
        "http.host" => vec![text(asked.host.as_bytes())],
        "http.path" => vec![text(path)],
        "http.path.segments.len" => vec![Some(Value::Int(segments(path).len() as i64))],
        _ => {
            if let Some(range) = field.strip_prefix("http.path.segments.") {
                let segments = segments(path);
                let (first, last) = range.split_once('_').unwrap_or((range, range));
                let range = first.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap();
                let part = segments.get(range);
                part.map(|part| text(&part.join(&b'/')))
                    .into_iter()
                    .collect()
            } else if let Some(name) = field.strip_prefix("http.headers.") {
                let named = |name: &str| -> Vec<_> {
                    let fields = asked.headers.iter();
                    let fields = fields.filter(|(known, _)| known.as_str() == name);
                    fields.map(|(_, value)| text(value.as_bytes())).collect()
                };
                let values = named(name);
                match values.is_empty() {
                    true => named(&name.replace('_', "-")),
                    false => values,
                }
            } else if let Some(name) = field.strip_prefix("http.queries.") {
                let query = asked.query.as_deref().unwrap_or_default();
                let pairs = query.split('&').filter(|pair| !pair.is_empty());
                let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                let mine = pairs.filter(|(key, _)| *key == name);
                mine.map(|(_, value)| {
                    let value = value.replace('+', " ").replace("%41", "A");
                    text(value.as_bytes())
                })
                .collect()
            } else {
                panic!("what is {field}?");
            }
        }
    }
}

fn segments(path: &[u8]) -> Vec<&[u8]> {
    let mut segments: Vec<_> = path[1..].split(|byte| *byte == b'/').collect();
    while segments.last() == Some(&&b""[..]) {
        segments.pop();
    }
    segments
}
