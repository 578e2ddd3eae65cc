//! Wire → plan: validated, typed, defaults filled. The only room that may refuse, with a path, all errors at once.
//!
//! | file | what it holds |
//! |---|---|
//! | [`scope`] | where in a resource a plan is, and what it has to say about it |
//! | [`error`] | why a resource was refused, what of it is not served |
//! | [`undecoded`] | finds what was not decoded or is not served |
//! | [`compatibility`] | the verdict on every field, from `compatibility.tsv` |
//! | [`listener`], [`chain`] | listeners and their filter chains |
//! | [`filter`] | filters by type, and what happens to those that are not served |
//! | [`http`], [`tcp`] | HTTP connection manager, TCP proxy |
//! | [`route`] | route configurations |
//! | [`cluster`], [`endpoint`], [`health`] | clusters, their endpoints and health checks |
//! | [`tls`], [`secret`] | TLS contexts and the secrets they name |
//! | [`tracing`](mod@tracing) | what is told of requests as spans, and to whom |
//! | [`matcher`], [`value`], [`service`] | messages that many resources share |
//!
//! Three outcomes, one table (design.md, "Safe by default"): what is malformed or out of range is refused by name (NACK), its siblings are applied;
//! what is not decoded or not served is accepted and listed; where it is or may be a guard, what it guards refuses traffic.

use std::sync::Arc;

use carbyne_protos::prost_types::Any;
use prost::{Message, Name};

use self::error::{Fault, Rejection};
use self::scope::Room;
use self::undecoded::survey;
use crate::live::clusters::Clusters;
use crate::live::secrets::Secrets;

pub mod chain;
pub mod cluster;
pub mod compatibility;
pub mod endpoint;
pub mod error;
pub mod filter;
pub mod health;
pub mod http;
pub mod listener;
pub mod matcher;
pub mod route;
pub mod scope;
pub mod secret;
pub mod service;
pub mod tcp;
pub mod tls;
pub mod tracing;
pub mod undecoded;
pub mod value;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod mutations;

pub use self::error::Finding;

/// What plans refer to: clusters and secrets that may come later.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Clusters by name.
    pub clusters: Arc<Clusters>,
    /// Secrets by name and source.
    pub secrets: Arc<Secrets>,
}

/// An accepted resource.
#[derive(Debug)]
pub struct Planned<P> {
    /// What it means.
    pub plan: P,
    /// What of it is not decoded or not served: listed on the admin port, counted.
    pub findings: Vec<Finding>,
}

impl Environment {
    /// Plans a resource as it came; `plan` is the planning function of its type.
    pub fn plan<M, P>(
        &self,
        resource: &Any,
        plan: impl FnOnce(&M, &scope::Scope<'_>) -> Option<P>,
    ) -> Result<Planned<P>, Rejection>
    where
        M: Message + Name + Default,
    {
        let message: M = carbyne_protos::any::decode_any(resource)
            .map_err(|error| Rejection::single(Fault::Malformed(error.to_string())))?;
        self.plan_decoded(&message, &resource.value, plan)
    }

    /// Plans a message of a static configuration.
    pub fn plan_message<M, P>(
        &self,
        message: &M,
        plan: impl FnOnce(&M, &scope::Scope<'_>) -> Option<P>,
    ) -> Result<Planned<P>, Rejection>
    where
        M: Message + Name,
    {
        self.plan_decoded(message, &message.encode_to_vec(), plan)
    }

    fn plan_decoded<M, P>(
        &self,
        message: &M,
        bytes: &[u8],
        plan: impl FnOnce(&M, &scope::Scope<'_>) -> Option<P>,
    ) -> Result<Planned<P>, Rejection>
    where
        M: Message + Name,
    {
        let findings = survey(&M::full_name(), bytes).map_err(Rejection::single)?;
        let room = Room::new(self, findings);
        let planned = plan(message, &room.scope());
        room.finish(planned)
    }
}
