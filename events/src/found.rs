//! What a folder of events holds once whoever wrote it has ended, read whole: for tests (feature `broker`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::avro;
use crate::emit::recover;
use crate::event::{AuditGap, Event, Kind};
use crate::spool::{Position, Reader, Step, directories};

/// An event as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub kind: Kind,
    pub key: Option<String>,
    /// Its JSON form; `null` for a tombstone.
    pub json: String,
    pub epoch: u64,
    pub worker: u16,
    pub sequence: u64,
}

/// Everything below a folder. What lay in the rings of those who were killed is taken over first, as a next start would.
///
/// Fails where a process still lives, and where a sequence is missing that no gap event declares, or came twice.
pub fn read(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for directory in directories(root)? {
        let claim = directory
            .seize()?
            .ok_or_else(|| io::Error::other("a process still writes"))?;
        recover(&claim)?;
        let mut last = BTreeMap::<(u64, u16), u64>::new();
        let mut holes = Vec::new();
        let before = found.len();
        let mut reader = Reader::new(&directory, Position::default());
        loop {
            let block = match reader.step()? {
                Step::End => break,
                // A torn tail is what a kill may leave: what was in it was in the ring as well.
                Step::Damage(_) => continue,
                Step::Block(block) => block,
            };
            let (epoch, worker) = (block.header.epoch, block.header.worker);
            let last = last.entry((epoch, worker)).or_default();
            for record in block.records() {
                if record.sequence <= *last {
                    let text = format!(
                        "sequence {} of {epoch}/{worker} came twice",
                        record.sequence
                    );
                    return Err(io::Error::other(text));
                }
                if record.sequence > *last + 1 {
                    holes.push((epoch, *last + 1, record.sequence - 1));
                }
                *last = record.sequence;
                let kind = Kind::from_number(record.kind);
                let kind = kind.ok_or_else(|| io::Error::other("a kind that is not known"))?;
                let mut json = String::new();
                match kind.schema() {
                    Some(schema) => {
                        avro::to_json(schema, record.body, &mut json).map_err(io::Error::other)?;
                    }
                    None => json.push_str("null"),
                }
                let key = record
                    .key
                    .map(|key| String::from_utf8_lossy(key).into_owned());
                found.push(Found {
                    kind,
                    key,
                    json,
                    epoch,
                    worker,
                    sequence: record.sequence,
                });
            }
        }
        let gaps = found[before..].iter();
        let gaps: Vec<_> = gaps.filter(|event| event.kind == AuditGap::KIND).collect();
        for (epoch, first, last) in holes {
            let number = |event: &Found, field: &str| {
                let (_, rest) = event.json.split_once(&format!("\"{field}\":"))?;
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                rest[..end].parse::<u64>().ok()
            };
            let declares = |gap: &&Found| {
                number(gap, "epoch") == Some(epoch)
                    && number(gap, "first_sequence").is_some_and(|begin| begin <= first)
                    && number(gap, "last_sequence").is_some_and(|end| end >= last)
            };
            if !gaps.iter().copied().any(|gap| declares(&gap)) {
                let text = format!("{first} to {last} of {epoch} are missing, and nothing says so");
                return Err(io::Error::other(text));
            }
        }
    }
    Ok(found)
}
