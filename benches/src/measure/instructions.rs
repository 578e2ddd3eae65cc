//! User-mode instructions, from the files that callgrind writes at exit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::process;
use crate::error::BenchError;

/// Removes what an earlier run left.
///
/// # Errors
/// When the folder cannot be read.
pub fn clear(folder: &Path) -> Result<(), BenchError> {
    for (path, _) in files(folder)? {
        fs::remove_file(&path).map_err(BenchError::file(path))?;
    }
    Ok(())
}

/// Forgets what a process and those below it have spent so far. What a start costs varies by more than a short run does: the libraries
/// of cryptography measure the machine's noise for as long as they need.
///
/// # Errors
/// When `callgrind_control`, a part of valgrind, cannot reach the process.
pub fn zero(root: u32) -> Result<(), BenchError> {
    let processes = process::tree(root);
    let done = Command::new("callgrind_control")
        .arg("--zero")
        .args(processes.iter().map(u32::to_string))
        .output()
        .map_err(BenchError::file("callgrind_control"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(BenchError::Helper {
        program: "callgrind_control",
        what: String::from_utf8_lossy(&done.stderr).into_owned(),
    })
}

/// The instructions of every process that wrote a file into the folder.
///
/// # Errors
/// When there is none.
pub fn total(folder: &Path) -> Result<u64, BenchError> {
    let mut sum = None;
    for (path, process) in files(folder)? {
        let text = fs::read_to_string(&path).map_err(BenchError::file(path))?;
        let count = totals(&text).ok_or_else(|| BenchError::Helper {
            program: "valgrind",
            what: format!("the file of process {process} has no totals"),
        })?;
        sum = Some(sum.unwrap_or(0) + count);
    }
    sum.ok_or_else(|| BenchError::Helper {
        program: "valgrind",
        what: "wrote no file: did the peer end by itself?".to_owned(),
    })
}

/// The instructions of each thread of a process that ran under `--separate-threads=yes`, by the number that valgrind gives it: the
/// first is `01`.
///
/// # Errors
/// When there is none.
pub fn of_threads(folder: &Path) -> Result<BTreeMap<String, u64>, BenchError> {
    let mut threads = BTreeMap::new();
    for (path, name) in files(folder)? {
        // The file without a thread's number holds no counts.
        let Some((_, thread)) = name.rsplit_once('-') else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(BenchError::file(path))?;
        let count = totals(&text).ok_or_else(|| BenchError::Helper {
            program: "valgrind",
            what: format!("the file of thread {name} has no totals"),
        })?;
        threads.insert(thread.to_owned(), count);
    }
    Ok(threads)
}

fn files(folder: &Path) -> Result<Vec<(std::path::PathBuf, String)>, BenchError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(BenchError::file(folder))? {
        let path = entry.map_err(BenchError::file(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        if let Some(process) =
            name.and_then(|name| Some(name.strip_prefix("callgrind.")?.to_owned()))
        {
            found.push((path, process));
        }
    }
    Ok(found)
}

/// `summary:` counts what was collected; an older file has only `totals:`.
fn totals(text: &str) -> Option<u64> {
    let line = |name: &str| text.lines().rev().find_map(|line| line.strip_prefix(name));
    let count = line("summary:").or_else(|| line("totals:"))?;
    count.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_in_both_spellings() {
        let cases = [
            (
                "events: Ir\nsummary: 1234\n\nfn=(1)\ntotals: 99\n",
                Some(1234),
            ),
            ("events: Ir\n\nfn=(1)\ntotals: 99\n", Some(99)),
            ("events: Ir\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(totals(text), expected);
        }
    }
}
