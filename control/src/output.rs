//! What every verb hands back: text for people, JSON or YAML for programs, and an exit code.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | healthy, or nothing to change |
//! | 1 | an error: of what was looked at, of the command line, or of `carbyne` itself |
//! | 2 | it works, and there are differences or warnings |
//!
//! | file | what lives there |
//! |---|---|
//! | [`code`] | the table of stable codes, `CTL-0123` |
//! | [`finding`] | one thing that is wrong: code, severity, place, what to do |
//! | [`table`] | columns of equal width |

pub mod code;
pub mod finding;
pub mod table;

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

pub use self::{
    code::{Code, Severity},
    finding::{Finding, Findings, Place},
};
use crate::terminal;

/// Arguments that every verb takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// How results are written
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        global = true,
        value_enum,
        default_value_t
    )]
    pub format: Format,
    /// No colours, even on a terminal (the same as NO_COLOR=1)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// Lists of objects, for people and programs
    Yaml,
    /// `graph` only: a Mermaid flow chart
    Mermaid,
    /// `graph` only: Graphviz
    Dot,
    /// `graph` only: a picture
    Svg,
}

/// How a verb went, when nothing kept it from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Healthy, or nothing to change.
    Well,
    /// There are differences or warnings.
    Differs,
    /// There are errors.
    Failed,
}

/// What a verb ends with: how it went, or why it could not be done.
pub type Verdict = Result<Outcome, Finding>;

/// A result in the words of people; styles are taken out where nobody sees them.
pub trait Text {
    /// Writes the lines.
    ///
    /// # Errors
    /// Those of `out`.
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result;
}

impl Options {
    /// Makes `--no-color` hold for all that is printed from here on.
    pub fn apply(&self) {
        if self.no_color {
            anstream::ColorChoice::Never.write_global();
        }
    }

    /// Writes a result to standard output.
    ///
    /// # Errors
    /// When the verb has no such format.
    pub fn show<T: Serialize + Text>(&self, value: &T) -> Result<(), Finding> {
        terminal::print(&self.render(value)?);
        Ok(())
    }

    /// Writes one result of many to standard output: a line of its own for programs.
    ///
    /// # Errors
    /// When the verb has no such format.
    pub fn show_line<T: Serialize + Text>(&self, value: &T) -> Result<(), Finding> {
        let text = match self.format {
            Format::Json => serde_json::to_string(value)
                .map(|line| line + "\n")
                .map_err(|error| Finding::new(&code::NOT_WRITTEN, error.to_string()))?,
            _ => self.render(value)?,
        };
        terminal::print(&text);
        Ok(())
    }

    /// The text of a result in the format that was asked for.
    ///
    /// # Errors
    /// When the verb has no such format.
    pub fn render<T: Serialize + Text>(&self, value: &T) -> Result<String, Finding> {
        match self.format {
            Format::Text => {
                let mut text = String::new();
                // Writing to a string does not fail.
                value.text(&mut text).ok();
                Ok(text)
            }
            Format::Json => json(value),
            Format::Yaml => serde_saphyr::to_string(value)
                .map_err(|error| Finding::new(&code::NOT_WRITTEN, error.to_string())),
            Format::Mermaid | Format::Dot | Format::Svg => Err(Finding::new(
                &code::NO_SUCH_FORMAT,
                "only `carbyne graph` draws pictures",
            )),
        }
    }

    /// Says why a verb could not be done: on standard error for people, as a result for programs.
    #[must_use]
    pub fn end(&self, verdict: Verdict) -> ExitCode {
        match verdict {
            Ok(outcome) => outcome.into(),
            Err(finding) => {
                let severity = finding.severity;
                if self.format == Format::Text {
                    let mut text = String::new();
                    // Writing to a string does not fail.
                    finding.text(&mut text).ok();
                    terminal::note(text.trim_end());
                } else {
                    let findings = Findings::from(vec![finding]);
                    let options = Self {
                        format: if self.format == Format::Yaml {
                            Format::Yaml
                        } else {
                            Format::Json
                        },
                        no_color: self.no_color,
                    };
                    // Text and numbers: they can be written in both formats.
                    options.show(&findings).ok();
                }
                Outcome::of(severity).into()
            }
        }
    }
}

impl Outcome {
    /// What the worst of several findings makes of it.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Failed,
            Severity::Warning => Self::Differs,
            Severity::Note => Self::Well,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Well => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Differs => Self::from(2),
        }
    }
}

/// JSON as files of it are written: indented, with a line feed at the end.
///
/// # Errors
/// When a map has keys that are no text.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Finding> {
    let written = serde_json::to_string_pretty(value);
    let mut text = written.map_err(|error| Finding::new(&code::NOT_WRITTEN, error.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// What a file holds; `-` is standard input.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Finding> {
    let read = if is_stdin(path) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| {
        Finding::new(&code::UNREADABLE, format!("cannot be read: {error}")).in_file(path)
    })
}

/// True for `-`.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The name under which findings speak of a file.
#[must_use]
pub fn shown(path: &Path) -> PathBuf {
    if is_stdin(path) {
        PathBuf::from("(standard input)")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair {
        name: &'static str,
        days: u32,
    }

    impl Text for Pair {
        fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
            writeln!(out, "{} has {} days left", self.name, self.days)
        }
    }

    #[test]
    fn one_result_in_each_format() {
        let pair = Pair {
            name: "portal",
            days: 3,
        };
        let render = |format| {
            Options {
                format,
                no_color: false,
            }
            .render(&pair)
        };
        assert_eq!(render(Format::Text).unwrap(), "portal has 3 days left\n");
        assert_eq!(
            render(Format::Json).unwrap(),
            "{\n  \"name\": \"portal\",\n  \"days\": 3\n}\n"
        );
        assert_eq!(render(Format::Yaml).unwrap(), "name: portal\ndays: 3\n");
        assert_eq!(
            render(Format::Svg).unwrap_err().code.to_string(),
            "CTL-0102"
        );
    }

    #[test]
    fn what_cannot_be_read_has_its_name() {
        let error = read(Path::new("/nonexistent/x.yaml")).unwrap_err();
        assert_eq!(error.code.to_string(), "CTL-0101");
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/x.yaml: error CTL-0101: cannot be read"),
            "{error}"
        );
    }
}
