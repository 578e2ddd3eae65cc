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
    let rings = directory.ring_files()?;
    // After the rings: whose they are is written before they are made.
    let ledger = Ledger::load(directory.path());
    let mut claims = Vec::new();
    for path in rings {
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
                    tally.damage(0);
                    continue;
                }
            };
            let name = producer(directory, &ledger, owner.epoch, owner.worker);
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
                        tally.damage(0);
                        torn = true;
                    }
                    Err(Torn { bytes }) => {
                        tally.damage(bytes);
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
    loop {
        match reader.step()? {
            Step::Block(block) => {
                let header = block.header;
                let name = format!("{}/{}", reader.name(), header.worker);
                for record in block.records() {
                    note(tally, &name, header.epoch, &record);
                }
                tally.claim(&name, header.epoch, header.last, false);
                if acknowledged != Position::default() {
                    tally.producer(&name, header.epoch).acknowledged = Some(header.first);
                }
            }
            Step::Damage(damage) if damage.is_head() => tally.damage_head(),
            Step::Damage(damage) => {
                tally.damage(damage.bytes);
                if let Some(header) = damage.header {
                    let name = format!("{}/{}", reader.name(), header.worker);
                    tally.claim(&name, header.epoch, header.last, false);
                }
            }
            Step::End => break,
        }
    }
    let rest = reader.rest()?;
    if !living && rest > 0 {
        tally.damage(rest);
    }
    for (owner, last, closed) in claims {
        let name = producer(directory, &ledger, owner.epoch, owner.worker);
        tally.claim(&name, owner.epoch, last, closed);
    }
    for end in ledger.ends() {
        // Each in the name of the process that it was: the directory may have been another node's since.
        let Some(process) = ledger.name(end.epoch) else {
            continue;
        };
        let name = format!("{process}/{}", end.worker);
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

/// Who filled a ring: `NODE/ROLE-N/WORKER`.
fn producer(directory: &Directory, ledger: &Ledger, epoch: u64, worker: u64) -> String {
    match ledger.name(epoch) {
        Some(process) => format!("{process}/{worker}"),
        None => format!("{}/{worker}", directory.nameless()),
    }
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
