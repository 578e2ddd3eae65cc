//! What happens to a response's head on its way out.

use carbyne_engine::forward::Exchange;
use carbyne_engine::http::Response;
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::ServerHeaderTransformation;
use http::{HeaderValue, StatusCode, header};

use super::handler::{HttpManager, share};
use super::{arrival, names};
use crate::context::Context;
use crate::live::route::RouteEntry;
use crate::observe::facts::Facts;

impl HttpManager {
    /// What the response gets on its way out, whoever made it.
    pub(super) fn depart(&self, exchange: &mut Exchange<Context>, from_upstream: bool) {
        if let Some(tracer) = &self.telemetry.tracer
            && let Some(response) = &mut exchange.response
        {
            tracer.depart(&mut exchange.context, &mut response.headers);
        }
        let options = &self.plan.fields;
        let route = exchange.context.route.clone();
        if let Some(route) = route {
            Self::depart_route(exchange, &route, from_upstream);
        }
        // Last, so that no route takes them off.
        let Some(response) = &mut exchange.response else {
            return;
        };
        self.set_server(response);
        if let Some(via) = &options.via {
            arrival::append_via(&mut response.headers, via);
        }
        if options.request_id_in_response
            && let Some(id) = exchange.request.headers.get(&names::REQUEST_ID)
        {
            response.headers.insert(names::REQUEST_ID, id.clone());
        }
    }

    pub(super) fn set_server(&self, response: &mut Response) {
        let options = &self.plan.fields;
        let wanted = match options.server {
            ServerHeaderTransformation::Overwrite => true,
            ServerHeaderTransformation::AppendIfAbsent => {
                !response.headers.contains(&header::SERVER)
            }
            ServerHeaderTransformation::PassThrough => false,
        };
        if wanted {
            let server = options.server_name.clone();
            response.headers.insert(header::SERVER, server);
        }
    }

    /// What the route adds and takes off.
    fn depart_route(exchange: &mut Exchange<Context>, route: &RouteEntry, from_upstream: bool) {
        let Some(response) = &mut exchange.response else {
            return;
        };
        if route.attempt_count_in_response {
            let count = HeaderValue::from(exchange.attempts);
            response.headers.insert(names::ATTEMPT_COUNT, count);
        }
        for cookie in exchange.context.set_cookies.drain(..) {
            response.headers.append(header::SET_COOKIE, cookie);
        }
        let weighted = exchange
            .context
            .weighted
            .and_then(|number| route.forward().and_then(|forward| share(forward, number)));
        let mut headers = std::mem::take(&mut response.headers);
        route.apply_response_headers(weighted, &mut headers, |text, headers, value| {
            let mut response = Response::new(StatusCode::OK);
            if let Some(sent) = &exchange.response {
                response.status = sent.status;
            }
            response.headers.clone_from(headers);
            let facts = Facts {
                response: Some(&response),
                unsettled: !from_upstream,
                ..Facts::of(exchange)
            };
            super::text::word(text, &facts, value);
        });
        if let Some(response) = &mut exchange.response {
            response.headers = headers;
        }
    }
}
