//! Values with `$(…)` in them. Kong runs what is between the parentheses as Lua; served here are references to the request, texts and
//! numbers, `..` and `or`, which need no Lua. Anything else is refused when it is configured.

use std::borrow::Cow;
use std::fmt;

/// A value with what is to be filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(Box<str>),
    /// The first of these that there is.
    Expression(Box<[Joined]>),
}

/// Operands joined by `..`.
type Joined = Box<[Operand]>;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Operand {
    Text(Box<str>),
    Nil,
    Reference(Source, Box<str>),
}

/// What can be referred to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Headers,
    QueryParams,
    UriCaptures,
    Shared,
}

/// Something that needs Lua.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "$({expression}) needs Lua: served are headers, query_params, uri_captures and shared with a name or a number, texts, .. and or"
)]
pub(super) struct NeedsLua {
    expression: Box<str>,
}

/// Nothing was to be joined with something: an error in Lua.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("attempt to concatenate a nil value")]
pub(super) struct JoinsNothing;

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, NeedsLua> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("$(") {
            let Some(end) = closing(&rest[start + 1..]) else {
                break;
            };
            let end = start + 1 + end;
            let expression = &rest[start + 2..end];
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].into()));
            }
            let parsed = Parser(expression.trim()).expression();
            pieces.push(Piece::Expression(parsed.ok_or_else(|| NeedsLua {
                expression: expression.into(),
            })?));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The value, with what `look_up` finds.
    pub(super) fn render<'a>(
        &'a self,
        mut look_up: impl FnMut(Source, &str) -> Option<String>,
    ) -> Result<Cow<'a, str>, JoinsNothing> {
        match &*self.0 {
            [] => return Ok(Cow::Borrowed("")),
            [Piece::Text(text)] => return Ok(Cow::Borrowed(text)),
            _ => {}
        }
        let mut all = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => all.push_str(text),
                Piece::Expression(choices) => {
                    for choice in choices {
                        if let Some(value) = joined(choice, &mut look_up)? {
                            all.push_str(&value);
                            break;
                        }
                    }
                }
            }
        }
        Ok(Cow::Owned(all))
    }
}

fn joined(
    operands: &[Operand],
    look_up: &mut impl FnMut(Source, &str) -> Option<String>,
) -> Result<Option<String>, JoinsNothing> {
    let mut value = |operand: &Operand| match operand {
        Operand::Text(text) => Some(text.to_string()),
        Operand::Nil => None,
        Operand::Reference(source, name) => look_up(*source, name),
    };
    if let [one] = operands {
        return Ok(value(one));
    }
    let values = operands.iter().map(value);
    let joined: Option<String> = values.collect();
    joined.map(Some).ok_or(JoinsNothing)
}

/// Where the parenthesis closes that the text begins with; what is in quotes counts too, as in Lua's `%b()`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

struct Parser<'a>(&'a str);

impl<'a> Parser<'a> {
    fn expression(mut self) -> Option<Box<[Joined]>> {
        let mut choices = vec![self.joined()?];
        while !self.0.is_empty() {
            let rest = self.0.strip_prefix("or")?;
            // `or` is a word of its own.
            if rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
                return None;
            }
            self.0 = rest.trim_start();
            choices.push(self.joined()?);
        }
        Some(choices.into())
    }

    fn joined(&mut self) -> Option<Joined> {
        let mut operands = vec![self.operand()?];
        while self.take("..") {
            operands.push(self.operand()?);
        }
        Some(operands.into())
    }

    fn operand(&mut self) -> Option<Operand> {
        if let Some(text) = self.quoted() {
            return Some(Operand::Text(text));
        }
        if let Some(number) = self.number() {
            return Some(Operand::Text(number.into()));
        }
        let source = match self.word()? {
            "headers" => Source::Headers,
            "query_params" => Source::QueryParams,
            "uri_captures" => Source::UriCaptures,
            "shared" => Source::Shared,
            "nil" | "false" => return Some(Operand::Nil),
            _ => return None,
        };
        let name: Box<str> = if self.take(".") {
            self.word()?.into()
        } else if self.take("[") {
            let name = match self.quoted() {
                Some(name) => name,
                None => self.number()?.into(),
            };
            if !self.take("]") {
                return None;
            }
            name
        } else {
            return None;
        };
        Some(Operand::Reference(source, name))
    }

    fn take(&mut self, sign: &str) -> bool {
        let Some(rest) = self.0.strip_prefix(sign) else {
            return false;
        };
        // One dot is no part of two.
        if sign == "." && rest.starts_with('.') {
            return false;
        }
        self.0 = rest.trim_start();
        true
    }

    fn word(&mut self) -> Option<&'a str> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = self.0.find(|letter| !is_part(letter));
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        if word.is_empty() || word.starts_with(|letter: char| letter.is_ascii_digit()) {
            return None;
        }
        self.0 = rest.trim_start();
        Some(word)
    }

    fn number(&mut self) -> Option<&'a str> {
        let end = self.0.find(|letter: char| !letter.is_ascii_digit());
        let (number, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        // What goes on behind it is another kind of number, or none.
        let goes_on = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if number.is_empty() || rest.starts_with(goes_on) || is_fraction(rest) {
            return None;
        }
        self.0 = rest.trim_start();
        Some(number)
    }

    /// A text in quotes, without escapes.
    fn quoted(&mut self) -> Option<Box<str>> {
        let quote = self
            .0
            .chars()
            .next()
            .filter(|quote| ['"', '\''].contains(quote))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        if text.contains('\\') {
            return None;
        }
        self.0 = rest.trim_start();
        Some(text.into())
    }
}

fn is_fraction(rest: &str) -> bool {
    rest.starts_with('.') && !rest.starts_with("..")
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Headers => "headers",
            Self::QueryParams => "query_params",
            Self::UriCaptures => "uri_captures",
            Self::Shared => "shared",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rendered() {
        let known = |source: Source, name: &str| match name {
            "gone" => None,
            name => Some(format!("<{source} {name}>")),
        };
        for (template, rendered) in [
            ("plain", "plain"),
            ("", ""),
            ("$", "$"),
            ("$(", "$("),
            ("$(headers.host)", "<headers host>"),
            ("a-$(headers.host)-b", "a-<headers host>-b"),
            (
                "$(headers['x-a'])$(query_params[\"b\"])",
                "<headers x-a><query_params b>",
            ),
            ("$( uri_captures[1] )", "<uri_captures 1>"),
            ("$(shared.a_b)", "<shared a_b>"),
            ("$(headers.gone)", ""),
            ("$(headers.gone or 'none')", "none"),
            (
                "$(headers.gone or query_params.x or 'none')",
                "<query_params x>",
            ),
            ("$(headers.host .. ':' .. 8080)", "<headers host>:8080"),
            ("$(headers.gone or \"a\" .. 'b')", "ab"),
            ("$(nil or 'x')", "x"),
            ("#not($)", "#not($)"),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(parsed.render(known).unwrap(), rendered, "{template}");
        }
        let joined = Template::parse("$(headers.gone .. 'x')").unwrap();
        assert_eq!(joined.render(known), Err(JoinsNothing));
    }

    #[test]
    fn what_needs_lua_is_refused() {
        for template in [
            "$((function() return 1 end)())",
            "$(headers.host:sub(1, 2))",
            "$(string.lower(headers.host))",
            "$(headers)",
            "$(ngx.now())",
            "$(headers.a or)",
            "$(headers.a orx)",
            "$(headers.a and 'b')",
            "$(1.5)",
            "$(headers['a\\'b'])",
            "$(headers[headers.a])",
            "$()",
        ] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
