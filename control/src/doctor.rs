//! `carbyne doctor`: everything that somebody needs who was not there, in one file, without secrets, in a time that is known before.
//! What cannot be had is named in it; a platform that is half dead is the one that needs it most.
//!
//! | file | what it does |
//! |---|---|
//! | [`gather`] | the parts: what programs answer, their logs, the configuration |
//! | [`redact`] | takes secrets out of texts |
//! | [`bundle`] | parts become a .tgz |

pub mod bundle;
pub mod gather;
pub mod redact;

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use self::gather::Parts;
use crate::{
    duration,
    output::{Finding, Findings, Options, Outcome, Text, Verdict, code},
    running, runtime,
    terminal::{BOLD, DIM, YELLOW},
};

/// Arguments of `carbyne doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// File to write [default: carbyne-doctor-SECONDS.tgz here]
    pub file: Option<PathBuf>,
    /// Runtime directory of `carbyne up`; also one that is left over [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Folder of configuration to take in, if nothing runs that names one
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// How long it may take; what is not there by then is left out
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration::parse)]
    pub within: Duration,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The file.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: usize,
    /// Names of the parts in it.
    pub parts: Vec<String>,
    /// What is not in it, and why.
    pub missing: Vec<String>,
    /// What is wrong, at first sight.
    #[serde(flatten)]
    pub findings: Findings,
}

/// Writes the bundle.
///
/// # Errors
/// When it cannot be written.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let mut parts = Parts::default();
    // A directory that is left over has logs, too.
    let running = match (running::find(arguments.run.as_deref()), &arguments.run) {
        (Ok((_, running)), _) => Some(running),
        (Err(error), Some(directory)) => {
            parts.missing.push(error.to_string());
            running::read(directory).ok()
        }
        (Err(error), None) => {
            parts.missing.push(error.to_string());
            None
        }
    };
    let folder = arguments
        .folder
        .clone()
        .or_else(|| running.as_ref().map(|running| running.folder.clone()));
    runtime::run(gather::gather(
        &mut parts,
        running.as_ref(),
        folder.as_deref(),
        arguments.within,
    ))?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let file = arguments
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("carbyne-doctor-{seconds}.tgz")));
    let wrong =
        |error: std::io::Error| Finding::new(&code::NOT_WRITTEN, error.to_string()).in_file(&file);
    let bytes = bundle::bundle(&parts, seconds).map_err(wrong)?;
    bundle::write(&file, &bytes).map_err(wrong)?;
    let diagnosis = Diagnosis {
        bytes: bytes.len(),
        parts: parts.files.iter().map(|(name, _)| name.clone()).collect(),
        missing: parts.missing,
        findings: Findings::from(parts.findings),
        file,
    };
    options.show(&diagnosis)?;
    Ok(if diagnosis.missing.is_empty() {
        diagnosis.findings.outcome()
    } else {
        diagnosis.findings.outcome().max(Outcome::Differs)
    })
}

impl Text for Diagnosis {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.findings.text(out)?;
        for missing in &self.missing {
            writeln!(out, "{YELLOW}not in it:{YELLOW:#} {missing}")?;
        }
        writeln!(
            out,
            "{BOLD}{}{BOLD:#}: {} parts, {} KiB",
            self.file.display(),
            self.parts.len(),
            self.bytes.div_ceil(1024)
        )?;
        writeln!(
            out,
            "{DIM}Keys, passwords and tokens are taken out. Look through it before you give it away: tar tzf {}{DIM:#}",
            self.file.display()
        )
    }
}

#[cfg(test)]
mod tests;
