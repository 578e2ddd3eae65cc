//! One phase of one plugin on one request.

use std::rc::Rc;
use std::sync::Arc;

use carbyne_engine::runtime::Worker;

use super::Flow;
use super::client::{Client, Credential};
use super::exit::Exit;
use super::instance::Instance;
use super::records::Record;
use super::request::{Request, ServiceRequest};
use super::response::Response;
use crate::live::route::LiveRoute;
use crate::node::Node;
use crate::plan::plugin::Scope;
use crate::plan::route::Route;
use crate::plan::service::Service;
use crate::proxy::context::{Context, Exchange};
use crate::store::StoreError;
use crate::value::Value;

/// What a plugin sees of a request in every phase but the last.
#[derive(Debug)]
pub struct Call<'a, S> {
    /// The instance's own state for this request.
    pub state: &'a mut S,
    exchange: &'a mut Exchange,
    instance: &'a Instance,
}

impl<'a, S> Call<'a, S> {
    pub(super) fn new(
        exchange: &'a mut Exchange,
        instance: &'a Instance,
        state: &'a mut S,
    ) -> Self {
        Self {
            state,
            exchange,
            instance,
        }
    }

    /// The request as the client sent it, with what plugins changed (Kong: `kong.request`).
    pub fn request(&mut self) -> Request<'_> {
        Request::new(self.exchange)
    }

    /// What goes to the service (Kong: `kong.service.request`).
    pub fn service_request(&mut self) -> ServiceRequest<'_> {
        ServiceRequest::new(self.exchange)
    }

    /// Who the client is (Kong: `kong.client`).
    pub fn client(&mut self) -> Client<'_> {
        Client::new(self.exchange)
    }

    /// The response, in the header filter (Kong: `kong.response`).
    pub fn response(&mut self) -> Response<'_> {
        Response::new(self.exchange)
    }

    /// The route that was matched.
    pub fn route(&self) -> Option<&Route> {
        self.context().route.as_ref().map(|route| &*route.plan)
    }

    /// The route's service.
    pub fn service(&self) -> Option<&Service> {
        self.context().service()
    }

    /// Which requests the instance is for.
    pub fn scope(&self) -> &Scope {
        &self.instance.scope
    }

    /// The instance's id.
    pub fn instance_id(&self) -> &str {
        &self.instance.id
    }

    /// What plugins tell each other about this request (Kong: `kong.ctx.shared`).
    pub fn share(&mut self, name: &str, value: Value) {
        self.exchange.context.share(name, value);
    }

    /// What a plugin said by [`Call::share`].
    pub fn shared(&self, name: &str) -> Option<&Value> {
        self.context().shared(name)
    }

    /// A member of what log plugins write down, by a dotted path (Kong: `kong.log.set_serialize_value`).
    pub fn set_log_value(&mut self, path: &str, value: Value) {
        self.exchange.context.log_values.push((path.into(), value));
    }

    /// The row with `field = value` (a unique field, or `id`); also that there is none is remembered, until a write.
    pub async fn find<T: Record>(
        &self,
        field: &'static str,
        value: &str,
    ) -> Result<Option<Rc<T>>, StoreError> {
        let local = self.context().local.clone();
        local.records.find(&local.node, field, value).await
    }

    /// The rows whose foreign `field` is the id `parent`, such as the groups of a consumer; remembered until a write.
    pub async fn children<T: Record>(
        &self,
        field: &'static str,
        parent: &str,
    ) -> Result<Rc<[T]>, StoreError> {
        let local = self.context().local.clone();
        local.records.children(&local.node, field, parent).await
    }

    /// Takes the client for the consumer whose credential this is. False where that consumer is gone.
    pub async fn authenticate_by(&mut self, credential: Credential) -> Result<bool, Exit> {
        let Some(owner) = credential.consumer.clone() else {
            return Ok(false);
        };
        let consumer = self.client().load_consumer(&owner, false).await?;
        let known = consumer.is_some();
        if known {
            self.client().authenticate(consumer, Some(credential));
        }
        Ok(known)
    }

    /// Takes the client for the anonymous consumer (an id or a username), where an authentication plugin let it be so.
    pub async fn authenticate_anonymous(&mut self, anonymous: &str) -> Flow {
        let consumer = self.client().load_consumer(anonymous, true).await?;
        if consumer.is_none() {
            // Kong's words in the log for the same mistake.
            tracing::error!(
                anonymous,
                "anonymous consumer is configured but doesn't exist"
            );
            return Err(Exit::unexpected());
        }
        self.client().authenticate(consumer, None);
        Ok(())
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.context().local.node
    }

    /// The worker that the request is on: what outgoing calls go through.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.exchange.worker
    }

    /// The request's own id: 32 hexadecimal digits.
    pub fn request_id(&self) -> &str {
        self.context().id.as_str()
    }

    /// The whole exchange, for what has no name here.
    pub fn exchange(&mut self) -> &mut Exchange {
        self.exchange
    }

    /// The whole exchange, to look at.
    pub fn exchange_ref(&self) -> &Exchange {
        self.exchange
    }

    fn context(&self) -> &Context {
        &self.exchange.context
    }
}

/// What a plugin sees of a request that is over.
#[derive(Debug)]
pub struct Ended<'a, S> {
    /// The instance's own state for this request.
    pub state: &'a S,
    pub exchange: &'a Exchange,
    instance: &'a Instance,
}

impl<'a, S> Ended<'a, S> {
    pub(super) const fn new(exchange: &'a Exchange, instance: &'a Instance, state: &'a S) -> Self {
        Self {
            state,
            exchange,
            instance,
        }
    }

    /// The route that was matched.
    pub fn route(&self) -> Option<&Route> {
        self.live_route().map(|route| &*route.plan)
    }

    /// The route's service.
    pub fn service(&self) -> Option<&Service> {
        self.exchange.context.service()
    }

    /// The route as it is served.
    pub fn live_route(&self) -> Option<&Arc<LiveRoute>> {
        self.exchange.context.route.as_ref()
    }

    /// Everything about the request that is not an argument of its own.
    pub fn context(&self) -> &Context {
        &self.exchange.context
    }

    /// The status that the client was told; `None` where it left before.
    pub fn status(&self) -> Option<u16> {
        let response = self.exchange.response.as_ref()?;
        Some(response.status.as_u16())
    }

    /// The request as file-log and its kind write it down: one JSON object. Needs [`super::Plugin::SERIALIZES`].
    pub fn serialize(&self) -> crate::value::Object {
        super::serialize::serialize(self.exchange)
    }

    /// Which requests the instance is for.
    pub fn scope(&self) -> &Scope {
        &self.instance.scope
    }

    /// The instance's id.
    pub fn instance_id(&self) -> &str {
        &self.instance.id
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.exchange.context.local.node
    }

    /// The worker that the request was on.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.exchange.worker
    }
}
