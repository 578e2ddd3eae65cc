//! What a redirecting route answers.

use bytes::Bytes;
use carbyne_engine::http::Request;
use http::{HeaderValue, StatusCode};

use super::forward::PathRewrite;
use super::table::X_FORWARDED_PROTO;
use crate::live::matcher::PathMatcher;

/// A compiled redirection.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Another scheme.
    pub scheme: Option<Box<str>>,
    /// Another host.
    pub host: Option<Bytes>,
    /// Another port.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<RedirectPath>,
    /// Leave the query away.
    pub strip_query: bool,
}

/// Another path.
#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// This one. If it has a query, that one counts, else the request's.
    Literal(Bytes),
    /// A rewrite of the request's.
    Rewrite(PathRewrite),
}

impl Redirect {
    /// The same address.
    pub const fn here() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        }
    }

    /// The request's path as it is rewritten before the address is made of it.
    pub fn rewritten(&self, rule: &PathMatcher, request: &Request) -> Option<Bytes> {
        match &self.path {
            Some(RedirectPath::Rewrite(rewrite)) => rewrite.apply(rule, request),
            Some(RedirectPath::Literal(_)) | None => None,
        }
    }

    /// The address to go to; `secure` says whether the request's scheme is `https`. `None` where the request's host or path do not belong into a
    /// field, which canonical ones always do.
    pub fn location(&self, request: &Request, secure: bool) -> Option<HeaderValue> {
        self.location_with_scheme(self.scheme.as_deref(), request, secure)
    }

    /// [`Self::location`] for a virtual host that requires TLS.
    pub fn https_location(request: &Request) -> Option<HeaderValue> {
        Self::here().location_with_scheme(Some("https"), request, false)
    }

    fn location_with_scheme(
        &self,
        scheme: Option<&str>,
        request: &Request,
        secure: bool,
    ) -> Option<HeaderValue> {
        let scheme = scheme.unwrap_or(if secure { "https" } else { "http" });
        let host: &[u8] = match &self.host {
            Some(host) => host,
            None => self.request_host(request, scheme),
        };
        let mut location = Vec::with_capacity(scheme.len() + host.len() + request.path.len() + 16);
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        location.extend_from_slice(host);
        if let Some(port) = self.port {
            location.push(b':');
            location.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        let path: Bytes = match &self.path {
            Some(RedirectPath::Literal(path)) if path.contains(&b'?') => {
                location.extend_from_slice(path);
                return HeaderValue::from_bytes(&location).ok();
            }
            Some(RedirectPath::Literal(path)) => [path, &request.path[request.path_only().len()..]]
                .concat()
                .into(),
            // Rewritten already.
            Some(RedirectPath::Rewrite(_)) | None => request.path.clone(),
        };
        let end = if self.strip_query {
            memchr::memchr(b'?', &path).unwrap_or(path.len())
        } else {
            path.len()
        };
        location.extend_from_slice(&path[..end]);
        HeaderValue::from_bytes(&location).ok()
    }

    /// The request's host, without its port where the redirection names another, or where the port was the old scheme's own and the scheme changes.
    fn request_host<'a>(&self, request: &'a Request, scheme: &str) -> &'a [u8] {
        let authority = &*request.authority;
        let Some(colon) = authority
            .iter()
            .rposition(|&byte| byte == b':')
            .filter(|colon| !authority[*colon..].contains(&b']'))
        else {
            return authority;
        };
        let port = &authority[colon + 1..];
        let old = request
            .headers
            .get(&X_FORWARDED_PROTO)
            .map(HeaderValue::as_bytes);
        let own_port = matches!(
            (old, port),
            (Some(b"https"), b"443") | (Some(b"http"), b"80")
        );
        let changes = old.is_some_and(|old| old != scheme.as_bytes());
        if self.port.is_some() || (changes && own_port) {
            &authority[..colon]
        } else {
            authority
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::matcher::Substitution;

    fn request(authority: &'static str, path: &'static str) -> Request {
        let mut request = Request::get(authority, path);
        request
            .headers
            .append(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        request
    }

    #[test]
    fn addresses() {
        let none = Redirect::here();
        let literal =
            |path: &'static str| Some(RedirectPath::Literal(Bytes::from_static(path.as_bytes())));
        let prefix = PathMatcher::prefix("/old");
        let rewrite = |text: &'static str| {
            Some(RedirectPath::Rewrite(PathRewrite::Prefix(
                Bytes::from_static(text.as_bytes()),
            )))
        };
        let regex = Some(RedirectPath::Rewrite(PathRewrite::Regex(
            Substitution::new("^/old/(.*)$", r"/new/\1").unwrap(),
        )));
        let host = || Some(Bytes::from_static(b"b"));
        let https = || Some("https".into());
        let cases: &[(Redirect, Request, &str)] = &[
            (none.clone(), request("a", "/p?q"), "http://a/p?q"),
            (
                Redirect {
                    scheme: https(),
                    ..none.clone()
                },
                request("a:80", "/p"),
                "https://a/p",
            ),
            (
                Redirect {
                    scheme: https(),
                    ..none.clone()
                },
                request("a:8080", "/p"),
                "https://a:8080/p",
            ),
            (
                Redirect {
                    scheme: https(),
                    port: Some(8443),
                    ..none.clone()
                },
                request("a:8080", "/"),
                "https://a:8443/",
            ),
            (
                Redirect {
                    scheme: https(),
                    ..none.clone()
                },
                request("[::1]:80", "/"),
                "https://[::1]/",
            ),
            (
                Redirect {
                    scheme: https(),
                    ..none.clone()
                },
                request("[::1]", "/"),
                "https://[::1]/",
            ),
            (
                Redirect {
                    host: host(),
                    ..none.clone()
                },
                request("a:80", "/p"),
                "http://b/p",
            ),
            (
                Redirect {
                    path: literal("/n"),
                    ..none.clone()
                },
                request("a", "/p?q=1"),
                "http://a/n?q=1",
            ),
            (
                Redirect {
                    path: literal("/n?x=2"),
                    strip_query: true,
                    ..none.clone()
                },
                request("a", "/p?q=1"),
                "http://a/n?x=2",
            ),
            (
                Redirect {
                    path: literal("/n"),
                    strip_query: true,
                    ..none.clone()
                },
                request("a", "/p?q=1"),
                "http://a/n",
            ),
            (
                Redirect {
                    path: rewrite("/new"),
                    ..none.clone()
                },
                request("a", "/old/x?q=1"),
                "http://a/new/x?q=1",
            ),
            (
                Redirect {
                    path: regex,
                    strip_query: true,
                    ..none
                },
                request("a", "/old/x?q=1"),
                "http://a/new/x",
            ),
        ];
        for (redirect, request, expected) in cases {
            let mut request = request.clone();
            if let Some(path) = redirect.rewritten(&prefix, &request) {
                request.path = path;
            }
            assert_eq!(redirect.location(&request, false).unwrap(), *expected);
        }
        assert_eq!(
            Redirect::https_location(&request("a:80", "/p?q")).unwrap(),
            "https://a/p?q"
        );
    }
}
