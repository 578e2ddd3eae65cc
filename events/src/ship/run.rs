//! The shipper's thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::link::{self, BATCH, Link, News, Numbers, Report};
use super::source::{Outbox, Source, source_of};
use super::status::{Problem, ShipStatus};
use super::{Settings, Shared, ShipError, limits};
use crate::emit::{Histogram, now};
use crate::event::Topic;
use crate::ring::TOPICS;
use crate::spool::directories;

pub(super) struct Run {
    root: PathBuf,
    settings: Settings,
    shared: Arc<Shared>,
    link: Link,
    sources: Vec<Source>,
    /// Spools that another shipper has.
    taken: BTreeSet<String>,
    on_the_way: usize,
    blocked: BTreeMap<Topic, Blocked>,
    value: Vec<u8>,
    acknowledged: [u64; TOPICS],
    delivery: Histogram,
    errors: BTreeMap<String, u64>,
    restarts: u64,
    /// Of clients that are gone.
    retries: u64,
    numbers: Numbers,
    unreachable: Option<String>,
    credentials: Option<String>,
    folder: Option<String>,
    looked: Option<Instant>,
    settled: Option<Instant>,
}

/// Why a topic's records wait, and until when.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    why: Why,
    until: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    Missing,
    Forbidden,
    Other(Code),
}

impl Run {
    pub(super) fn new(
        root: &Path,
        settings: Settings,
        shared: Arc<Shared>,
    ) -> Result<Self, ShipError> {
        let link = Link::open(&settings, BATCH)?;
        Ok(Self {
            root: root.to_path_buf(),
            settings,
            shared,
            link,
            sources: Vec::new(),
            taken: BTreeSet::new(),
            on_the_way: 0,
            blocked: BTreeMap::new(),
            value: Vec::new(),
            acknowledged: [0; TOPICS],
            delivery: Histogram::default(),
            errors: BTreeMap::new(),
            restarts: 0,
            retries: 0,
            numbers: Numbers::default(),
            unreachable: None,
            credentials: None,
            folder: None,
            looked: None,
            settled: None,
        })
    }

    pub(super) fn run(mut self) {
        while !self.shared.stopping.load(Acquire) {
            self.look();
            let handed = self.pump();
            let news = self.link.poll(match (handed, self.on_the_way) {
                (true, _) => Duration::ZERO,
                (false, 0) => IDLE,
                (false, _) => REST,
            });
            self.hear(news);
            self.unblock();
            self.advance();
            self.settle();
        }
        // What is on its way may still be reported.
        let until = Instant::now() + FAREWELL;
        while self.on_the_way > 0 && Instant::now() < until {
            let news = self.link.poll(REST);
            self.hear(news);
        }
        self.advance();
        self.settled = None;
        self.settle();
    }

    /// Finds new spools, and drains the rings of processes that are gone.
    fn look(&mut self) {
        let wanted = self.shared.look.swap(false, AcqRel);
        if !wanted && self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        self.folder = match self.find() {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        for source in &mut self.sources {
            source.error = source.recover().err().map(|error| error.to_string());
        }
    }

    fn find(&mut self) -> io::Result<()> {
        for directory in directories(&self.root)? {
            let known = self
                .sources
                .iter()
                .any(|source| *source.directory() == directory);
            if known || self.sources.len() >= SOURCES {
                continue;
            }
            let name = directory.name().to_owned();
            match Source::open(directory)? {
                Some(source) => {
                    self.taken.remove(&name);
                    self.sources.push(source);
                }
                None => {
                    self.taken.insert(name);
                }
            }
        }
        Ok(())
    }

    fn pump(&mut self) -> bool {
        let blocked = &self.blocked;
        let is_blocked = |topic: Topic| blocked.contains_key(&topic);
        let mut reports = Vec::new();
        let mut handed = false;
        for (index, source) in self.sources.iter_mut().enumerate() {
            let mut outbox = Outbox {
                link: &self.link,
                form: self.settings.form,
                source: index,
                on_the_way: &mut self.on_the_way,
                window: self.settings.window,
                is_blocked: &is_blocked,
                reports: &mut reports,
                value: &mut self.value,
            };
            match source.pump(&mut outbox) {
                Ok(some) => handed |= some,
                Err(error) => source.error = Some(error.to_string()),
            }
        }
        for report in reports {
            self.report(&report);
        }
        handed
    }

    fn hear(&mut self, news: News) {
        if let Some(numbers) = news.statistics {
            self.numbers = numbers;
        }
        for (code, reason) in news.errors {
            link::count(&mut self.errors, code);
            match code {
                Code::Authentication | Code::SaslAuthenticationFailed => {
                    self.credentials = Some(reason)
                }
                Code::AllBrokersDown => self.unreachable = Some(reason),
                // One broker of several may be gone.
                Code::BrokerTransportFailure | Code::Resolve
                    if self.unreachable.is_none() && self.numbers.brokers_up == 0 =>
                {
                    self.unreachable = Some(reason);
                }
                _ => {}
            }
        }
        let size = news
            .reports
            .iter()
            .filter(|report| report.error == Some(Code::MessageSizeTooLarge));
        let sizes: Vec<usize> = size.map(|report| report.place).collect();
        for report in &news.reports {
            if report.error != Some(Code::MessageSizeTooLarge) {
                self.report(report);
            }
        }
        if !sizes.is_empty() {
            self.shrink(&sizes);
        }
        if self.link.fatal().is_some() {
            self.restart(self.link.batch);
        }
    }

    fn report(&mut self, report: &Report) {
        if report.error == Some(Code::MessageSizeTooLarge) {
            return self.shrink(&[report.place]);
        }
        self.on_the_way = self.on_the_way.saturating_sub(1);
        let Some(source) = self.sources.get_mut(source_of(report.place)) else {
            return;
        };
        let place = source.unpack(report.place);
        let Some(error) = report.error else {
            if let Some(topic) = source.finish(place) {
                self.acknowledged[topic as usize] += 1;
            }
            self.unreachable = None;
            self.credentials = None;
            return;
        };
        link::count(&mut self.errors, error);
        let Some(topic) = source.give_back(place) else {
            return;
        };
        let why = match error {
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Why::Missing
            }
            Code::TopicAuthorizationFailed => Why::Forbidden,
            // Whatever it is, what follows by the same key waits with it.
            other => Why::Other(other),
        };
        let until = Instant::now()
            + match why {
                Why::Other(_) => RETRY,
                Why::Missing | Why::Forbidden => 2 * RETRY,
            };
        self.blocked.insert(topic, Blocked { why, until });
    }

    /// Records were too large, or the batches that they were in.
    fn shrink(&mut self, places: &[usize]) {
        self.on_the_way = self.on_the_way.saturating_sub(places.len());
        link::count(&mut self.errors, Code::MessageSizeTooLarge);
        let batch = self.link.batch;
        let least = limits::least(&self.settings);
        let mut rewind = None;
        for packed in places {
            let Some(source) = self.sources.get_mut(source_of(*packed)) else {
                continue;
            };
            let place = source.unpack(*packed);
            let size = source.size(place).unwrap_or(batch);
            let smaller = match least {
                Some(least) => least.max(SMALLEST_BATCH),
                // The brokers do not say: half of it.
                None => (batch / 2).max(size).max(SMALLEST_BATCH),
            };
            if smaller < batch {
                source.give_back(place);
                rewind = Some(smaller);
            } else if let Err(error) = source.bury(place) {
                source.error = Some(error.to_string());
                source.give_back(place);
                source.look_again();
            }
        }
        if let Some(smaller) = rewind {
            self.restart(smaller);
        }
    }

    /// Another client; what the old one has not reported is owed still.
    fn restart(&mut self, batch: usize) {
        let link = match Link::open(&self.settings, batch) {
            Ok(link) => link,
            Err(error) => {
                // The settings were taken before: something of the system's is used up.
                self.unreachable = Some(error.to_string());
                thread::sleep(RETRY);
                return;
            }
        };
        let old = std::mem::replace(&mut self.link, link);
        for report in old.poll(Duration::ZERO).reports {
            if report.error.is_none() {
                self.report(&report);
            }
        }
        // Its end waits for what it has purged.
        let dropping = thread::Builder::new().name("events-purge".to_owned());
        dropping.spawn(move || drop(old)).ok();
        self.retries += std::mem::take(&mut self.numbers).retries;
        self.restarts += 1;
        self.on_the_way = 0;
        for source in &mut self.sources {
            source.rewind();
        }
    }

    /// Lets topics go on whose time has come.
    fn unblock(&mut self) {
        let now = Instant::now();
        let due = self
            .blocked
            .iter()
            .filter(|(_, blocked)| blocked.until <= now);
        let due: Vec<(Topic, Blocked)> = due.map(|(topic, blocked)| (*topic, *blocked)).collect();
        for (topic, blocked) in due {
            if blocked.why == Why::Missing && !self.link.has_topic(topic.name(), RETRY) {
                let until = Instant::now() + 2 * RETRY;
                self.blocked.insert(topic, Blocked { until, ..blocked });
                continue;
            }
            self.blocked.remove(&topic);
            for source in &mut self.sources {
                source.look_again();
            }
        }
    }

    fn advance(&mut self) {
        for source in &mut self.sources {
            for time in source.advance() {
                let took = Duration::from_micros(now().saturating_sub(time));
                self.delivery.add(took);
            }
        }
    }

    fn settle(&mut self) {
        if self
            .settled
            .is_some_and(|settled| settled.elapsed() < SETTLE)
        {
            return;
        }
        self.settled = Some(Instant::now());
        for source in &mut self.sources {
            if let Err(error) = source.settle() {
                source.error = Some(error.to_string());
            }
        }
        let status = self.status();
        self.shared.board.write(status);
    }

    fn status(&self) -> ShipStatus {
        let mut problems = Vec::new();
        problems.extend(self.credentials.clone().map(Problem::Credentials));
        if self.credentials.is_none() {
            problems.extend(self.unreachable.clone().map(Problem::Unreachable));
        }
        for (topic, blocked) in &self.blocked {
            match blocked.why {
                Why::Missing => problems.push(Problem::MissingTopic(*topic)),
                Why::Forbidden => problems.push(Problem::Forbidden(*topic)),
                // What only says that a broker is gone or goes over is said elsewhere.
                Why::Other(error) if LASTING.contains(&error) => {
                    problems.push(Problem::Refused {
                        topic: *topic,
                        error: error.to_string(),
                    });
                }
                Why::Other(_) => {}
            }
        }
        problems.extend(self.taken.iter().cloned().map(Problem::Taken));
        problems.extend(self.folder.clone().map(|error| Problem::Spool {
            name: self.root.display().to_string(),
            error,
        }));
        let mut dead_letters = 0;
        let mut status = ShipStatus::default();
        for source in &self.sources {
            let name = source.directory().name().to_owned();
            if let Some(kind) = source.unknown {
                problems.push(Problem::UnknownKind {
                    name: name.clone(),
                    kind,
                });
            }
            problems.extend(
                source
                    .error
                    .clone()
                    .map(|error| Problem::Spool { name, error }),
            );
            status.gaps += source.counts.gaps;
            status.damages += source.counts.damages;
            status.repeats += source.counts.repeats;
            dead_letters += source.counts.dead_letters;
        }
        if dead_letters > 0 {
            problems.push(Problem::DeadLetters(dead_letters));
        }
        ShipStatus {
            acknowledged: self.acknowledged,
            delivery: self.delivery.clone(),
            dead_letters,
            restarts: self.restarts,
            retries: self.retries + self.numbers.retries,
            errors: self.errors.clone(),
            queued: self.on_the_way as u64,
            brokers_up: self.numbers.brokers_up,
            problems,
            spools: self.sources.iter().map(Source::status).collect(),
            is_idle: self.looked.is_some() && self.sources.iter().all(Source::is_idle),
            ..status
        }
    }
}

/// Errors that do not pass by themselves.
const LASTING: &[Code] = &[
    Code::InvalidTimestamp,
    Code::InvalidRecord,
    Code::PolicyViolation,
    Code::ClusterAuthorizationFailed,
    Code::UnsupportedForMessageFormat,
];

/// How long it rests when there is nothing to hand over, and reports are awaited.
const REST: Duration = Duration::from_millis(5);
/// The same when none are: what an event waits at most that comes after a pause.
const IDLE: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(1);
pub(super) const SETTLE: Duration = Duration::from_millis(250);
/// How long the end waits for reports.
const FAREWELL: Duration = Duration::from_secs(2);
const SMALLEST_BATCH: usize = 1024;
/// As many as a packed place can tell apart.
const SOURCES: usize = 1 << 15;
