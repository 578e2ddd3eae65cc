//! The tracing of one connection manager: Envoy's order of things around one request.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::forward::{Exchange, Target, TryEnd};
use carbyne_engine::http::{Headers, Request};
use http::{HeaderName, HeaderValue};

use super::context::SpanContext;
use super::decision::{IdRules, Reasons, decide};
use super::exporter::Exporter;
use super::record::{Kind, Record, Tags, Teller, Text, phases};
use super::span::{Attempt, Name, Span};
use crate::context::Context;
use crate::observe::facts::Facts;
use crate::observe::format::Format;
use crate::observe::request_id::TraceReason;
use crate::plan::tracing::{Propagation, RouteTracing, TracingPlan};

/// What a connection manager does about traces.
#[derive(Debug)]
pub struct Tracer {
    plan: Arc<TracingPlan>,
    /// Its listener is of the outbound side.
    egress: bool,
    /// Tries have spans of their own.
    spawns: bool,
    ids: IdRules,
    /// Whom to tell; contexts are passed on even where nobody is.
    exporter: Option<Arc<Exporter>>,
    propagation: Option<Propagation>,
    teller: Arc<Teller>,
    reasons: Arc<Reasons>,
}

/// What a tracer is made with beside its plan.
#[derive(Debug)]
pub struct Surroundings {
    /// The listener is of the outbound side.
    pub egress: bool,
    /// The router starts a span for each try (`start_child_span`).
    pub router_spawns: bool,
    /// How ids and decisions go together.
    pub ids: IdRules,
    /// Who tells.
    pub teller: Arc<Teller>,
    /// What is counted.
    pub reasons: Arc<Reasons>,
}

impl Tracer {
    /// A tracer that tells `exporter`, if anybody, in contexts of this kind.
    pub fn new(
        plan: Arc<TracingPlan>,
        propagation: Option<Propagation>,
        exporter: Option<Arc<Exporter>>,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            egress: surroundings.egress,
            spawns: plan.spawns || surroundings.router_spawns,
            ids: surroundings.ids,
            teller: surroundings.teller,
            reasons: surroundings.reasons,
            plan,
            exporter,
            propagation,
        }
    }

    /// The route is chosen: decides, begins the span, and names the operation.
    pub fn begin(&self, exchange: &mut Exchange<Context>) {
        let route = exchange.context.route.clone();
        let own = route.as_ref().and_then(|route| route.tracing.as_deref());
        let sampling = own.map_or(&self.plan.sampling, |own| &own.sampling);
        let random = exchange.context.random;
        let reason = decide(&mut exchange.request, sampling, self.ids, random);
        self.reasons.count(reason);
        let request = &mut exchange.request;
        let context = self.context(&request.headers, reason != TraceReason::None);
        let mut name = Name::Usual;
        // A configured text for the operation leaves the proxies' own protocol about it alone.
        if self.operation(own).is_none() {
            let decorator = route.as_ref().and_then(|route| route.decorator.as_ref());
            let mut told = None;
            if let Some(decorator) = decorator.filter(|decorator| !decorator.operation.is_empty()) {
                name = Name::Route(Arc::clone(&decorator.operation));
                told = decorator.propagate.then_some(&decorator.operation);
            }
            if self.egress {
                if let Some(operation) = told.and_then(|text| HeaderValue::from_str(text).ok()) {
                    request.headers.insert(DECORATOR, operation);
                }
            } else {
                let peer = request.headers.take(&DECORATOR);
                match peer.filter(|operation| !operation.is_empty()) {
                    Some(operation) => name = Name::Peer(operation),
                    None => exchange.context.decoration = told.cloned(),
                }
            }
        }
        exchange.context.span = context.map(|context| {
            Box::new(Span {
                host: if context.is_sampled() {
                    request.authority.clone()
                } else {
                    bytes::Bytes::new()
                },
                context,
                name,
                attempt: None,
            })
        });
    }

    /// A try is about to begin at `target`: the host is told the trace.
    pub fn attempt(&self, exchange: &mut Exchange<Context>, target: &Target, number: u32) {
        let start = if self.spawns {
            exchange.elapsed()
        } else {
            Duration::ZERO
        };
        let Some(span) = exchange.context.span.as_deref_mut() else {
            return;
        };
        let headers = &mut exchange.request.headers;
        if self.spawns {
            let context = span.context.child();
            if self.plan.propagates {
                context.inject(headers);
            }
            span.attempt = Some(Attempt {
                context,
                start,
                protocol: target.protocol,
                number,
            });
        } else if number == 0 && self.plan.propagates {
            span.context.inject(headers);
        }
    }

    /// A copy of a request is sent elsewhere and told of its trace; where the copy's spans are not `sampled` they are another's children.
    pub fn copied(&self, context: &Context, request: &mut Request, sampled: Option<bool>) {
        let Some(span) = context.span.as_deref().filter(|_| self.plan.propagates) else {
            return;
        };
        if sampled == Some(false) {
            span.context.unsampled_child().inject(&mut request.headers);
        } else {
            span.context.inject(&mut request.headers);
        }
    }

    /// A try is over.
    pub fn tried(&self, exchange: &mut Exchange<Context>, end: TryEnd<'_>) {
        let attempt = exchange.context.span.as_deref_mut();
        let Some(attempt) = attempt.and_then(|span| span.attempt.take()) else {
            return;
        };
        let Some(exporter) = &self.exporter else {
            return;
        };
        if !attempt.context.is_sampled() {
            return;
        }
        let facts = Facts::of(exchange);
        let own = exchange.context.route.as_ref();
        let own = own.and_then(|route| route.tracing.as_deref());
        let custom = [own.map_or(&[][..], |own| &own.tags), &*self.plan.tags];
        let wanted = own
            .and_then(|own| own.upstream_operation.as_ref())
            .or(self.plan.upstream_operation.as_ref());
        let name = match wanted {
            Some(format) => rendered(format, &facts),
            None => {
                let live = exchange.context.cluster.as_ref();
                let name = live.map_or("", |live| {
                    let alternative = &*live.plan.alt_stat_name;
                    if alternative.is_empty() {
                        live.cluster.name()
                    } else {
                        alternative
                    }
                });
                Text::Owned(format!("router {name} egress").into())
            }
        };
        let timing = &exchange.timing;
        let record = Record {
            name,
            kind: Kind::Client,
            start: timing.start_time + attempt.start,
            duration: exchange.elapsed().saturating_sub(attempt.start),
            tags: Tags::of_attempt(&facts, &attempt, end, custom),
            events: if self.plan.verbose {
                phases(timing, true)
            } else {
                Vec::new()
            },
            context: attempt.context,
        };
        exporter.push(record);
    }

    /// The response is on its way out: the proxies' own protocol about the operation's name.
    pub fn depart(&self, context: &mut Context, headers: &mut Headers) {
        if !self.egress {
            if let Some(operation) = context.decoration.take()
                && let Ok(operation) = HeaderValue::from_str(&operation)
            {
                headers.insert(DECORATOR, operation);
            }
            return;
        }
        if !headers.contains(&DECORATOR) {
            return;
        }
        let own = context.route.as_ref();
        if self
            .operation(own.and_then(|route| route.tracing.as_deref()))
            .is_some()
        {
            return;
        }
        let peer = headers.take(&DECORATOR);
        if let Some(operation) = peer.filter(|operation| !operation.is_empty())
            && let Some(span) = context.span.as_deref_mut()
        {
            span.name = Name::Peer(operation);
        }
    }

    /// The request is over.
    pub fn end(&self, exchange: &Exchange<Context>) {
        let Some(span) = exchange.context.span.as_deref() else {
            return;
        };
        let Some(exporter) = &self.exporter else {
            return;
        };
        if !span.context.is_sampled() {
            return;
        }
        let facts = Facts::of(exchange);
        let own = exchange.context.route.as_ref();
        let own = own.and_then(|route| route.tracing.as_deref());
        let custom = [own.map_or(&[][..], |own| &own.tags), &*self.plan.tags];
        let timing = &exchange.timing;
        let record = Record {
            context: span.context.clone(),
            name: self.name(span, own, &facts),
            kind: self.kind(),
            start: timing.start_time,
            duration: timing.end.unwrap_or_else(|| exchange.elapsed()),
            tags: Tags::of_request(&facts, &self.teller, self.plan.longest_path, custom),
            events: if self.plan.verbose {
                phases(timing, false)
            } else {
                Vec::new()
            },
        };
        exporter.push(record);
    }

    fn context(&self, headers: &Headers, chosen: bool) -> Option<SpanContext> {
        let context = match self.propagation.as_ref()? {
            Propagation::W3c(sampler) => SpanContext::from_w3c(headers, chosen, sampler.as_ref()),
            Propagation::B3(rules) => {
                let mut rules = *rules;
                // Only who receives can share a span with who sent.
                rules.shared &= self.kind() == Kind::Server;
                SpanContext::from_b3(headers, chosen, rules)
            }
        };
        context.ok()
    }

    /// A proxy that makes a span of each try is a server to its client, whatever side it is on.
    fn kind(&self) -> Kind {
        if self.egress && !self.plan.spawns {
            Kind::Client
        } else {
            Kind::Server
        }
    }

    fn operation<'a>(&'a self, own: Option<&'a RouteTracing>) -> Option<&'a Format> {
        own.and_then(|own| own.operation.as_ref())
            .or(self.plan.operation.as_ref())
    }

    fn name(&self, span: &Span, own: Option<&RouteTracing>, facts: &Facts<'_>) -> Text {
        if let Some(format) = self.operation(own) {
            return rendered(format, facts);
        }
        match &span.name {
            Name::Route(operation) => Text::Shared(Arc::clone(operation)),
            Name::Peer(operation) => Text::bytes(operation.as_bytes()),
            Name::Usual if matches!(self.propagation, Some(Propagation::B3(_))) => {
                Text::bytes(&span.host)
            }
            Name::Usual if self.egress => Text::bytes(&[b"egress ", &*span.host].concat()),
            Name::Usual => Text::Static("ingress"),
        }
    }
}

fn rendered(format: &Format, facts: &Facts<'_>) -> Text {
    let mut out = Vec::new();
    format.render(facts, &mut out);
    Text::bytes(&out)
}

const DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
