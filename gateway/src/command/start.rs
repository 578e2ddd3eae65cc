//! `start`.

use super::{Done, conf, serve};

pub(super) fn start(arguments: &[&str]) -> Done {
    let (conf, notes) = conf(arguments)?;
    let level = match conf.get("log_level") {
        Some("debug") => "debug",
        Some("warn") => "warn",
        Some("error" | "crit" | "alert" | "emerg") => "error",
        _ => "info",
    };
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .init();
    for note in notes {
        tracing::warn!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    runtime
        .map_err(|error| error.to_string())?
        .block_on(serve::serve(conf, || Ok(())))
}
