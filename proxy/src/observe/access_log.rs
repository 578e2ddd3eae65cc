//! Access logs: which loggers a listener has, what they write and when.
//!
//! | file | what it holds |
//! |---|---|
//! | [`filter`] | when a logger writes |
//! | [`files`] | the files, shared by path |
//! | [`open_telemetry`] | records for collectors |

mod files;
pub mod filter;
mod open_telemetry;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::Path;

use carbyne_engine::observe::log::LogFile;
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::accesslog::v3::{AccessLog, access_log::ConfigType};
use carbyne_protos::envoy::config::core::v3::{
    SubstitutionFormatString, substitution_format_string,
};
use carbyne_protos::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat,
};
use carbyne_protos::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use carbyne_protos::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};

pub use self::files::LogFiles;
use self::filter::LogFilter;
use self::open_telemetry::CollectorLog;
pub use self::open_telemetry::Collectors;
use super::facts::Facts;
use super::format::{Format, JsonFormat};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::value;

/// The loggers of a connection manager, a TCP proxy or a listener, in their order.
#[derive(Debug, Default)]
pub struct AccessLogs {
    loggers: Box<[Logger]>,
}

/// How a line is worded.
#[derive(Clone, Debug)]
pub enum LineFormat {
    /// As a format string says; it brings its own newline.
    Text(Format),
    /// One object a line.
    Json(JsonFormat),
}

#[derive(Debug)]
struct Logger {
    filter: Option<LogFilter>,
    sink: Sink,
}

/// Who is told.
#[derive(Debug)]
enum Sink {
    File { format: LineFormat, file: LogFile },
    Collector(CollectorLog),
}

impl AccessLogs {
    /// Plans the loggers of the list that is the field `access_log` of what `scope` stands for. What is malformed is rejected; loggers that
    /// are not served are noted and left out: they guard nothing.
    pub fn plan(
        loggers: &[AccessLog],
        scope: &Scope<'_>,
        files: &LogFiles,
        collectors: &Collectors,
    ) -> Self {
        let planned = loggers.iter().enumerate().filter_map(|(index, logger)| {
            plan_logger(logger, &scope.item("access_log", index), files, collectors)
        });
        Self {
            loggers: planned.collect(),
        }
    }

    /// Whether nothing is ever written.
    pub const fn is_empty(&self) -> bool {
        self.loggers.is_empty()
    }

    /// Tells what is over.
    pub fn log(&self, facts: &Facts<'_>) {
        for logger in &self.loggers {
            if logger
                .filter
                .as_ref()
                .is_some_and(|filter| !filter.holds(facts))
            {
                continue;
            }
            match &logger.sink {
                Sink::File { format, file } => LINE.with_borrow_mut(|line| {
                    line.clear();
                    format.render(facts, line);
                    file.append(line);
                    // One huge line must not cost its size for ever.
                    line.shrink_to(LARGEST_KEPT);
                }),
                Sink::Collector(log) => log.log(facts),
            }
        }
    }
}

impl LineFormat {
    /// What Envoy writes where no format is given.
    pub fn plain() -> Self {
        // The default is a valid format; an empty one stands in should it ever not be.
        let format = Format::parse(DEFAULT, false).or_else(|_| Format::parse("", false));
        format.map_or_else(|_| Self::Json(JsonFormat::empty()), Self::Text)
    }

    /// Plans a `SubstitutionFormatString`; `scope` is its place.
    pub fn plan(message: &SubstitutionFormatString, scope: &Scope<'_>) -> Option<Self> {
        use substitution_format_string::Format as Wire;
        // The operators of the extensions are always known (req_without_query, metadata, cel): nothing is read of `formatters`.
        let text = |text: &str, name| {
            let parsed = Format::parse(text, message.omit_empty_values);
            scope
                .field(name)
                .take(parsed.map_err(|error| Fault::Malformed(error.to_string())))
                .map(Self::Text)
        };
        match &message.format {
            Some(Wire::TextFormat(format)) => text(format, "text_format"),
            Some(Wire::TextFormatSource(source)) => {
                let place = scope.field("text_format_source");
                let Ok(format) = String::from_utf8(value::data(Some(source), &place)?) else {
                    place.reject(Fault::Malformed("not UTF-8".to_owned()));
                    return None;
                };
                text(&format, "text_format_source")
            }
            Some(Wire::JsonFormat(format)) => json(
                format,
                message.omit_empty_values,
                &scope.field("json_format"),
            ),
            None => {
                scope.field("format").missing();
                None
            }
        }
    }

    /// Appends the line.
    pub fn render(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text(format) => format.render(facts, out),
            Self::Json(format) => {
                format.render(facts, out);
                out.push(b'\n');
            }
        }
    }
}

fn json(
    format: &carbyne_protos::prost_types::Struct,
    omit_empty: bool,
    scope: &Scope<'_>,
) -> Option<LineFormat> {
    match JsonFormat::plan(format, omit_empty) {
        Ok(format) => Some(LineFormat::Json(format)),
        Err(errors) => {
            for (path, error) in errors {
                scope.reject(Fault::Malformed(format!("`{path}` {error}")));
            }
            None
        }
    }
}

fn plan_logger(
    logger: &AccessLog,
    scope: &Scope<'_>,
    files: &LogFiles,
    collectors: &Collectors,
) -> Option<Logger> {
    let filter = match &logger.filter {
        None => Ok(None),
        Some(filter) => LogFilter::plan(filter, &scope.field("filter")).map(Some),
    };
    let place = scope.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = &logger.config_type else {
        place.missing();
        return None;
    };
    let unwrapped =
        place.take(Unwrapped::of(config).map_err(|error| Fault::Malformed(error.to_string())))?;
    let malformed = |error: carbyne_protos::any::AnyError| Fault::Malformed(error.to_string());
    let substitution = |format: Option<&SubstitutionFormatString>| {
        format.map_or_else(
            || Some(LineFormat::plain()),
            |format| LineFormat::plan(format, &place.field("log_format")),
        )
    };
    if unwrapped.is::<OpenTelemetryAccessLogConfig>() {
        let message = place.take(unwrapped.decode().map_err(malformed))?;
        let log = collectors.plan(&message, config.value.as_slice().into(), &place)?;
        // Without its filter it would tell what it shall not.
        let filter = filter.ok()?;
        return Some(Logger {
            filter,
            sink: Sink::Collector(log),
        });
    }
    let (path, format) = if unwrapped.is::<FileAccessLog>() {
        let message: FileAccessLog = place.take(unwrapped.decode().map_err(malformed))?;
        if message.path.is_empty() {
            place.field("path").missing();
            return None;
        }
        let format = match &message.access_log_format {
            None => Some(LineFormat::plain()),
            Some(AccessLogFormat::Format(text)) if text.is_empty() => Some(LineFormat::plain()),
            Some(AccessLogFormat::Format(text)) => {
                let parsed =
                    Format::parse(text, false).map_err(|error| Fault::Malformed(error.to_string()));
                place.field("format").take(parsed).map(LineFormat::Text)
            }
            Some(AccessLogFormat::JsonFormat(format)) => {
                json(format, false, &place.field("json_format"))
            }
            Some(AccessLogFormat::TypedJsonFormat(format)) => {
                json(format, false, &place.field("typed_json_format"))
            }
            Some(AccessLogFormat::LogFormat(format)) => substitution(Some(format)),
        };
        (message.path, format)
    } else if unwrapped.is::<StdoutAccessLog>() {
        let message: StdoutAccessLog = place.take(unwrapped.decode().map_err(malformed))?;
        let format = message
            .access_log_format
            .as_ref()
            .map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stdout".to_owned(), substitution(format))
    } else if unwrapped.is::<StderrAccessLog>() {
        let message: StderrAccessLog = place.take(unwrapped.decode().map_err(malformed))?;
        let format = message
            .access_log_format
            .as_ref()
            .map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stderr".to_owned(), substitution(format))
    } else {
        place.note(format!(
            "access logger {} is not served: nothing is written to it",
            unwrapped.type_name
        ));
        return None;
    };
    let format = format?;
    let filter = match filter {
        Ok(filter) => filter,
        // Without its filter it would write what it shall not.
        Err(filter::NotServed) => return None,
    };
    if path == "/dev/null" {
        return None;
    }
    let file = files.open(Path::new(&path)).map_err(|error| Fault::File {
        path: path.clone(),
        reason: error.to_string(),
    });
    let file = place.field("path").take(file)?;
    Some(Logger {
        filter,
        sink: Sink::File { format, file },
    })
}

/// Envoy's default format ("Default format string").
pub const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Bytes of the line buffer that a worker keeps.
const LARGEST_KEPT: usize = 16 << 10;

thread_local! {
    /// The line that is being worded.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
