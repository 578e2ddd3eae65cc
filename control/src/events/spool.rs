//! `carbyne events spool`.

use std::{fmt, path::PathBuf, time::Duration};

use carbyne_events::{
    emit::now,
    spool::{Cursor, Directory, Position, Reader, Step, oldest},
};
use serde::Serialize;

use super::{Folder, damaged_heads, unreadable};
use crate::{
    moment,
    output::{Finding, Findings, Options, Text, Verdict, code, table::Table},
};

/// Arguments of `carbyne events spool`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Whose spools.
    #[command(flatten)]
    pub folder: Folder,
    /// Directory of the platform that is meant [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
}

/// Looks into every spool.
///
/// # Errors
/// When there is none.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let directories = arguments.folder.spools(arguments.run.as_deref())?;
    let spools = directories
        .iter()
        .map(|directory| Spool::of(directory).map_err(|error| unreadable(directory.path(), &error)))
        .collect::<Result<Vec<_>, _>>()?;
    let findings: Vec<Finding> = spools.iter().flat_map(Spool::findings).collect();
    let spools = Spools {
        spools,
        findings: findings.into(),
    };
    options.show(&spools)?;
    Ok(spools.findings.outcome())
}

#[derive(Debug, Serialize)]
struct Spools {
    spools: Vec<Spool>,
    #[serde(flatten)]
    findings: Findings,
}

#[derive(Debug, Serialize)]
struct Spool {
    name: String,
    /// Its process runs.
    runs: bool,
    rings: usize,
    segments: usize,
    bytes: u64,
    /// Events that are not acknowledged.
    owed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_seconds: Option<f64>,
    dead_letters: u64,
    damages: u64,
    damaged_heads: u64,
    /// Events of which nobody knows any more whose they are.
    nameless: u64,
}

/// What lies in a spool from a position on.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    events: u64,
    nameless: u64,
    damages: u64,
    damaged_heads: u64,
}

impl Spool {
    fn of(directory: &Directory) -> std::io::Result<Self> {
        let sizes = directory.segment_sizes()?;
        let counts = count(directory, Cursor::new(directory.path()).load())?;
        let dead = Directory::new(directory.path().join("dead-letters"));
        let dead_letters = count(&dead, Position::default())?.events;
        let age = |time: u64| Duration::from_micros(now().saturating_sub(time)).as_secs_f64();
        Ok(Self {
            name: directory.name().to_owned(),
            runs: directory.is_taken()?,
            rings: directory.ring_files()?.len(),
            segments: sizes.len(),
            bytes: sizes.iter().map(|(_, size)| size).sum(),
            owed: counts.events,
            oldest_seconds: oldest(directory).map(age),
            dead_letters,
            damages: counts.damages,
            damaged_heads: counts.damaged_heads,
            nameless: counts.nameless,
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.damages > 0 {
            let message = format!("{} places cannot be read", self.damages);
            findings.push(Finding::new(&code::SPOOL_DAMAGED, message).about(&self.name));
        }
        if self.damaged_heads > 0 {
            let message = damaged_heads(self.damaged_heads, self.nameless);
            findings.push(Finding::new(&code::SEGMENT_HEAD_DAMAGED, message).about(&self.name));
        }
        if self.dead_letters > 0 {
            let message = format!(
                "{} events can never be sent: they lie in dead-letters/",
                self.dead_letters
            );
            findings.push(Finding::new(&code::EVENTS_DROPPED, message).about(&self.name));
        }
        findings
    }
}

/// Events that are not acknowledged, and damaged places among them.
///
/// # Errors
/// When a segment cannot be read.
pub fn owed(directory: &Directory) -> std::io::Result<(u64, u64)> {
    let counts = count(directory, Cursor::new(directory.path()).load())?;
    Ok((counts.events, counts.damages + counts.damaged_heads))
}

fn count(directory: &Directory, from: Position) -> std::io::Result<Counts> {
    let mut reader = Reader::new(directory, from);
    let nameless = directory.nameless();
    let mut counts = Counts::default();
    loop {
        match reader.step()? {
            Step::Block(block) => {
                let events = u64::from(block.header.count);
                counts.events += events;
                if reader.name() == nameless {
                    counts.nameless += events;
                }
            }
            Step::Damage(damage) if damage.is_head() => counts.damaged_heads += 1,
            Step::Damage(_) => counts.damages += 1,
            Step::End => return Ok(counts),
        }
    }
}

impl Text for Spools {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut table = Table::new([
            "process", "state", "rings", "segments", "MiB", "owed", "oldest",
        ]);
        for spool in &self.spools {
            let oldest = spool.oldest_seconds.map(Duration::from_secs_f64);
            table.row([
                spool.name.clone(),
                if spool.runs { "runs" } else { "gone" }.to_owned(),
                spool.rings.to_string(),
                spool.segments.to_string(),
                format!("{:.1}", spool.bytes as f64 / 1_048_576.0),
                spool.owed.to_string(),
                oldest.map_or_else(|| "–".to_owned(), moment::long),
            ]);
        }
        table.write(out, "")?;
        self.findings.text(out)
    }
}
