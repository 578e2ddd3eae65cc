//! The command line, as pilot-agent gives it to Envoy: what we do not know is warned about and never fatal.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use carbyne_protos::envoy::admin::v3::CommandLineOptions;
use carbyne_protos::envoy::admin::v3::command_line_options;
use clap::{ArgAction, CommandFactory, Parser, ValueEnum};

use crate::wire::bootstrap::Source;

/// What the command line says. Names and defaults are Envoy's.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "carbyne-proxy",
    disable_version_flag = true,
    disable_help_subcommand = true
)]
#[command(about = "Takes Envoy's place in Istio's sidecars and gateways.")]
pub struct Options {
    /// Bootstrap file: JSON, YAML or encoded (.pb)
    #[arg(short = 'c', long)]
    pub config_path: Option<PathBuf>,
    /// Bootstrap as YAML or JSON text, merged over the file
    #[arg(long)]
    pub config_yaml: Option<String>,
    /// Worker threads; without it, or 0, one per core that the cgroup allows
    #[arg(long)]
    pub concurrency: Option<u32>,
    /// Check the configuration and exit, serve, or start up and exit
    #[arg(long, value_enum, ignore_case = true, default_value = "serve")]
    pub mode: Mode,
    /// Seconds that draining connections get
    #[arg(long, default_value_t = 600)]
    pub drain_time_s: u32,
    /// Whether draining tells connections to close gradually over that time or at once
    #[arg(long, value_enum, ignore_case = true, default_value = "gradual")]
    pub drain_strategy: DrainStrategy,
    /// Accepted for Envoy's sake: there is no parent process
    #[arg(long, default_value_t = 900)]
    pub parent_shutdown_time_s: u32,
    /// trace, debug, info, warning, error, critical or off
    #[arg(
        short = 'l',
        long,
        value_enum,
        ignore_case = true,
        default_value = "info"
    )]
    pub log_level: LogLevel,
    /// Levels of single loggers, such as upstream:debug,config:trace
    #[arg(long, default_value = "")]
    pub component_log_level: String,
    /// Accepted for Envoy's sake: the format of our log is fixed
    #[arg(long, default_value = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v")]
    pub log_format: String,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub log_format_escaped: bool,
    /// File to write the log to instead of standard error
    #[arg(long)]
    pub log_path: Option<PathBuf>,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub log_stacktrace_single_entry: bool,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub enable_fine_grain_logging: bool,
    /// Do not log the use of deprecated fields
    #[arg(long)]
    pub skip_deprecated_logs: bool,
    /// Ignore names in the bootstrap that are not known, instead of refusing it
    #[arg(long, alias = "allow-unknown-fields")]
    pub allow_unknown_static_fields: bool,
    /// Refuse resources with fields that are not known
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,
    /// Do not log fields of resources that are not known
    #[arg(long)]
    pub ignore_unknown_dynamic_fields: bool,
    /// Replaces node.cluster of the bootstrap
    #[arg(long)]
    pub service_cluster: Option<String>,
    /// Replaces node.id of the bootstrap
    #[arg(long)]
    pub service_node: Option<String>,
    /// Replaces node.locality.zone of the bootstrap
    #[arg(long)]
    pub service_zone: Option<String>,
    /// File to write the address of the admin port to
    #[arg(long)]
    pub admin_address_path: Option<PathBuf>,
    /// Address family of the local address
    #[arg(long, value_enum, ignore_case = true, default_value = "v4")]
    pub local_address_ip_version: IpVersion,
    /// Milliseconds after which buffered log lines are written
    #[arg(long, default_value_t = 10_000)]
    pub file_flush_interval_msec: u32,
    /// Kilobytes of buffered log lines that are written at once
    #[arg(long, default_value_t = 64)]
    pub file_flush_min_size_kb: u32,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long)]
    pub disable_hot_restart: bool,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long, default_value_t = 0)]
    pub restart_epoch: u32,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long, default_value_t = 0)]
    pub base_id: u32,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long)]
    pub base_id_path: Option<PathBuf>,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long)]
    pub use_dynamic_base_id: bool,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long)]
    pub skip_hot_restart_on_no_parent: bool,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long)]
    pub skip_hot_restart_parent_stats: bool,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long, default_value = "@envoy_domain_socket")]
    pub socket_path: String,
    /// Accepted for Envoy's sake: there is no hot restart
    #[arg(long, default_value = "0")]
    pub socket_mode: String,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub cpuset_threads: bool,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub enable_mutex_tracing: bool,
    /// Accepted for Envoy's sake
    #[arg(long)]
    pub enable_core_dump: bool,
    /// Accepted for Envoy's sake
    #[arg(long, default_value = "")]
    pub disable_extensions: String,
    /// A tag for every statistic, as tag:value
    #[arg(long, action = ArgAction::Append)]
    pub stats_tag: Vec<String>,
    /// Print the hot restart compatibility version and exit
    #[arg(long)]
    pub hot_restart_version: bool,
    /// Print the version and exit
    #[arg(long)]
    pub version: bool,
    /// What was on the command line and is not known; say so in the log.
    #[arg(skip)]
    pub unknown: Vec<String>,
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// Check it and run.
    Serve,
    /// Check it and exit.
    Validate,
    /// Run until everything is initialised, then exit.
    #[value(name = "init_only")]
    InitOnly,
}

/// How connections are told that a listener drains.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DrainStrategy {
    /// With a probability that grows over the drain time.
    Gradual,
    /// All at once.
    Immediate,
}

/// An address family.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[expect(missing_docs, reason = "named by themselves")]
pub enum IpVersion {
    V4,
    V6,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
#[expect(missing_docs, reason = "Envoy's levels under their own names")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    Error,
    Critical,
    Off,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// To run with these options.
    Run(Box<Options>),
    /// To print this and exit well.
    Print(String),
}

/// Reads the command line; the first argument is the program. An error is the text to print.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let (known, unknown) = split(arguments);
    let mut options = match Options::try_parse_from(known) {
        Ok(options) => options,
        Err(error) if error.use_stderr() => return Err(error.to_string()),
        Err(help) => return Ok(Command::Print(help.to_string())),
    };
    options.unknown = unknown;
    if options.version {
        return Ok(Command::Print(format!(
            "\ncarbyne-proxy  version: {}\n\n",
            version()
        )));
    }
    if options.hot_restart_version {
        return Ok(Command::Print("disabled\n".to_owned()));
    }
    Ok(Command::Run(Box::new(options)))
}

/// Revision, version, state, build and TLS library: the five parts of Envoy's version text.
pub fn version() -> String {
    let build = if cfg!(debug_assertions) {
        "DEBUG"
    } else {
        "RELEASE"
    };
    format!(
        "carbyne/{}/Clean/{build}/aws-lc-rs",
        env!("CARGO_PKG_VERSION")
    )
}

/// Takes out flags that are not ours, with the values that follow them: Envoy has no positional arguments.
fn split(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let command = Options::command();
    let takes_value = |flag: &str| -> Option<bool> {
        if matches!(flag, "-h" | "--help") {
            return Some(false);
        }
        let argument = command
            .get_arguments()
            .find(|argument| match flag.strip_prefix("--") {
                Some(long) => {
                    argument
                        .get_long_and_visible_aliases()
                        .is_some_and(|names| names.contains(&long))
                        || argument
                            .get_all_aliases()
                            .is_some_and(|names| names.contains(&long))
                }
                None => flag
                    .chars()
                    .nth(1)
                    .is_some_and(|short| argument.get_short() == Some(short)),
            })?;
        Some(argument.get_action().takes_values())
    };
    let mut arguments = arguments.into_iter();
    let mut known: Vec<OsString> = arguments.next().into_iter().collect();
    let mut unknown = Vec::new();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let flag = text.split_once('=').map_or(&*text, |(flag, _)| flag);
        let has_value = flag.len() < text.len() || (!text.starts_with("--") && text.len() > 2);
        match takes_value(flag).filter(|_| flag.starts_with('-') && flag.len() > 1) {
            Some(true) if !has_value => {
                // Glued with `=`, so that a value may begin with a dash.
                let Some(value) = arguments.next() else {
                    known.push(argument);
                    continue;
                };
                if text.starts_with("--") {
                    let mut joined = argument;
                    joined.push("=");
                    joined.push(value);
                    known.push(joined);
                } else {
                    known.extend([argument, value]);
                }
            }
            Some(_) => known.push(argument),
            None => unknown.push(text),
        }
    }
    (known, unknown)
}

impl Options {
    /// Where the bootstrap comes from.
    pub fn bootstrap(&self) -> Source {
        Source {
            path: self.config_path.clone(),
            yaml: self.config_yaml.clone(),
            allow_unknown: self.allow_unknown_static_fields,
            node: self.service_node.clone(),
            cluster: self.service_cluster.clone(),
            zone: self.service_zone.clone(),
        }
    }

    /// How long draining connections get.
    pub fn drain_time(&self) -> Duration {
        Duration::from_secs(self.drain_time_s.into())
    }

    /// After how long buffered log lines are written.
    pub fn file_flush_interval(&self) -> Duration {
        Duration::from_millis(self.file_flush_interval_msec.into())
    }

    /// The same as `/server_info` prints it; `workers` is how many threads there are.
    pub fn to_message(&self, workers: u32) -> CommandLineOptions {
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        let seconds = |seconds: u32| prost_duration(Duration::from_secs(seconds.into()));
        CommandLineOptions {
            base_id: self.base_id.into(),
            use_dynamic_base_id: self.use_dynamic_base_id,
            skip_hot_restart_on_no_parent: self.skip_hot_restart_on_no_parent,
            skip_hot_restart_parent_stats: self.skip_hot_restart_parent_stats,
            base_id_path: path(&self.base_id_path),
            concurrency: workers,
            config_path: path(&self.config_path),
            config_yaml: self.config_yaml.clone().unwrap_or_default(),
            allow_unknown_static_fields: self.allow_unknown_static_fields,
            reject_unknown_dynamic_fields: self.reject_unknown_dynamic_fields,
            ignore_unknown_dynamic_fields: self.ignore_unknown_dynamic_fields,
            skip_deprecated_logs: self.skip_deprecated_logs,
            admin_address_path: path(&self.admin_address_path),
            local_address_ip_version: match self.local_address_ip_version {
                IpVersion::V4 => command_line_options::IpVersion::V4,
                IpVersion::V6 => command_line_options::IpVersion::V6,
            } as i32,
            log_level: self.log_level.name().to_owned(),
            component_log_level: self.component_log_level.clone(),
            log_format: self.log_format.clone(),
            log_format_escaped: self.log_format_escaped,
            log_path: path(&self.log_path),
            service_cluster: self.service_cluster.clone().unwrap_or_default(),
            service_node: self.service_node.clone().unwrap_or_default(),
            service_zone: self.service_zone.clone().unwrap_or_default(),
            file_flush_interval: Some(prost_duration(self.file_flush_interval())),
            file_flush_min_size: self.file_flush_min_size_kb,
            drain_time: Some(seconds(self.drain_time_s)),
            drain_strategy: match self.drain_strategy {
                DrainStrategy::Gradual => command_line_options::DrainStrategy::Gradual,
                DrainStrategy::Immediate => command_line_options::DrainStrategy::Immediate,
            } as i32,
            parent_shutdown_time: Some(seconds(self.parent_shutdown_time_s)),
            mode: match self.mode {
                Mode::Serve => command_line_options::Mode::Serve,
                Mode::Validate => command_line_options::Mode::Validate,
                Mode::InitOnly => command_line_options::Mode::InitOnly,
            } as i32,
            disable_hot_restart: self.disable_hot_restart,
            enable_mutex_tracing: self.enable_mutex_tracing,
            restart_epoch: self.restart_epoch,
            cpuset_threads: self.cpuset_threads,
            disabled_extensions: self
                .disable_extensions
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            enable_fine_grain_logging: self.enable_fine_grain_logging,
            log_stacktrace_single_entry: self.log_stacktrace_single_entry,
            socket_path: self.socket_path.clone(),
            socket_mode: u32::from_str_radix(&self.socket_mode, 8).unwrap_or_default(),
            enable_core_dump: self.enable_core_dump,
            stats_tag: self.stats_tag.clone(),
        }
    }
}

impl LogLevel {
    /// All levels, as Envoy lists them.
    pub const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Off,
    ];

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == name || (name == "warn" && *level == Self::Warning))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }
}

fn prost_duration(duration: Duration) -> carbyne_protos::prost_types::Duration {
    carbyne_protos::prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        let arguments =
            std::iter::once("envoy").chain(line.split(' ').filter(|part| !part.is_empty()));
        match parse(arguments.map(OsString::from)) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn takes_what_pilot_agent_gives() {
        let options = options(
            "-c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate \
             --local-address-ip-version v4 --file-flush-interval-msec 1000 --disable-hot-restart \
             --allow-unknown-static-fields -l warning --component-log-level misc:error --skip-deprecated-logs \
             --concurrency 1",
        );
        assert_eq!(
            options.config_path,
            Some("etc/istio/proxy/envoy-rev.json".into())
        );
        assert_eq!(options.drain_time(), Duration::from_secs(45));
        assert_eq!(options.drain_strategy, DrainStrategy::Immediate);
        assert_eq!(options.file_flush_interval(), Duration::from_secs(1));
        assert!(
            options.allow_unknown_static_fields
                && options.disable_hot_restart
                && options.skip_deprecated_logs
        );
        assert_eq!(options.log_level, LogLevel::Warning);
        assert_eq!(options.component_log_level, "misc:error");
        assert_eq!(options.concurrency, Some(1));
        assert!(options.unknown.is_empty());
    }

    #[test]
    fn unknown_flags_are_told_and_skipped() {
        let cases: [(&str, &[&str]); 6] = [
            ("-c a --new-flag", &["--new-flag"]),
            ("--new-flag value -c a", &["--new-flag", "value"]),
            (
                "--new=1 -c a --other 2 -l warn",
                &["--new=1", "--other", "2"],
            ),
            ("-c a -x -l warn", &["-x"]),
            ("-c a stray", &["stray"]),
            ("-c a --concurrency=2 -lwarn", &[]),
        ];
        for (line, unknown) in cases {
            let options = options(line);
            assert_eq!(options.unknown, unknown, "{line}");
            assert_eq!(options.config_path, Some("a".into()), "{line}");
        }
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        assert_eq!(
            options("--config-yaml -x").config_yaml.as_deref(),
            Some("-x")
        );
    }

    #[test]
    fn bad_values_are_refused_and_versions_printed() {
        for line in [
            "--concurrency many",
            "--mode dance",
            "-l loud",
            "--drain-time-s",
        ] {
            let arguments = std::iter::once("envoy")
                .chain(line.split(' '))
                .map(OsString::from);
            assert!(parse(arguments).is_err(), "{line}");
        }
        let print = |flag: &str| match parse([OsString::from("envoy"), OsString::from(flag)]) {
            Ok(Command::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(print("--version").contains("carbyne-proxy  version: carbyne/"));
        assert_eq!(version().split('/').count(), 5);
        assert!(print("--help").contains("--drain-time-s"));
        assert_eq!(print("--hot-restart-version"), "disabled\n");
    }

    #[test]
    fn modes_are_envoys() {
        for (text, mode) in [
            ("validate", Mode::Validate),
            ("serve", Mode::Serve),
            ("init_only", Mode::InitOnly),
        ] {
            assert_eq!(options(&format!("--mode {text}")).mode, mode);
        }
    }
}
