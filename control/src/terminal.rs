//! What people read: notes and errors on standard error, results on standard output; colours only where a terminal looks at them
//! and `NO_COLOR` is not set.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};

/// What went wrong, and what to do about it.
pub fn error(message: &str, hint: Option<&str>) {
    let mut out = anstream::stderr().lock();
    // Nobody can be told when standard error itself is gone: `ok()` here and below.
    writeln!(out, "{RED}error:{RED:#} {message}").ok();
    if let Some(hint) = hint {
        writeln!(out, "  {DIM}hint:{DIM:#} {hint}").ok();
    }
}

/// Something to know that stops nothing.
pub fn warning(message: &str) {
    writeln!(
        anstream::stderr().lock(),
        "{YELLOW}warning:{YELLOW:#} {message}"
    )
    .ok();
}

/// Something that happened.
pub fn note(message: &str) {
    writeln!(anstream::stderr().lock(), "{message}").ok();
}

/// Text for standard output, with styles that are taken out where nobody sees them.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).ok();
    out.flush().ok();
}

/// A line that replaces itself on a terminal, and single lines elsewhere.
#[derive(Debug)]
pub struct Progress {
    live: bool,
    shown: bool,
}

impl Progress {
    /// Looks whether standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Shows how far it is; `step` is the line for places that keep every line.
    pub fn step(&mut self, summary: &str, step: &str) {
        if self.live {
            write!(anstream::stderr().lock(), "\r\x1b[2K{summary}").ok();
            std::io::stderr().flush().ok();
            self.shown = true;
        } else {
            note(step);
        }
    }

    /// Takes the line away again.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            write!(anstream::stderr().lock(), "\r\x1b[2K").ok();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What matters in a text.
pub const BOLD: Style = Style::new().bold();
/// What explains.
pub const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
