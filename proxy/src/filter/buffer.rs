//! Requests go on only when they are complete: Envoy's buffer filter.

use carbyne_engine::forward::{Answer, Exchange};
use carbyne_protos::envoy::extensions::filters::http::buffer::v3 as wire;

use super::body::{is_tunnel, read_ahead, too_large};
use super::planned::Planned;
use crate::context::Context;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;

/// Holds requests back until their body is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFilter {
    /// Longest body in bytes; a longer one is refused with 413.
    pub limit: usize,
}

/// A route's own limit; `None` leaves the filter out.
pub type BufferRoute = Option<BufferFilter>;

impl BufferFilter {
    /// Reads the filter's message.
    pub fn plan(message: &wire::Buffer, scope: &Scope<'_>) -> Option<Planned<Self>> {
        Planned::read(NAME, scope, |_| Self::read(message, scope))
    }

    /// Reads a route's message.
    pub fn plan_route(
        message: &wire::BufferPerRoute,
        scope: &Scope<'_>,
    ) -> Option<Planned<BufferRoute>> {
        Planned::read(NAME, scope, |_| match &message.r#override {
            Some(wire::buffer_per_route::Override::Disabled(true)) => Some(None),
            Some(wire::buffer_per_route::Override::Buffer(own)) => {
                Self::read(own, &scope.field("buffer")).map(Some)
            }
            _ => {
                scope.reject(Fault::Words("write `disabled: true` or `buffer`"));
                None
            }
        })
    }

    fn read(message: &wire::Buffer, scope: &Scope<'_>) -> Option<Self> {
        match message.max_request_bytes {
            Some(limit) if limit > 0 => Some(Self {
                limit: limit as usize,
            }),
            found => {
                scope
                    .field("max_request_bytes")
                    .out_of_range(found.unwrap_or_default(), "a number above 0");
                None
            }
        }
    }

    /// Reads the body.
    pub async fn request(
        &self,
        exchange: &mut Exchange<Context>,
        per_route: Option<&BufferRoute>,
    ) -> Result<(), Answer> {
        let Some(own) = per_route.copied().unwrap_or(Some(*self)) else {
            return Ok(());
        };
        if exchange.body.is_end() || is_tunnel(exchange) {
            return Ok(());
        }
        if exchange
            .body
            .exact_length()
            .is_some_and(|length| length > own.limit as u64)
        {
            return Err(too_large());
        }
        if read_ahead(exchange, own.limit).await?.complete {
            Ok(())
        } else {
            Err(too_large())
        }
    }
}

/// Name of the filter.
pub const NAME: &str = "envoy.filters.http.buffer";
