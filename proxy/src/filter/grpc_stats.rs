//! Envoy's `envoy.filters.http.grpc_stats` as Istio uses it (`emit_filter_state`): counts the messages of gRPC calls while they pass.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use carbyne_engine::forward::Exchange;
use carbyne_engine::http::{Body, BodyError, Frame, FrameSource};
use carbyne_protos::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig;
use carbyne_protos::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;

use crate::context::Context;
use crate::observe::facts::is_grpc;

/// The compiled filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStats;

/// Messages counted so far.
#[derive(Debug, Default)]
pub struct Messages {
    request: Cell<u64>,
    response: Cell<u64>,
}

/// Finds the messages in a stream: each has a byte of flags and four of length before it (gRPC: "Length-Prefixed-Message").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Bytes of the prefix that were seen.
    prefix: u8,
    /// The length as far as it was seen.
    length: u32,
    /// Bytes of the message that are still to come.
    remaining: u32,
}

/// A body that is counted while it passes; its bytes are not touched.
#[derive(Debug)]
struct Counted {
    body: Body,
    counter: Counter,
    messages: Rc<Messages>,
    response: bool,
}

impl GrpcStats {
    /// Reads the message. Counting needs no settings; what it has for statistics per method is not served and listed.
    pub fn plan(message: &FilterConfig) -> (Self, Vec<&'static str>) {
        let mut ignored = Vec::new();
        // Istio writes `stats_for_all_methods: false`.
        if !matches!(
            message.per_method_stat_specifier,
            None | Some(PerMethodStatSpecifier::StatsForAllMethods(false))
        ) {
            ignored
                .push("statistics per method are not served; Istio's own metrics count messages");
        }
        if message.enable_upstream_stats {
            ignored.push("enable_upstream_stats: statistics per method are not served");
        }
        (Self, ignored)
    }

    /// Begins to count where the request is gRPC.
    pub fn request(self, exchange: &mut Exchange<Context>) {
        if !is_grpc(&exchange.request.headers) {
            return;
        }
        let messages = Rc::<Messages>::default();
        Counted::wrap(&mut exchange.body, &messages, false);
        exchange.context.grpc = Some(messages);
    }

    /// Goes on with the response.
    pub fn response(self, exchange: &mut Exchange<Context>) {
        let Some(messages) = &exchange.context.grpc else {
            return;
        };
        if exchange
            .response
            .as_ref()
            .is_some_and(|response| is_grpc(&response.headers))
        {
            Counted::wrap(&mut exchange.response_body, messages, true);
        }
    }
}

impl Messages {
    /// Of the request, and of the response.
    pub fn counts(&self) -> (u64, u64) {
        (self.request.get(), self.response.get())
    }
}

impl Counter {
    /// Goes over further bytes; how many messages begin in them, counted when their prefix is complete.
    pub fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut begun = 0;
        while !bytes.is_empty() {
            if self.remaining > 0 {
                let skipped = bytes.len().min(self.remaining as usize);
                self.remaining -= skipped as u32;
                bytes = &bytes[skipped..];
                continue;
            }
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(bytes[0]);
            }
            self.prefix += 1;
            bytes = &bytes[1..];
            if self.prefix == 5 {
                begun += 1;
                *self = Self {
                    remaining: self.length,
                    ..Self::default()
                };
            }
        }
        begun
    }
}

impl Counted {
    fn wrap(body: &mut Body, messages: &Rc<Messages>, response: bool) {
        if body.is_end() {
            return;
        }
        let inner = std::mem::take(body);
        *body = Body::custom(Box::new(Self {
            body: inner,
            counter: Counter::default(),
            messages: Rc::clone(messages),
            response,
        }));
    }
}

impl FrameSource for Counted {
    fn poll_frame(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let polled = self.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &polled {
            let begun = self.counter.pass(data);
            let cell = if self.response {
                &self.messages.response
            } else {
                &self.messages.request
            };
            cell.set(cell.get() + begun);
        }
        polled
    }

    fn exact_length(&self) -> Option<u64> {
        self.body.exact_length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_anywhere() {
        let mut stream = Vec::new();
        for length in [0_u32, 3, 300, 0, 1] {
            stream.push(0);
            stream.extend_from_slice(&length.to_be_bytes());
            stream.extend(std::iter::repeat_n(7, length as usize));
        }
        for size in 1..stream.len() {
            let mut counter = Counter::default();
            let begun: u64 = stream.chunks(size).map(|chunk| counter.pass(chunk)).sum();
            assert_eq!(
                (begun, counter),
                (5, Counter::default()),
                "in pieces of {size}"
            );
        }
    }

    #[tokio::test]
    async fn the_body_passes_unchanged() {
        let messages = Rc::<Messages>::default();
        let mut body = Body::full(b"\0\0\0\0\x02ab\0\0\0\0\0".to_vec());
        Counted::wrap(&mut body, &messages, true);
        assert_eq!(body.exact_length(), Some(12));
        let (bytes, trailers) = body.collect(100).await.unwrap();
        assert_eq!(
            (&*bytes, trailers.is_none()),
            (&b"\0\0\0\0\x02ab\0\0\0\0\0"[..], true)
        );
        assert_eq!(messages.counts(), (0, 2));
        let mut empty = Body::empty();
        Counted::wrap(&mut empty, &messages, false);
        assert!(empty.is_end());
    }
}
