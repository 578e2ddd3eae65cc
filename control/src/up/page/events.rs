//! The tail of the spool: what members emitted, read as it is written.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use carbyne_events::{
    avro,
    event::Kind,
    spool::{Block, Position, Reader, Step, directories},
};
use serde_json::Value;

use super::state::{Event, Events};

/// Where reading stands in each spool, and what was read last.
#[derive(Debug)]
pub struct Tail {
    root: PathBuf,
    positions: BTreeMap<PathBuf, Position>,
    last: VecDeque<Event>,
    counts: BTreeMap<&'static str, u64>,
    damaged: u64,
}

impl Tail {
    /// Begins at the start of everything below this folder.
    #[must_use]
    pub const fn new(root: PathBuf) -> Self {
        Self {
            root,
            positions: BTreeMap::new(),
            last: VecDeque::new(),
            counts: BTreeMap::new(),
            damaged: 0,
        }
    }

    /// Below which folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads what came since; blocking.
    pub fn read(&mut self) -> Events {
        let error = self.advance().err().map(|error| error.to_string());
        Events {
            counts: self.counts.clone(),
            last: self.last.iter().cloned().collect(),
            damaged: self.damaged,
            error,
        }
    }

    fn advance(&mut self) -> std::io::Result<()> {
        let mut read = Vec::new();
        for directory in directories(&self.root)? {
            let path = directory.path().to_owned();
            let position = self.positions.get(&path).copied().unwrap_or_default();
            let mut reader = Reader::new(&directory, position);
            // A spool that is written faster than it is read must not hold this up.
            for _ in 0..BLOCKS {
                match reader.step()? {
                    Step::Block(block) => self.take(reader.name(), &block, &mut read),
                    Step::Damage(_) => self.damaged += 1,
                    Step::End => break,
                }
            }
            self.positions.insert(path, reader.position());
        }
        read.sort_by_key(|event: &Event| event.time);
        for event in read {
            self.last.push_front(event);
        }
        self.last.truncate(SHOWN);
        Ok(())
    }

    fn take(&mut self, producer: &str, block: &Block, read: &mut Vec<Event>) {
        let count = usize::try_from(block.header.count).unwrap_or(usize::MAX);
        for (index, record) in block.records().enumerate() {
            // What a later version wrote has a number that this one does not know.
            let Some(kind) = Kind::from_number(record.kind) else {
                continue;
            };
            *self.counts.entry(kind.topic().name()).or_default() += 1;
            if index + SHOWN < count {
                continue;
            }
            let mut text = String::new();
            let data = kind
                .schema()
                .and_then(|schema| avro::to_json(schema, record.body, &mut text).ok())
                .and_then(|()| serde_json::from_str(&text).ok())
                .unwrap_or(Value::Null);
            let (worker, epoch) = (block.header.worker, block.header.epoch);
            read.push(Event {
                id: format!("{producer}-{worker}/{epoch}/{}", record.sequence),
                time: record.time,
                topic: kind.topic().name(),
                kind: kind.event_type(),
                data,
            });
        }
    }
}

/// Events that are shown.
const SHOWN: usize = 50;
/// Blocks of one spool that are read at a time.
const BLOCKS: usize = 256;
