//! file-log: one JSON line a request at the end of a file. A thread of the file's own writes; a slow disk holds nothing up, and beyond a
//! bound lines are dropped, counted and said.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use carbyne_engine::observe::log::{LogFile, LogSettings};
use serde::Deserialize;

use crate::plugin::custom_fields::CustomFields;
use crate::plugin::{Ended, Plugin, Refusal, Setup};
use crate::value::Value;

#[derive(Debug)]
pub struct FileLog {
    file: Arc<File>,
    reopen: bool,
    fields: CustomFields,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    path: Box<str>,
    reopen: bool,
    custom_fields_by_lua: Option<BTreeMap<Box<str>, Box<str>>>,
}

/// Files that are written to, by path: those of one path are one, whatever is reloaded.
#[derive(Debug, Default)]
pub struct Files(Mutex<BTreeMap<Box<str>, Weak<File>>>);

#[derive(Debug)]
struct File {
    log: LogFile,
    path: Box<str>,
    dropped: AtomicU64,
}

/// How long a line may wait for others.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

impl Plugin for FileLog {
    type Config = Config;
    type Shared = Files;
    type State = ();

    const SERIALIZES: bool = true;

    fn new(config: Config, setup: &Setup<'_, Files>) -> Result<Self, Refusal> {
        let fields = CustomFields::read(config.custom_fields_by_lua)?;
        let opened = setup.shared.open(&config.path);
        Ok(Self {
            file: opened.map_err(|error| Refusal::new("path", error))?,
            reopen: config.reopen,
            fields,
        })
    }

    fn log(&self, ended: &Ended<'_, ()>) {
        let mut written = ended.serialize();
        self.fields.apply(&mut written);
        let mut line = Value::from(written).to_json();
        line.push('\n');
        if self.reopen {
            self.file.log.reopen();
        }
        self.file.append(&line);
    }
}

impl Files {
    fn open(&self, path: &str) -> std::io::Result<Arc<File>> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, file| file.strong_count() > 0);
        if let Some(known) = files.get(path).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let settings = LogSettings {
            flush_interval: FLUSH_INTERVAL,
            ..LogSettings::default()
        };
        let file = Arc::new(File {
            log: LogFile::open(Path::new(path), settings)?,
            path: path.into(),
            dropped: AtomicU64::new(0),
        });
        files.insert(path.into(), Arc::downgrade(&file));
        Ok(file)
    }

    /// As after a rotation of logs.
    pub fn reopen(&self) {
        for file in self.all() {
            file.log.reopen();
        }
    }

    /// Writes out everything, at the end of the process.
    pub fn close(&self) {
        for file in self.all() {
            file.log.close();
        }
    }

    fn all(&self) -> Vec<Arc<File>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.values().filter_map(Weak::upgrade).collect()
    }
}

impl File {
    fn append(&self, line: &str) {
        if self.log.append(line.as_bytes()) {
            return;
        }
        let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        // Said for the first, the second, the fourth …: the log is not to be flooded as well.
        if dropped.is_power_of_two() {
            tracing::error!(path = %self.path, dropped, "file-log: lines were dropped, the disk is too slow");
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // Ends the writer. Instances are let go of where nobody waits: by the updater.
        self.log.close();
    }
}
