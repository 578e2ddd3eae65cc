//! Which files there are, and what each is: told by what is in it, for names say little.

use std::path::{Path, PathBuf};

use crate::output::{self, Finding, code, shown};

/// Texts by kind.
#[derive(Debug, Default)]
pub struct Files {
    /// Kubernetes YAML, Istio's or other.
    pub istio: Vec<(PathBuf, String)>,
    /// Declarative configuration of a gateway.
    pub kong: Vec<(PathBuf, String)>,
    /// Topics of events.
    pub topics: Vec<(PathBuf, String)>,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

impl Files {
    /// How many there are, as people say it.
    #[must_use]
    pub fn count(&self) -> String {
        let count = self.istio.len() + self.kong.len() + self.topics.len();
        match count {
            1 => "1 file".to_owned(),
            _ => format!("{count} files"),
        }
    }

    fn add(&mut self, path: PathBuf, text: String) {
        let list = match kind(&path, &text) {
            Kind::Kong => &mut self.kong,
            Kind::Topics => &mut self.topics,
            Kind::Istio => &mut self.istio,
        };
        list.push((path, text));
    }
}

/// Reads files, and all `*.yaml`, `*.yml` and `*.json` in folders and what is below them; hidden ones are left out.
///
/// # Errors
/// When a path that was named cannot be read, or nothing is there.
pub fn gather(paths: &[PathBuf]) -> Result<Files, Finding> {
    let mut files = Files::default();
    for path in paths {
        if path.is_dir() {
            let mut found = Vec::new();
            list(path, &mut found).map_err(|error| {
                Finding::new(&code::UNREADABLE, format!("cannot be read: {error}")).in_file(path)
            })?;
            found.sort();
            if found.is_empty() {
                return Err(Finding::new(
                    &code::UNREADABLE,
                    "no .yaml, .yml or .json file is here",
                )
                .in_file(path));
            }
            for file in found {
                match output::read(&file) {
                    Ok(text) => files.add(file, text),
                    Err(finding) => files.findings.push(finding),
                }
            }
        } else {
            let text = output::read(path)?;
            files.add(shown(path), text);
        }
    }
    Ok(files)
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            list(&path, found)?;
        } else if path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        }) {
            found.push(path);
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Istio,
    Kong,
    Topics,
}

/// By the words that begin a line: `_format_version` is Kong's alone; topics are at the top of a file that is no Kubernetes object.
fn kind(path: &Path, text: &str) -> Kind {
    let top = |word: &str| {
        text.lines().any(|line| {
            let line = line.trim_start_matches(['{', '"', ' ']);
            line.strip_prefix(word)
                .is_some_and(|rest| rest.trim_start_matches('"').starts_with(':'))
        })
    };
    let unindented = |word: &str| {
        text.lines().any(|line| {
            line.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    let stem = path.file_stem().is_some_and(|stem| stem == "topics");
    if top("_format_version") {
        Kind::Kong
    } else if !unindented("kind") && unindented("topics") && (stem || unindented("profiles")) {
        Kind::Topics
    } else {
        Kind::Istio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_is_in_them() {
        for (name, text, expected) in [
            ("a.yaml", "kind: Gateway\nspec: {}\n", Kind::Istio),
            (
                "kong.yml",
                "_format_version: \"3.0\"\nservices: []\n",
                Kind::Kong,
            ),
            ("x.json", "{\"_format_version\": \"3.0\"}", Kind::Kong),
            ("y.json", "{\n  \"_format_version\": \"3.0\"\n}", Kind::Kong),
            ("topics.yaml", "topics:\n  a: {}\n", Kind::Topics),
            ("events.yaml", "profiles: {}\ntopics: {}\n", Kind::Topics),
            ("topics.yaml", "kind: KafkaTopic\ntopics: x\n", Kind::Istio),
        ] {
            assert_eq!(kind(Path::new(name), text), expected, "{name}");
        }
    }
}
