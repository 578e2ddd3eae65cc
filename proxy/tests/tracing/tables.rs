//! What is shown, one file a collector.

mod export;
mod logs;
mod opentelemetry;
mod rotel;
mod zipkin;
