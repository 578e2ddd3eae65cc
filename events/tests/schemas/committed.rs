//! What is committed beside the schemas, held to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::parse::{self, Record};
use super::{canonical, compatible, generate};

/// Where the crate is.
pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn current() -> Vec<Record> {
    parse::folder(&crate_folder().join("schemas"))
}

/// Compares a file with what it must be, or writes it where the suite is told to.
pub(crate) fn hold(path: &Path, expected: &str) {
    if std::env::var_os("CARBYNE_WRITE_SCHEMAS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the schemas make of it: CARBYNE_WRITE_SCHEMAS=1 writes it anew",
        path.display()
    );
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Every version that was ever released, with its path below `history/`.
///
/// The name tells the fingerprint, so that a version cannot be changed in its place, and their kinds leave no number out,
/// so that none can be taken away.
fn history() -> Vec<(String, Record)> {
    let folder = crate_folder().join("schemas/history");
    let mut versions = Vec::new();
    for path in files(&folder) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let file = name.split('.').next().unwrap();
        let record = parse::record(file, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            name,
            version_name(&record),
            "a version that was released is not changed"
        );
        versions.push((name, record));
    }
    versions.sort_by_key(|(_, version)| version.kind);
    versions
}

fn version_name(record: &Record) -> String {
    let print = canonical::fingerprint(&canonical::form(&record.json));
    format!("{}.{}.{print:016x}.avsc", record.file, record.kind)
}

#[test]
fn the_generated_code_is_what_the_schemas_make_of_it() {
    let records = current();
    let folder = crate_folder().join("src/event/generated");
    let mut expected = BTreeSet::new();
    for record in &records {
        let path = folder.join(format!("{}.rs", record.file));
        hold(&path, &generate::module(record));
        expected.insert(path);
    }
    let mut old = history();
    old.retain(|(_, version)| !records.iter().any(|record| record.kind == version.kind));
    if !old.is_empty() {
        let path = folder.join("history.rs");
        hold(&path, &generate::history(&old));
        expected.insert(path);
    }
    hold(
        &folder.with_extension("rs"),
        &generate::table(&records, &old),
    );
    assert_eq!(files(&folder), expected, "a module has no schema");
}

#[test]
fn every_version_in_the_history_is_read_by_the_current_one() {
    let records = current();
    for record in &records {
        let path = crate_folder()
            .join("schemas/history")
            .join(version_name(record));
        let text =
            std::fs::read_to_string(crate_folder().join(format!("schemas/{}.avsc", record.file)));
        hold(&path, &text.unwrap());
    }
    for (name, version) in history() {
        let record = records.iter().find(|record| record.file == version.file);
        let record = record.unwrap_or_else(|| panic!("{name} has no current schema"));
        let obstacles = compatible::obstacles(record, &version);
        assert!(
            obstacles.is_empty(),
            "{} does not read {name}: {obstacles:?}",
            record.file
        );
        let same = version_name(record) == name;
        assert!(
            same || record.kind > version.kind,
            "{}: a changed schema has a kind of its own",
            record.file
        );
    }
}
