//! The admin port, as pilot-agent, istioctl and operators ask it: functions from a request and the readable
//! state to a response, without sockets.
//!
//! | file | what lives there |
//! |---|---|
//! | [`state`] | what the pages read and which actions they may take |
//! | [`query`] | the parameters of a request |
//! | [`stats`], [`prometheus`], [`histogram`] | `/stats`, `/stats/prometheus` |
//! | [`config_dump`], [`mask`] | `/config_dump` |
//! | [`clusters`], [`listeners`], [`certs`] | `/clusters`, `/listeners`, `/certs` |
//! | [`server`] | `/ready`, `/server_info`, `/memory`, `/runtime`, `/init_dump` |
//! | [`logging`], [`loggers`] | `/logging`, and the levels behind it |
//! | `json` | Envoy's layout of JSON |

pub mod certs;
pub mod clusters;
pub mod config_dump;
pub mod histogram;
mod json;
pub mod listeners;
pub mod loggers;
pub mod logging;
pub mod mask;
pub mod prometheus;
pub mod query;
pub mod server;
pub mod state;
pub mod stats;

pub use query::Query;
pub use state::State;

/// A request to the admin port.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method's name.
    pub method: &'a str,
    /// The request target as it came: path and query. pilot-agent sends characters such as `^ ( | ) \ $`
    /// without escaping them.
    pub target: &'a str,
}

/// An answer of the admin port. To it belong also the fields of [`FIELDS`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body; not sent in answer to HEAD.
    pub body: String,
}

/// Fields that every answer carries, as Envoy's do.
pub const FIELDS: [(&str, &str); 3] = [
    ("cache-control", "no-cache, max-age=0"),
    ("x-content-type-options", "nosniff"),
    ("server", "envoy"),
];

/// Answers a request.
pub fn handle(request: Request<'_>, state: &impl State) -> Response {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((request.target, ""));
    let query = Query::parse(query);
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        let known = page_list();
        return Response::text(404, format!("invalid path. admin commands are:\n{known}"));
    };
    if page.post && request.method != "POST" {
        return Response::text(
            405,
            format!("Method {} not allowed, POST required.", request.method),
        );
    }
    match path {
        "/" => Response {
            status: 200,
            content_type: "text/html; charset=UTF-8",
            body: home(),
        },
        "/certs" => certs::page(state),
        "/clusters" => clusters::page(&query, state),
        "/config_dump" => config_dump::page(&query, state),
        "/contention" => Response::ok(
            "Mutex contention tracing is not enabled. There are no mutexes on the request path.",
        ),
        "/drain_listeners" => {
            state.drain_listeners(state::Drain {
                graceful: query.has("graceful"),
                skip_exit: query.has("skip_exit"),
                inbound_only: query.has("inboundonly"),
            });
            Response::done()
        }
        "/healthcheck/fail" => {
            state.fail_health_checks(true);
            Response::done()
        }
        "/healthcheck/ok" => {
            state.fail_health_checks(false);
            Response::done()
        }
        "/help" => Response::ok(format!("admin commands are:\n{}", page_list())),
        "/hot_restart_version" => Response::ok("disabled"),
        "/init_dump" => server::init_dump(&query, state),
        "/listeners" => listeners::page(&query, state),
        "/logging" => logging::page(&query, state),
        "/memory" => server::memory(state),
        "/quitquitquit" => {
            state.quit();
            Response::done()
        }
        "/ready" => server::ready(state),
        "/reopen_logs" => {
            state.reopen_logs();
            Response::done()
        }
        "/reset_counters" => {
            state.reset_counters();
            Response::done()
        }
        "/runtime" => server::runtime(state),
        "/server_info" => server::info(state),
        "/stats" => stats::page(&query, state),
        "/stats/prometheus" => prometheus::page(&query, state),
        // The table and this list are compared by a test.
        _ => Response::text(404, String::new()),
    }
}

impl Response {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=UTF-8",
            body: body.into(),
        }
    }

    fn ok(body: impl Into<String>) -> Self {
        Self::text(200, body)
    }

    fn done() -> Self {
        Self::ok("OK\n")
    }

    fn json(value: &serde_json::Value) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            body: json::text(value),
        }
    }
}

/// One path of the port.
struct Page {
    path: &'static str,
    /// Changes something, so GET will not do.
    post: bool,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
}

fn page_list() -> String {
    let mut text = String::new();
    for page in PAGES {
        let post = if page.post { " (POST)" } else { "" };
        text.push_str(&format!("  {}{post}: {}\n", page.path, page.help));
        for (name, help) in page.parameters {
            text.push_str(&format!("      {name}: {help}\n"));
        }
    }
    text
}

fn home() -> String {
    let mut rows = String::new();
    for page in PAGES {
        let path = page.path;
        let link = if page.post {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        rows.push_str(&format!("<tr><td>{link}</td><td>{}</td></tr>\n", page.help));
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>carbyne-proxy admin</title></head>\n<body><table>\n{rows}</table></body></html>\n"
    )
}

const fn read(
    path: &'static str,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Page {
    Page {
        path,
        post: false,
        help,
        parameters,
    }
}

const fn change(
    path: &'static str,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
) -> Page {
    Page {
        path,
        post: true,
        help,
        parameters,
    }
}

const PAGES: &[Page] = &[
    read("/", "this list as a page", &[]),
    read("/certs", "certificates in use", &[]),
    read(
        "/clusters",
        "clusters and their endpoints",
        &[
            ("filter", "regular expression on cluster names"),
            ("format", "text or json"),
        ],
    ),
    read(
        "/config_dump",
        "configuration in use",
        &[
            ("resource", "only the elements of this list"),
            (
                "mask",
                "only these fields (a FieldMask); with resource, of each element",
            ),
            ("name_regex", "only resources whose whole name matches"),
            ("include_eds", "endpoints too"),
        ],
    ),
    read("/contention", "mutex contention", &[]),
    change(
        "/drain_listeners",
        "drain listeners",
        &[
            (
                "graceful",
                "let connections finish during the drain time before closing listeners",
            ),
            (
                "skip_exit",
                "drain connections and never close the listeners",
            ),
            (
                "inboundonly",
                "only listeners whose traffic_direction is INBOUND",
            ),
        ],
    ),
    change("/healthcheck/fail", "fail health checks", &[]),
    change("/healthcheck/ok", "pass health checks again", &[]),
    read("/help", "this list", &[]),
    read(
        "/hot_restart_version",
        "hot restart compatibility version",
        &[],
    ),
    read(
        "/init_dump",
        "what initialisation waits for",
        &[("mask", "only this kind, such as listener")],
    ),
    read(
        "/listeners",
        "listeners and their addresses",
        &[("format", "text or json")],
    ),
    change(
        "/logging",
        "log levels, and change them",
        &[
            ("paths", "name:level,name:level,…"),
            (
                "level",
                "level for all loggers: trace, debug, info, warning, error, critical or off",
            ),
        ],
    ),
    read("/memory", "memory in use", &[]),
    change("/quitquitquit", "exit", &[]),
    read("/ready", "state of the server: 200 if LIVE, else 503", &[]),
    change("/reopen_logs", "reopen log files", &[]),
    change("/reset_counters", "set all counters to zero", &[]),
    read("/runtime", "runtime values", &[]),
    read("/server_info", "version, state and command line", &[]),
    read(
        "/stats",
        "statistics",
        &[
            ("usedonly", "only what was changed since the start"),
            ("filter", "regular expression on names"),
            ("format", "text, json or prometheus"),
            ("type", "All, Counters, Gauges, Histograms or TextReadouts"),
            ("histogram_buckets", "summary, cumulative or disjoint"),
        ],
    ),
    read(
        "/stats/prometheus",
        "statistics for Prometheus",
        &[
            ("usedonly", "only what was changed since the start"),
            ("filter", "regular expression on names"),
            ("text_readouts", "texts too, as labels"),
        ],
    ),
];

#[cfg(test)]
mod tests;
