//! Text → tree, by recursive descent (CEL specification, "Syntax").

use std::time::Duration;

use super::attribute::Attribute;
use super::{CelError, Comparison, Conversion, Literal, Node, TextFunction};
use crate::live::matcher::Pattern;
use crate::observe::peer::LocalNode;

/// Compiles a text.
pub(super) fn parse(text: &str, node: Option<&LocalNode>) -> Result<Node, CelError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        node,
    };
    let root = parser.choice()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.error("expected the end of the expression"));
    }
    Ok(root)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    node: Option<&'a LocalNode>,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: impl Into<String>) -> CelError {
        CelError {
            position: self.at,
            reason: reason.into(),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes a sign if it is next.
    fn take(&mut self, sign: &str) -> bool {
        self.space();
        let next = self.rest().starts_with(sign);
        if next {
            self.at += sign.len();
        }
        next
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.error(format!("expected `{sign}`")))
        }
    }

    fn choice(&mut self) -> Result<Node, CelError> {
        if self.depth >= DEEPEST {
            return Err(self.error("nested too deeply"));
        }
        self.depth += 1;
        let condition = self.either()?;
        let node = if self.take("?") {
            let yes = self.choice()?;
            self.expect(":")?;
            let no = self.choice()?;
            Node::Choose(Box::new(condition), Box::new(yes), Box::new(no))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn either(&mut self) -> Result<Node, CelError> {
        let mut left = self.both()?;
        while self.take("||") {
            left = Node::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Node, CelError> {
        let mut left = self.relation()?;
        while self.take("&&") {
            left = Node::And(Box::new(left), Box::new(self.relation()?));
        }
        Ok(left)
    }

    fn relation(&mut self) -> Result<Node, CelError> {
        let mut left = self.sum()?;
        loop {
            let found = COMPARISONS.into_iter().find(|(sign, _)| self.take(sign));
            if let Some((_, comparison)) = found {
                left = Node::Compare(comparison, Box::new(left), Box::new(self.sum()?));
            } else if self.word("in") {
                left = Node::In(Box::new(left), Box::new(self.sum()?));
            } else {
                return Ok(left);
            }
        }
    }

    /// Takes a word if it is next and ends there.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let next = self.rest().strip_prefix(word).is_some_and(|rest| {
            !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
        });
        if next {
            self.at += word.len();
        }
        next
    }

    fn sum(&mut self) -> Result<Node, CelError> {
        let mut left = self.unary()?;
        while self.take("+") {
            left = Node::Add(Box::new(left), Box::new(self.unary()?));
        }
        self.space();
        if self.rest().starts_with(['-', '*', '/', '%']) {
            return Err(self.error("this arithmetic is not served"));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, CelError> {
        self.space();
        let signs = self.rest().bytes().take_while(|byte| *byte == b'!').count();
        if signs > 0 && !self.rest().starts_with("!=") {
            self.at += signs;
            let node = self.postfix()?;
            return Ok(if signs % 2 == 1 {
                Node::Not(Box::new(node))
            } else {
                node
            });
        }
        if self.take("-") {
            return Ok(Node::Negative(Box::new(self.postfix()?)));
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Result<Node, CelError> {
        let mut node = self.primary()?;
        loop {
            if self.take(".") {
                let name = self.name()?;
                if self.take("(") {
                    node = self.method(node, name)?;
                } else {
                    node = Node::Member(Box::new(node), name.into());
                }
            } else if self.take("[") {
                let key = self.choice()?;
                self.expect("]")?;
                node = match key {
                    Node::Literal(Literal::Text(name)) => Node::Member(Box::new(node), name),
                    key => Node::Index(Box::new(node), Box::new(key)),
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn method(&mut self, object: Node, name: &str) -> Result<Node, CelError> {
        let function = match name {
            "startsWith" => TextFunction::StartsWith,
            "endsWith" => TextFunction::EndsWith,
            "contains" => TextFunction::Contains,
            "matches" => {
                let pattern = self.choice()?;
                self.expect(")")?;
                return self.matches(object, pattern);
            }
            "size" => {
                self.expect(")")?;
                return Ok(Node::Convert(Conversion::Size, Box::new(object)));
            }
            "lowerAscii" => {
                self.expect(")")?;
                return Ok(Node::Convert(Conversion::LowerCase, Box::new(object)));
            }
            other => return Err(self.error(format!("function `{other}` is not served"))),
        };
        let part = self.choice()?;
        self.expect(")")?;
        Ok(Node::Text(function, Box::new(object), Box::new(part)))
    }

    fn matches(&self, text: Node, pattern: Node) -> Result<Node, CelError> {
        let Node::Literal(Literal::Text(pattern)) = pattern else {
            return Err(self.error("`matches` is served with a literal pattern only"));
        };
        let pattern = Pattern::anywhere(&pattern).map_err(|error| self.error(error.to_string()))?;
        Ok(Node::Matches(Box::new(text), pattern))
    }

    fn primary(&mut self) -> Result<Node, CelError> {
        self.space();
        let next = self
            .rest()
            .bytes()
            .next()
            .ok_or_else(|| self.error("expected a value"))?;
        match next {
            b'(' => {
                self.at += 1;
                let node = self.choice()?;
                self.expect(")")?;
                Ok(node)
            }
            b'[' => {
                self.at += 1;
                let mut nodes = Vec::new();
                while !self.take("]") {
                    if !nodes.is_empty() {
                        self.expect(",")?;
                    }
                    nodes.push(self.choice()?);
                }
                Ok(Node::List(nodes.into()))
            }
            b'"' | b'\'' => self
                .text()
                .map(|text| Node::Literal(Literal::Text(text.into()))),
            b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.named(),
            _ => Err(self.error("expected a value")),
        }
    }

    fn text(&mut self) -> Result<String, CelError> {
        let quote = self.rest().chars().next().unwrap_or('"');
        let mut text = String::new();
        let mut letters = self.rest().char_indices().skip(1);
        while let Some((offset, letter)) = letters.next() {
            match letter {
                '\\' => text.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, 'r')) => '\r',
                    Some((_, letter @ ('\\' | '\'' | '"' | '`' | '?'))) => letter,
                    _ => return Err(self.error("this escape is not served")),
                }),
                letter if letter == quote => {
                    self.at += offset + 1;
                    return Ok(text);
                }
                letter => text.push(letter),
            }
        }
        Err(self.error("the text does not end"))
    }

    fn number(&mut self) -> Result<Node, CelError> {
        let rest = self.rest();
        let end = rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'))
            .unwrap_or(rest.len());
        let digits = &rest[..end];
        let whole = digits.trim_end_matches(['u', 'U']);
        let literal = match whole.strip_prefix("0x") {
            Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16).ok().map(Literal::Int),
            None => whole
                .parse()
                .map(Literal::Int)
                .ok()
                .or_else(|| digits.parse().map(Literal::Double).ok()),
        };
        let literal = literal.ok_or_else(|| self.error("not a number"))?;
        self.at += end;
        Ok(Node::Literal(literal))
    }

    fn name(&mut self) -> Result<&'a str, CelError> {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.error("expected a name"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// A constant, a function or an attribute.
    fn named(&mut self) -> Result<Node, CelError> {
        let begin = self.at;
        let name = self.name()?;
        match name {
            "true" => return Ok(Node::Literal(Literal::Bool(true))),
            "false" => return Ok(Node::Literal(Literal::Bool(false))),
            "null" => return Ok(Node::Literal(Literal::Null)),
            _ => {}
        }
        if self.take("(") {
            return self.function(name, begin);
        }
        // An attribute takes one or two names; the members after it are read at run time.
        let after_first = self.at;
        let second = if self.take(".") {
            self.name().ok()
        } else {
            None
        };
        let names: Vec<&str> = [Some(name), second].into_iter().flatten().collect();
        let Some((attribute, taken)) = Attribute::find(&names, self.node) else {
            self.at = begin;
            return Err(self.error(format!(
                "`{}` is not an attribute that is served",
                names.join(".")
            )));
        };
        if taken == 1 {
            self.at = after_first;
        }
        Ok(Node::Attribute(attribute))
    }

    fn function(&mut self, name: &str, begin: usize) -> Result<Node, CelError> {
        let argument = self.choice()?;
        if name == "matches" {
            self.expect(",")?;
            let pattern = self.choice()?;
            self.expect(")")?;
            return self.matches(argument, pattern);
        }
        self.expect(")")?;
        let conversion = match name {
            "has" => return Ok(Node::Has(Box::new(argument))),
            "size" => Conversion::Size,
            "string" => Conversion::Text,
            "int" | "uint" => Conversion::Int,
            "double" => Conversion::Double,
            "duration" => {
                let Node::Literal(Literal::Text(text)) = &argument else {
                    return Err(self.error("`duration` is served with a literal only"));
                };
                let duration = duration(text).ok_or_else(|| {
                    self.error(format!("`{text}` is not a duration such as `1.5s`"))
                })?;
                return Ok(Node::Literal(Literal::Duration(duration)));
            }
            other => {
                self.at = begin;
                return Err(self.error(format!("function `{other}` is not served")));
            }
        };
        Ok(Node::Convert(conversion, Box::new(argument)))
    }
}

/// One number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// The longer sign first.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// Levels of parentheses.
const DEEPEST: usize = 50;
