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
//! * [`conf`]: kong.conf and `KONG_*`.
//! * [`command`]: the program's verbs.

pub mod admin;
pub mod balance;
pub mod command;
pub mod conf;
pub mod declarative;
pub mod dns;
pub mod entity;
pub mod error;
pub mod plan;
pub mod schema;
pub mod store;
pub mod value;
