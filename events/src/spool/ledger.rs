//! Where each producer's count ended: what a later reader needs to know of a tail that is nowhere else.
//!
//! Lines of text: `epoch E NODE/ROLE-N`, one for each epoch that was begun, and by whom, and `end E WORKER LAST`, one for each producer
//! that is gone. A directory is taken by whoever of a role starts first, so that its epochs may be of different nodes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::cursor::replace;

/// The end of one producer's count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    pub epoch: u64,
    pub worker: u64,
    /// The last sequence that it used.
    pub last: u64,
}

/// The file of ends.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    begun: Vec<(u64, String)>,
    ends: Vec<End>,
}

impl Ledger {
    /// Reads it; lines that are none are passed over.
    pub fn load(directory: &Path) -> Self {
        let path = directory.join("ledger");
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut ledger = Self {
            path,
            begun: Vec::new(),
            ends: Vec::new(),
        };
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let number = |word: &str| word.parse::<u64>().ok();
            match words[..] {
                ["epoch", epoch, name] => {
                    let begun = number(epoch).map(|epoch| (epoch, name.to_owned()));
                    ledger.begun.extend(begun);
                }
                ["end", epoch, worker, last] => {
                    if let (Some(epoch), Some(worker), Some(last)) =
                        (number(epoch), number(worker), number(last))
                    {
                        ledger.ends.push(End {
                            epoch,
                            worker,
                            last,
                        });
                    }
                }
                _ => {}
            }
        }
        ledger
    }

    /// The last epoch that is known to have begun; 0 if none is.
    pub fn epoch(&self) -> u64 {
        let begun = self.begun.iter().map(|(epoch, _)| *epoch);
        let ended = self.ends.iter().map(|end| end.epoch);
        begun.chain(ended).max().unwrap_or(0)
    }

    /// Whose epoch that was: `NODE/ROLE-N`; none where nobody knows any more.
    pub fn name(&self, epoch: u64) -> Option<&str> {
        let found = self.begun.iter().find(|(begun, _)| *begun == epoch);
        found.map(|(_, name)| name.as_str())
    }

    /// Ends, the oldest first.
    pub fn ends(&self) -> &[End] {
        &self.ends
    }

    /// The end of the worker's last producer.
    pub fn last_end(&self, worker: u64) -> Option<End> {
        let of_worker = self.ends.iter().filter(|end| end.worker == worker);
        of_worker.max_by_key(|end| end.epoch).copied()
    }

    /// Notes, before anything is emitted in it, that an epoch has begun.
    pub fn begin(&mut self, name: &str, epoch: u64) -> io::Result<()> {
        self.begun.retain(|(begun, _)| *begun != epoch);
        self.begun.push((epoch, name.to_owned()));
        let surplus = self.begun.len().saturating_sub(KEPT);
        self.begun.drain(..surplus);
        self.store()
    }

    /// Notes where a producer ended.
    pub fn end(&mut self, end: End) -> io::Result<()> {
        self.ends
            .retain(|known| (known.epoch, known.worker) != (end.epoch, end.worker));
        self.ends.push(end);
        let surplus = self.ends.len().saturating_sub(KEPT);
        self.ends.drain(..surplus);
        self.store()
    }

    fn store(&self) -> io::Result<()> {
        let mut text = String::new();
        for (epoch, name) in &self.begun {
            text += &format!("epoch {epoch} {name}\n");
        }
        for End {
            epoch,
            worker,
            last,
        } in &self.ends
        {
            text += &format!("end {epoch} {worker} {last}\n");
        }
        replace(&self.path, text.as_bytes())?;
        File::open(&self.path)?.sync_data()
    }
}

/// How many epochs and ends are kept.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_back_and_nonsense_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::load(folder.path());
        assert_eq!(ledger.epoch(), 0);
        ledger.begin("m/proxy-0", 4).unwrap();
        ledger.begin("n/proxy-0", 5).unwrap();
        let end = |epoch, worker, last| End {
            epoch,
            worker,
            last,
        };
        ledger.end(end(5, 0, 10)).unwrap();
        ledger.end(end(5, 0, 12)).unwrap();
        ledger.end(end(4, 0, 99)).unwrap();
        let path = folder.path().join("ledger");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + "end of it\nend 1 2\n\u{fffd}\n").unwrap();
        let ledger = Ledger::load(folder.path());
        assert_eq!(ledger.epoch(), 5);
        let names = [3, 4, 5].map(|epoch| ledger.name(epoch));
        assert_eq!(names, [None, Some("m/proxy-0"), Some("n/proxy-0")]);
        assert_eq!(ledger.ends(), [end(5, 0, 12), end(4, 0, 99)]);
        assert_eq!(ledger.last_end(0), Some(end(5, 0, 12)));
        assert_eq!(ledger.last_end(1), None);
    }
}
