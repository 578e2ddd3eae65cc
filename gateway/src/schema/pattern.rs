//! Lua's patterns, which schemas are written in, as regular expressions: linear time on any input.

use regex::bytes::Regex;

/// A compiled Lua pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles a Lua pattern without captures, `%b` and `%f`: schemas have none.
    pub(super) fn new(lua: &str) -> Result<Self, regex::Error> {
        Regex::new(&translate(lua)).map(Self)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }
}

/// Patterns match bytes, as Lua does.
fn translate(lua: &str) -> String {
    let mut out = String::from("(?s-u)");
    let mut characters = lua.chars().peekable();
    let mut in_set = false;
    let mut first = true;
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some(class) => class_of(&mut out, class, in_set),
                None => out.push('%'),
            },
            '[' if !in_set => {
                in_set = true;
                out.push('[');
                if characters.peek() == Some(&'^') {
                    characters.next();
                    out.push('^');
                }
            }
            ']' if in_set => {
                in_set = false;
                out.push(']');
            }
            // In a set, between two characters, a range; outside, the shortest repetition.
            '-' if in_set => out.push('-'),
            '-' => out.push_str("*?"),
            '*' | '+' | '?' | '.' | '^' | '(' | ')' if !in_set => {
                if character == '^' && !first {
                    out.push('\\');
                }
                out.push(character);
            }
            '$' if !in_set && characters.peek().is_none() => out.push_str("\\z"),
            other => literal(&mut out, other),
        }
        first = false;
    }
    out
}

fn class_of(out: &mut String, class: char, in_set: bool) {
    let set = match class {
        'a' => "A-Za-z",
        'd' => "0-9",
        'l' => "a-z",
        'u' => "A-Z",
        's' => "\\s",
        'w' => "A-Za-z0-9",
        'x' => "A-Fa-f0-9",
        other => return literal(out, other),
    };
    if in_set {
        out.push_str(set);
    } else {
        out.push('[');
        out.push_str(set);
        out.push(']');
    }
}

fn literal(out: &mut String, character: char) {
    let mut buffer = [0; 4];
    out.push_str(&regex::escape(character.encode_utf8(&mut buffer)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_schemas_match_as_in_lua() {
        for (pattern, yes, no) in [
            ("^%u+$", "GET", "Get"),
            ("^%*%.", "*.example.com", "a.*"),
            ("%.%*$", "a.*", "a.*.b"),
            ("^[^*]*%*?[^*]*$", "a.*", "*.*"),
            ("//", "/a//b", "/a/b"),
            ("^~/", "~/a", "/a"),
            ("^[Hh][Oo][Ss][Tt]$", "hOST", "hosts"),
            ("^%d+[%.%d]*%-?.*$", "3.9.1-rc", "x"),
            ("^[%a_-][%a%d_-]*$", "_a-1", "1a"),
            ("^[^:]+:.*$", "a:b:c", ":b"),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert!(pattern.is_match(yes), "{pattern:?} {yes}");
            assert!(!pattern.is_match(no), "{pattern:?} {no}");
        }
    }

    #[test]
    fn a_vault_prefix_is_one_letter_then_as_little_as_can_be() {
        // `-` after a set repeats it as rarely as possible.
        let pattern = Pattern::new("^[a-z][a-z%d-]-[a-z%d]+$").unwrap();
        for prefix in ["my-vault", "aa", "v1"] {
            assert!(pattern.is_match(prefix), "{prefix}");
        }
        for prefix in ["a", "1a", "a-", "A1"] {
            assert!(!pattern.is_match(prefix), "{prefix}");
        }
    }
}
