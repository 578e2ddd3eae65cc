//! Plans: what the store's rows mean, typed and complete. Only this step may refuse.

pub mod upstream;
