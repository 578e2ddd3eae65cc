//! YAML documents as JSON values, with the line and column of every key and value.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::problem::{Kind, Problem};
use crate::model::Origin;

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    /// The content.
    pub(crate) value: Value,
    /// JSON-pointer-like path (`/spec/ports/0`) → line, column (1-based).
    positions: HashMap<String, (usize, usize)>,
    file: Arc<PathBuf>,
}

impl Document {
    /// Where a path was written; the nearest known parent if the path itself is not there.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            if let Some(&(line, column)) = self.positions.get(path) {
                return Origin {
                    file: Arc::clone(&self.file),
                    line,
                    column,
                };
            }
            match path.rfind('/') {
                Some(cut) => path = &path[..cut],
                None => {
                    return Origin {
                        file: Arc::clone(&self.file),
                        line: 0,
                        column: 0,
                    };
                }
            }
        }
    }
}

/// Splits and reads a file; a syntax error spoils its document only.
pub(crate) fn read(file: &Arc<PathBuf>, text: &str, errors: &mut Vec<Problem>) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next() {
        let result = match event {
            Ok((Event::DocumentStart(..), _)) => Builder::new(&mut parser).document(),
            Ok((Event::StreamEnd, _)) => break,
            Ok(_) => continue,
            Err(error) => Err(Fault::from(error)),
        };
        match result {
            Ok((Value::Null, _)) => {}
            Ok((value, positions)) => documents.push(Document {
                value,
                positions,
                file: Arc::clone(file),
            }),
            Err(fault) => {
                let Fault {
                    line,
                    column,
                    message,
                } = fault;
                errors.push(Problem {
                    kind: Kind::Syntax,
                    origin: Origin {
                        file: Arc::clone(file),
                        line,
                        column,
                    },
                    path: String::new(),
                    message,
                });
                if !parser.proceed_next_document().unwrap_or(false) {
                    break;
                }
            }
        }
    }
    documents
}

/// Why a document could not be built, and where.
struct Fault {
    line: usize,
    column: usize,
    message: String,
}

impl Fault {
    fn said(span: &Span, message: impl Into<String>) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            message: message.into(),
        }
    }
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        Self {
            line: error.marker().line(),
            column: error.marker().col() + 1,
            message: error.info(),
        }
    }
}

type Built = (Value, HashMap<String, (usize, usize)>);
type Anchored = HashMap<usize, Value>;

struct Builder<'a, 'input> {
    parser: &'a mut Parser<'input, StrInput<'input>>,
    positions: HashMap<String, (usize, usize)>,
    anchors: Anchored,
    nodes: usize,
}

impl<'a, 'input> Builder<'a, 'input> {
    fn new(parser: &'a mut Parser<'input, StrInput<'input>>) -> Self {
        Self {
            parser,
            positions: HashMap::new(),
            anchors: HashMap::new(),
            nodes: 0,
        }
    }

    fn document(mut self) -> Result<Built, Fault> {
        let (event, span) = self.next()?;
        let value = if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
            Value::Null
        } else {
            self.node(event, span, "", 0)?
        };
        Ok((value, self.positions))
    }

    fn next(&mut self) -> Result<(Event<'input>, Span), Fault> {
        loop {
            match self.parser.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(pair)) => return Ok(pair),
                Some(Err(error)) => return Err(Fault::from(error)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'input>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Value, Fault> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Fault::said(
                &span,
                "the document is too deep or too large".to_owned(),
            ));
        }
        self.positions
            .entry(path.to_owned())
            .or_insert_with(|| (span.start.line(), span.start.col() + 1));
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let item =
                        self.node(event, span, &format!("{path}/{}", items.len()), depth + 1)?;
                    items.push(item);
                }
                (Value::Array(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.mapping(path, depth)?, anchor),
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned().unwrap_or(Value::Null);
                // An alias may repeat a large subtree; what it stands for counts against the budget (billion laughs).
                self.nodes += count(&value);
                (value, 0)
            }
            _ => return Err(Fault::said(&span, "a value was expected here".to_owned())),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self, path: &str, depth: usize) -> Result<Value, Fault> {
        let mut map = Map::new();
        loop {
            let (event, key_span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(map)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => {
                    return Err(Fault::said(
                        &key_span,
                        "only plain text can be a key".to_owned(),
                    ));
                }
            };
            let child = format!("{path}/{key}");
            if map.contains_key(&key) {
                return Err(Fault::said(
                    &key_span,
                    format!("the key `{key}` is there twice"),
                ));
            }
            self.positions.insert(
                child.clone(),
                (key_span.start.line(), key_span.start.col() + 1),
            );
            let (event, span) = self.next()?;
            let value = self.node(event, span, &child, depth + 1)?;
            map.insert(key, value);
        }
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// YAML 1.2 core schema.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if numeric {
        if let Ok(number) = text.trim_start_matches('+').parse::<i64>() {
            return Value::from(number);
        }
        if let Some(number) = text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
        {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<Document>, Vec<Problem>) {
        let mut errors = Vec::new();
        let documents = read(&Arc::new(PathBuf::from("x.yaml")), text, &mut errors);
        (documents, errors)
    }

    #[test]
    fn documents_scalars_and_positions() {
        let (documents, errors) = parse(
            "# head\na: 1\nb: {c: [x, 'true', yes, 1.5]}\n---\nd: ~\n---\n# only a comment\n",
        );
        assert_eq!(errors, []);
        assert_eq!(documents.len(), 2);
        assert_eq!(
            documents[0].value,
            serde_json::json!({"a": 1, "b": {"c": ["x", "true", "yes", 1.5]}})
        );
        let at = |path: &str| {
            let origin = documents[0].origin(path);
            (origin.line, origin.column)
        };
        assert_eq!(at("/a"), (2, 1));
        assert_eq!(at("/b/c"), (3, 5));
        assert_eq!(at("/b/c/1"), (3, 12));
        assert_eq!(at("/b/c/9/nothing"), (3, 5));
        let origin = documents[1].origin("/d");
        assert_eq!((origin.line, origin.column), (5, 1));
    }

    #[test]
    fn a_broken_document_does_not_spoil_its_neighbours() {
        let (documents, errors) = parse("a: 1\n---\nb: [1, 2\n---\nc: 3\n---\nd: 1\nd: 2\n");
        assert_eq!(documents.len(), 2, "{errors:?}");
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[1].to_string().starts_with("x.yaml:8:1: the key `d`"),
            "{}",
            errors[1]
        );
    }

    #[test]
    fn aliases_are_values_and_count_against_the_budget() {
        let (documents, errors) = parse("a: &x {k: v}\nb: *x\n");
        assert_eq!(errors, []);
        assert_eq!(documents[0].value["b"]["k"], "v");
        let mut bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let (documents, errors) = parse(&bomb);
        assert_eq!((documents.len(), errors.len()), (0, 1));
    }
}
