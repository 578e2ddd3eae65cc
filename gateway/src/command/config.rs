//! `config`: declarative files.

use std::path::Path;

use super::{Done, say};
use crate::declarative::{Document, Place};

pub(super) fn parse(path: &Path) -> Done {
    let document = read(path)?;
    document
        .flatten()
        .map_err(|error| explained(path, &error))?;
    say("parse successful");
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<Document, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str());
    Document::read(&text, name).map_err(|error| explained(path, &error))
}

/// Every error of a file, with its line and column.
pub(super) fn explained(path: &Path, error: &crate::error::Error) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let places = error
        .fields
        .as_ref()
        .map(|fields| Place::find(&text, fields))
        .unwrap_or_default();
    let lines: Vec<_> = places
        .iter()
        .map(|place| format!("{}:{place}", path.display()))
        .collect();
    format!(
        "error parsing declarative config file {}:\n{}",
        path.display(),
        lines.join("\n")
    )
}
