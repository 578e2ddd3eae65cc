use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::*;
use crate::event::Kind;
use crate::samples::{Calls, operation, refusal};
use crate::spool::append::{Disk, Medium, Storage};
use crate::spool::{Position, Reader, Step, directories};

/// What a spool holds of one producer.
#[derive(Debug, Default)]
struct Found {
    /// Sequences and what they are: type, and what distinguishes the event.
    records: BTreeMap<u64, (String, String)>,
    /// Ranges that gaps declare.
    gaps: Vec<(u64, u64, String)>,
    closing: Option<u64>,
}

/// Everything in the spools below a root, by epoch and worker.
fn found(root: &Path) -> BTreeMap<(String, u64, u16), Found> {
    let mut all: BTreeMap<_, Found> = BTreeMap::new();
    for directory in directories(root).unwrap() {
        let mut reader = Reader::new(&directory, Position::default());
        loop {
            let block = match reader.step().unwrap() {
                Step::Block(block) => block,
                Step::Damage(damage) => panic!("{damage:?}"),
                Step::End => break,
            };
            let key = (
                reader.name().to_owned(),
                block.header.epoch,
                block.header.worker,
            );
            let found = all.entry(key).or_default();
            for record in block.records() {
                let kind = Kind::from_number(record.kind).unwrap();
                let mut json = String::new();
                crate::avro::to_json(kind.schema().unwrap(), record.body, &mut json).unwrap();
                let value: serde_json::Value = serde_json::from_str(&json).unwrap();
                let number = |name: &str| value[name].as_u64().unwrap();
                match kind.event_type() {
                    "carbyne.audit.gap" => {
                        let range = (number("first_sequence"), number("last_sequence"));
                        assert_eq!(range.0, record.sequence);
                        assert_eq!(range.1 - range.0 + 1, number("count"));
                        let why =
                            format!("{} {}", value["topic"], value["reason"]).replace('"', "");
                        found.gaps.push((range.0, range.1, why));
                        continue;
                    }
                    "carbyne.audit.closing" => found.closing = Some(number("sequence")),
                    _ => {}
                }
                let which = value.get("request_id").or_else(|| value.get("source"));
                let which = which
                    .and_then(|which| which.as_str())
                    .unwrap_or("")
                    .to_owned();
                let before = found
                    .records
                    .insert(record.sequence, (kind.event_type().to_owned(), which));
                assert!(before.is_none(), "{} twice", record.sequence);
            }
        }
    }
    all
}

impl Found {
    /// Every sequence up to the last is a record or declared missing, and only once.
    fn is_complete(&self) -> bool {
        let mut seen: Vec<u64> = self.records.keys().copied().collect();
        for (first, last, _) in &self.gaps {
            seen.extend(*first..=*last);
        }
        seen.sort_unstable();
        seen.iter().copied().eq(1..=seen.len() as u64)
    }
}

fn options() -> Options {
    Options {
        ring_bytes: 64 << 10,
        ..Options::new("node", "test")
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_emitted_is_in_the_spool_in_order_and_its_end_is_told() {
    let root = tempfile::tempdir().unwrap();
    let outlet = Outlet::open(root.path(), options()).unwrap();
    let emitters = [outlet.emitter(), outlet.emitter()];
    let mut ids = [Vec::new(), Vec::new()];
    let mut calls = Calls::new(7);
    for turn in 0..500 {
        let which = turn % 3 % 2;
        let call = calls.call();
        emitters[which].emit(&call).unwrap();
        ids[which].push(call.request_id.to_owned());
        if turn % 100 == 99 {
            block_on(emitters[0].emit_durably(&operation("an operation"))).unwrap();
            ids[0].push("an operation".to_owned());
        }
    }
    drop(emitters);
    outlet.close();
    let status = outlet.status();
    let emitted: u64 = status.topics.iter().map(|(_, counts)| counts.emitted).sum();
    let spooled: u64 = status.topics.iter().map(|(_, counts)| counts.spooled).sum();
    assert_eq!(emitted, 505);
    assert_eq!(spooled, 505 + 2, "and two that say where it ended");
    assert!(status.failure.is_none() && !status.stuck && !status.at_limit);
    assert_eq!(
        outlet.directory().ring_files().unwrap(),
        Vec::<std::path::PathBuf>::new()
    );

    let all = found(root.path());
    for (worker, ids) in ids.iter().enumerate() {
        let key = ("node/test-0".to_owned(), status.epoch, worker as u16);
        let found = &all[&key];
        assert!(found.is_complete());
        assert_eq!(found.closing, Some(ids.len() as u64));
        let read: Vec<&str> = found.records.values().map(|(_, id)| id.as_str()).collect();
        assert_eq!(read[..ids.len()], *ids);
    }
}

#[test]
fn the_next_process_tells_where_the_last_one_ended() {
    let root = tempfile::tempdir().unwrap();
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let outlet = Outlet::open(root.path(), options()).unwrap();
        let emitter = outlet.emitter();
        epochs.push(emitter.epoch());
        emitter.emit(&Calls::new(1).call()).unwrap();
        drop(emitter);
    }
    assert!(
        epochs.is_sorted_by(|before, after| before < after),
        "{epochs:?}"
    );
    let all = found(root.path());
    assert_eq!(all.len(), 3);
    for (index, found) in all.values().enumerate() {
        assert!(found.is_complete());
        let first = &found.records[&1].0;
        let expected = if index == 0 {
            "carbyne.audit.api-call"
        } else {
            "carbyne.audit.heartbeat"
        };
        assert_eq!(first, expected);
    }
}

/// Sidecars of one machine share a folder, and at the next start each may take the directory that was another's.
#[cfg(feature = "kafka")]
#[test]
fn a_directory_that_another_node_takes_keeps_the_names_of_its_past() {
    use crate::verify::{Tail, Tally, read_spool};

    let root = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (node, killed) in [
        ("a", false),
        ("b", true),
        ("a", true),
        ("c", false),
        ("d", true),
    ] {
        let options = Options {
            ring_bytes: 64 << 10,
            ..Options::new(node, "test")
        };
        let (shared, mut writer) =
            outlet::prepare(root.path(), options, || Box::new(Disk)).unwrap();
        let emitters = [outlet::emitter(&shared), outlet::emitter(&shared)];
        for emitter in &emitters {
            for _ in 0..6 {
                emitter.emit(&Calls::new(1).call()).unwrap();
            }
            expected.push((emitter.name().to_owned(), emitter.epoch()));
        }
        drop(emitters);
        if !killed {
            writer.round(true);
        }
    }
    let report = || {
        let mut tally = Tally::default();
        read_spool(root.path(), &mut tally).unwrap();
        tally.report()
    };
    // Once with the last one's rings, once with what the next start, or the shipper, makes of them.
    let living = report();
    let seized = directories(root.path()).unwrap()[0].seize().unwrap();
    assert_eq!(recover(&seized.unwrap()).unwrap(), 2 * (1 + 6 + 1));
    let drained = report();
    expected.sort();
    for report in [living, drained] {
        let told = report.producers.iter();
        let mut told: Vec<_> = told
            .map(|told| (told.producer.clone(), told.epoch))
            .collect();
        told.sort();
        assert_eq!(told, expected);
        assert_eq!((report.lost, report.damages), (0, 0), "{report:#?}");
        assert!(report.is_complete());
    }
    let drained = report();
    let closed = |told: &&crate::verify::ProducerReport| told.tail == Tail::Closed;
    assert_eq!(drained.producers.iter().filter(closed).count(), 10);
}

/// A disk whose room and moods a test decides.
#[derive(Clone, Debug)]
struct Faulty {
    /// Bytes that it still takes.
    room: Arc<AtomicU64>,
    /// Syncs that fail from now on.
    failing_syncs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct FaultyFile {
    disk: Faulty,
    file: Box<dyn Medium>,
}

impl Faulty {
    fn new(room: u64) -> Self {
        Self {
            room: Arc::new(AtomicU64::new(room)),
            failing_syncs: Arc::default(),
        }
    }
}

impl Storage for Faulty {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn Medium>> {
        if self.room.load(Relaxed) == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            file: Disk.create(path)?,
        }))
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.disk.room.load(Relaxed);
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = self.file.write(&bytes[..taken])?;
        self.disk.room.fetch_sub(taken as u64, Relaxed);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Medium for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        let failing = self.disk.failing_syncs.load(Relaxed);
        if failing > 0 {
            self.disk.failing_syncs.store(failing - 1, Relaxed);
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}

#[test]
fn a_full_disk_refuses_operations_counts_calls_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let disk = Faulty::new(10_000);
    let outlet = Outlet::open_on(root.path(), options(), || Box::new(disk.clone())).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(3);
    eventually("the disk is full", || {
        emitter.emit(&calls.call()).ok();
        outlet.status().stuck
    });
    eventually("the ring is full", || emitter.emit(&calls.call()).is_err());
    assert!(outlet.status().failure.is_some());
    // What is rare still has an eighth of the ring.
    emitter.emit(&refusal("10.0.0.0/24")).unwrap();
    let refused = block_on(emitter.emit_durably(&operation("refused")));
    assert_eq!(refused, Err(Refused::Full(Full(NoRoom::Full))));

    disk.room.store(u64::MAX, Relaxed);
    eventually("the disk works again", || !outlet.status().stuck);
    eventually("calls are taken", || emitter.emit(&calls.call()).is_ok());
    block_on(emitter.emit_durably(&operation("taken"))).unwrap();
    drop(emitter);
    outlet.close();
    let status = outlet.status();
    assert!(status.failure.is_none());
    let lost: u64 = status
        .topics
        .iter()
        .map(|(_, counts)| counts.lost_ring_full)
        .sum();
    let all = found(root.path());
    let found = all.values().next().unwrap();
    assert!(found.is_complete(), "{:?}", found.gaps);
    let declared: u64 = found
        .gaps
        .iter()
        .map(|(first, last, _)| last - first + 1)
        .sum();
    assert_eq!(declared, lost);
    assert!(lost >= 1);
    assert!(
        found
            .gaps
            .iter()
            .all(|(_, _, why)| why == "audit-api-calls ring_full")
    );
    let operations: Vec<&str> = found
        .records
        .values()
        .filter(|(kind, _)| kind == "carbyne.audit.admin-operation")
        .map(|(_, id)| id.as_str())
        .collect();
    assert_eq!(operations, ["taken"]);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_anew() {
    let root = tempfile::tempdir().unwrap();
    let disk = Faulty::new(u64::MAX);
    disk.failing_syncs.store(1, Relaxed);
    let outlet = Outlet::open_on(root.path(), options(), || Box::new(disk.clone())).unwrap();
    let emitter = outlet.emitter();
    let first = block_on(emitter.emit_durably(&operation("first")));
    assert_eq!(first, Err(Refused::Unkept));
    eventually("the disk works again", || !outlet.status().stuck);
    block_on(emitter.emit_durably(&operation("second"))).unwrap();
    // The first segment's blocks are in the second one too.
    let segments = outlet.directory().segment_sizes().unwrap();
    assert_eq!(segments.len(), 2);
    std::fs::remove_file(
        outlet
            .directory()
            .segments()
            .join(format!("{:020}.segment", segments[0].0)),
    )
    .unwrap();
    drop(emitter);
    outlet.close();
    let all = found(root.path());
    assert!(all.values().next().unwrap().is_complete());
}

#[test]
fn at_its_limit_the_spool_takes_what_is_rare_and_declares_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        spool_limit: 600 << 10,
        reserve: 1 << 20,
        ..options()
    };
    let outlet = Outlet::open(root.path(), options).unwrap();
    let emitter = outlet.emitter();
    let mut calls = Calls::new(5);
    eventually("the limit is reached", || {
        emitter.emit(&calls.call()).ok();
        outlet.status().at_limit
    });
    // What is dropped between two that are taken is a gap of its own: the ring was full a moment ago, too.
    emitter.emit(&refusal("10.0.0.0/24")).unwrap();
    assert!(emitter.emit(&calls.call()).is_err());
    emitter.emit(&refusal("10.0.1.0/24")).unwrap();
    assert!(block_on(emitter.emit_durably(&operation("refused"))).is_err());
    eventually("all is in the spool", || {
        let rings = outlet.status().rings;
        rings.iter().all(|(_, used)| *used == 0.0)
    });
    // A shipper has taken all of it, and removes what can grow no more.
    let sizes = outlet.directory().segment_sizes().unwrap();
    let mut gone = found(root.path());
    for (segment, _) in &sizes[..sizes.len() - 1] {
        std::fs::remove_file(
            outlet
                .directory()
                .segments()
                .join(format!("{segment:020}.segment")),
        )
        .unwrap();
    }
    eventually("there is room again", || !outlet.status().at_limit);
    emitter.emit(&calls.call()).unwrap();
    drop(emitter);
    outlet.close();
    let key = gone.keys().next().unwrap().clone();
    let first = gone.remove(&key).unwrap();
    let mut all = found(root.path());
    let mut found = all.remove(&key).unwrap();
    found.records.extend(first.records);
    found.gaps.extend(first.gaps);
    // The last segment was read both times.
    found.gaps.sort();
    found.gaps.dedup();
    assert!(found.is_complete());
    let why: Vec<&str> = found.gaps.iter().map(|(_, _, why)| why.as_str()).collect();
    assert!(why.contains(&"audit-api-calls spool_full"), "{why:?}");
}
