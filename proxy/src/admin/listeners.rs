//! `/listeners`: text and JSON.

use carbyne_protos::envoy::admin::v3::Listeners;
use carbyne_protos::json;

use super::clusters::address_text;
use super::{Query, Response, State};

/// Answers `/listeners`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let listeners = state.listeners();
    match query.value("format") {
        None | Some("" | "text") => {}
        Some("json") => {
            let message = Listeners {
                listener_statuses: listeners,
            };
            return Response::json(&json::to_json(&message));
        }
        Some(_) => return Response::text(400, "usage: /listeners?format=(text|json)\n\n"),
    }
    let mut text = String::new();
    for listener in &listeners {
        for address in listener
            .local_address
            .iter()
            .chain(&listener.additional_local_addresses)
        {
            text.push_str(&format!("{}::{}\n", listener.name, address_text(address)));
        }
    }
    Response::ok(text)
}
