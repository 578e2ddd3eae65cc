//! URLs as LuaSocket takes them apart, and paths as Kong's router normalises them.

/// The parts of a URL.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Url<'a> {
    pub(super) scheme: Option<&'a str>,
    pub(super) userinfo: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    pub(super) fragment: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// Takes a URL apart; nothing but the empty text is refused.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let mut url = Self::default();
        let mut rest = text;
        if let Some((scheme, after)) = rest.split_once(':') {
            let mut bytes = scheme.bytes();
            let head = bytes
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric());
            if head
                && bytes
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            {
                url.scheme = Some(scheme);
                rest = after;
            }
        }
        let mut authority = None;
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find(['/', '?', '#']).unwrap_or(after.len());
            authority = Some(&after[..end]);
            rest = &after[end..];
        }
        if let Some((before, fragment)) = rest.split_once('#') {
            url.fragment = Some(fragment);
            rest = before;
        }
        for mark in ['?', ';'] {
            rest = rest.split_once(mark).map_or(rest, |(before, _)| before);
        }
        url.path = (!rest.is_empty()).then_some(rest);
        if let Some(mut authority) = authority {
            if let Some((userinfo, after)) = authority.split_once('@') {
                url.userinfo = Some(userinfo);
                authority = after;
            }
            if let Some((host, port)) = authority.rsplit_once(':')
                && !port.contains(']')
            {
                url.port = Some(port);
                authority = host;
            }
            let inner = authority
                .strip_prefix('[')
                .and_then(|inner| inner.strip_suffix(']'));
            url.host = (!authority.is_empty()).then_some(inner.unwrap_or(authority));
        }
        Some(url)
    }
}

/// A path as the router sees it: escapes of all but reserved characters undone, dot segments
/// removed, slashes merged.
pub fn normalize(path: &str) -> String {
    if path.is_empty() || path == "/" {
        return path.into();
    }
    let decoded = decode(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut rest = decoded.as_slice();
    while !rest.is_empty() {
        if rest == b"/." {
            rest = b"/";
        } else if rest == b"/.." {
            rest = b"/";
            segments.pop();
        } else if rest == b"." || rest == b".." {
            rest = b"";
        } else if let Some(after) = rest
            .strip_prefix(b"../")
            .or_else(|| rest.strip_prefix(b"./"))
        {
            rest = after;
        } else if rest.starts_with(b"/./") {
            rest = &rest[2..];
        } else if rest.starts_with(b"/../") {
            rest = &rest[3..];
            segments.pop();
        } else if rest.starts_with(b"//") {
            rest = &rest[1..];
        } else {
            let end = rest
                .iter()
                .skip(1)
                .position(|byte| *byte == b'/')
                .map_or(rest.len(), |end| end + 1);
            segments.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    String::from_utf8_lossy(&segments.concat()).into_owned()
}

fn decode(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%')
            .then(|| path.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) if b"!*'();:@&=+$,/?%#[]".contains(&byte) => {
                out.extend(format!("%{byte:02X}").bytes());
                index += 3;
            }
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (path, normal) in [
            ("/", "/"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/a//b", "/a/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%61%20b", "/a b"),
            ("/..", "/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(normalize(path), normal, "{path}");
        }
    }

    #[test]
    fn urls_come_apart() {
        let url = Url::parse("https://user:x@[::1]:8443/a;b?c#d").unwrap();
        assert_eq!(url.scheme, Some("https"));
        assert_eq!(
            (url.userinfo, url.host, url.port),
            (Some("user:x"), Some("::1"), Some("8443"))
        );
        assert_eq!((url.path, url.fragment), (Some("/a"), Some("d")));
        let bare = Url::parse("example.com").unwrap();
        assert_eq!(
            (bare.scheme, bare.host, bare.path),
            (None, None, Some("example.com"))
        );
        assert_eq!(Url::parse(""), None);
    }
}
