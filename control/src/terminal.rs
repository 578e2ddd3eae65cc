//! What people read: notes and errors on standard error, results on standard output; colours only where a terminal looks at them
//! and `NO_COLOR` is not set.

use std::{
    io::{IsTerminal, Write},
    time::Instant,
};

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
    /// What is waited for, since when.
    wait: Option<(String, Instant)>,
}

impl Progress {
    /// Looks whether standard error is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self {
            live: std::io::stderr().is_terminal(),
            shown: false,
            wait: None,
        }
    }

    /// Waits for something, and says why it is not there yet: on a terminal with the seconds that it took so far, elsewhere one
    /// line whenever the reason is another one.
    pub fn wait(&mut self, what: &str, reason: &str) {
        let text = format!("waiting for {what}: {reason}");
        let since = match &self.wait {
            Some((same, _)) if *same == text && !self.live => return,
            Some((same, since)) if same.starts_with(&format!("waiting for {what}: ")) => *since,
            _ => Instant::now(),
        };
        self.wait = Some((text.clone(), since));
        let seconds = since.elapsed().as_secs();
        self.step(&format!("{text} ({seconds} s)"), &text);
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
/// What is wrong.
pub const RED: Style = AnsiColor::Red.on_default().bold();
/// What to look at.
pub const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
/// What is well.
pub const GREEN: Style = AnsiColor::Green.on_default();
