//! What events say of the Admin API: every operation that may change something, before it is carried out and when it is
//! answered. What cannot be told is not done.

use std::net::IpAddr;
use std::sync::Arc;

use carbyne_events::emit::{OnDisk, now};
use carbyne_events::event::audit_admin_operation::{AuditAdminOperation, Stage};
use carbyne_events::redact::clipped;
use carbyne_events::source::Source;
use http::Method;
use http::request::Parts;

use super::answer::Answer;
use super::request::Asked;
use super::routes::{Action, Endpoint};
use crate::proxy::context::RequestId;
use crate::store::told::Author;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) address: Option<IpAddr>,
    /// Whom its certificate is for, where it was verified.
    pub(super) principal: Option<Box<str>>,
}

/// An operation that is to be told.
#[derive(Debug)]
pub(super) struct Operation {
    events: Arc<Source>,
    author: Author,
    time: u64,
    address: Option<Box<str>>,
    method: Box<str>,
    kind: Option<&'static str>,
    id: Option<Box<str>>,
    fields: Vec<Box<str>>,
    traceparent: Option<Box<str>>,
}

impl Operation {
    /// Nothing for what only reads.
    pub(super) fn of(
        events: &Arc<Source>,
        parts: &Parts,
        endpoint: &Endpoint,
        asked: &Asked,
        caller: &Caller,
    ) -> Option<Self> {
        let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        if !changes.contains(&parts.method) {
            return None;
        }
        let kind = match &endpoint.action {
            Action::Collection(schema)
            | Action::Entity(schema)
            | Action::Children { schema, .. }
            | Action::Child { schema, .. } => Some(schema.name.as_str()),
            Action::Linked { parent, .. } => Some(parent.name.as_str()),
            Action::Config => Some("config"),
            Action::Target | Action::Targets | Action::TargetHealth { .. } => Some("targets"),
            _ => None,
        };
        // Some paths name a credential by its secret: of those that are no ids only names of entities that have any are told.
        let named = asked.parameters.last().filter(|named| {
            let secret = kind.is_none_or(|kind| !NAMED.contains(&kind));
            crate::schema::is_uuid(named) || !secret
        });
        let address = caller.address.map(|address| {
            let told = events.redaction().address(address);
            Box::from(told.as_str())
        });
        let actor = caller.principal.clone().or_else(|| address.clone());
        let traceparent = parts.headers.get("traceparent");
        Some(Self {
            author: Author {
                request_id: RequestId::random().as_str().into(),
                actor: actor.unwrap_or_else(|| "unknown".into()),
            },
            time: now(),
            address,
            method: parts.method.as_str().into(),
            kind,
            id: named.map(|named| clipped(named, LONGEST_NAME).into()),
            fields: asked
                .members()
                .keys()
                .filter(|name| kind.is_some_and(|kind| is_field(kind, name)))
                .map(|name| name.as_str().into())
                .collect(),
            traceparent: traceparent
                .and_then(|value| value.to_str().ok())
                .map(Box::from),
            events: events.clone(),
        })
    }

    pub(super) fn author(&self) -> Author {
        self.author.clone()
    }

    /// Tells that it is about to be carried out. Where that is not on disk it must not be: the answer says so.
    pub(super) async fn requested(&self) -> Result<(), Answer> {
        let told = self.tell(Stage::Requested, None).await;
        told.map_err(|error| {
            tracing::error!(%error, "an operation of the Admin API was refused: it cannot be told");
            Answer::message(
                503,
                "The audit trail cannot be written: nothing was changed",
            )
        })
    }

    /// Tells what came of it. What was done stays done where this does not reach the disk: that it began is there.
    pub(super) async fn completed(&self, status: u16) {
        if let Err(error) = self.tell(Stage::Completed, Some(status)).await {
            tracing::error!(%error, "the end of an operation of the Admin API is not on disk");
        }
    }

    fn tell(&self, stage: Stage, status: Option<u16>) -> OnDisk {
        let fields: Vec<&str> = self.fields.iter().map(|name| &**name).collect();
        self.events.emit_durably(&AuditAdminOperation {
            time: self.time,
            node: self.events.node(),
            request_id: &self.author.request_id,
            traceparent: self.traceparent.as_deref(),
            stage,
            actor: &self.author.actor,
            client_address: self.address.as_deref(),
            interface: "admin-api",
            method: &self.method,
            operation: match &*self.method {
                "POST" if self.kind == Some("config") => "load",
                "POST" => "create",
                "PUT" => "upsert",
                "PATCH" => "update",
                _ => "delete",
            },
            entity_kind: self.kind,
            entity_id: self.id.as_deref(),
            fields: &fields,
            status: status.map(u32::from),
            error: None,
        })
    }
}

/// What a client sends may have any name, a secret's as well: only names of fields that there are are told.
fn is_field(kind: &str, name: &str) -> bool {
    // A form's name has its place behind it.
    let name = name.split(['.', '[']).next().unwrap_or(name);
    let schema = crate::schema::library::entity(kind);
    schema.is_some_and(|schema| schema.takes(name))
}

/// Kinds of entities whose paths have names in place of ids, and no credentials.
const NAMED: &[&str] = &[
    "services",
    "routes",
    "upstreams",
    "targets",
    "consumers",
    "snis",
    "plugins",
    "vaults",
];
const LONGEST_NAME: usize = 128;
