//! When a logger writes (Envoy's `AccessLogFilter`).

use std::cmp::Ordering;

use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use carbyne_protos::envoy::config::accesslog::v3::comparison_filter::Op;
use carbyne_protos::envoy::config::accesslog::v3::{
    AccessLogFilter, ComparisonFilter, ExtensionFilter, RuntimeFilter, extension_filter,
};
use carbyne_protos::envoy::data::accesslog::v3::AccessLogType;
use carbyne_protos::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;

use crate::live::matcher::{Fraction, HeaderMatcher, MetadataMatcher};
use crate::observe::cel::Expression;
use crate::observe::facts::Facts;
use crate::observe::flags::Flag;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// A compiled filter.
#[derive(Clone, Debug)]
pub enum LogFilter {
    /// All of them.
    And(Box<[Self]>),
    /// An expression in CEL.
    Cel(Box<Expression>),
    /// By the time it took, in milliseconds.
    Duration(Comparison),
    /// By response flags; `None` is any.
    Flags(Option<u32>),
    /// By gRPC status.
    Grpc {
        /// One bit a status.
        statuses: u32,
        /// All but these.
        exclude: bool,
    },
    /// By a field of the request.
    Header(Box<HeaderMatcher>),
    /// By the kind of record: this proxy writes one record at the end.
    LogType {
        /// Requests are written.
        requests: bool,
        /// Streams are written.
        streams: bool,
    },
    /// By dynamic metadata.
    Metadata {
        /// What is asked.
        matcher: Box<MetadataMatcher>,
        /// Whether it holds where there is no such value.
        missing: bool,
    },
    /// No health check answered by the proxy itself; this proxy answers none on listeners.
    NotHealthCheck,
    /// One of them.
    Or(Box<[Self]>),
    /// A share.
    Share {
        /// How many.
        fraction: Fraction,
        /// Drawn anew instead of from the request's id.
        independent: bool,
    },
    /// By the response's status.
    Status(Comparison),
    /// The request is traced.
    Traceable,
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    operator: Op,
    wanted: u64,
}

/// Something of the filter is not served; it was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotServed;

impl LogFilter {
    /// Plans; what is malformed is rejected, and stands as a filter that holds.
    pub fn plan(message: &AccessLogFilter, scope: &Scope<'_>) -> Result<Self, NotServed> {
        use FilterSpecifier as Wire;
        let several = |filters: &[AccessLogFilter], scope: &Scope<'_>| {
            if filters.len() < 2 {
                scope.field("filters").out_of_range(
                    format_args!("a list of {}", filters.len()),
                    "a list of two or more",
                );
            }
            filters
                .iter()
                .enumerate()
                .map(|(index, filter)| Self::plan(filter, &scope.item("filters", index)))
                .collect::<Result<Box<[_]>, _>>()
        };
        // The resource is rejected as a whole: what stands for a rejected part is never asked.
        let rejected = Ok(Self::NotHealthCheck);
        Ok(match &message.filter_specifier {
            Some(Wire::AndFilter(filter)) => {
                Self::And(several(&filter.filters, &scope.field("and_filter"))?)
            }
            Some(Wire::OrFilter(filter)) => {
                Self::Or(several(&filter.filters, &scope.field("or_filter"))?)
            }
            Some(Wire::StatusCodeFilter(filter)) => match Comparison::plan(
                filter.comparison.as_ref(),
                &scope.field("status_code_filter"),
            ) {
                Some(comparison) => Self::Status(comparison),
                None => return rejected,
            },
            Some(Wire::DurationFilter(filter)) => {
                match Comparison::plan(filter.comparison.as_ref(), &scope.field("duration_filter"))
                {
                    Some(comparison) => Self::Duration(comparison),
                    None => return rejected,
                }
            }
            Some(Wire::NotHealthCheckFilter(_)) => Self::NotHealthCheck,
            Some(Wire::TraceableFilter(_)) => Self::Traceable,
            Some(Wire::RuntimeFilter(filter)) => {
                match share(filter, &scope.field("runtime_filter")) {
                    Some(filter) => filter,
                    None => return rejected,
                }
            }
            Some(Wire::HeaderFilter(filter)) => {
                let place = scope.field("header_filter");
                let place = place.field("header");
                let Some(header) = &filter.header else {
                    place.missing();
                    return rejected;
                };
                match matcher::header(header, &place) {
                    Some(header) => Self::Header(Box::new(header)),
                    None => return rejected,
                }
            }
            Some(Wire::ResponseFlagFilter(filter)) => {
                let mut flags = 0;
                let place = scope.field("response_flag_filter");
                for (index, name) in filter.flags.iter().enumerate() {
                    match Flag::parse(name) {
                        Some(flag) => flags |= flag.bit(),
                        None => place
                            .item("flags", index)
                            .out_of_range(format_args!("`{name}`"), "a response flag such as `NR`"),
                    }
                }
                Self::Flags((!filter.flags.is_empty()).then_some(flags))
            }
            Some(Wire::GrpcStatusFilter(filter)) => Self::Grpc {
                statuses: filter
                    .statuses
                    .iter()
                    .filter_map(|status| 1_u32.checked_shl(u32::try_from(*status).ok()?))
                    .fold(0, |set, bit| set | bit),
                exclude: filter.exclude,
            },
            Some(Wire::MetadataFilter(filter)) => {
                let place = scope.field("metadata_filter");
                let missing = filter.match_if_key_not_found.unwrap_or(true);
                let Some(wanted) = &filter.matcher else {
                    // Without a matcher only the default remains (Envoy's `MetadataFilter`).
                    return if missing {
                        rejected
                    } else {
                        Ok(Self::Or(Box::default()))
                    };
                };
                match matcher::metadata(wanted, &place.field("matcher")) {
                    Some(matcher) => Self::Metadata {
                        matcher: Box::new(matcher),
                        missing,
                    },
                    None => return rejected,
                }
            }
            Some(Wire::LogTypeFilter(filter)) => {
                let wants =
                    |kind: AccessLogType| filter.types.contains(&(kind as i32)) != filter.exclude;
                Self::LogType {
                    requests: wants(AccessLogType::DownstreamEnd),
                    streams: wants(AccessLogType::TcpConnectionEnd),
                }
            }
            Some(Wire::ExtensionFilter(filter)) => {
                return extension(filter, &scope.field("extension_filter"));
            }
            None => {
                scope.missing();
                return rejected;
            }
        })
    }

    /// Whether the record is written.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::And(filters) => filters.iter().all(|filter| filter.holds(facts)),
            Self::Cel(expression) => expression.is_true(facts),
            Self::Duration(comparison) => {
                let took = facts
                    .timing
                    .map(|timing| timing.end.unwrap_or_else(|| timing.start.elapsed()));
                took.is_some_and(|took| {
                    comparison.holds(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
                })
            }
            Self::Flags(None) => !facts.flags.is_empty(),
            Self::Flags(Some(wanted)) => facts.flags.bits() & wanted != 0,
            Self::Grpc { statuses, exclude } => {
                let status = facts.grpc_status().unwrap_or(2);
                1_u32
                    .checked_shl(u32::from(status))
                    .is_some_and(|bit| statuses & bit != 0)
                    != *exclude
            }
            Self::Header(matcher) => facts
                .request
                .is_some_and(|request| matcher.matches(request)),
            Self::LogType { requests, streams } => {
                if facts.is_stream {
                    *streams
                } else {
                    *requests
                }
            }
            Self::Metadata { matcher, missing } => {
                let found = facts.metadata.and_then(|metadata| {
                    metadata.value(&matcher.filter, matcher.path.iter().map(|key| &**key))
                });
                match (found, facts.metadata) {
                    (Some(_), Some(metadata)) => matcher.matches(metadata),
                    _ => *missing,
                }
            }
            Self::NotHealthCheck => true,
            Self::Or(filters) => filters.iter().any(|filter| filter.holds(facts)),
            Self::Share {
                fraction,
                independent,
            } => {
                let drawn = if *independent { None } else { id_number(facts) };
                fraction.holds(drawn.unwrap_or_else(|| fastrand::u64(..)))
            }
            Self::Status(comparison) => comparison.holds(u64::from(facts.status())),
            Self::Traceable => facts.context.is_some_and(|context| context.span.is_some()),
        }
    }
}

impl Comparison {
    fn plan(message: Option<&ComparisonFilter>, scope: &Scope<'_>) -> Option<Self> {
        let place = scope.field("comparison");
        let Some((message, wanted)) =
            message.and_then(|message| Some((message, message.value.as_ref()?)))
        else {
            place.missing();
            return None;
        };
        let Ok(operator) = Op::try_from(message.op) else {
            place
                .field("op")
                .out_of_range(message.op, "EQ, GE, LE or NE (0 to 3)");
            return None;
        };
        // No runtime layer changes what is configured here.
        Some(Self {
            operator,
            wanted: u64::from(wanted.default_value),
        })
    }

    fn holds(self, value: u64) -> bool {
        match (self.operator, value.cmp(&self.wanted)) {
            (Op::Eq, order) => order == Ordering::Equal,
            (Op::Ge, order) => order != Ordering::Less,
            (Op::Le, order) => order != Ordering::Greater,
            (Op::Ne, order) => order != Ordering::Equal,
        }
    }
}

fn share(filter: &RuntimeFilter, scope: &Scope<'_>) -> Option<LogFilter> {
    let fraction = match &filter.percent_sampled {
        // Envoy's default is the key's value, which without a runtime layer is none.
        None => Fraction::NONE,
        Some(fraction) => value::fraction(fraction, &scope.field("percent_sampled"))?,
    };
    Some(LogFilter::Share {
        fraction,
        independent: filter.use_independent_randomness,
    })
}

fn extension(filter: &ExtensionFilter, scope: &Scope<'_>) -> Result<LogFilter, NotServed> {
    let place = scope.field("typed_config");
    let rejected = Ok(LogFilter::NotHealthCheck);
    let Some(extension_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        place.missing();
        return rejected;
    };
    let unwrapped = Unwrapped::of(config).map_err(|error| Fault::Malformed(error.to_string()));
    let Some(unwrapped) = place.take(unwrapped) else {
        return rejected;
    };
    if !unwrapped.is::<ExpressionFilter>() {
        place.note(format!(
            "access log filter {} is not served: its logger writes nothing",
            unwrapped.type_name
        ));
        return Err(NotServed);
    }
    let decoded = unwrapped
        .decode::<ExpressionFilter>()
        .map_err(|error| Fault::Malformed(error.to_string()));
    let Some(message) = place.take(decoded) else {
        return rejected;
    };
    let parsed =
        Expression::parse(&message.expression).map_err(|error| Fault::Malformed(error.to_string()));
    Ok(place
        .field("expression")
        .take(parsed)
        .map_or(LogFilter::NotHealthCheck, |expression| {
            LogFilter::Cel(Box::new(expression))
        }))
}

/// The number that Envoy takes from `x-request-id`: its first eight hexadecimal digits.
fn id_number(facts: &Facts<'_>) -> Option<u64> {
    let id = facts.request?.headers.text(&X_REQUEST_ID)?;
    u64::from_str_radix(id.get(..8)?, 16).ok()
}

const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
