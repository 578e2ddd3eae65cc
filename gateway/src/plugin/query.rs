//! Query arguments as OpenResty reads and writes them.

use std::borrow::Cow;

/// The arguments of a query, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    pub arguments: Vec<Argument>,
}

/// One argument.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Argument {
    pub name: String,
    /// Nothing where there is no `=`: Lua's `true`.
    pub value: Option<String>,
}

impl Query {
    /// Reads a query or a form: at `&`, with `+` and `%XX` decoded. Bytes that are no UTF-8 are replaced.
    pub fn parse(text: &[u8]) -> Self {
        let one = |part: &[u8]| {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default()).into_owned();
            let value = halves.next().map(|value| decode(value).into_owned());
            Argument { name, value }
        };
        let parts = text.split(|byte| *byte == b'&');
        // As ngx_lua: `=x` and empty parts are no arguments.
        let arguments = parts
            .filter(|part| !part.is_empty() && part[0] != b'=')
            .map(one);
        Self {
            arguments: arguments.collect(),
        }
    }

    /// The first value of a name; an argument without `=` is the empty text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .arguments
            .iter()
            .find(|argument| argument.name == name)?;
        Some(found.value.as_deref().unwrap_or_default())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let named = self
            .arguments
            .iter()
            .filter(move |argument| argument.name == name);
        named.map(|argument| argument.value.as_deref().unwrap_or_default())
    }

    /// Every value of a name; nothing for one without `=`.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Option<&'a str>> + 'a {
        let named = self
            .arguments
            .iter()
            .filter(move |argument| argument.name == name);
        named.map(|argument| argument.value.as_deref())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.arguments.iter().any(|argument| argument.name == name)
    }

    /// Removes every argument of that name; true if there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.arguments.len();
        self.arguments.retain(|argument| argument.name != name);
        self.arguments.len() != before
    }

    /// In place of every argument of that name, else at the end.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let place = self
            .arguments
            .iter()
            .position(|argument| argument.name == name);
        self.remove(name);
        let argument = Argument {
            name: name.to_owned(),
            value: Some(value.into()),
        };
        let place = place
            .unwrap_or(self.arguments.len())
            .min(self.arguments.len());
        self.arguments.insert(place, argument);
    }

    pub fn append(&mut self, name: &str, value: impl Into<String>) {
        self.arguments.push(Argument {
            name: name.to_owned(),
            value: Some(value.into()),
        });
    }

    /// The query as it is sent (`ngx.encode_args`).
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for argument in &self.arguments {
            if !text.is_empty() {
                text.push('&');
            }
            encode(&argument.name, &mut text);
            if let Some(value) = &argument.value {
                text.push('=');
                encode(value, &mut text);
            }
        }
        text
    }
}

/// A raw query without the arguments of that name, everything else as it was; nothing where nothing is removed.
pub fn without(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let is_named = |part: &&[u8]| {
        let written = part.split(|byte| *byte == b'=').next().unwrap_or_default();
        decode(written) == name
    };
    let parts = || query.split(|byte| *byte == b'&');
    if !parts().any(|part| is_named(&part)) {
        return None;
    }
    let kept: Vec<_> = parts().filter(|part| !is_named(part)).collect();
    Some(kept.join(&b'&'))
}

/// Undoes `%XX` and `+`.
pub fn decode(text: &[u8]) -> Cow<'_, str> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return String::from_utf8_lossy(text);
    }
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits make a byte.
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned().into()
}

/// Writes everything but letters, digits and `-._~` as `%XX`.
pub fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)].into());
            out.push(HEX[usize::from(byte & 15)].into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_written() {
        for (text, written) in [
            ("a=1&b=2", "a=1&b=2"),
            ("a&b=&=x&&c=%20+d", "a&b=&c=%20%20d"),
            ("a=1&a=2", "a=1&a=2"),
            ("a=b=c", "a=b%3Dc"),
            ("%zz=1%2", "%25zz=1%252"),
            ("", ""),
        ] {
            assert_eq!(Query::parse(text.as_bytes()).to_text(), written, "{text}");
        }
    }

    #[test]
    fn arguments_are_taken_out_of_the_raw_text() {
        let taken = |text: &str| {
            without(text.as_bytes(), "key").map(|left| String::from_utf8(left).unwrap())
        };
        assert_eq!(taken("a=%2f&key=1&b"), Some("a=%2f&b".to_owned()));
        assert_eq!(taken("k%65y=1"), Some(String::new()));
        assert_eq!(taken("keys=1&a=key"), None);
    }

    #[test]
    fn setting_keeps_the_place() {
        let mut query = Query::parse(b"a=1&b=2&a=3");
        query.set("a", "x y");
        query.append("c", "&");
        assert_eq!(query.to_text(), "a=x%20y&b=2&c=%26");
    }
}
