//! What `up` knows of its programs, for who looks: the page.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::Notify;

use super::tries::Try;
use crate::running::{Kafka, Member};

/// Cheap to clone; all clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    told: Mutex<Told>,
    changed: Notify,
}

/// What is known at a moment.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Folder of configuration.
    pub folder: PathBuf,
    /// Run directory.
    pub run: PathBuf,
    /// Where members spool events.
    pub events: PathBuf,
    /// Where events are shipped to.
    pub kafka: Option<Kafka>,
    /// Everything was ready once.
    pub ready: bool,
    /// Everything that runs.
    pub members: Vec<Member>,
    /// How each is, by its title.
    pub conditions: BTreeMap<String, Condition>,
    /// What happened, the newest first.
    pub notices: VecDeque<Notice>,
    /// What to try.
    pub tries: Vec<Try>,
}

/// How a program is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is doing.
    pub state: State,
    /// How often it was started.
    pub starts: u32,
    /// Milliseconds since 1970 at which it came to this state.
    pub since: u64,
    /// How it ended the last time.
    pub last_end: Option<String>,
}

/// What a program is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs and has not said that it is ready.
    #[default]
    Starting,
    /// It is ready, or runs and does not say.
    Ready,
    /// It ended and will be started again.
    Down,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Milliseconds since 1970.
    pub time: u64,
    /// How bad it is.
    pub level: Level,
    /// What.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As wished.
    Good,
    /// Something to look at.
    Warning,
    /// Something was refused.
    Bad,
}

impl Board {
    /// What is known now.
    #[must_use]
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    /// Changes what is known.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.lock());
        self.0.changed.notify_one();
    }

    /// A program came to another state.
    pub fn became(&self, title: &str, state: State, end: Option<&str>) {
        self.tell(|told| {
            let condition = told.conditions.entry(title.to_owned()).or_default();
            if state == State::Starting {
                condition.starts += 1;
            }
            if let Some(end) = end {
                condition.last_end = Some(end.to_owned());
            }
            condition.state = state;
            condition.since = now();
        });
    }

    /// Something happened.
    pub fn note(&self, level: Level, text: impl Into<String>) {
        let (time, text) = (now(), text.into());
        self.tell(|told| {
            told.notices.push_front(Notice { time, level, text });
            told.notices.truncate(NOTICES);
        });
    }

    /// Waits until something is told that nobody has waited for yet.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const NOTICES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_notices_and_counts_starts() {
        let board = Board::default();
        for number in 0..30 {
            board.note(Level::Good, number.to_string());
        }
        board.became("portal's sidecar", State::Starting, None);
        board.became("portal's sidecar", State::Down, Some("signal: 9"));
        board.became("portal's sidecar", State::Starting, None);
        board.became("portal's sidecar", State::Ready, None);
        let told = board.told();
        assert_eq!(told.notices.len(), NOTICES);
        assert_eq!(told.notices[0].text, "29");
        let condition = &told.conditions["portal's sidecar"];
        assert_eq!((condition.starts, condition.state), (2, State::Ready));
        assert_eq!(condition.last_end.as_deref(), Some("signal: 9"));
    }
}
