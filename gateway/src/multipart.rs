//! `multipart/form-data` (RFC 7578): the one reader, for the Admin API and for plugins that look into bodies or change them.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::value::Value;

/// A body: the parts that have names, in their order.
#[derive(Debug)]
pub struct Form {
    boundary: Box<str>,
    parts: Vec<Part<'static>>,
}

/// A part of a body.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    pub name: String,
    pub content: Cow<'a, [u8]>,
    /// Its header lines, without the empty one behind them.
    head: Cow<'a, [u8]>,
    is_json: bool,
    /// What is taken out of the body when the part is: from behind the delimiter before it to behind the one after it.
    place: Range<usize>,
}

/// The parts that have names. `None` when the body is not of the form.
pub fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let boundary = parameter(content_type, "boundary")?;
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    // The first one may be at the very beginning.
    let first = &delimiter.as_bytes()[2..];
    let mut start = memmem::find(body, first)? + first.len();
    loop {
        let rest = &body[start..];
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let length = memmem::find(part, delimiter.as_bytes())?;
        let end = start + 2 + length + delimiter.len();
        parts.extend(read(&part[..length], start..end));
        start = end;
    }
}

/// The parts' names with their contents; a part of type JSON is decoded. `None` when the body is
/// not of the form.
pub fn parse(content_type: &str, body: &[u8]) -> Option<Vec<(String, Value)>> {
    let parts = parts(content_type, body)?;
    Some(parts.into_iter().map(Part::decode).collect())
}

/// The body without the parts of that name; nothing where there is none.
pub fn without(content_type: &str, body: &[u8], name: &str) -> Option<Vec<u8>> {
    let parts = parts(content_type, body)?;
    let mut left = Vec::with_capacity(body.len());
    let mut kept = 0;
    for part in parts.into_iter().filter(|part| part.name == name) {
        left.extend_from_slice(&body[kept..part.place.start]);
        kept = part.place.end;
    }
    (kept > 0).then(|| {
        left.extend_from_slice(&body[kept..]);
        left
    })
}

impl Form {
    /// Reads a body; one of nothing has no parts. `None` when it is not of the form.
    pub fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        let boundary = parameter(content_type, "boundary").filter(|text| !text.is_empty())?;
        let parts = if body.is_empty() {
            Vec::new()
        } else {
            let parts = parts(content_type, body)?;
            parts.into_iter().map(Part::into_owned).collect()
        };
        Some(Self {
            boundary: boundary.into(),
            parts,
        })
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let part = self.parts.iter().find(|part| part.name == name)?;
        Some(&part.content)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn remove(&mut self, name: &str) {
        self.parts.retain(|part| part.name != name);
    }

    /// A plain part in place of the first of that name, else at the end.
    pub fn set(&mut self, name: &str, content: Vec<u8>) {
        let part = Part {
            name: name.to_owned(),
            content: content.into(),
            head: format!("Content-Disposition: form-data; name=\"{name}\"")
                .into_bytes()
                .into(),
            is_json: false,
            place: 0..0,
        };
        match self.parts.iter_mut().find(|part| part.name == name) {
            Some(known) => *known = part,
            None => self.parts.push(part),
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        let delimiter = format!("--{}", self.boundary);
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend_from_slice(delimiter.as_bytes());
            all.extend_from_slice(b"\r\n");
            all.extend_from_slice(&part.head);
            all.extend_from_slice(b"\r\n\r\n");
            all.extend_from_slice(&part.content);
            all.extend_from_slice(b"\r\n");
        }
        all.extend_from_slice(delimiter.as_bytes());
        all.extend_from_slice(b"--\r\n");
        all.into()
    }
}

impl Part<'_> {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    fn decode(self) -> (String, Value) {
        let decoded = || Value::from_json(&self.content).ok();
        let value = match self.is_json.then(decoded).flatten() {
            Some(value) => value,
            None => self.text().into(),
        };
        (self.name, value)
    }

    fn into_owned(self) -> Part<'static> {
        Part {
            name: self.name,
            content: self.content.into_owned().into(),
            head: self.head.into_owned().into(),
            is_json: self.is_json,
            place: self.place,
        }
    }
}

fn read(part: &[u8], place: Range<usize>) -> Option<Part<'_>> {
    let end = memmem::find(part, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&part[..end]);
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    Some(Part {
        name: parameter(&header("content-disposition")?, "name")?,
        content: part[end + 4..].into(),
        head: part[..end].into(),
        is_json: header("content-type").is_some_and(|kind| kind.starts_with("application/json")),
        place,
    })
}

/// A parameter of a header's value: `form-data; name="a"`.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_and_contents() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--x\r\n\
                    content-disposition: form-data; name=\"config\"; filename=\"kong.yml\"\r\n\
                    Content-Type: application/octet-stream\r\n\r\n_format_version: \"3.0\"\n\r\n--x\r\n\
                    Content-Disposition: form-data; name=j\r\nContent-Type: application/json\r\n\r\n{\"b\":1}\r\n--x--\r\n";
        let parts = parse("multipart/form-data; boundary=\"x\"", body.as_bytes()).unwrap();
        assert_eq!(parts[0], ("a".into(), "1\r\n2".into()));
        assert_eq!(
            parts[1],
            ("config".into(), "_format_version: \"3.0\"\n".into())
        );
        assert_eq!(parts[2].1.to_json(), r#"{"b":1}"#);
        assert_eq!(
            parse("multipart/form-data; boundary=y", body.as_bytes()),
            None
        );
        assert_eq!(
            parse("multipart/form-data; boundary=x", b"--x\r\nbroken"),
            None
        );
    }

    #[test]
    fn parts_are_taken_out() {
        let kind = "multipart/form-data; boundary=x";
        let part = |name: &str| {
            format!("\r\nContent-Disposition: form-data; name={name}\r\n\r\nof {name}\r\n--x")
        };
        let body = |names: &[&str]| {
            let parts: String = names.iter().map(|name| part(name)).collect();
            format!("--x{parts}--\r\n")
        };
        let taken = |names: &[&str]| {
            let left = without(kind, body(names).as_bytes(), "key");
            left.map(|left| String::from_utf8(left).unwrap())
        };
        assert_eq!(taken(&["a", "key", "b", "key"]), Some(body(&["a", "b"])));
        assert_eq!(taken(&["key", "a"]), Some(body(&["a"])));
        assert_eq!(taken(&["key"]), Some(body(&[])));
        assert_eq!(taken(&["a"]), None);
        assert_eq!(without(kind, b"--x\r\nbroken", "key"), None);
    }

    #[test]
    fn forms_are_read_and_written() {
        const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\n\
            Content-Disposition: form-data; filename=\"x\"; name=\"f\"\r\nContent-Type: text/plain\r\n\r\n\
            line\r\n\r\n\x20a --b in a line\r\n--b--\r\n";
        let form = Form::read("multipart/form-data; boundary=b", BODY.as_bytes()).unwrap();
        assert_eq!(form.get("a"), Some(&b"1"[..]));
        // A delimiter begins a line.
        assert_eq!(form.get("f"), Some(&b"line\r\n\r\n a --b in a line"[..]));
        assert_eq!(form.to_bytes(), BODY);
        let mut form = Form::read("multipart/form-data; boundary=\"b\"", b"").unwrap();
        form.set("x", b"y".to_vec());
        let wanted = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n";
        assert_eq!(form.to_bytes(), wanted);
        form.remove("x");
        assert!(!form.contains("x"));
        assert!(Form::read("multipart/form-data", b"").is_none());
    }
}
