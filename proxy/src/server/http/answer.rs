//! Answers that routes give themselves.

use bytes::Bytes;
use carbyne_engine::forward::{Answer, Exchange};
use carbyne_engine::http::Request;
use http::{StatusCode, header};

use super::names;
use crate::context::Context;
use crate::live::route::entry::replace_path;
use crate::live::route::{DirectResponse, Redirect, RouteEntry};
use crate::observe::facts::Facts;

/// A route's own response.
pub fn direct(exchange: &Exchange<Context>, direct: &DirectResponse) -> Answer {
    let mut answer = match &direct.format {
        None => Answer::text(direct.status, direct.body.clone(), DETAILS),
        Some(format) => {
            let mut body = Vec::new();
            let facts = Facts {
                local_reply: &direct.body,
                ..Facts::of(exchange)
            };
            format.format.render(&facts, &mut body);
            let mut answer = Answer::text(direct.status, Bytes::from(body), DETAILS);
            let content_type = format.content_type.clone();
            answer
                .response
                .headers
                .insert(header::CONTENT_TYPE, content_type);
            answer
        }
    };
    // RFC 9110 §15.3.2: where the created resource is, which without a better word is where it was asked for.
    if direct.status == StatusCode::CREATED || direct.status.is_redirection() {
        let here = Redirect::here();
        let location = here.location(&exchange.request, is_secure(&exchange.request));
        if let Some(location) = location {
            answer.response.headers.append(header::LOCATION, location);
        }
    }
    answer
}

/// A route's redirection. It rewrites the request's path, which logs show; `tell` says whether they may also
/// show the old one.
pub fn redirect(
    exchange: &mut Exchange<Context>,
    route: &RouteEntry,
    redirect: &Redirect,
    tell: bool,
) -> Answer {
    if let Some(path) = redirect.rewritten(&route.path, &exchange.request) {
        replace_path(&mut exchange.request, path, tell);
    }
    let mut answer = Answer::text(redirect.status, "", DETAILS);
    let location = redirect.location(&exchange.request, is_secure(&exchange.request));
    if let Some(location) = location {
        answer.response.headers.append(header::LOCATION, location);
    }
    answer
}

/// What a virtual host that requires TLS says to a request without it.
pub fn redirect_to_tls(request: &Request) -> Answer {
    let mut answer = Answer::text(StatusCode::MOVED_PERMANENTLY, "", DETAILS);
    if let Some(location) = Redirect::https_location(request) {
        answer.response.headers.append(header::LOCATION, location);
    }
    answer
}

fn is_secure(request: &Request) -> bool {
    request.headers.text(&names::FORWARDED_PROTO) == Some("https")
}

const DETAILS: &str = "direct_response";
