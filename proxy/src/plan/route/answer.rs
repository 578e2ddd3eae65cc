//! Redirections and answers of a route's own.

use std::sync::Arc;

use bytes::Bytes;
use carbyne_protos::envoy::config::core::v3::SubstitutionFormatString;
use carbyne_protos::envoy::config::route::v3 as wire;
use carbyne_protos::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use http::{HeaderValue, StatusCode};

use crate::live::route::redirect::RedirectPath;
use crate::live::route::{BodyFormat, DirectResponse, PathRewrite, Redirect};
use crate::observe::access_log::LineFormat;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// Plans a redirection.
pub fn redirect(action: &wire::RedirectAction, scope: &Scope<'_>) -> Option<Redirect> {
    let status = match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => StatusCode::MOVED_PERMANENTLY,
        Ok(RedirectResponseCode::Found) => StatusCode::FOUND,
        Ok(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Ok(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Ok(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Err(_) => {
            scope.field("response_code").out_of_range(
                action.response_code,
                "one of 301, 302, 303, 307, 308 (0 to 4)",
            );
            return None;
        }
    };
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => {
            Some(scheme.to_ascii_lowercase().into())
        }
        _ => None,
    };
    let bytes = |text: &String, name: &'static str| {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            scope
                .field(name)
                .reject(Fault::Words("holds bytes that do not belong into a field"));
        }
        Bytes::copy_from_slice(text.as_bytes())
    };
    let path = match &action.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) if !path.is_empty() => {
            Some(RedirectPath::Literal(bytes(path, "path_redirect")))
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => Some(
            RedirectPath::Rewrite(PathRewrite::Prefix(bytes(prefix, "prefix_rewrite"))),
        ),
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
            let rewrite = matcher::substitution(rewrite, &scope.field("regex_rewrite"))?;
            Some(RedirectPath::Rewrite(PathRewrite::Regex(rewrite)))
        }
        _ => None,
    };
    Some(Redirect {
        status,
        scheme,
        host: (!action.host_redirect.is_empty())
            .then(|| bytes(&action.host_redirect, "host_redirect")),
        port: match action.port_redirect {
            0 => None,
            port => Some(value::port(port, &scope.field("port_redirect"))?),
        },
        path,
        strip_query: action.strip_query,
    })
}

/// Plans an answer of the route's own.
pub fn direct(
    action: &wire::DirectResponseAction,
    largest: usize,
    scope: &Scope<'_>,
) -> Option<DirectResponse> {
    let status = u16::try_from(action.status)
        .ok()
        .filter(|status| (200..600).contains(status));
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        scope
            .field("status")
            .out_of_range(action.status, "a status from 200 to 599");
        return None;
    };
    let body = value::data(action.body.as_ref(), &scope.field("body")).unwrap_or_default();
    if body.len() > largest {
        let expected = "within max_direct_response_body_size_bytes";
        scope
            .field("body")
            .out_of_range(format_args!("a body of {} bytes", body.len()), expected);
    }
    let format = match &action.body_format {
        None => None,
        Some(format) => Some(body_format(format, &scope.field("body_format"))?),
    };
    Some(DirectResponse {
        status,
        body: Bytes::from(body),
        format,
    })
}

fn body_format(message: &SubstitutionFormatString, scope: &Scope<'_>) -> Option<BodyFormat> {
    let format = LineFormat::plan(message, scope)?;
    let content_type = match (&*message.content_type, &format) {
        ("", LineFormat::Json(_)) => HeaderValue::from_static("application/json"),
        ("", LineFormat::Text(_)) => HeaderValue::from_static("text/plain"),
        (given, _) => scope.field("content_type").take(
            HeaderValue::from_str(given)
                .map_err(|_| Fault::Words("holds bytes that do not belong into a field")),
        )?,
    };
    Some(BodyFormat {
        format: Arc::new(format),
        content_type,
    })
}
