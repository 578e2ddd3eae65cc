//! The node's log: to standard error, with a level that may be changed while it runs.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// The levels, as Kong names them; the log itself knows five.
pub const LEVELS: [&str; 8] = [
    "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg",
];

/// What changes the level of the log; nothing, until it began.
static SWITCH: OnceLock<Box<dyn Fn(&str) + Send + Sync>> = OnceLock::new();
static STATE: Mutex<State> = Mutex::new(State {
    configured: "notice",
    temporary: None,
});

struct State {
    configured: &'static str,
    temporary: Option<(&'static str, Instant)>,
}

/// Begins the log. A process has one: the second call changes its level.
pub fn begin(level: &str) {
    if SWITCH.get().is_none() {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter(level))
            .with_writer(std::io::stderr)
            .with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_ok() {
            drop(SWITCH.set(switch(handle)));
        }
    }
    configure(level);
}

fn switch<S: 'static>(handle: Handle<EnvFilter, S>) -> Box<dyn Fn(&str) + Send + Sync> {
    Box::new(move |level| {
        if let Err(error) = handle.reload(filter(level)) {
            tracing::error!(%error, "the level of the log was not changed");
        }
    })
}

/// Sets the level that holds where no other was asked for.
pub fn configure(level: &str) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.configured = known(level).unwrap_or("notice");
    apply(state.level());
}

/// Sets the level for a time.
pub fn change(level: &str, time: Duration) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.temporary = known(level).map(|level| (level, Instant::now() + time));
    apply(state.level());
}

/// The level at the moment.
pub fn level() -> &'static str {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).level()
}

/// Goes back to the configured level if the time of another has passed.
pub fn tick() {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if state
        .temporary
        .is_some_and(|(_, until)| until <= Instant::now())
    {
        state.temporary = None;
        apply(state.configured);
    }
}

impl State {
    fn level(&self) -> &'static str {
        match self.temporary {
            Some((level, until)) if until > Instant::now() => level,
            _ => self.configured,
        }
    }
}

/// The name of a level.
pub fn known(level: &str) -> Option<&'static str> {
    LEVELS.into_iter().find(|known| *known == level)
}

fn apply(level: &str) {
    if let Some(switch) = SWITCH.get() {
        switch(level);
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(match level {
        "debug" => "debug",
        "warn" => "warn",
        "error" | "crit" | "alert" | "emerg" => "error",
        _ => "info",
    })
}
