//! One process's spool on its way to the broker.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;

use bytes::BufMut;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;

use super::flight::Flight;
use super::link::{Link, Message, Report, header};
use super::status::SpoolStatus;
use crate::emit::{self, now};
use crate::envelope::{Envelope, Form};
use crate::event::{AuditGap, Event, Kind, Topic, audit_gap};
use crate::ring::Record;
use crate::spool::append::{Appender, Disk};
use crate::spool::block::Builder;
use crate::spool::{Block, Cursor, Damage, Directory, Header, Position, Reader, Step, oldest};

/// What is shipped of one directory.
#[derive(Debug)]
pub(super) struct Source {
    directory: Directory,
    /// Nobody else ships it.
    _lock: File,
    reader: Reader,
    cursor: Cursor,
    acknowledged: Position,
    stored: Position,
    flights: VecDeque<Flight>,
    /// The number of the first flight.
    first: u64,
    current: Option<Current>,
    /// The flight from which on all are looked through once more for what is unsent.
    again: Option<u64>,
    /// Of each producer the last sequence that was read.
    ends: HashMap<(u64, u16), u64>,
    /// Producers of later epochs than this began while their spool was being read: what they lack at their start is missing.
    base: Option<u64>,
    /// The spool has been read to its end, and all that was read is acknowledged.
    is_idle: bool,
    /// A kind of event that this version does not know: nothing behind it is sent.
    pub(super) unknown: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) counts: Counts,
    dead_letters: Option<Appender>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) gaps: u64,
    pub(super) damages: u64,
    pub(super) repeats: u64,
    pub(super) dead_letters: u64,
}

/// The block whose records are being handed over.
#[derive(Debug)]
struct Current {
    number: u64,
    block: Block,
    /// `NODE/ROLE-N/WORKER`.
    producer: String,
    epoch: u64,
    index: u32,
    /// Where in the block the next record lies.
    offset: usize,
}

/// What sources share while they hand records over.
pub(super) struct Outbox<'a> {
    pub(super) link: &'a Link,
    pub(super) form: Form,
    /// The source's place among all.
    pub(super) source: usize,
    pub(super) on_the_way: &'a mut usize,
    pub(super) window: usize,
    pub(super) is_blocked: &'a dyn Fn(Topic) -> bool,
    /// Records that the client did not take.
    pub(super) reports: &'a mut Vec<Report>,
    pub(super) value: &'a mut Vec<u8>,
}

/// Where a record is: source, flight, index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) source: usize,
    flight: u64,
    index: u32,
}

impl Source {
    /// None where another ships it.
    pub(super) fn open(directory: Directory) -> io::Result<Option<Self>> {
        let Some(lock) = directory.lock_shipping()? else {
            return Ok(None);
        };
        let cursor = Cursor::new(directory.path());
        let position = cursor.load();
        Ok(Some(Self {
            reader: Reader::new(&directory, position),
            _lock: lock,
            cursor,
            acknowledged: position,
            stored: position,
            flights: VecDeque::new(),
            first: 0,
            current: None,
            again: None,
            ends: HashMap::new(),
            base: (position == Position::default()).then_some(0),
            is_idle: false,
            unknown: None,
            error: None,
            counts: Counts::default(),
            dead_letters: None,
            directory,
        }))
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Puts into the spool what its process has left in rings, if that is gone.
    pub(super) fn recover(&self) -> io::Result<()> {
        if self.directory.ring_files()?.is_empty() {
            return Ok(());
        }
        if let Some(claim) = self.directory.seize()? {
            emit::recover(&claim)?;
        }
        Ok(())
    }

    /// Hands records over until the client, the window or the spool says no. Says whether it handed any over.
    pub(super) fn pump(&mut self, outbox: &mut Outbox<'_>) -> io::Result<bool> {
        let mut handed = false;
        while self.unknown.is_none() && (self.current.is_some() || self.choose()?) {
            handed |= match self.hand_over(outbox) {
                Handed::All(some) => some,
                Handed::Stopped(some) => return Ok(handed || some),
            };
            self.current = None;
        }
        Ok(handed)
    }

    /// Takes the next block: of those that came back, else of the spool.
    fn choose(&mut self) -> io::Result<bool> {
        while let Some(number) = self.again {
            let at = (number - self.first) as usize;
            let Some(flight) = self.flights.get(at) else {
                self.again = None;
                break;
            };
            self.again = Some(number + 1);
            if flight.has_unsent() {
                let (block, process) = self.reread(flight)?;
                self.current = Some(Current::new(number, block, &process));
                return Ok(true);
            }
        }
        if self.flights.len() >= FLIGHTS {
            return Ok(false);
        }
        let start = self.reader.position();
        match self.reader.step()? {
            Step::End => {
                self.is_idle = self.flights.is_empty();
                Ok(false)
            }
            Step::Damage(damage) => {
                self.take_note(&damage);
                // Nothing to send, but the cursor passes it.
                let end = self.reader.position();
                self.flights
                    .push_back(Flight::new(start, end, now(), Vec::new(), 0));
                Ok(true)
            }
            Step::Block(block) => {
                self.is_idle = false;
                let notices = self.notices(&block);
                let count = block.header.count;
                let time = block.header.first_time;
                let end = self.reader.position();
                let mut flight = Flight::new(start, end, time, notices, count);
                self.drop_repeats(&block, &mut flight);
                self.flights.push_back(flight);
                let number = self.first + self.flights.len() as u64 - 1;
                self.current = Some(Current::new(number, block, self.reader.name()));
                Ok(true)
            }
        }
    }

    fn take_note(&mut self, damage: &Damage) {
        self.counts.damages += 1;
        self.is_idle = false;
        // Where the head is sound, what the block held is known; the next block of its producer shows it as a gap.
        if let Some(header) = damage.header {
            let end = header.first.saturating_sub(1);
            self.ends
                .entry((header.epoch, header.worker))
                .or_insert(end);
        }
    }

    /// The gap before a block, as the record that declares it.
    fn notices(&mut self, block: &Block) -> Vec<Vec<u8>> {
        let header = block.header;
        let base = *self.base.get_or_insert(header.epoch);
        let known = self.ends.get(&(header.epoch, header.worker)).copied();
        let end = known.or_else(|| (header.epoch > base).then_some(0));
        let Some(end) = end else {
            return Vec::new();
        };
        if header.first <= end + 1 {
            return Vec::new();
        }
        self.counts.gaps += header.first - 1 - end;
        let producer = format!("{}/{}", self.reader.name(), header.worker);
        let gap = AuditGap {
            time: now(),
            producer: &producer,
            epoch: header.epoch,
            topic: "",
            reason: audit_gap::Reason::BlockCorrupt,
            count: header.first - 1 - end,
            first_time: header.first_time,
            last_time: header.first_time,
            first_sequence: Some(end + 1),
            last_sequence: Some(header.first - 1),
        };
        vec![record_of(&gap, end + 1)]
    }

    /// Marks as done what an earlier block held already: a sync had failed, and the writer wrote anew.
    fn drop_repeats(&mut self, block: &Block, flight: &mut Flight) {
        let header = block.header;
        let end = self.ends.entry((header.epoch, header.worker)).or_insert(0);
        if header.first <= *end {
            let notices = flight.notices.len() as u32;
            for (record, index) in block.records().zip(notices..) {
                if record.sequence <= *end {
                    flight.finish(index);
                    self.counts.repeats += 1;
                }
            }
        }
        *end = header.last.max(*end);
    }

    /// The block of a flight, from the disk, and whose it is: the reader may be in another process's segment by now.
    fn reread(&self, flight: &Flight) -> io::Result<(Block, String)> {
        let mut reader = Reader::new(&self.directory, flight.start);
        loop {
            match reader.step()? {
                Step::Block(block) => return Ok((block, reader.name().to_owned())),
                Step::Damage(damage) if damage.is_head() => {}
                // It was sound before. The next try may find it so again; until then the cursor stays.
                Step::Damage(_) | Step::End => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a block at {:?} can no longer be read", flight.start),
                    ));
                }
            }
        }
    }

    fn hand_over(&mut self, outbox: &mut Outbox<'_>) -> Handed {
        let Some(current) = &mut self.current else {
            return Handed::All(false);
        };
        let Some(flight) = self.flights.get_mut((current.number - self.first) as usize) else {
            return Handed::All(false);
        };
        let mut some = false;
        while current.index < flight.len() {
            let index = current.index;
            let notices = flight.notices.len() as u32;
            let mut next = current.offset;
            let own = if index < notices {
                None
            } else {
                let Some((record, behind)) = current.block.record_at(current.offset) else {
                    // The checksum held, so the count in the head is not that of its records: nothing more is in there.
                    return Handed::All(some);
                };
                next = behind;
                Some(record)
            };
            if flight.is_unsent(index) {
                let replaced = flight.replaced.iter().find(|(at, _)| *at == index);
                let record = match (replaced, own) {
                    (Some((_, bytes)), _) => Record::read(bytes),
                    (None, Some(record)) => Some(record),
                    (None, None) => Record::read(&flight.notices[index as usize]),
                };
                let Some(record) = record else {
                    return Handed::All(some);
                };
                let Some(kind) = Kind::from_number(record.kind) else {
                    self.unknown = Some(record.kind);
                    return Handed::Stopped(some);
                };
                let topic = kind.topic();
                if !(outbox.is_blocked)(topic) {
                    if *outbox.on_the_way >= outbox.window {
                        return Handed::Stopped(some);
                    }
                    let place = Place {
                        source: outbox.source,
                        flight: current.number,
                        index,
                    };
                    match outbox.send(&record, kind, &current.producer, current.epoch, place) {
                        Err(RDKafkaErrorCode::QueueFull) => return Handed::Stopped(some),
                        Ok(()) => {}
                        Err(error) => outbox.reports.push(Report {
                            place: place.pack(),
                            error: Some(error),
                        }),
                    }
                    flight.send(index, topic);
                    *outbox.on_the_way += 1;
                    some = true;
                }
            }
            current.index += 1;
            current.offset = next;
        }
        Handed::All(some)
    }

    /// A record is acknowledged; says of which topic, the first time.
    pub(super) fn finish(&mut self, place: Place) -> Option<Topic> {
        let flight = self.flight(place)?;
        if flight.finish(place.index) {
            flight.topic(place.index)
        } else {
            None
        }
    }

    /// A record was not taken; says of which topic.
    pub(super) fn give_back(&mut self, place: Place) -> Option<Topic> {
        let flight = self.flight(place)?;
        flight.give_back(place.index);
        flight.topic(place.index)
    }

    /// Bytes of the record, roughly as a batch counts them.
    pub(super) fn size(&self, place: Place) -> io::Result<usize> {
        Ok(self
            .record(place)?
            .map_or(0, |(.., bytes)| bytes.len() + 512))
    }

    /// Sets aside a record that can never be sent, and sends in its place that it is missing.
    pub(super) fn bury(&mut self, place: Place) -> io::Result<()> {
        let Some((process, header, bytes)) = self.record(place)? else {
            return Ok(());
        };
        let Some(record) = Record::read(&bytes) else {
            return Ok(());
        };
        let kind = Kind::from_number(record.kind);
        let mut builder = Builder::new(bytes.len());
        builder.push(record.sequence, record.time, &bytes);
        let mut block = Vec::new();
        builder.finish(header.epoch, header.worker, &mut block);
        let dead_letters = match &mut self.dead_letters {
            Some(appender) if appender.name() == process => appender,
            other => {
                let directory = self.directory.dead_letters()?;
                let appender = Appender::new(Box::new(Disk), &directory, &process, 64 << 20)?;
                other.insert(appender)
            }
        };
        dead_letters.append(&mut block)?;
        dead_letters.sync()?;
        self.counts.dead_letters += 1;
        let producer = format!("{process}/{}", header.worker);
        let gap = AuditGap {
            time: now(),
            producer: &producer,
            epoch: header.epoch,
            topic: kind.map_or("", |kind| kind.topic().name()),
            reason: audit_gap::Reason::TooLarge,
            count: 1,
            first_time: record.time,
            last_time: record.time,
            first_sequence: Some(record.sequence),
            last_sequence: Some(record.sequence),
        };
        let bytes = record_of(&gap, record.sequence);
        if let Some(flight) = self.flight(place) {
            flight.replaced.push((place.index, bytes));
            flight.give_back(place.index);
        }
        self.look_again();
        Ok(())
    }

    /// Whose a record is, the head of its block, its bytes.
    fn record(&self, place: Place) -> io::Result<Option<(String, Header, Vec<u8>)>> {
        let Some(at) = place.flight.checked_sub(self.first) else {
            return Ok(None);
        };
        let Some(flight) = self.flights.get(at as usize) else {
            return Ok(None);
        };
        let Some(index) = place.index.checked_sub(flight.notices.len() as u32) else {
            return Ok(None);
        };
        let (block, process) = self.reread(flight)?;
        Ok(block.records().nth(index as usize).map(|record| {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            (process, block.header, bytes)
        }))
    }

    /// What was handed over and not reported is to be handed over once more.
    pub(super) fn rewind(&mut self) {
        for flight in &mut self.flights {
            flight.rewind();
        }
        self.look_again();
    }

    /// What is unsent goes before what follows it.
    pub(super) fn look_again(&mut self) {
        self.current = None;
        self.again = Some(self.first);
    }

    /// Lets the cursor pass what is acknowledged; gives when the first records of these blocks were.
    pub(super) fn advance(&mut self) -> Vec<u64> {
        let mut times = Vec::new();
        while self.flights.front().is_some_and(Flight::is_done) {
            let busy = self
                .current
                .as_ref()
                .is_some_and(|current| current.number == self.first);
            if busy {
                self.current = None;
            }
            if let Some(flight) = self.flights.pop_front() {
                self.acknowledged = flight.end;
                if flight.len() > 0 {
                    times.push(flight.time);
                }
            }
            self.first += 1;
            self.again = self.again.map(|number| number.max(self.first));
        }
        if self.flights.is_empty() {
            self.acknowledged = self.reader.position();
        }
        times
    }

    /// Stores how far it is, and deletes what nobody needs any more.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.stored == self.acknowledged {
            return Ok(());
        }
        self.cursor.store(self.acknowledged)?;
        self.stored = self.acknowledged;
        self.directory.trim(self.acknowledged)?;
        Ok(())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_idle && self.flights.is_empty()
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let sizes = self.directory.segment_sizes().unwrap_or_default();
        let since = |time: u64| std::time::Duration::from_micros(now().saturating_sub(time));
        let oldest = match self.flights.front() {
            Some(flight) => Some(flight.time),
            None => oldest(&self.directory),
        };
        SpoolStatus {
            name: self.directory.name().to_owned(),
            bytes: sizes.iter().map(|(_, size)| size).sum(),
            oldest: oldest.map(since),
        }
    }

    fn flight(&mut self, place: Place) -> Option<&mut Flight> {
        let at = place.flight.checked_sub(self.first)?;
        self.flights.get_mut(at as usize)
    }

    /// The whole number of a flight of which the last digits are known.
    fn number(&self, digits: u64) -> u64 {
        self.first + (digits.wrapping_sub(self.first) & DIGITS)
    }

    /// Reads a packed place that is one of this source's.
    pub(super) fn unpack(&self, packed: usize) -> Place {
        let packed = packed as u64;
        Place {
            source: (packed >> 48) as usize,
            flight: self.number(packed >> 24 & DIGITS),
            index: (packed & DIGITS) as u32,
        }
    }
}

enum Handed {
    /// All that may go; whether something went.
    All(bool),
    /// There is no room for more now.
    Stopped(bool),
}

impl Current {
    fn new(number: u64, block: Block, process: &str) -> Self {
        Self {
            number,
            producer: format!("{process}/{}", block.header.worker),
            epoch: block.header.epoch,
            block,
            index: 0,
            offset: 0,
        }
    }
}

impl Outbox<'_> {
    fn send(
        &mut self,
        record: &Record<'_>,
        kind: Kind,
        producer: &str,
        epoch: u64,
        place: Place,
    ) -> Result<(), RDKafkaErrorCode> {
        let envelope = Envelope {
            kind,
            time: record.time,
            key: record.key,
            traceparent: record
                .trace
                .and_then(|trace| std::str::from_utf8(trace).ok()),
            producer,
            epoch,
            sequence: record.sequence,
            previous: (record.previous > 0).then_some(record.previous),
        };
        let mut headers = Some(OwnedHeaders::new_with_capacity(16));
        envelope.headers(self.form, |name, value| {
            headers = headers.take().map(|headers| header(headers, name, value));
        });
        self.value.clear();
        // A body that its schema does not explain: the record was sound, so its writer was wrong. It goes as it is.
        let value = match self.form.value(kind, record.body, self.value) {
            Ok(true) => Some(&**self.value),
            Ok(false) => None,
            Err(_) => Some(record.body),
        };
        self.link.send(Message {
            topic: kind.topic().name(),
            key: record.key,
            value,
            timestamp: timestamp(record.time, now()),
            headers: headers.unwrap_or_default(),
            place: place.pack(),
        })
    }
}

impl Place {
    /// 16 bits of source, 24 of flight, 24 of index.
    pub(super) fn pack(self) -> usize {
        self.source << 48 | ((self.flight & DIGITS) as usize) << 24 | self.index as usize
    }
}

/// The source of a packed place.
pub(super) fn source_of(packed: usize) -> usize {
    packed >> 48
}

fn record_of<E: Event>(event: &E, sequence: u64) -> Vec<u8> {
    let mut body = Vec::new();
    event.encode(&mut body);
    let record = Record {
        sequence,
        previous: 0,
        time: event.time(),
        kind: E::KIND.number(),
        awaited: false,
        key: event.key(),
        trace: None,
        body: &[],
    };
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    bytes.put_slice(&body);
    bytes
}

/// What a broker counts a record's retention from, in milliseconds since 1970. That is the event's own time where it can be true. A clock
/// that was wrong when the event was emitted must neither have it deleted at once nor have it refused, as brokers do with what is an hour
/// ahead of them; its header has the event's time in any case.
fn timestamp(time: u64, now: u64) -> i64 {
    let plausible = time <= now && now - time <= LONGEST_DELAY;
    let time = if plausible { time } else { now };
    i64::try_from(time / 1000).unwrap_or(0)
}

/// No spool is expected to wait longer for its broker, in microseconds: a day, of the week that the shortest topic keeps events.
const LONGEST_DELAY: u64 = 24 * 60 * 60 * 1_000_000;
const DIGITS: u64 = 0xff_ffff;
/// Blocks of one spool that may be on their way.
const FLIGHTS: usize = 64;
