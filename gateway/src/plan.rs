//! Plans: what the store's rows mean, typed and complete. Only this step may refuse.

pub mod certificate;
pub mod plugin;
pub mod route;
pub mod service;
pub mod upstream;
