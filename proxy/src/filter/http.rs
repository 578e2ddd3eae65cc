//! The HTTP filters of a connection manager, in order.

use std::sync::Arc;

use carbyne_engine::forward::{Answer, Exchange};

use super::cors::{Cors, CorsPolicy};
use super::fault::{Fault, Faults};
use super::local_ratelimit::LocalRateLimit;
use super::planned::Planned;
use super::rbac::{Rbac, RbacRoute};
use super::refuse::Refuse;
use crate::context::Context;
use crate::live::route::FilterConfig;
use crate::plan;
use crate::plan::Environment;
use crate::plan::filter::{HttpFilterKind, HttpFilterPlan};
use crate::plan::scope::Scope;
use crate::server::telemetry::Telling;

/// Compiled filters.
#[derive(Debug)]
pub struct HttpFilters(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    filter: HttpFilter,
    disabled: bool,
}

/// One compiled filter.
#[derive(Debug)]
enum HttpFilter {
    Cors(Cors),
    Fault(Fault),
    LocalRateLimit(LocalRateLimit),
    Rbac(Rbac),
    Refuse(Refuse),
}
