//! What is shown, one file a collector.

mod export;
mod opentelemetry;
mod rotel;
mod zipkin;
