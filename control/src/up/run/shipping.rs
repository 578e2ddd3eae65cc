//! The life of what ships events: the broker, where it is ours; then its topics, made as declared; then the shipper.

use std::{path::Path, time::Duration};

use carbyne_events::{spool::directories, topics::Desired};
use tokio::{task::JoinSet, time::Instant};

use super::Life;
use crate::{
    events::spool::owed,
    running::Kind,
    terminal,
    up::{board::Level, process::Program, report_lines, topics::NotApplied},
};

/// What is under way between the folder's topics and the brokers.
#[derive(Debug, Default)]
pub(super) struct Shipping {
    /// One at a time.
    asking: JoinSet<Answer>,
    /// When the brokers are asked again.
    again: Option<Instant>,
    /// Why it could not be done, as it was said last.
    told: Option<NotApplied>,
}

/// How the brokers took what was declared.
#[derive(Debug)]
pub(super) struct Answer {
    /// When the file was saved that this is about.
    saved: Option<Instant>,
    desired: Desired,
    applied: Result<usize, NotApplied>,
}

impl Shipping {
    /// The next answer; for ever while nobody is asked.
    pub(super) async fn answered(&mut self) -> Option<Answer> {
        match self.asking.join_next().await {
            // A question that panicked was a fault of ours, and has said so.
            Some(answer) => answer.ok(),
            None => std::future::pending().await,
        }
    }

    /// When the brokers are to be asked again.
    pub(super) fn again(&self) -> Option<Instant> {
        self.again.filter(|_| self.asking.is_empty())
    }

    /// True while an answer is waited for.
    pub(super) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }
}

impl Life {
    /// Starts a broker of our own; those that are there already are asked at once.
    pub(super) fn start_broker(&mut self) {
        let Some(kafka) = &self.kafka else {
            return;
        };
        let Some(program) = kafka.broker(self.platform.directory()) else {
            self.apply_topics(None);
            return;
        };
        terminal::note(&format!(
            "starting Kafka at {}: it formats its storage, unless it has some, and waits for its controller",
            kafka.told().bootstrap
        ));
        self.keep(program);
    }

    /// True as long as the shipper has to be started: topics come first.
    pub(super) fn shipper_is_due(&self) -> bool {
        let shipper = Kind::Shipper.title("");
        self.kafka.is_some() && !self.platform.titles().any(|title| title == shipper)
    }

    /// Makes the brokers' topics as declared.
    pub(super) fn apply_topics(&mut self, saved: Option<Instant>) {
        let Some(kafka) = &self.kafka else {
            return;
        };
        if self.shipping.is_asking() {
            // After the answer.
            self.shipping.again = Some(Instant::now());
            return;
        }
        self.shipping.again = None;
        let task = self.topics.task(kafka.told());
        let desired = self.topics.desired().clone();
        self.shipping.asking.spawn_blocking(move || Answer {
            saved,
            desired,
            applied: task.run(),
        });
    }

    /// Says how it went; then the shipper may start.
    pub(super) fn applied(&mut self, answer: Answer) {
        let Answer {
            saved,
            desired,
            applied,
        } = answer;
        // What was saved meanwhile is asked about next.
        let current = *self.topics.desired() == desired;
        match applied.clone() {
            Ok(changed) => {
                self.topics.applied(desired);
                if changed > 0 || saved.is_some() {
                    let words = match changed {
                        0 => "nothing to change".to_owned(),
                        1 => "1 topic changed".to_owned(),
                        _ => format!("{changed} topics changed"),
                    };
                    let name = self.topics.name();
                    self.say(&match saved {
                        Some(saved) => {
                            let took = saved.elapsed().as_millis();
                            format!("applied {name} in {took} ms: {words}")
                        }
                        None => format!("applied {name}: {words}"),
                    });
                }
            }
            Err(NotApplied::Refused(lines)) => {
                self.progress.clear();
                for line in lines {
                    self.note(Level::Bad, line.clone());
                    terminal::error(&line, None);
                }
                terminal::note(&super::refused(&self.topics.name()));
                if current {
                    self.topics.refused();
                }
            }
            Err(NotApplied::Later(why)) => {
                if current {
                    self.shipping.again = Some(Instant::now() + AGAIN);
                }
                if self.shipping.told.as_ref() != applied.as_ref().err() {
                    let name = self.topics.name();
                    let line = format!("{name} cannot be applied now, it is tried again: {why}");
                    self.note(Level::Warning, line.clone());
                    self.progress.clear();
                    terminal::warning(&line);
                }
            }
        }
        self.shipping.told = applied.err();
        let due = self.shipper_is_due().then(|| self.kafka.clone()).flatten();
        if let Some(kafka) = due {
            self.keep(kafka.shipper(self.platform.directory()));
            self.publish();
        }
    }

    /// Reads the folder's topics again, and has the brokers follow.
    pub(super) fn reload_topics(&mut self, saved: Instant) {
        match self.topics.reload() {
            Ok(false) => {}
            Ok(true) if self.kafka.is_some() => self.apply_topics(Some(saved)),
            Ok(true) => {
                let name = self.topics.name();
                self.say(&format!(
                    "{name} is good; there is no broker to apply it to (--kafka, --with-kafka)"
                ));
            }
            Err(error) => {
                report_lines(&error);
                self.note(Level::Bad, error.to_string());
                terminal::note(&super::refused(&self.topics.name()));
            }
        }
    }

    fn keep(&mut self, program: Program) {
        let program = self.platform.keep(program);
        self.pending.insert(program.title(), program);
    }

    fn say(&mut self, line: &str) {
        self.note(Level::Good, line);
        self.progress.clear();
        terminal::note(line);
    }
}

/// Says how many events go with the spool that no broker has.
pub(super) fn warn_of_owed(events: &Path) {
    let spools = directories(events).unwrap_or_default();
    let owed: u64 = spools
        .iter()
        .filter_map(|spool| owed(spool).ok())
        .map(|(owed, _)| owed)
        .sum();
    if owed > 0 {
        terminal::warning(&format!(
            "{owed} events were not shipped and are removed: --keep FOLDER would have kept them"
        ));
    }
}

/// Between two questions to brokers that do not answer.
const AGAIN: Duration = Duration::from_secs(5);
