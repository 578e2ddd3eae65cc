//! `multipart/form-data` (RFC 7578).

use std::ops::Range;

use memchr::memmem;

use crate::value::Value;

/// A part of a body.
#[derive(Debug)]
pub struct Part<'a> {
    pub name: String,
    pub content: &'a [u8],
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

impl Part<'_> {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.content).into_owned()
    }

    fn decode(self) -> (String, Value) {
        let decoded = || Value::from_json(self.content).ok();
        let value = match self.is_json.then(decoded).flatten() {
            Some(value) => value,
            None => self.text().into(),
        };
        (self.name, value)
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
        content: &part[end + 4..],
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
}
