//! One canonical host and path, computed once per request.
use http::StatusCode;

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

/// What to do about `#` in a path.
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
    /// 400.
    Reject,
    /// Drop the field.
    Drop,
}

/// What `authority` becomes besides `host`; Envoy's `strip_port_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// The port stays in `authority`.
    #[default]
    Keep,
    /// Goes where it equals the listener's port.
    Matching(u16),
    /// Always goes.
    Any,
}

/// How requests of one listener become canonical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Dot segments, `\`, and percent-encoding of unreserved characters; Envoy's `normalize_path`.
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
    /// A trailing dot of the host goes from `authority` too; Envoy's `strip_trailing_host_dot`.
    pub strip_trailing_dot: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The authority is not a host with an optional port.
    #[error("authority is not a host with an optional port")]
    Authority,
}

impl Rejection {
    /// What a server answers.
    pub const fn status(self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    /// A stable name in the manner of Envoy's response code details.
    pub const fn detail(self) -> &'static str {
        "path_normalization_failed"
    }
}

/// Makes host and path canonical: fills `request.host`, rewrites `request.path` where it changes.
pub fn apply(request: &mut Request, policy: &Policy) -> Result<Verdict, Rejection> {
    let _ = (request, policy);
    todo!()
}
