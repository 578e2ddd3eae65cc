//! `carbyne explain`: what a code means, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::{
    output::{
        Finding, Options, Outcome, Text, Verdict,
        code::{self, Code},
        table::Table,
    },
    terminal::{BOLD, DIM},
};

/// Arguments of `carbyne explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Code, such as CTL-0101 [default: a list of all]
    pub code: Option<String>,
}

/// Explains one code, or lists all.
///
/// # Errors
/// When there is no such code.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    match &arguments.code {
        None => options.show(&All(code::ALL))?,
        Some(text) => {
            let code = code::find(text)
                .ok_or_else(|| Finding::new(&code::UNKNOWN_CODE, format!("`{text}` is no code")))?;
            options.show(code)?;
        }
    }
    Ok(Outcome::Well)
}

#[derive(Serialize)]
#[serde(transparent)]
struct All(&'static [&'static Code]);

impl Text for Code {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(
            out,
            "{BOLD}{self}{BOLD:#} ({}) {}",
            self.severity, self.title
        )?;
        writeln!(out, "\n{}", self.explanation)?;
        writeln!(out, "\n{DIM}fix:{DIM:#} {}", self.fix)
    }
}

impl Text for All {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut table = Table::new(["code", "severity", "what"]);
        for code in self.0 {
            table.row([
                code.to_string(),
                code.severity.to_string(),
                code.title.to_owned(),
            ]);
        }
        table.write(out, "")
    }
}
