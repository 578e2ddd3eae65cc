//! Who the client is, and who it was found to be.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::records::Record;
use crate::proxy::context::Exchange;
use crate::store::{Row, StoreError};
use crate::value::{Object, Value};

/// Somebody who calls services.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub id: Arc<str>,
    pub username: Option<Box<str>>,
    pub custom_id: Option<Box<str>>,
    /// The whole row, for logs.
    pub entity: Object,
}

/// What a consumer proved itself with.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    pub id: Arc<str>,
    pub consumer: Option<Arc<str>>,
    /// What the service is told in `X-Credential-Identifier`.
    pub identifier: Option<Box<str>>,
}

impl Record for Consumer {
    const ENTITY: &'static str = "consumers";

    fn read(row: &Row) -> Option<Self> {
        let text = |field: &str| row.entity.get(field).and_then(Value::as_str).map(Box::from);
        Some(Self {
            id: row.id.as_ref().into(),
            username: text("username"),
            custom_id: text("custom_id"),
            entity: row.entity.clone(),
        })
    }
}

/// The client of a request (Kong: `kong.client`).
#[derive(Debug)]
pub struct Client<'a> {
    exchange: &'a mut Exchange,
}

impl<'a> Client<'a> {
    pub(super) const fn new(exchange: &'a mut Exchange) -> Self {
        Self { exchange }
    }

    /// The address of the connection (Kong: `get_ip`).
    pub fn ip(&self) -> IpAddr {
        self.exchange.context.arrival.direct
    }

    /// The address that trusted proxies told, else the connection's (Kong: `get_forwarded_ip`).
    pub fn forwarded_ip(&self) -> IpAddr {
        self.exchange.context.arrival.client
    }

    /// The consumer that was found.
    pub fn consumer(&self) -> Option<&Rc<Consumer>> {
        self.exchange.context.consumer.as_ref()
    }

    /// The credential that it was found by.
    pub fn credential(&self) -> Option<&Credential> {
        self.exchange.context.credential.as_ref()
    }

    /// Takes the client for this consumer from now on, and tells the service so: the header fields are Kong's. Without a
    /// credential it is the anonymous consumer.
    pub fn authenticate(&mut self, consumer: Option<Rc<Consumer>>, credential: Option<Credential>) {
        let headers = &mut self.exchange.request.headers;
        let mut tell = |name: &HeaderName, value: Option<&str>| match value
            .and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok())
        {
            Some(value) => headers.insert(name.clone(), value),
            None => drop(headers.remove(name)),
        };
        let known = consumer.as_deref();
        tell(&CONSUMER_ID, known.map(|known| &*known.id));
        tell(
            &CONSUMER_CUSTOM_ID,
            known.and_then(|known| known.custom_id.as_deref()),
        );
        tell(
            &CONSUMER_USERNAME,
            known.and_then(|known| known.username.as_deref()),
        );
        let identifier = credential
            .as_ref()
            .and_then(|known| known.identifier.as_deref());
        tell(&CREDENTIAL_IDENTIFIER, identifier);
        tell(&ANONYMOUS_CONSUMER, credential.is_none().then_some("true"));
        self.exchange.context.consumer = consumer;
        self.exchange.context.credential = credential;
    }

    /// The consumer with this id, or username where `search_username` says so (Kong: `load_consumer`).
    pub async fn load_consumer(
        &self,
        id: &str,
        search_username: bool,
    ) -> Result<Option<Rc<Consumer>>, StoreError> {
        let local = self.exchange.context.local.clone();
        if crate::schema::is_uuid(id)
            && let Some(found) = local.records.find(&local.node, "id", id).await?
        {
            return Ok(Some(found));
        }
        if !search_username {
            return Ok(None);
        }
        local.records.find(&local.node, "username", id).await
    }
}

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");
