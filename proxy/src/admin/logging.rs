//! `/logging`: lists levels and changes them.

use super::{Query, Response, State};
use crate::cli::LogLevel;

/// Answers `/logging`.
pub(super) fn page(query: &Query, state: &impl State) -> Response {
    let changes = changes(query, state);
    let status = match &changes {
        Ok(changes) => {
            for (logger, level) in changes {
                state.set_log_level(logger.as_deref(), *level);
            }
            200
        }
        Err(_) => 400,
    };
    let mut text = String::new();
    if let Err(reason) = changes {
        text.push_str(&format!("error: {reason}\n\n"));
        text.push_str("usage: /logging?<name>=<level> (change single level)\n");
        text.push_str(
            "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n",
        );
        text.push_str("usage: /logging?level=<level> (change all levels)\n");
        text.push_str("levels: ");
        for level in LogLevel::ALL {
            text.push_str(&format!("{} ", level.name()));
        }
        text.push('\n');
    }
    text.push_str("active loggers:\n");
    for (name, level) in state.loggers() {
        text.push_str(&format!("  {name}: {}\n", level.name()));
    }
    text.push('\n');
    Response::text(status, text)
}

/// What is to change: a logger, or all, and the level. Everything is checked before anything changes.
fn changes(
    query: &Query,
    state: &impl State,
) -> Result<Vec<(Option<String>, LogLevel)>, &'static str> {
    let mut parameters = query.iter();
    let Some((name, value)) = parameters.next() else {
        return Ok(Vec::new());
    };
    if parameters.next().is_some() {
        return Err("invalid number of parameters");
    }
    let level = |name: &str| LogLevel::from_name(name).ok_or("unknown logger level");
    let known = state.loggers();
    let logger = |name: &str| {
        let known = known.iter().any(|(known, _)| *known == name);
        if known {
            Ok(Some(name.to_owned()))
        } else {
            Err("unknown logger name")
        }
    };
    match name {
        "level" => Ok(vec![(None, level(value)?)]),
        "paths" | "group" => value
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once(':').ok_or("expected name:level")?;
                Ok((logger(name)?, level(value)?))
            })
            .collect(),
        name => Ok(vec![(logger(name)?, level(value)?)]),
    }
}
