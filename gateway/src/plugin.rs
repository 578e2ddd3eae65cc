//! The plugin contract: what a plugin is, and what it may do with a request.
//!
//! A plugin is one file in [`crate::plugins`] and one line in [`table`]. Its configuration is read once into
//! [`Plugin::Config`] and compiled into the plugin itself; each request then passes the phases of the plugins that were
//! chosen for it, the highest priority first. `docs/plugins.md` shows how to write one.
//!
//! | file | what it holds |
//! |---|---|
//! | [`table`] | every plugin that runs, dispatched without a pointer |
//! | [`call`] | a phase of one plugin on one request; everything below is reached through it |
//! | [`request`], [`query`], [`field`] | the request: read, and changed on its way to the service |
//! | [`client`] | who the client is, and who it was found to be |
//! | [`authentication`] | how several plugins that find that out go together |
//! | [`response`] | the response on its way to the client |
//! | [`exit`] | answers in place of the service's |
//! | [`transform`] | bodies, piece by piece or whole |
//! | [`records`] | entities of the store by a key, cached with those that are not there |
//! | [`serialize`] | a request as log plugins write it down |
//! | [`outgoing`] | HTTP calls of a plugin's own |
//! | [`custom_fields`] | members that log plugins add |
//! | [`instance`] | a configured plugin |

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::node::Node;
use crate::plan::plugin::Scope;

pub mod authentication;
pub mod call;
pub mod client;
pub mod custom_fields;
pub mod exit;
pub mod field;
pub mod instance;
pub mod outgoing;
pub mod query;
pub mod records;
pub mod request;
pub mod response;
pub mod serialize;
pub mod table;
pub mod transform;

pub use self::call::{Call, Ended};
pub use self::exit::Exit;
pub use self::records::Record;
pub use self::transform::Transform;

/// A plugin with its configuration. Every instance is one value, shared by all workers.
pub trait Plugin: fmt::Debug + Send + Sized + Sync + 'static {
    /// The configuration as the schema has it, defaults filled in: `null` is `None`, an absent list is empty.
    type Config: DeserializeOwned;

    /// What all instances share for the life of the process, such as the counters of limits: reloads do not touch it.
    type Shared: fmt::Debug + Default + Send + Sync + 'static;

    /// What one instance keeps for one request, from its first phase to its last. Made fresh for each.
    type State: fmt::Debug + Default + 'static;

    /// Whether [`Plugin::rewrite`] does anything. Requests pay for that phase only where an instance has it.
    const REWRITES: bool = false;

    /// Whether [`Plugin::log`] writes requests down by [`Ended::serialize`]: what that needs is kept only then.
    const SERIALIZES: bool = false;

    /// Members of the configuration that nothing is made of: a reference in them that stands for nothing does no harm.
    const UNREAD: &'static [&'static str] = &[];

    /// Compiles a configuration. The schema has been checked; what is still wrong with it is refused by the field.
    fn new(config: Self::Config, setup: &Setup<'_, Self::Shared>) -> Result<Self, Refusal>;

    /// Before the route is chosen. Only instances without a scope come to this.
    fn rewrite(&self, _call: &mut Call<'_, Self::State>) -> Flow {
        Ok(())
    }

    /// The route is known and nothing was sent to the service yet. An [`Exit`] answers in the service's place; of the
    /// plugins of lower priority only the later phases run then.
    fn access(&self, _call: &mut Call<'_, Self::State>) -> impl Future<Output = Flow> {
        async { Ok(()) }
    }

    /// The head of the response is here, whoever made it. A body is changed by [`response::Response::transform`].
    fn header_filter(&self, _call: &mut Call<'_, Self::State>) {}

    /// The request is over.
    fn log(&self, _ended: &Ended<'_, Self::State>) {}
}

/// Whether a request goes on, or is answered.
pub type Flow = Result<(), Exit>;

/// What an instance may keep from its making.
#[derive(Debug)]
pub struct Setup<'a, S> {
    /// What all instances of the plugin share.
    pub shared: &'a Arc<S>,
    /// The instance's id.
    pub id: &'a str,
    /// Which requests it is for.
    pub scope: &'a Scope,
    /// The node that it runs on.
    pub node: &'a Arc<Node>,
}

/// Why a configuration cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A field's path within the configuration, and what is wrong there.
    #[error("config.{field}: {problem}")]
    Field { field: String, problem: String },
    /// References to secrets that stand for nothing, each with its path.
    #[error("{0}")]
    References(String),
}

impl Refusal {
    pub fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.to_string(),
        }
    }
}
