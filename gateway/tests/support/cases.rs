//! How many cases of a table ran, for the runner of all suites.

use std::io::Write;

/// Says how many cases ran, of how many there are.
pub(crate) fn report(table: &str, ran: usize, all: usize) {
    println!("{table}: {ran} of {all} cases");
    if let Ok(path) = std::env::var("CARBYNE_CASES") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path);
        file.and_then(|mut file| file.write_all(format!("{table} {ran} {all}\n").as_bytes()))
            .unwrap_or_else(|error| panic!("CARBYNE_CASES={path}: {error}"));
    }
}
