//! What the proxy tells: access logs in Envoy's formats, Envoy's and Istio's statistics, spans.
//!
//! | file | what it holds |
//! |---|---|
//! | [`facts`] | what may be told about a request, a stream or a refused connection |
//! | [`flags`] | Envoy's response flags |
//! | [`format`](mod@format) | Envoy's format strings, text and JSON, compiled |
//! | [`access_log`] | who is told, and when |
//! | [`istio`] | Istio's standard metrics |
//! | [`cel`] | expressions of log filters and metric dimensions |
//! | [`security`] | what was refused, told as events |
//! | [`stats`] | all statistics by Envoy's names |
//! | [`trace`], [`request_id`] | spans and how they are told on; `x-request-id` |
//! | [`export`] | from the workers to collectors |
//! | [`denials`] | refusals by policy |
//! | [`peer`] | workloads as metadata exchange describes them |

pub mod access_log;
pub mod cel;
pub mod denials;
pub mod export;
pub mod facts;
pub mod flags;
pub mod format;
pub mod istio;
pub mod peer;
pub mod request_id;
pub mod security;
pub mod stats;
pub mod trace;
