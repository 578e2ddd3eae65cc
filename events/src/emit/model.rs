//! Ring and spool together against a model, with an end at any byte.
//!
//! A process emits and its writer writes, step by step and seeded. At a chosen byte, creation or sync the directory is copied as it is:
//! that is what `kill -9` leaves. What a power cut leaves is made of it: of a segment, what no sync has covered may be cut or zeroed; of a ring, any
//! page may be as it is, as it once was, or as it was made. Both are recovered and held against what the emitters were told; then the next
//! process lives on what the kill has left, and recovering may be where it ends in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::outlet::{emitter, prepare};
use super::{Emitter, Full, OnDisk, Options, recover};
use crate::event::{AuditGap, Closing, Event, Heartbeat, Kind};
use crate::samples::{Calls, change, operation, refusal};
use crate::spool::append::{Medium, Storage};
use crate::spool::{Position, Reader, Step, directories};
use crate::verify::{Missing, Tally, read_spool};

/// One producer: process, epoch, worker.
type Who = (String, u64, u16);
/// The kind's number and the body.
type What = (u16, Vec<u8>);

/// What a producer's emitter was told.
#[derive(Debug, Default)]
struct Told {
    emitted: BTreeMap<u64, What>,
    dropped: BTreeSet<u64>,
    /// Up to this sequence somebody was told that it is on disk.
    kept: u64,
}

/// A disk on which a process ends.
#[derive(Debug)]
struct Fragile {
    root: PathBuf,
    /// Where what is left goes.
    left: PathBuf,
    /// Bytes, creations and syncs until then.
    budget: u64,
    ended: bool,
    /// Bytes of each segment that a sync has covered.
    synced: BTreeMap<PathBuf, u64>,
}

impl Fragile {
    fn spend(&mut self, cost: u64) {
        self.budget = self.budget.saturating_sub(cost);
        if self.budget == 0 {
            self.end();
        }
    }

    fn end(&mut self) {
        if !self.ended {
            copy(&self.root, &self.left);
            self.ended = true;
        }
    }
}

#[derive(Clone, Debug)]
struct Disk(Arc<Mutex<Fragile>>);

#[derive(Debug)]
struct File {
    disk: Disk,
    path: PathBuf,
    file: fs::File,
    length: u64,
}

impl Storage for Disk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn Medium>> {
        let mut disk = self.0.lock().unwrap();
        if disk.ended {
            return Err(io::Error::other("it has ended"));
        }
        let file = fs::File::create_new(path)?;
        disk.synced.insert(path.to_owned(), 0);
        disk.spend(1);
        Ok(Box::new(File {
            disk: self.clone(),
            path: path.to_owned(),
            file,
            length: 0,
        }))
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.disk.0.lock().unwrap();
        if disk.ended {
            return Err(io::Error::other("it has ended"));
        }
        let taken = bytes.len().min(disk.budget as usize);
        self.file.write_all(&bytes[..taken])?;
        self.length += taken as u64;
        disk.spend(taken as u64);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Medium for File {
    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.0.lock().unwrap();
        disk.spend(1);
        if disk.ended {
            return Err(io::Error::other("it has ended"));
        }
        disk.synced.insert(self.path.clone(), self.length);
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        // A process that has ended truncates nothing.
        Err(io::Error::other("it has ended"))
    }
}

/// One process after the other in one directory.
struct Lives {
    random: fastrand::Rng,
    folder: tempfile::TempDir,
    told: BTreeMap<Who, Told>,
    calls: Calls,
    number: u64,
}

impl Lives {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("0")).unwrap();
        Self {
            random: fastrand::Rng::with_seed(seed),
            folder,
            told: BTreeMap::new(),
            calls: Calls::new(seed),
            number: 0,
        }
    }

    /// A process from its start to its end.
    fn live(&mut self) {
        let root = self.folder.path().join(self.number.to_string());
        self.number += 1;
        let left = self.folder.path().join(self.number.to_string());
        let budget = match self.random.u8(0..8) {
            0 => self.random.u64(1..600),
            1..4 => self.random.u64(1..20_000),
            _ => self.random.u64(1..120_000),
        };
        let disk = Disk(Arc::new(Mutex::new(Fragile {
            root: root.clone(),
            left: left.clone(),
            budget,
            ended: false,
            synced: BTreeMap::new(),
        })));
        let options = Options {
            ring_bytes: 16 << 10,
            block_bytes: self.random.usize(1..6) << 10,
            segment_bytes: 1 << 16,
            commit_bytes: self.random.usize(1..40) << 10,
            ..Options::new("node", "test")
        };
        let once = self.emit_until_the_end(&root, options, &disk);
        let mut disk = disk.0.lock().unwrap();
        disk.end();
        self.hold_killed(&left);
        self.hold_unpowered(&left, &root, &disk.synced, once.as_deref());
        fs::remove_dir_all(&root).unwrap();
    }

    /// Gives the folder of rings as they once were.
    fn emit_until_the_end(
        &mut self,
        root: &Path,
        options: Options,
        disk: &Disk,
    ) -> Option<PathBuf> {
        let (shared, mut writer) = prepare(root, options, || Box::new(disk.clone())).unwrap();
        let mut once = None;
        let mut emitters = Vec::new();
        let mut waiting: Vec<(Who, u64, OnDisk)> = Vec::new();
        let steps = self.random.usize(1..400);
        for _ in 0..steps {
            if disk.0.lock().unwrap().ended {
                break;
            }
            let step = self.random.u8(0..100);
            if emitters.is_empty() || (step == 0 && emitters.len() < 3) {
                let emitter = emitter(&shared);
                let who = who(&emitter);
                let told = self.told.entry(who.clone()).or_default();
                if emitter.last() == 1 {
                    // Of where the last one ended.
                    told.emitted
                        .insert(1, (Heartbeat::KIND.number(), Vec::new()));
                }
                emitters.push((who, emitter));
                continue;
            }
            let (who, emitter) = &emitters[self.random.usize(0..emitters.len())];
            let told = self.told.get_mut(who).unwrap();
            match step {
                1..70 => {
                    let event = self.calls.call();
                    told.emit(emitter, &event);
                }
                70..76 => told.emit(emitter, &change("routes/1", u64::from(step))),
                76..80 => told.emit(emitter, &refusal("10.0.0.0/24")),
                80..84 => {
                    let event = operation("somebody");
                    let before = emitter.last();
                    let on_disk = emitter.emit_durably(&event);
                    if emitter.last() > before {
                        told.emitted.insert(emitter.last(), what(&event));
                        waiting.push((who.clone(), emitter.last(), on_disk));
                    }
                }
                84 => {
                    let path = self.folder.path().join("once");
                    fs::remove_dir_all(&path).ok();
                    copy(&shared.claim.directory().rings(), &path);
                    once = Some(path);
                }
                _ => {
                    writer.round(false);
                    waiting.retain_mut(|(who, sequence, on_disk)| {
                        let mut context = Context::from_waker(Waker::noop());
                        match on_disk.as_mut().poll(&mut context) {
                            Poll::Pending => true,
                            Poll::Ready(Ok(())) => {
                                let told = self.told.get_mut(who).unwrap();
                                told.kept = told.kept.max(*sequence);
                                false
                            }
                            Poll::Ready(Err(_)) => false,
                        }
                    });
                }
            }
        }
        // What is copied is a process that has not ended well, whether at a byte or here.
        disk.0.lock().unwrap().end();
        once
    }

    /// `kill -9`: all that was emitted is there, what was dropped is declared, and nothing else.
    fn hold_killed(&self, left: &Path) {
        let root = self.folder.path().join("killed");
        copy(left, &root);
        let found = recovered(&root);
        let mut tally = Tally::default();
        read_spool(&root, &mut tally).unwrap();
        let report = tally.report();
        for (who, told) in &self.told {
            let empty = BTreeMap::new();
            let found = found.get(who).unwrap_or(&empty);
            for (sequence, event) in &told.emitted {
                let found = found.get(sequence);
                assert!(
                    found.is_some_and(|found| found.is(event)),
                    "{who:?}: {sequence} of {} was emitted, there is {found:?}",
                    told.emitted.len()
                );
            }
            for (sequence, event) in found {
                let known = told.emitted.contains_key(sequence);
                assert!(known || event.is_own(), "{who:?}: {sequence} is made up");
            }
            let name = format!("{}/{}", who.0, who.2);
            let producer = report
                .producers
                .iter()
                .find(|producer| (&producer.producer, producer.epoch) == (&name, who.1));
            let gaps = producer.iter().flat_map(|producer| &producer.gaps);
            let mut declared = BTreeSet::new();
            for gap in gaps {
                assert!(
                    matches!(gap.missing, Missing::Declared(_)),
                    "{who:?}: {gap:?}"
                );
                declared.extend(gap.first..=gap.last);
            }
            assert_eq!(declared, told.dropped, "{who:?}");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    /// A power cut: what somebody was told to be on disk is there, nothing is made up, and what is missing is seen.
    fn hold_unpowered(
        &mut self,
        left: &Path,
        before: &Path,
        synced: &BTreeMap<PathBuf, u64>,
        once: Option<&Path>,
    ) {
        let root = self.folder.path().join("unpowered");
        copy(left, &root);
        for directory in directories(&root).unwrap() {
            let original = before.join(directory.name());
            for segment in fs::read_dir(directory.segments()).unwrap() {
                let segment = segment.unwrap();
                let name = original.join("segments").join(segment.file_name());
                // A segment of an earlier process lost nothing: that was only killed.
                let Some(synced) = synced.get(&name) else {
                    continue;
                };
                self.cut(&segment.path(), *synced);
            }
            for ring in directory.ring_files().unwrap() {
                let once = once.map(|once| once.join(ring.file_name().unwrap()));
                let once = once.and_then(|once| fs::read(once).ok());
                self.shuffle(&ring, once.as_deref());
            }
        }
        let found = recovered(&root);
        let mut tally = Tally::default();
        read_spool(&root, &mut tally).unwrap();
        let report = tally.report();
        for (who, told) in &self.told {
            let empty = BTreeMap::new();
            let found = found.get(who).unwrap_or(&empty);
            let end = found.keys().next_back().copied().unwrap_or(0);
            let name = format!("{}/{}", who.0, who.2);
            let producer = report
                .producers
                .iter()
                .find(|producer| (&producer.producer, producer.epoch) == (&name, who.1));
            let seen = |sequence: u64| {
                let mut gaps = producer.iter().flat_map(|producer| &producer.gaps);
                gaps.any(|gap| (gap.first..=gap.last).contains(&sequence))
            };
            for (sequence, event) in &told.emitted {
                match found.get(sequence) {
                    Some(found) => assert!(
                        found.is(event) || found.is_own(),
                        "{who:?}: {sequence} is another event"
                    ),
                    None => {
                        assert!(
                            *sequence > told.kept,
                            "{who:?}: {sequence} was on disk, all up to {} were",
                            told.kept
                        );
                        assert!(
                            *sequence > end || seen(*sequence),
                            "{who:?}: nobody sees that {sequence} is missing"
                        );
                    }
                }
            }
            for (sequence, event) in found {
                let known = told.emitted.contains_key(sequence);
                assert!(known || event.is_own(), "{who:?}: {sequence} is made up");
            }
        }
        fs::remove_dir_all(&root).unwrap();
    }

    /// Takes from a segment what no sync has covered: a part of its end, or pages in between.
    fn cut(&mut self, path: &Path, synced: u64) {
        let mut bytes = fs::read(path).unwrap();
        let (synced, length) = (synced as usize, bytes.len());
        if synced >= length {
            return;
        }
        if self.random.bool() {
            let from = self.random.usize(synced..=length);
            let to = self.random.usize(from..=length);
            bytes[from..to].fill(0);
        }
        if self.random.bool() {
            bytes.truncate(self.random.usize(synced..=length));
        }
        fs::write(path, bytes).unwrap();
    }

    /// Any page of a ring may be of any time.
    fn shuffle(&mut self, path: &Path, once: Option<&[u8]>) {
        let mut bytes = fs::read(path).unwrap();
        for (index, page) in bytes.chunks_mut(4096).enumerate() {
            let before = once.and_then(|once| once.get(index * 4096..index * 4096 + page.len()));
            match (self.random.u8(0..4), before) {
                (0, Some(before)) => page.copy_from_slice(before),
                // The first page was written before anything was emitted.
                (1, _) if index > 0 => page.fill(0),
                _ => {}
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

impl Told {
    fn emit<E: Event>(&mut self, emitter: &Emitter, event: &E) {
        let before = emitter.last();
        match emitter.emit(event) {
            Ok(()) => {
                self.emitted.insert(emitter.last(), what(event));
            }
            Err(Full(_)) if emitter.last() > before => {
                self.dropped.insert(emitter.last());
            }
            Err(Full(_)) => {}
        }
    }
}

/// The events that a spool has under one sequence: the same one, however often.
#[derive(Debug, Default)]
struct Found(Vec<What>);

impl Found {
    fn is(&self, event: &What) -> bool {
        // What an emitter says of its own accord is known by its kind.
        let same = |found: &What| found.0 == event.0 && (event.1.is_empty() || found.1 == event.1);
        self.0.iter().all(same)
    }

    /// What the writer says in a producer's name.
    fn is_own(&self) -> bool {
        let own = [AuditGap::KIND, Closing::KIND].map(Kind::number);
        self.0.iter().any(|(kind, _)| own.contains(kind))
    }
}

/// Does what the next start does, and reads it all.
fn recovered(root: &Path) -> BTreeMap<Who, BTreeMap<u64, Found>> {
    let mut found: BTreeMap<Who, BTreeMap<u64, Found>> = BTreeMap::new();
    for directory in directories(root).unwrap() {
        recover(&directory.seize().unwrap().unwrap()).unwrap();
        let mut reader = Reader::new(&directory, Position::default());
        loop {
            let block = match reader.step().unwrap() {
                Step::Block(block) => block,
                Step::Damage(_) => continue,
                Step::End => break,
            };
            let header = block.header;
            let who = (reader.name().to_owned(), header.epoch, header.worker);
            let producer = found.entry(who).or_default();
            for record in block.records() {
                let known = producer.entry(record.sequence).or_default();
                known.0.push((record.kind, record.body.to_vec()));
            }
        }
    }
    found
}

fn who(emitter: &Emitter) -> Who {
    let (process, worker) = emitter.name().rsplit_once('/').unwrap();
    (process.to_owned(), emitter.epoch(), worker.parse().unwrap())
}

fn what<E: Event>(event: &E) -> What {
    let mut body = Vec::new();
    event.encode(&mut body);
    (E::KIND.number(), body)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn whatever_byte_a_process_ends_at_its_events_are_there() {
    let variable = |name: &str| std::env::var(name).ok();
    let full = variable("FULL").is_some_and(|full| !matches!(full.as_str(), "" | "0"));
    let seed = variable("CARBYNE_SEED").and_then(|seed| seed.parse::<u64>().ok());
    let seed = seed.unwrap_or(1);
    let worlds = if full { WORLDS } else { 30 };
    for world in 0..worlds {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(world);
        // Of a test that fails this is shown.
        println!("world {seed}");
        let mut lives = Lives::new(seed);
        for _ in 0..4 {
            lives.live();
        }
    }
    // Tells the suite how much of it that was.
    if let Some(path) = variable("CARBYNE_CASES") {
        let mut cases = fs::File::options();
        let mut cases = cases.append(true).create(true).open(path).unwrap();
        writeln!(cases, "ends-of-processes {} {}", 4 * worlds, 4 * WORLDS).unwrap();
    }
}

/// With four processes each.
const WORLDS: u64 = 3000;
