//! Parts become a .tgz.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

use super::{gather::Parts, redact::Redactor};

/// Everything with secrets taken out, and what is missing in `missing.txt`; in a folder of its own.
///
/// # Errors
/// Those of the writers; to memory there are none.
pub fn bundle(parts: &Parts, seconds: u64) -> io::Result<Vec<u8>> {
    let mut redactor = Redactor::default();
    for (_, text) in parts
        .files
        .iter()
        .filter(|(name, _)| name.starts_with("folder/"))
    {
        redactor.learn(text);
    }
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let missing = ("missing.txt".to_owned(), parts.missing.join("\n"));
    for (name, text) in parts.files.iter().chain(std::iter::once(&missing)) {
        let text = redactor.redact(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        header.set_cksum();
        let name = format!("carbyne-doctor-{seconds}/{}", redactor.redact(name));
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// Writes a file that nobody else may read.
///
/// # Errors
/// When it cannot be made or written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}
