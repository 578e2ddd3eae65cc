//! The gateway: Kong Gateway's place, on Carbyne's engine.
//!
//! * [`schema`]: what entities and plugins may look like, kept as data in `schemas/`: validation,
//!   defaults, shorthands, form inference and `GET /schemas` all read the one source.
//! * [`entity`]: create, read, update, delete, with Kong's rules between entities.
//! * [`store`]: where entities live, behind one trait: a declarative file, or an embedded database.
//! * [`declarative`]: kong.yml in and out.
//! * [`admin`]: the Admin API over all of it.
//! * [`router`]: which route a request takes, in Kong's order.
//! * [`conf`]: kong.conf and `KONG_*`.
//! * [`plan`]: what rows mean, typed; [`live`]: what requests are served with, swapped as rows change.
//! * [`balance`]: which host a request goes to; [`dns`]: names to addresses.
//! * [`proxy`]: the way of a request; [`plugin`]: what plugins are and may do; [`plugins`]: those that run.
//! * [`multipart`]: bodies of parts, as the Admin API and plugins read them.
//! * [`node`], [`server`]: what a process shares, and the process; [`shipping`]: its events on their way to Kafka (feature `kafka`).
//! * [`command`]: the program's verbs; [`log`]: what a node says meanwhile.

pub mod admin;
pub mod balance;
pub mod command;
pub mod conf;
pub mod declarative;
pub mod dns;
pub mod entity;
pub mod error;
pub mod live;
pub mod log;
pub mod multipart;
pub mod node;
pub mod plan;
pub mod plugin;
pub mod plugins;
pub mod proxy;
pub mod router;
pub mod schema;
pub mod server;
#[cfg(feature = "kafka")]
pub mod shipping;
#[cfg(not(feature = "kafka"))]
#[path = "shipping/without.rs"]
pub mod shipping;
pub mod store;
pub mod value;
pub mod vault;
