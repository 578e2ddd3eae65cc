//! PromQL, as far as a dashboard needs it: whether a query is one, which series it selects, and what stands around each selector.
//!
//! It reads the whole grammar of Prometheus 2 but types; `tests/dashboards.rs` holds its verdicts against promtool's. Grafana's
//! variables may stand for durations (`[$__rate_interval]`) and inside strings.

use std::fmt;

mod token;
mod words;

use self::{
    token::{Token, tokens},
    words::{
        AGGREGATIONS, COMPARISONS, FUNCTIONS, NUMBERS, OPERATORS, PARAMETERS, is_grouping,
        is_set_operator, takes_range,
    },
};

/// A query that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its selectors, in order.
    pub selectors: Vec<Selector>,
}

/// `name{label="value"}[range]` and what it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The metric; empty where only matchers say it.
    pub name: String,
    /// The matchers in braces.
    pub matchers: Vec<Matcher>,
    /// What stands in brackets.
    pub range: Option<String>,
    /// Functions and aggregations around it, the outermost first.
    pub within: Vec<String>,
    /// Byte after the name.
    after_name: usize,
    /// Byte after the opening brace, where there are braces.
    in_braces: Option<usize>,
    /// Byte after name and braces.
    end: usize,
}

/// One matcher of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub operator: String,
    /// The value, without quotes.
    pub value: String,
}

/// Why something is no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {what}")]
pub struct QueryError {
    /// Byte of the text.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// How strict the reader is about ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// As Prometheus: `rate(x[5m])`.
    Written,
    /// `rate(x)` is meant to get its range by [`completed`].
    LeftOut,
}

/// Reads a query.
///
/// # Errors
/// The first thing that is no PromQL.
pub fn parse(text: &str, ranges: Ranges) -> Result<Query, QueryError> {
    let mut reader = Reader {
        tokens: tokens(text)?,
        next: 0,
        end: text.len(),
        ranges,
        within: Vec::new(),
        selectors: Vec::new(),
    };
    reader.expression(0)?;
    if let Some((token, at)) = reader.peek_all() {
        return Err(unexpected(&token, at));
    }
    Ok(Query {
        selectors: reader.selectors,
    })
}

/// Writes out what every selector of a panel's query must have: `matchers`, and a range where the function around it wants one.
///
/// # Errors
/// When it is no query.
pub fn completed(text: &str, matchers: &str, range: &str) -> Result<String, QueryError> {
    let query = parse(text, Ranges::LeftOut)?;
    let mut insertions: Vec<(usize, String)> = Vec::new();
    for selector in &query.selectors {
        if !matchers.is_empty() {
            insertions.push(match selector.in_braces {
                Some(at) if selector.matchers.is_empty() => (at, matchers.to_owned()),
                Some(at) => (at, format!("{matchers}, ")),
                None => (selector.after_name, format!("{{{matchers}}}")),
            });
        }
        let wants = selector.within.last().is_some_and(|name| takes_range(name));
        if wants && selector.range.is_none() {
            insertions.push((selector.end, format!("[{range}]")));
        }
    }
    let mut written = text.to_owned();
    // From the end, so that places stay; of two at one place, the first named goes first.
    insertions.reverse();
    insertions.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    for (at, inserted) in insertions {
        written.insert_str(at, &inserted);
    }
    Ok(written)
}

impl Selector {
    /// Whether one of these functions is the next thing around it.
    #[must_use]
    pub fn is_directly_in(&self, functions: &[&str]) -> bool {
        self.within
            .last()
            .is_some_and(|name| functions.contains(&name.as_str()))
    }

    /// The value of the matcher of this label with this operator.
    #[must_use]
    pub fn matcher(&self, label: &str, operator: &str) -> Option<&str> {
        self.matchers
            .iter()
            .find(|matcher| matcher.label == label && matcher.operator == operator)
            .map(|matcher| matcher.value.as_str())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

struct Reader<'a> {
    tokens: Vec<(Token<'a>, usize)>,
    next: usize,
    end: usize,
    ranges: Ranges,
    within: Vec<String>,
    selectors: Vec<Selector>,
}

/// What an expression is, as far as brackets ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A range of samples.
    Range,
    /// A selector without brackets.
    Selector,
    /// A quoted text.
    Text,
    /// Anything else.
    Other,
}

impl<'a> Reader<'a> {
    fn peek_all(&self) -> Option<(Token<'a>, usize)> {
        self.tokens.get(self.next).copied()
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.peek_all().map(|(token, _)| token)
    }

    fn at(&self) -> usize {
        self.peek_all().map_or(self.end, |(_, at)| at)
    }

    fn take(&mut self) -> Result<(Token<'a>, usize), QueryError> {
        let Some(taken) = self.peek_all() else {
            return Err(error(self.end, "the query ends too early"));
        };
        self.next += 1;
        Ok(taken)
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Symbol(found)) if found == symbol);
        self.next += usize::from(is);
        is
    }

    fn takes_word(&mut self, words: &[&str]) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word))
                if words.iter().any(|known| word.eq_ignore_ascii_case(known)) =>
            {
                self.next += 1;
                Some(word)
            }
            _ => None,
        }
    }

    fn wants(&mut self, symbol: &str) -> Result<(), QueryError> {
        if self.takes(symbol) {
            return Ok(());
        }
        Err(error(self.at(), &format!("`{symbol}` is expected here")))
    }

    fn expression(&mut self, depth: u32) -> Result<Kind, QueryError> {
        if depth > DEEPEST {
            return Err(error(self.at(), "too many brackets"));
        }
        let mut kind = self.unary(depth)?;
        loop {
            let at = self.at();
            let comparison = match self.peek() {
                Some(Token::Symbol(symbol)) if OPERATORS.contains(&symbol) => {
                    self.next += 1;
                    COMPARISONS.contains(&symbol)
                }
                Some(Token::Word(word)) if is_set_operator(word) => {
                    self.next += 1;
                    false
                }
                _ => return Ok(kind),
            };
            if self.takes_word(&["bool"]).is_some() && !comparison {
                return Err(error(at, "`bool` belongs to comparisons"));
            }
            if self.takes_word(&["on", "ignoring"]).is_some() {
                self.labels()?;
                if self.takes_word(&["group_left", "group_right"]).is_some()
                    && matches!(self.peek(), Some(Token::Symbol("(")))
                {
                    self.labels()?;
                }
            }
            let right = self.unary(depth)?;
            if [kind, right]
                .iter()
                .any(|side| matches!(side, Kind::Range | Kind::Text))
            {
                return Err(error(at, "an operator takes neither ranges nor texts"));
            }
            kind = Kind::Other;
        }
    }

    fn unary(&mut self, depth: u32) -> Result<Kind, QueryError> {
        let mut signed = false;
        while self.takes("-") || self.takes("+") {
            signed = true;
        }
        let at = self.at();
        let kind = self.primary(depth)?;
        let kind = self.suffixes(kind)?;
        if signed && matches!(kind, Kind::Range | Kind::Text) {
            return Err(error(at, "a sign takes neither ranges nor texts"));
        }
        Ok(kind)
    }

    fn primary(&mut self, depth: u32) -> Result<Kind, QueryError> {
        let (token, at) = self.take()?;
        match token {
            Token::Number(_) => Ok(Kind::Other),
            Token::Text(_) => Ok(Kind::Text),
            Token::Symbol("(") => {
                let kind = self.expression(depth + 1)?;
                self.wants(")")?;
                Ok(if kind == Kind::Selector {
                    Kind::Other
                } else {
                    kind
                })
            }
            Token::Symbol("{") => {
                self.next -= 1;
                self.selector("", at)
            }
            Token::Word(word) => {
                let called = matches!(self.peek(), Some(Token::Symbol("(")));
                let grouped = matches!(self.peek(), Some(Token::Word(next)) if is_grouping(next));
                if AGGREGATIONS
                    .iter()
                    .any(|known| word.eq_ignore_ascii_case(known))
                    && (called || grouped)
                {
                    self.aggregation(&word.to_ascii_lowercase(), depth)
                } else if called {
                    self.call(word, at, depth)
                } else if NUMBERS.iter().any(|known| word.eq_ignore_ascii_case(known)) {
                    Ok(Kind::Other)
                } else if is_set_operator(word) || is_grouping(word) {
                    Err(unexpected(&token, at))
                } else {
                    self.selector(word, at)
                }
            }
            _ => Err(unexpected(&token, at)),
        }
    }

    /// `[range]`, `[range:step]`, `offset`, `@`.
    fn suffixes(&mut self, mut kind: Kind) -> Result<Kind, QueryError> {
        loop {
            let at = self.at();
            match self.peek() {
                Some(Token::Range(range)) => {
                    self.next += 1;
                    let subquery = range.contains(':');
                    match kind {
                        Kind::Selector if !subquery => {
                            if let Some(selector) = self.selectors.last_mut() {
                                selector.range = Some(range.to_owned());
                            }
                        }
                        Kind::Selector | Kind::Other if subquery => {}
                        _ => return Err(error(at, "a range belongs to a selector")),
                    }
                    kind = Kind::Range;
                }
                Some(Token::Word("offset")) => {
                    self.next += 1;
                    self.takes("-");
                    let (token, at) = self.take()?;
                    if !matches!(token, Token::Duration(_)) {
                        return Err(unexpected(&token, at));
                    }
                }
                Some(Token::Symbol("@")) => {
                    self.next += 1;
                    let (token, at) = self.take()?;
                    match token {
                        Token::Number(_) => {}
                        Token::Word("start" | "end") => {
                            self.wants("(")?;
                            self.wants(")")?;
                        }
                        _ => return Err(unexpected(&token, at)),
                    }
                }
                _ => return Ok(kind),
            }
        }
    }

    fn selector(&mut self, name: &str, at: usize) -> Result<Kind, QueryError> {
        let mut selector = Selector {
            name: name.to_owned(),
            within: self.within.clone(),
            after_name: at + name.len(),
            end: at + name.len(),
            ..Selector::default()
        };
        let brace = self.at();
        if self.takes("{") {
            selector.in_braces = Some(brace + 1);
            while !matches!(self.peek(), Some(Token::Symbol("}"))) {
                selector.matchers.push(self.matcher()?);
                if !self.takes(",") {
                    break;
                }
            }
            selector.end = self.at() + 1;
            self.wants("}")?;
        }
        let narrow = |matcher: &Matcher| match matcher.operator.as_str() {
            "=" => !matcher.value.is_empty(),
            "=~" => !matches!(matcher.value.as_str(), "" | ".*"),
            _ => false,
        };
        if name.is_empty() && !selector.matchers.iter().any(narrow) {
            return Err(error(at, "one matcher has to select something"));
        }
        self.selectors.push(selector);
        Ok(Kind::Selector)
    }

    fn matcher(&mut self) -> Result<Matcher, QueryError> {
        let (label, at) = self.take()?;
        let Token::Word(label) = label else {
            return Err(unexpected(&label, at));
        };
        let (operator, at) = self.take()?;
        let Token::Symbol(operator @ ("=" | "!=" | "=~" | "!~")) = operator else {
            return Err(unexpected(&operator, at));
        };
        let (value, at) = self.take()?;
        let Token::Text(value) = value else {
            return Err(unexpected(&value, at));
        };
        Ok(Matcher {
            label: label.to_owned(),
            operator: operator.to_owned(),
            value: value.to_owned(),
        })
    }

    fn labels(&mut self) -> Result<(), QueryError> {
        self.wants("(")?;
        while !self.takes(")") {
            let (token, at) = self.take()?;
            if !matches!(token, Token::Word(_)) {
                return Err(unexpected(&token, at));
            }
            if !self.takes(",") {
                return self.wants(")");
            }
        }
        Ok(())
    }

    fn aggregation(&mut self, name: &str, depth: u32) -> Result<Kind, QueryError> {
        let before = self.takes_word(&["by", "without"]).is_some();
        if before {
            self.labels()?;
        }
        let at = self.at();
        let arguments = self.arguments(name, depth)?;
        let wanted = 1 + usize::from(PARAMETERS.contains(&name));
        if arguments.len() != wanted {
            return Err(error(at, &format!("{name} takes {wanted} arguments")));
        }
        if arguments.last() == Some(&Kind::Range) {
            return Err(error(at, &format!("{name} takes no range")));
        }
        if self.takes_word(&["by", "without"]).is_some() {
            if before {
                return Err(error(at, "it is grouped twice"));
            }
            self.labels()?;
        }
        Ok(Kind::Other)
    }

    fn call(&mut self, name: &str, at: usize, depth: u32) -> Result<Kind, QueryError> {
        let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, least, most, _)) = known else {
            return Err(error(at, &format!("there is no function {name}")));
        };
        let arguments = self.arguments(name, depth)?;
        if !(*least..=*most).contains(&arguments.len()) {
            return Err(error(at, &format!("{name} takes other arguments")));
        }
        let ranges = arguments
            .iter()
            .filter(|kind| **kind == Kind::Range)
            .count();
        let left_out = self.ranges == Ranges::LeftOut && arguments.contains(&Kind::Selector);
        match (takes_range(name), ranges) {
            (true, 1) | (false, 0) => Ok(Kind::Other),
            (true, 0) if left_out => Ok(Kind::Other),
            (true, _) => Err(error(at, &format!("{name} takes a range"))),
            (false, _) => Err(error(at, &format!("{name} takes no range"))),
        }
    }

    fn arguments(&mut self, name: &str, depth: u32) -> Result<Vec<Kind>, QueryError> {
        self.wants("(")?;
        self.within.push(name.to_owned());
        let mut kinds = Vec::new();
        while !self.takes(")") {
            kinds.push(self.expression(depth + 1)?);
            if !self.takes(",") {
                self.wants(")")?;
                break;
            }
        }
        self.within.pop();
        Ok(kinds)
    }
}

fn error(at: usize, what: &str) -> QueryError {
    QueryError {
        at,
        what: what.to_owned(),
    }
}

fn unexpected(token: &Token<'_>, at: usize) -> QueryError {
    error(at, &format!("{token} is not expected here"))
}

/// Deeper than any query that a person wrote.
const DEEPEST: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_know_what_stands_around_them() {
        let text = r#"sum by (le) (rate(a_bucket{x="1", y!~"2|3"}[$__rate_interval])) / ignoring(z) group_left b{}"#;
        let query = parse(text, Ranges::Written).unwrap();
        let [a, b] = query.selectors.as_slice() else {
            panic!("{query:#?}");
        };
        assert_eq!((a.name.as_str(), b.name.as_str()), ("a_bucket", "b"));
        assert_eq!(a.within, ["sum", "rate"]);
        assert!(a.is_directly_in(&["rate", "irate"]) && b.within.is_empty());
        assert_eq!(a.range.as_deref(), Some("$__rate_interval"));
        assert_eq!(a.matcher("y", "!~"), Some("2|3"));
        assert_eq!(a.matcher("y", "=~"), None);
    }

    #[test]
    fn every_selector_is_completed() {
        let cases = [
            ("up", r#"up{job="j"}"#),
            ("up{}", r#"up{job="j"}"#),
            (r#"up{a="b"}"#, r#"up{job="j", a="b"}"#),
            ("sum(rate(a))", r#"sum(rate(a{job="j"}[5m]))"#),
            (
                r#"rate(a{b="c"}) / rate(a[1h])"#,
                r#"rate(a{job="j", b="c"}[5m]) / rate(a{job="j"}[1h])"#,
            ),
            (
                "histogram_quantile(0.9, sum by (le) (rate(a_bucket)))",
                r#"histogram_quantile(0.9, sum by (le) (rate(a_bucket{job="j"}[5m])))"#,
            ),
            ("time() - a / 1000", r#"time() - a{job="j"} / 1000"#),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                completed(text, r#"job="j""#, "5m").as_deref(),
                Ok(wanted),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_have_a_place() {
        for (text, at) in [
            ("sum(", 4),
            ("sum(a))", 6),
            ("rate(a)", 0),
            ("nothing(a)", 0),
            ("a{b=c}", 4),
            ("a +", 3),
            ("", 0),
        ] {
            let error = parse(text, Ranges::Written).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }
}
