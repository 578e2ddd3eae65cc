//! What spools hold, for the tally.

use std::io;
use std::path::Path;

use super::{Found, Tally};
use crate::avro;
use crate::emit::{dropped, topics_since};
use crate::event::Kind;
use crate::ring::{self, Gauge, Record, Torn};
use crate::spool::{Cursor, Directory, Ledger, Position, Reader, Step, directories};

/// Reads all spools below a folder, their ledgers and the rings of their producers. Changes nothing; processes may go on meanwhile.
pub fn read_spool(root: &Path, tally: &mut Tally) -> io::Result<()> {
    for directory in directories(root)? {
        read(&directory, tally)?;
    }
    Ok(())
}

fn read(directory: &Directory, tally: &mut Tally) -> io::Result<()> {
    // Rings first: what they say is in the spool by then.
    let living = directory.is_taken()?;
    let ledger = Ledger::load(directory.path());
    let mut claims = Vec::new();
    for path in directory.ring_files()? {
        if living {
            if let Ok((owner, released)) = ring::peek_released(&path) {
                claims.push((owner, released, false));
            }
        } else {
            // The next start, or the shipper, puts these into the spool.
            let (owner, mut consumer) = match ring::copy(&path) {
                Ok(ring) => ring,
                // Drained meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => {
                    tally.damages += 1;
                    continue;
                }
            };
            let name = format!("{}/{}", ledger.name(), owner.worker);
            let gauge = consumer.gauge();
            let (mut last, mut torn) = (consumer.released(), false);
            while let Some(taken) = consumer.take() {
                match taken.map(Record::read) {
                    Ok(Some(record)) => {
                        // What damage hides is not known to have been dropped.
                        if !torn {
                            declare(tally, &name, &gauge, owner.epoch, last, record.sequence);
                        }
                        last = last.max(record.sequence);
                        note(tally, &name, owner.epoch, &record);
                    }
                    Ok(None) => {
                        tally.damages += 1;
                        torn = true;
                    }
                    Err(Torn { bytes }) => {
                        tally.damages += 1;
                        tally.damaged_bytes += bytes;
                        torn = true;
                    }
                }
            }
            if !torn {
                declare(tally, &name, &gauge, owner.epoch, last, gauge.last() + 1);
            }
            claims.push((owner, gauge.last(), false));
        }
    }
    let acknowledged = Cursor::new(directory.path()).load();
    let mut reader = Reader::new(directory, Position::default());
    let mut names: Vec<String> = Vec::new();
    loop {
        match reader.step()? {
            Step::Block(block) => {
                let header = block.header;
                let name = format!("{}/{}", reader.name(), header.worker);
                for record in block.records() {
                    note(tally, &name, header.epoch, &record);
                }
                tally.claim(&name, header.epoch, header.last, false);
                if !names.contains(&reader.name().to_owned()) {
                    names.push(reader.name().to_owned());
                }
                if acknowledged != Position::default() {
                    tally.producer(&name, header.epoch).acknowledged = Some(header.first);
                }
            }
            Step::Damage(damage) => {
                tally.damages += 1;
                tally.damaged_bytes += damage.bytes;
                if let Some(header) = damage.header {
                    let name = format!("{}/{}", reader.name(), header.worker);
                    tally.claim(&name, header.epoch, header.last, false);
                }
            }
            Step::End => break,
        }
    }
    if !living && reader.rest()? > 0 {
        tally.damages += 1;
        tally.damaged_bytes += reader.rest()?;
    }
    for (owner, last, closed) in claims {
        let name = format!("{}/{}", ledger.name(), owner.worker);
        tally.claim(&name, owner.epoch, last, closed);
    }
    for end in ledger.ends() {
        let name = format!("{}/{}", ledger.name(), end.worker);
        tally.claim(&name, end.epoch, end.last, true);
        if acknowledged != Position::default() {
            tally
                .producer(&name, end.epoch)
                .acknowledged
                .get_or_insert(0);
        }
    }
    Ok(())
}

/// What a ring says that it has dropped between two sequences: whoever drains it will say so with an `AuditGap`.
fn declare(tally: &mut Tally, producer: &str, gauge: &Gauge, epoch: u64, after: u64, before: u64) {
    let first = after + 1;
    if first >= before {
        return;
    }
    let Some(reason) = dropped(gauge, first) else {
        return;
    };
    let why = format!("{} {}", topics_since(gauge, first), reason.as_str());
    let declared = &mut tally.producer(producer, epoch).declared;
    declared.push((first, before - 1, why.trim().to_owned()));
}

fn note(tally: &mut Tally, producer: &str, epoch: u64, record: &Record<'_>) {
    let kind = Kind::from_number(record.kind);
    let value = kind.filter(|kind| Tally::tells(*kind)).and_then(|kind| {
        let mut json = String::new();
        avro::to_json(kind.schema()?, record.body, &mut json).ok()?;
        Some(json)
    });
    let found = Found {
        producer,
        epoch,
        sequence: record.sequence,
        previous: (record.previous > 0).then_some(record.previous),
        kind,
    };
    tally.spooled(found, value.as_deref());
}
