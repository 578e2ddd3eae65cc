//! Audit and domain events: emitted without waiting, kept until a broker has them, and proved complete.
//!
//! | room | what lives there |
//! |---|---|
//! | `avro` | Avro's binary form, written by field and read by schema |
//! | `event` | the events, generated from `schemas/*.avsc`; their topics, keys and Avro form |
//! | `envelope` | what surrounds a body: CloudEvents headers, content types, Confluent's frame |
//! | `redact` | what may be said of a request |
//! | `source` | a process's events: where they go, its name, its rules, opened where `CARBYNE_EVENTS_DIR` says so |
//! | `teller` | what a worker tells; refusals that are alike, told as one |
//! | `ring` | a worker's records in a shared mapping, which outlives the process |
//! | `emit` | the way in: emitters, coalescing, what happens when there is no room |
//! | `spool` | blocks on disk, in order, until they are acknowledged |
//! | `ship` | spool to broker, by delivery reports (feature `kafka`) |
//! | `metrics` | what outlet and shipper count, in Prometheus' words |
//! | `verify` | gaps and duplicates, read from spool and topics |
//! | `topics` | the twelve topics as data, and the reconciler (feature `kafka`) |
//! | [`found`] | what a folder of events holds, for tests (feature `broker`) |
//! | [`samples`] | events as the gateway makes them, for tests and benches (feature `broker`) |
//! | [`broker`] | a real Kafka on this machine, for tests and `carbyne up --with-kafka` (feature `broker`) |

pub mod avro;
#[cfg(feature = "broker")]
pub mod broker;
pub mod emit;
pub mod envelope;
pub mod event;
#[cfg(any(test, feature = "broker"))]
pub mod found;
pub mod metrics;
pub mod redact;
pub mod ring;
#[cfg(any(test, feature = "broker"))]
pub mod samples;
#[cfg(feature = "kafka")]
pub mod ship;
pub mod source;
pub mod spool;
pub mod teller;
#[cfg(feature = "kafka")]
pub mod topics;
#[cfg(feature = "kafka")]
pub mod verify;
