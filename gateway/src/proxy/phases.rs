//! The phases of the plugins.

use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use carbyne_engine::forward::Answer;
use carbyne_engine::http::body::Frame;
use carbyne_engine::http::{Body, Response};
use http::StatusCode;

use super::context::{Exchange, Source};
use super::{departure, error, events};
use crate::live::chain::Chain;
use crate::plugin::Flow;
use crate::plugin::exit::Exit;
use crate::plugin::table::State;

/// The rewrite phase: of instances without a scope, as no route is known.
pub(super) fn rewrite(exchange: &mut Exchange) -> Flow {
    let global = exchange.context.snapshot.global.clone();
    if !global.rewrites {
        return Ok(());
    }
    for slot in &global.slots {
        let Some(instance) = slot.plain().filter(|instance| instance.compiled.rewrites()) else {
            continue;
        };
        let mut state = instance.compiled.state();
        let flow = instance.compiled.rewrite(exchange, instance, &mut state);
        if let Err(exit) = &flow {
            exchange.context.refused = events::refused(exit, instance);
        }
        exchange
            .context
            .rewritten
            .push((instance.id.clone(), state));
        flow?;
    }
    Ok(())
}

/// Runs the plugins. After an answer the others are chosen only: their later phases run.
pub(super) async fn access(exchange: &mut Exchange, chain: &Arc<Chain>) -> Flow {
    let mut flow = Ok(());
    for index in 0..chain.slots.len() {
        let consumer = exchange.context.consumer.clone();
        let selected = chain.select(index, consumer.as_ref().map(|consumer| &*consumer.id));
        let Some(mut selected) = selected else {
            continue;
        };
        if let Some(instance) = chain.instance(&selected).cloned() {
            take_rewritten(exchange, &instance.id, &mut selected.state);
            if flow.is_ok() {
                flow = instance
                    .compiled
                    .access(exchange, &instance, &mut selected.state)
                    .await;
                if let Err(exit) = &flow {
                    exchange.context.refused = events::refused(exit, &instance);
                }
            }
        }
        exchange.context.selected.push(selected);
    }
    if flow.is_err() {
        exchange.context.source = Source::Exit;
    }
    flow
}

fn take_rewritten(exchange: &mut Exchange, id: &str, state: &mut State) {
    let rewritten = &mut exchange.context.rewritten;
    if let Some(place) = rewritten.iter().position(|(known, _)| **known == *id) {
        *state = rewritten.swap_remove(place).1;
    }
}

/// Makes a plugin's answer the response, lets the later phases see it, and gives it to the engine whole.
pub(super) async fn finish(exchange: &mut Exchange, exit: Exit) -> Answer {
    let context = &exchange.context;
    let settings = &context.local.node.settings;
    let answer = error::answer(exit.into_reply(), &exchange.request, context.id, settings);
    let details = answer.details.clone();
    dress(exchange, answer);
    let body = std::mem::take(&mut exchange.response_body);
    // Made of bytes that are here: only a transformation could fail, and what is left of it is nothing.
    let body = body
        .collect(usize::MAX)
        .await
        .map_or_else(|_| Bytes::new(), |(bytes, _)| bytes);
    Answer {
        response: taken(exchange),
        body,
        details,
    }
}

/// Header filters and the node's own fields over an answer.
fn dress(exchange: &mut Exchange, answer: Answer) {
    let mut response = answer.response;
    let kept = std::mem::take(&mut exchange.context.response_headers);
    for (name, value) in kept {
        response.headers.insert(name, value);
    }
    exchange.response = Some(response);
    exchange.response_body = Body::full(answer.body);
    header_filters(exchange);
    departure::to_client(exchange);
}

/// Runs the header filters of the plugins that were chosen; where none were, of those without a scope.
pub(super) fn header_filters(exchange: &mut Exchange) {
    if exchange.context.chain.is_none() {
        exchange.context.chain = Some(exchange.context.snapshot.global.clone());
    }
    let Some(chain) = exchange.context.chain.clone() else {
        return;
    };
    if exchange.context.selected.is_empty() {
        for index in 0..chain.slots.len() {
            exchange.context.selected.extend(chain.select(index, None));
        }
    }
    let mut all = std::mem::take(&mut exchange.context.selected);
    for selected in &mut all {
        let Some(instance) = chain.instance(selected).cloned() else {
            continue;
        };
        instance
            .compiled
            .header_filter(exchange, &instance, &mut selected.state);
    }
    exchange.context.selected = all;
}

/// The same for an answer that is worded on the spot: its body is here already, so that nothing has to be waited for.
pub(super) fn finish_now(exchange: &mut Exchange, answer: Answer) -> Answer {
    let details = answer.details.clone();
    dress(exchange, answer);
    let mut body = std::mem::take(&mut exchange.response_body);
    let mut bytes = Vec::new();
    let mut cx = std::task::Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = body.poll_frame(&mut cx) {
        if let Frame::Data(piece) = frame {
            bytes.extend_from_slice(&piece);
        }
    }
    Answer {
        response: taken(exchange),
        body: bytes.into(),
        details,
    }
}

fn taken(exchange: &mut Exchange) -> Response {
    let response = exchange.response.take();
    // `dress` put it there.
    response.unwrap_or_else(|| Response::new(StatusCode::INTERNAL_SERVER_ERROR))
}

/// The request is over.
pub(super) fn log(exchange: &Exchange) {
    let context = &exchange.context;
    let Some(chain) = &context.chain else { return };
    for selected in &context.selected {
        if let Some(instance) = chain.instance(selected) {
            instance.compiled.log(exchange, instance, &selected.state);
        }
    }
}
