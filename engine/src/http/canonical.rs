//! One canonical host and path, computed once per request.
//!
//! Route, access rules, log and upstream read the same bytes, so that none of them can be led past another
//! (ISTIO-SECURITY-2021-005, -008; CVE-2021-29492). The steps and their order are Envoy's
//! (`ConnectionManagerUtility::maybeNormalizePath`): fragment, escaped slashes, normalisation, merged slashes; Istio's
//! `pathNormalization` modes map onto [`Policy`]: NONE is nothing, BASE is `normalize_path`, MERGE_SLASHES adds
//! `merge_slashes`, DECODE_AND_MERGE_SLASHES adds `UnescapeAndForward`.
//!
//! | file | what it holds |
//! |---|---|
//! | `authority` | what an authority may be, and the host in it |
//! | `path` | the path, byte by byte |

mod authority;
mod path;

use http::{Method, StatusCode, Version};
use memchr::memchr;

use self::authority::Authority;
use super::Request;

/// What to do about `%2F` and `%5C` in a path; Envoy's `path_with_escaped_slashes_action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Leave them.
    #[default]
    Keep,
    /// 400.
    Reject,
    /// Decode, normalise and tell the client to come back with that path (307).
    UnescapeAndRedirect,
    /// Decode and go on.
    UnescapeAndForward,
}

/// What to do about `#` in a path; no client sends one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// 400, Envoy's default since ISTIO-SECURITY-2021-008.
    #[default]
    Reject,
    /// Cut it off.
    Strip,
}

/// What to do about header names with an underscore; Envoy's `headers_with_underscores_action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Leave them.
    #[default]
    Allow,
    /// Leave them, but for what CGI takes for `Content-Length` or `Transfer-Encoding`: 400.
    AllowUnlessFraming,
    /// 400.
    Reject,
    /// Drop the field.
    Drop,
    /// Drop the field, but for those: 400.
    DropUnlessFraming,
}

/// What happens to the port in `authority`; `host` never has one. Envoy's `strip_port_mode`. CONNECT keeps its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// It stays.
    #[default]
    Keep,
    /// It goes where it equals the listener's port.
    Matching(u16),
    /// It always goes.
    Any,
}

/// How requests of one listener become canonical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Dot segments are resolved, `\` becomes `/`, unreserved characters are decoded, unsafe ones encoded; Envoy's
    /// `normalize_path`. The query is left alone.
    pub normalize_path: bool,
    /// `//` becomes `/`; Envoy's `merge_slashes`.
    pub merge_slashes: bool,
    /// `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
    /// `#`.
    pub fragment: Fragment,
    /// `_` in header names.
    pub underscores: Underscores,
    /// The port in `authority`.
    pub strip_port: StripPort,
    /// A trailing dot goes from `host` and `authority`; Envoy's `strip_trailing_host_dot`. Otherwise `host` keeps it, as
    /// in Envoy: `example.com.` is matched by name only where a route lists it.
    pub strip_trailing_dot: bool,
}

impl Policy {
    /// Envoy's advice for the edge: everything normalised, escaped slashes redirected, underscores refused.
    pub const EDGE: Self = Self {
        normalize_path: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::UnescapeAndRedirect,
        fragment: Fragment::Reject,
        underscores: Underscores::Reject,
        strip_port: StripPort::Keep,
        strip_trailing_dot: false,
    };
}

/// What happens to the request next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// Answer 307 with `request.path` as `location`.
    Redirect,
}

/// Why a request was refused; always 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// The authority is not a host with an optional port: a comma, userinfo, whitespace, an empty label, an odd port.
    #[error("authority is not a host with an optional port")]
    Authority,
    /// No authority where there must be one; only HTTP/1.0 may come without.
    #[error("no authority")]
    AuthorityMissing,
    /// The path does not start with `/`, or holds a space or control byte.
    #[error("malformed path")]
    Path,
    /// The path holds a `#`.
    #[error("path holds a fragment")]
    Fragment,
    /// The path holds `%00`.
    #[error("path holds an encoded NUL")]
    EncodedNul,
    /// The path holds `%2F` or `%5C`.
    #[error("path holds an escaped slash")]
    EscapedSlash,
    /// A header name holds `_`.
    #[error("header name holds an underscore")]
    Underscore,
}

impl Rejection {
    /// What a server answers.
    pub const fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    /// Whether the head itself is at fault, so that an HTTP/1 codec refuses it as it refuses other malformed heads.
    pub const fn is_malformed(self) -> bool {
        matches!(self, Self::Authority | Self::Underscore)
    }

    /// A stable name for logs: Envoy's response code detail where Envoy has one for the case.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Authority => "http.invalid_authority",
            Self::AuthorityMissing => "missing_host_header",
            Self::Path | Self::Fragment | Self::EncodedNul | Self::EscapedSlash => {
                "path_normalization_failed"
            }
            Self::Underscore => "http1.unexpected_underscore",
        }
    }
}

/// Makes host and path canonical: checks `authority`, fills `host`, rewrites `path` and `authority` only where they
/// change. Applied twice it does what it does once. A request that was refused may be half changed: answer, do not route.
pub fn apply(request: &mut Request, policy: &Policy) -> Result<Verdict, Rejection> {
    settle_authority(request, policy)?;
    settle_underscores(request, policy.underscores)?;
    settle_path(request, policy)
}

fn settle_authority(request: &mut Request, policy: &Policy) -> Result<(), Rejection> {
    if request.authority.is_empty() {
        if request.version > Version::HTTP_10 {
            return Err(Rejection::AuthorityMissing);
        }
        request.host.clear();
        return Ok(());
    }
    let found = Authority::parse(&request.authority).ok_or(Rejection::Authority)?;
    let host_end = match policy.strip_trailing_dot && found.trailing_dot {
        true => found.host_end - 1,
        false => found.host_end,
    };
    let host = request.authority.slice(..host_end);
    request.host = if found.has_upper_case {
        host.to_ascii_lowercase().into()
    } else {
        host
    };
    let is_connect = request.method == Method::CONNECT;
    let keeps_port = match (policy.strip_port, found.port) {
        (_, None) => false,
        (_, Some(_)) if is_connect => true,
        (StripPort::Keep, Some(_)) => true,
        (StripPort::Matching(listener), Some(port)) => port != listener,
        (StripPort::Any, Some(_)) => false,
    };
    if !keeps_port {
        request.authority.truncate(host_end);
    } else if host_end != found.host_end {
        let mut authority = Vec::with_capacity(request.authority.len() - 1);
        authority.extend_from_slice(&request.authority[..host_end]);
        authority.extend_from_slice(&request.authority[found.host_end..]);
        request.authority = authority.into();
    }
    Ok(())
}

fn settle_underscores(request: &mut Request, underscores: Underscores) -> Result<(), Rejection> {
    let has_underscore = |name: &http::HeaderName| name.as_str().contains('_');
    let is_framing =
        |name: &http::HeaderName| matches!(name.as_str(), "content_length" | "transfer_encoding");
    let mut names = request.headers.iter().map(|(name, _)| name);
    let refused = match underscores {
        Underscores::Allow | Underscores::Drop => false,
        Underscores::AllowUnlessFraming | Underscores::DropUnlessFraming => names.any(is_framing),
        Underscores::Reject => names.any(has_underscore),
    };
    if refused {
        return Err(Rejection::Underscore);
    }
    if matches!(
        underscores,
        Underscores::Drop | Underscores::DropUnlessFraming
    ) {
        request.headers.retain(|name, _| !has_underscore(name));
    }
    Ok(())
}

fn settle_path(request: &mut Request, policy: &Policy) -> Result<Verdict, Rejection> {
    // A plain CONNECT has no path; `OPTIONS *` has no other form.
    let without_path = (request.path.is_empty() && request.method == Method::CONNECT)
        || (request.path == "*" && request.method == Method::OPTIONS);
    if without_path {
        return Ok(Verdict::Continue);
    }
    if request.path.first() != Some(&b'/') {
        return Err(Rejection::Path);
    }
    let found = path::scan(&request.path, policy);
    if found.invalid {
        return Err(Rejection::Path);
    }
    if found.fragment {
        match policy.fragment {
            Fragment::Reject => return Err(Rejection::Fragment),
            Fragment::Strip => {
                let end = memchr(b'#', &request.path).unwrap_or(request.path.len());
                request.path.truncate(end);
            }
        }
    }
    if !found.suspicious {
        return Ok(Verdict::Continue);
    }
    let (rewritten, unescaped) = match path::rewrite(&request.path, policy) {
        Ok(rewritten) => rewritten,
        Err(Rejection::EscapedSlash) => {
            // The log shows what it would have been, as Envoy's does.
            request.path = path::unescape_slashes(&request.path).into();
            return Err(Rejection::EscapedSlash);
        }
        Err(rejection) => return Err(rejection),
    };
    if rewritten != request.path {
        request.path = rewritten.into();
    }
    if !unescaped || policy.escaped_slashes != EscapedSlashes::UnescapeAndRedirect {
        return Ok(Verdict::Continue);
    }
    // As a `location`, `//name` is another host.
    if request.path.starts_with(b"//") {
        return Err(Rejection::EscapedSlash);
    }
    Ok(Verdict::Redirect)
}

/// Makes arbitrary bytes canonical under every policy; twice must be the same as once.
#[doc(hidden)]
pub fn fuzz_canonical(bytes: &[u8]) {
    let (authority, path) = match memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (&b"a"[..], bytes),
    };
    for normalize_path in [false, true] {
        for merge_slashes in [false, true] {
            for escaped_slashes in [EscapedSlashes::Keep, EscapedSlashes::UnescapeAndForward] {
                let policy = Policy {
                    normalize_path,
                    merge_slashes,
                    escaped_slashes,
                    fragment: Fragment::Strip,
                    strip_trailing_dot: true,
                    ..Policy::default()
                };
                let (authority, path) = (authority.to_vec(), path.to_vec());
                check_settled(Request::get(authority, path), &policy);
            }
        }
    }
}

fn check_settled(mut request: Request, policy: &Policy) {
    if apply(&mut request, policy).is_err() {
        return;
    }
    let once = request.clone();
    assert_eq!(apply(&mut request, policy), Ok(Verdict::Continue));
    assert_eq!((&once.host, &once.path), (&request.host, &request.path));
    assert!(request.path.starts_with(b"/") && !request.path.contains(&b'#'));
    let path = request.path_only();
    if policy.normalize_path {
        assert!(!path.contains(&b'\\'));
        let mut segments = path.split(|byte| *byte == b'/');
        assert!(segments.all(|segment| segment != b"." && segment != b".."));
    }
    if policy.merge_slashes {
        assert!(!path.windows(2).any(|pair| pair == b"//"));
    }
}

#[cfg(test)]
mod tests;
