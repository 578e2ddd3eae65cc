//! What requests are served with: compiled, immutable, swapped whole.
//!
//! | file | what it holds |
//! |---|---|
//! | [`chain`] | the plugins of a route, and which instance of each a request gets |
//! | [`route`] | a route with its service and plugins |
//! | [`entities`] | the plans of everything, kept from one change to the next |
//! | [`build`] | plans into a snapshot; what did not change is taken over |
//! | [`update`] | follows the store, builds away from the workers, swaps |
//! | [`local`] | what a worker keeps of it |

use std::sync::Arc;

use carbyne_engine::tls::ServerTls;

pub mod build;
pub mod chain;
pub mod entities;
pub mod local;
pub mod route;
pub mod update;

use self::chain::Chain;
use self::route::Routes;

/// Everything that requests are served with. A request keeps the one that it began with.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The store's version that it was made of.
    pub version: u64,
    pub routes: Arc<Routes>,
    /// The plugins of requests that no route wants.
    pub global: Arc<Chain>,
    /// TLS for clients, where any listener wants it.
    pub tls: Option<Arc<Tls>>,
}

/// TLS for clients, by what the listener speaks.
#[derive(Debug)]
pub struct Tls {
    pub http1: Arc<ServerTls>,
    pub http2: Arc<ServerTls>,
}
