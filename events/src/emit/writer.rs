//! The thread that moves records from rings into the spool and has the disk keep them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::outlet::{LIMIT, STUCK, Shared};
use super::status::Totals;
use super::{Kept, now};
use crate::event::{AuditGap, Class, Closing, Event, Kind, Topic, audit_gap, closing};
use crate::ring::{self, Consumer, Count, Gauge, Owner, Record, TOPICS};
use crate::spool::append::{Appender, Storage};
use crate::spool::block::Builder;
use crate::spool::{Claim, End, Ledger, Position, Reader, Step};

/// One ring on its way into the spool.
pub(super) struct Drain {
    consumer: Consumer,
    gauge: Gauge,
    owner: Owner,
    /// `NODE/ROLE-N/WORKER`.
    producer: String,
    /// Its file; none where it is memory alone.
    path: Option<PathBuf>,
    kept: watch::Sender<Kept>,
    progress: Progress,
}

/// How far the records of a ring are in the spool.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The last sequence that is accounted for.
    last: u64,
    /// Of each topic the last sequence.
    previous: [u64; TOPICS],
    /// When the last record was.
    time: u64,
    spooled: [u64; TOPICS],
    /// Frames of the ring were damaged, and nothing has been said of it yet.
    torn: bool,
}

/// What a drain has put into a block.
#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    /// Something in it is to be on disk soon.
    durable: bool,
    /// Somebody waits for that.
    awaited: bool,
    more: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    appender: Appender,
    drains: Vec<Drain>,
    topics: Topics,
    builder: Builder,
    block: Vec<u8>,
    /// Since when something waits for the disk.
    owed: Option<Instant>,
    awaited: bool,
    usage: Usage,
    /// No try before, after the disk has failed.
    pause: Option<Instant>,
}

/// Bytes of the spool.
struct Usage {
    listed: u64,
    at: Option<Instant>,
}

/// Topics by numbers of kinds.
struct Topics(Vec<Option<Topic>>);

impl Drain {
    pub(super) fn new(
        consumer: Consumer,
        owner: Owner,
        process: &str,
        path: Option<PathBuf>,
        kept: watch::Sender<Kept>,
    ) -> Self {
        Self {
            gauge: consumer.gauge(),
            consumer,
            owner,
            producer: format!("{process}/{}", owner.worker),
            path,
            kept,
            progress: Progress::default(),
        }
    }

    /// Moves records into the builder until it is full or the ring empty.
    fn gather(
        &mut self,
        builder: &mut Builder,
        limit: usize,
        topics: &Topics,
        totals: &Totals,
    ) -> Gathered {
        let mut gathered = Gathered::default();
        builder.clear();
        loop {
            if builder.len() >= limit {
                gathered.more = true;
                return gathered;
            }
            let (record, bytes) = match self.consumer.take() {
                None => break,
                Some(Err(_)) => {
                    totals.torn.fetch_add(1, Relaxed);
                    self.progress.torn = true;
                    continue;
                }
                Some(Ok(bytes)) => match Record::read(bytes) {
                    Some(record) => (record, bytes),
                    None => {
                        totals.torn.fetch_add(1, Relaxed);
                        self.progress.torn = true;
                        continue;
                    }
                },
            };
            let progress = &mut self.progress;
            if record.sequence <= progress.last {
                // The spool has it: the process died between block and release.
                continue;
            }
            if record.sequence > progress.last + 1 {
                let gap = Gap {
                    last: record.sequence - 1,
                    last_time: record.time,
                };
                gap.declare(&self.gauge, self.owner, &self.producer, progress, builder);
            }
            builder.push(record.sequence, record.time, bytes);
            progress.last = record.sequence;
            progress.time = record.time;
            gathered.awaited |= record.awaited;
            if let Some(topic) = topics.of(record.kind) {
                progress.previous[topic as usize] = record.sequence;
                progress.spooled[topic as usize] += 1;
                gathered.durable |= topic.class() != Class::BestEffort;
            }
        }
        if let Some(last) = self.consumer.settled()
            && last > self.progress.last
        {
            let gap = Gap {
                last,
                last_time: now(),
            };
            let progress = &mut self.progress;
            gap.declare(&self.gauge, self.owner, &self.producer, progress, builder);
            gathered.durable = true;
        }
        gathered
    }

    /// Says in the builder that this producer is done.
    fn close(&mut self, builder: &mut Builder, reason: closing::Reason) {
        let event = Closing {
            time: now(),
            producer: &self.producer,
            epoch: self.owner.epoch,
            sequence: self.progress.last,
            lost: 0,
            reason,
        };
        let sequence = self.progress.last + 1;
        self.progress.say(&event, sequence, sequence, builder);
    }

    fn end(&self) -> End {
        End {
            epoch: self.owner.epoch,
            worker: self.owner.worker,
            last: self.progress.last,
        }
    }

    /// A worker's number. A process that has started more of them than that since it began has another fault.
    fn worker(&self) -> u16 {
        u16::try_from(self.owner.worker).unwrap_or(u16::MAX)
    }
}

/// Sequences from the next one on that no record has.
struct Gap {
    last: u64,
    last_time: u64,
}

impl Gap {
    fn declare(
        self,
        gauge: &Gauge,
        owner: Owner,
        producer: &str,
        progress: &mut Progress,
        builder: &mut Builder,
    ) {
        let first = progress.last + 1;
        let reason = match dropped(gauge, first) {
            Some(reason) if !progress.torn => reason,
            // Frames that were damaged, or that a power cut has taken from an orphan.
            _ => audit_gap::Reason::BlockCorrupt,
        };
        let event = AuditGap {
            time: now(),
            producer,
            epoch: owner.epoch,
            topic: &topics_since(gauge, first),
            reason,
            count: self.last - progress.last,
            first_time: if progress.time == 0 {
                self.last_time
            } else {
                progress.time
            },
            last_time: self.last_time,
            first_sequence: Some(first),
            last_sequence: Some(self.last),
        };
        progress.say(&event, first, self.last, builder);
        progress.torn = false;
    }
}

impl Progress {
    /// Writes an event of the writer's own in the producer's name.
    fn say<E: Event>(&mut self, event: &E, sequence: u64, last: u64, builder: &mut Builder) {
        let topic = E::KIND.topic() as usize;
        let mut body = Vec::with_capacity(event.bound());
        event.encode(&mut body);
        let record = Record {
            sequence,
            previous: self.previous[topic],
            time: event.time(),
            kind: E::KIND.number(),
            awaited: false,
            key: event.key(),
            trace: None,
            body: &body,
        };
        let mut bytes = Vec::with_capacity(body.len() + 128);
        record.write(&mut bytes);
        builder.push(sequence, record.time, &bytes);
        builder.account(last);
        self.previous[topic] = sequence;
        self.spooled[topic] += 1;
        self.last = last;
        self.time = record.time;
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, appender: Appender) -> Self {
        let builder = Builder::new(shared.options.block_bytes);
        Self {
            shared,
            appender,
            drains: Vec::new(),
            topics: Topics::new(),
            builder,
            block: Vec::new(),
            owed: None,
            awaited: false,
            usage: Usage {
                listed: 0,
                at: None,
            },
            pause: None,
        }
    }

    pub(super) fn run(mut self) {
        let interval = self.shared.options.commit_interval;
        loop {
            // Asked before the rings are looked at: what was emitted before `close` is drained.
            let closing = self.shared.is_closing();
            let busy = self.round(closing);
            if closing {
                return;
            }
            thread::park_timeout(if busy { interval / 10 } else { interval / 2 });
        }
    }

    /// Looks at all rings once. Says whether there was much.
    pub(super) fn round(&mut self, closing: bool) -> bool {
        self.drains.extend(self.shared.take_newcomers());
        match self.measure().and_then(|()| self.pass(closing)) {
            Ok(busy) => busy,
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// Moves what lies in the rings, and syncs what is due. Says whether there was much.
    fn pass(&mut self, closing: bool) -> io::Result<bool> {
        if self.pause.is_some_and(|until| Instant::now() < until) && !closing {
            return Ok(false);
        }
        let mut busy = false;
        let mut index = 0;
        while index < self.drains.len() {
            if self.is_full() {
                break;
            }
            let ended = self.drains[index].consumer.is_closed();
            busy |= self.drain(index)?;
            if ended && self.finish(index)? {
                self.drains.swap_remove(index);
            } else {
                index += 1;
            }
        }
        let interval = self.shared.options.commit_interval;
        let due = self
            .owed
            .is_some_and(|since| since.elapsed() >= interval / 2);
        if due || self.awaited || closing {
            self.sync()?;
        }
        Ok(busy)
    }

    /// Moves all that lies in one ring.
    fn drain(&mut self, index: usize) -> io::Result<bool> {
        let limit = self.shared.options.block_bytes;
        let mut busy = false;
        loop {
            let drain = &mut self.drains[index];
            let before = drain.progress;
            let gathered =
                drain.gather(&mut self.builder, limit, &self.topics, &self.shared.totals);
            if self.builder.is_empty() {
                drain.consumer.release(drain.progress.last);
                return Ok(busy);
            }
            self.builder
                .finish(drain.owner.epoch, drain.worker(), &mut self.block);
            if let Err(error) = self.appender.append(&mut self.block) {
                drain.consumer.rewind();
                drain.progress = before;
                return Err(error);
            }
            drain.consumer.release(drain.progress.last);
            self.usage.listed += self.block.len() as u64;
            self.awaited |= gathered.awaited;
            if gathered.durable {
                self.owed.get_or_insert_with(Instant::now);
            }
            if self.appender.unsynced() >= self.shared.options.commit_bytes {
                self.sync()?;
            }
            busy |= self.block.len() > limit / 16;
            if !gathered.more || self.is_full() {
                return Ok(busy);
            }
        }
    }

    /// Ends a ring whose producer is gone, once all of it is in the spool.
    fn finish(&mut self, index: usize) -> io::Result<bool> {
        let drain = &mut self.drains[index];
        if drain.consumer.left() > 0 {
            return Ok(false);
        }
        let before = drain.progress;
        self.builder.clear();
        drain.close(&mut self.builder, closing::Reason::Stopped);
        self.builder
            .finish(drain.owner.epoch, drain.worker(), &mut self.block);
        if let Err(error) = self.appender.append(&mut self.block) {
            drain.progress = before;
            return Err(error);
        }
        // The ring goes when the disk has what was in it.
        self.sync()?;
        let drain = &self.drains[index];
        self.shared.ledger().end(drain.end())?;
        if let Some(path) = &drain.path {
            std::fs::remove_file(path)?;
        }
        self.shared.totals.add_spooled(&drain.progress.spooled);
        self.shared.retire(&drain.gauge);
        Ok(true)
    }

    fn sync(&mut self) -> io::Result<()> {
        let started = Instant::now();
        if self.appender.unsynced() > 0 {
            self.appender.sync()?;
            self.shared.totals.synced(started.elapsed());
        }
        self.owed = None;
        self.awaited = false;
        self.pause = None;
        self.shared.totals.recovered();
        for drain in &mut self.drains {
            let spooled = std::mem::take(&mut drain.progress.spooled);
            self.shared.totals.add_spooled(&spooled);
            let sequence = drain.progress.last;
            drain.kept.send_if_modified(|kept| {
                std::mem::replace(&mut kept.sequence, sequence) != sequence
            });
        }
        self.press();
        Ok(())
    }

    fn failed(&mut self, error: &io::Error) {
        self.pause = Some(Instant::now() + PAUSE);
        self.shared.totals.fail(error);
        // What failed is owed until a sync succeeds.
        self.owed.get_or_insert_with(Instant::now);
        self.press();
    }

    /// Bytes of the spool, now and then from the directory: a shipper deletes what is acknowledged.
    fn measure(&mut self) -> io::Result<()> {
        let due = self
            .usage
            .at
            .is_none_or(|at| at.elapsed() >= MEASURED_EVERY);
        if !due {
            return Ok(());
        }
        self.usage.at = Some(Instant::now());
        let sizes = self.shared.claim.directory().segment_sizes()?;
        self.usage.listed = sizes.iter().map(|(_, size)| size).sum();
        self.press();
        if self.usage.listed >= self.shared.options.spool_limit {
            // The shipper deletes whole segments.
            self.appender.seal()?;
        }
        Ok(())
    }

    /// Tells emitters, and who waits for the disk, what is taken.
    fn press(&self) {
        let options = &self.shared.options;
        let mut pressure = 0;
        if self.usage.listed >= options.spool_limit {
            pressure |= LIMIT;
        }
        let failing = self.pause.is_some() || self.is_full();
        if failing {
            pressure |= STUCK;
        }
        self.shared.pressure.store(pressure, Relaxed);
        self.shared.totals.bytes.store(self.usage.listed, Relaxed);
        for drain in &self.drains {
            drain
                .kept
                .send_if_modified(|kept| std::mem::replace(&mut kept.failing, failing) != failing);
        }
    }

    /// The reserve is used up.
    fn is_full(&self) -> bool {
        let options = &self.shared.options;
        self.usage.listed >= options.spool_limit + options.reserve
    }
}

/// Puts what dead producers have left into segments of its own, one a process, and removes their rings. Says how many records that were.
pub(super) fn recover_rings(
    claim: &Claim,
    storage: impl Fn() -> Box<dyn Storage>,
    totals: &Totals,
) -> io::Result<u64> {
    let directory = claim.directory();
    let files = directory.ring_files()?;
    if files.is_empty() {
        return Ok(0);
    }
    let mut ledger = Ledger::load(directory.path());
    let ends = last_ends(claim)?;
    let mut appender: Option<Appender> = None;
    let topics = Topics::new();
    let mut builder = Builder::new(RECOVERY_BLOCK);
    let mut block = Vec::new();
    let mut records = 0;
    for path in files {
        let (owner, consumer) = match ring::orphan(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // Kept for whoever wants to look at it; never looked at again.
                totals.torn.fetch_add(1, Relaxed);
                std::fs::rename(&path, path.with_extension("torn"))?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let name = ledger.name(owner.epoch);
        let name = name.map_or_else(|| directory.nameless(), str::to_owned);
        let appender = match &mut appender {
            Some(appender) if appender.name() == name => appender,
            other => other.insert(Appender::new(storage(), directory, &name, u64::MAX)?),
        };
        let (kept, _) = watch::channel(Kept::default());
        let mut drain = Drain::new(consumer, owner, &name, None, kept);
        drain.progress.last = known_end(owner, &drain.consumer, &ends);
        loop {
            let before = drain.progress.spooled.iter().sum::<u64>();
            let gathered = drain.gather(&mut builder, RECOVERY_BLOCK, &topics, totals);
            if !gathered.more {
                drain.close(&mut builder, closing::Reason::Recovered);
            }
            builder.finish(owner.epoch, drain.worker(), &mut block);
            appender.append(&mut block)?;
            records += drain.progress.spooled.iter().sum::<u64>() - before;
            if !gathered.more {
                break;
            }
        }
        appender.sync()?;
        ledger.end(drain.end())?;
        totals.add_spooled(&drain.progress.spooled);
        std::fs::remove_file(&path)?;
    }
    Ok(records)
}

/// Up to which sequence the spool has an orphan's records. The writer releases a block right after it has appended it: what the ring
/// still holds begins behind the blocks that were released, or the last block of the last segment holds some of it already.
fn known_end(owner: Owner, consumer: &Consumer, ends: &[(Owner, u64)]) -> u64 {
    let in_spool = ends.iter().find(|(known, _)| *known == owner);
    in_spool
        .map_or(0, |(_, last)| *last)
        .max(consumer.released())
}

/// The last sequences of producers in the last segment that holds blocks.
fn last_ends(claim: &Claim) -> io::Result<Vec<(Owner, u64)>> {
    let directory = claim.directory();
    let mut ends: Vec<(Owner, u64)> = Vec::new();
    let Some((segment, _)) = directory.segment_sizes()?.last().copied() else {
        return Ok(ends);
    };
    let start = Position { segment, offset: 0 };
    let mut reader = Reader::new(directory, start);
    loop {
        match reader.step()? {
            Step::Block(block) => {
                let owner = Owner {
                    epoch: block.header.epoch,
                    worker: u64::from(block.header.worker),
                };
                match ends.iter_mut().find(|(known, _)| *known == owner) {
                    Some((_, last)) => *last = block.header.last.max(*last),
                    None => ends.push((owner, block.header.last)),
                }
            }
            Step::Damage(_) => {}
            Step::End => return Ok(ends),
        }
    }
}

impl Topics {
    fn new() -> Self {
        let mut topics = Vec::new();
        for kind in Kind::all() {
            let number = usize::from(kind.number());
            if topics.len() <= number {
                topics.resize(number + 1, None);
            }
            topics[number] = Some(kind.topic());
        }
        Self(topics)
    }

    fn of(&self, kind: u16) -> Option<Topic> {
        self.0.get(usize::from(kind)).copied().flatten()
    }
}

/// Why records whose sequence is `first` or later were dropped, if any were.
pub(crate) fn dropped(gauge: &Gauge, first: u64) -> Option<audit_gap::Reason> {
    let lost = LOSSES
        .iter()
        .find(|(count, _)| gauge.lost_so_since(*count, first));
    lost.map(|(_, reason)| *reason)
}

/// Of which topics they may have been.
pub(crate) fn topics_since(gauge: &Gauge, first: u64) -> String {
    let topics = Topic::ALL
        .into_iter()
        .filter(|topic| gauge.lost_since(*topic as usize, first));
    let topics: Vec<&str> = topics.map(Topic::name).collect();
    topics.join(",")
}

/// What counts as lost, and what an `AuditGap` calls it.
const LOSSES: [(Count, audit_gap::Reason); 3] = [
    (Count::LostFull, audit_gap::Reason::RingFull),
    (Count::LostQuota, audit_gap::Reason::SpoolFull),
    (Count::LostTooLarge, audit_gap::Reason::TooLarge),
];

/// How long the writer leaves a disk alone that has failed.
const PAUSE: Duration = Duration::from_millis(100);
const MEASURED_EVERY: Duration = Duration::from_millis(250);
const RECOVERY_BLOCK: usize = 256 << 10;
