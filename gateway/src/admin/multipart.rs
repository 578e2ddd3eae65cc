//! `multipart/form-data` (RFC 7578).

use crate::value::Value;

/// The parts' names with their contents; a part of type JSON is decoded. `None` when the body is
/// not of the form.
pub(super) fn parse(content_type: &str, body: &[u8]) -> Option<Vec<(String, Value)>> {
    let boundary = parameter(content_type, "boundary")?;
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = after(body, delimiter.as_bytes())?;
    let line_delimiter = format!("\r\n{delimiter}");
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let end = find(part, line_delimiter.as_bytes())?;
        parts.extend(read(&part[..end]));
        rest = &part[end + line_delimiter.len()..];
    }
}

fn read(part: &[u8]) -> Option<(String, Value)> {
    let end = find(part, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&part[..end]);
    let content = &part[end + 4..];
    let header = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        lines
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let name = parameter(&header("content-disposition")?, "name")?;
    let is_json = header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let text = || String::from_utf8_lossy(content).into_owned().into();
    let value = if is_json {
        Value::from_json(content).unwrap_or_else(|_| text())
    } else {
        text()
    };
    Some((name, value))
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

fn after<'a>(bytes: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    Some(&bytes[find(bytes, needle)? + needle.len()..])
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
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
}
