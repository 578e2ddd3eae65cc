//! Forms with parts, as Kong reads and writes them.

use bytes::Bytes;
use memchr::memmem;

/// A `multipart/form-data` body.
#[derive(Debug)]
pub(super) struct Multipart {
    boundary: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    /// Header lines, without the empty one behind them.
    head: Vec<u8>,
    value: Vec<u8>,
}

impl Multipart {
    /// Reads a body; nothing where the type names no boundary.
    pub(super) fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        let boundary = content_type
            .split(';')
            .skip(1)
            .find_map(|parameter| parameter.trim().strip_prefix("boundary="))?;
        let boundary = boundary.trim_matches('"');
        if boundary.is_empty() {
            return None;
        }
        let delimiter = format!("--{boundary}");
        let mut parts = Vec::new();
        let mut starts = memmem::find_iter(body, delimiter.as_bytes()).peekable();
        while let Some(start) = starts.next() {
            let from = start + delimiter.len();
            // Behind the last delimiter there are two dashes.
            let Some(end) = starts
                .peek()
                .copied()
                .filter(|_| !body[from..].starts_with(b"--"))
            else {
                break;
            };
            parts.extend(Part::read(&body[from..end]));
        }
        Some(Self {
            boundary: boundary.into(),
            parts,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let part = self.parts.iter().find(|part| part.name == name)?;
        Some(&part.value)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.parts.retain(|part| part.name != name);
    }

    /// A plain part in place of the first of that name, else at the end.
    pub(super) fn set(&mut self, name: &str, value: Vec<u8>) {
        let part = Part {
            name: name.to_owned(),
            head: format!("Content-Disposition: form-data; name=\"{name}\"").into_bytes(),
            value,
        };
        match self.parts.iter_mut().find(|part| part.name == name) {
            Some(known) => *known = part,
            None => self.parts.push(part),
        }
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend_from_slice(b"--");
            all.extend_from_slice(self.boundary.as_bytes());
            all.extend_from_slice(b"\r\n");
            all.extend_from_slice(&part.head);
            all.extend_from_slice(b"\r\n\r\n");
            all.extend_from_slice(&part.value);
            all.extend_from_slice(b"\r\n");
        }
        all.extend_from_slice(b"--");
        all.extend_from_slice(self.boundary.as_bytes());
        all.extend_from_slice(b"--\r\n");
        all.into()
    }
}

impl Part {
    /// What is between two delimiters, with the ends of lines behind the first and before the second.
    fn read(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"\r\n")?;
        let text = text.strip_suffix(b"\r\n")?;
        let end = memmem::find(text, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&text[..end]);
        let disposition = head.lines().find(|line| {
            let name = line.split(':').next().unwrap_or_default();
            name.eq_ignore_ascii_case("content-disposition")
        })?;
        let (_, name) = disposition.split_once("name=\"").filter(|(before, _)| {
            // Not the end of `filename`.
            !before.ends_with("file")
        })?;
        Some(Self {
            name: name.split('"').next().unwrap_or_default().to_owned(),
            head: text[..end].to_vec(),
            value: text[end + 4..].to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\nline\r\n--b--\r\n";

    #[test]
    fn forms_are_read_and_written() {
        let form = Multipart::read("multipart/form-data; boundary=b", BODY.as_bytes()).unwrap();
        assert_eq!(form.get("a"), Some(&b"1"[..]));
        assert_eq!(form.get("f"), Some(&b"line\r\n\r\nline"[..]));
        assert_eq!(form.to_bytes(), BODY);
        let mut form = Multipart::read("multipart/form-data; boundary=\"b\"", b"").unwrap();
        form.set("x", b"y".to_vec());
        let wanted = "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\ny\r\n--b--\r\n";
        assert_eq!(form.to_bytes(), wanted);
        form.remove("x");
        assert!(!form.contains("x"));
        assert!(Multipart::read("multipart/form-data", b"").is_none());
    }
}
