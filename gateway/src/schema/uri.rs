//! URLs as LuaSocket takes them apart, and paths as Kong's router normalises them.

use crate::router;

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

/// A path as the router sees it.
pub fn normalize(path: &str) -> String {
    String::from_utf8_lossy(&router::uri::normalize(path.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
