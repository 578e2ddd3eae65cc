//! The gateway: Kong Gateway's place, on Carbyne's engine.
//!
//! This half keeps the configuration; there is no data path yet.
//!
//! * [`schema`]: what entities and plugins may look like, kept as data in `schemas/`: validation,
//!   defaults, shorthands, form inference and `GET /schemas` all read the one source.
//! * [`entity`]: create, read, update, delete, with Kong's rules between entities.
//! * [`store`]: where entities live, behind one trait: a declarative file, or an embedded database.
//! * [`declarative`]: kong.yml in and out.
//! * [`admin`]: the Admin API over all of it.
//! * [`plan`]: what the store's rows mean, typed.
//! * [`router`]: which route a request takes, in Kong's order.
//! * [`conf`]: kong.conf and `KONG_*`.
//! * [`command`]: the program's verbs; [`log`]: what a node says meanwhile.

pub mod admin;
pub mod command;
pub mod conf;
pub mod declarative;
pub mod entity;
pub mod error;
pub mod log;
pub mod plan;
pub mod router;
pub mod schema;
pub mod store;
pub mod value;
