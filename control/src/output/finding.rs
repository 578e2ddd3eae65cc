//! One thing that is wrong, and what to do about it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Outcome, Text,
    code::{self, Code, Severity},
    shown,
};
use crate::{
    fetch::FetchError,
    running::FindError,
    terminal::{BOLD, DIM, RED, YELLOW},
};

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What kind of thing.
    #[serde(serialize_with = "by_name")]
    pub code: &'static Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    #[serde(flatten)]
    pub place: Box<Place>,
    /// What it is.
    pub message: String,
    /// What to do about it, in one line.
    pub fix: String,
}

/// Where something was found: any of file, object and path inside the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// File.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Line, from 1; 0 when the whole file is meant.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: usize,
    /// Column, from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub column: usize,
    /// Object, such as `VirtualService shop/routes` or `portal's sidecar`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// Path inside the object, such as `spec.http[0].route`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// Several of them, in the order of files and lines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// All.
    pub findings: Vec<Finding>,
    /// How many of each severity.
    pub summary: Summary,
}

/// How many findings there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Notes.
    pub notes: usize,
}

impl Finding {
    /// With the code's own severity and fix.
    #[must_use]
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity,
            place: Box::default(),
            message: message.into(),
            fix: code.fix.to_owned(),
        }
    }

    /// In a file.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.place.file = Some(shown(file));
        self
    }

    /// At a line and column of its file.
    #[must_use]
    pub const fn at(mut self, line: usize, column: usize) -> Self {
        self.place.line = line;
        self.place.column = column;
        self
    }

    /// About an object.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.place.object = object.into();
        self
    }

    /// With a fix of its own.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl From<FindError> for Finding {
    fn from(error: FindError) -> Self {
        let finding = Self::new(&code::NOT_RUNNING, error.to_string());
        match error.hint() {
            Some(hint) => finding.fix(hint),
            None => finding,
        }
    }
}

impl From<FetchError> for Finding {
    fn from(error: FetchError) -> Self {
        Self::new(&code::NO_ANSWER, error.to_string())
    }
}

impl Findings {
    /// What the worst of them makes of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let worst = self.findings.iter().map(|finding| finding.severity).max();
        worst.map_or(Outcome::Well, Outcome::of)
    }
}

impl From<Vec<Finding>> for Findings {
    fn from(mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.place.clone(), finding.code.code);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        let count = |severity| {
            let of = findings
                .iter()
                .filter(|finding| finding.severity == severity);
            of.count()
        };
        let summary = Summary {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
        };
        Self { findings, summary }
    }
}

impl Text for Finding {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Place {
            file,
            line,
            column,
            object,
            path,
        } = &*self.place;
        if let Some(file) = file {
            write!(out, "{BOLD}{}", file.display())?;
            if *line > 0 {
                write!(out, ":{line}:{column}")?;
            }
            write!(out, ":{BOLD:#} ")?;
        }
        let (style, word) = match self.severity {
            Severity::Error => (RED, "error"),
            Severity::Warning => (YELLOW, "warning"),
            Severity::Note => (DIM, "note"),
        };
        write!(out, "{style}{word} {}:{style:#} ", self.code)?;
        for part in [object, path] {
            if !part.is_empty() {
                write!(out, "{part}: ")?;
            }
        }
        writeln!(out, "{}", self.message)?;
        if !self.fix.is_empty() {
            writeln!(out, "  {DIM}fix:{DIM:#} {}", self.fix)?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.text(&mut text)?;
        let plain = anstream::adapter::strip_str(&text).to_string();
        out.write_str(plain.trim_end())
    }
}

impl std::error::Error for Finding {}

impl Text for Findings {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for finding in &self.findings {
            finding.text(out)?;
        }
        if !self.findings.is_empty() {
            writeln!(out, "{}", self.summary)?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |number: usize, noun: &str| match number {
            1 => format!("1 {noun}"),
            _ => format!("{number} {noun}s"),
        };
        write!(
            out,
            "{}, {}",
            count(self.errors, "error"),
            count(self.warnings, "warning")
        )?;
        if self.notes > 0 {
            write!(out, ", {}", count(self.notes, "note"))?;
        }
        Ok(())
    }
}

fn by_name<S: serde::Serializer>(code: &&'static Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(code)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if gives a reference"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_counted_and_worded() {
        let findings = Findings::from(vec![
            Finding::new(&code::SYSTEM, "no socket").fix(""),
            Finding::new(&code::UNREADABLE, "broken")
                .in_file(Path::new("b.yaml"))
                .at(10, 2)
                .about("Gateway shop/door"),
            Finding {
                severity: Severity::Warning,
                ..Finding::new(&code::UNREADABLE, "odd")
                    .in_file(Path::new("b.yaml"))
                    .at(9, 3)
            },
        ]);
        assert_eq!(findings.outcome(), Outcome::Failed);
        let mut text = String::new();
        findings.text(&mut text).unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "error CTL-0108: no socket\n\
             b.yaml:9:3: warning CTL-0101: odd\n  fix: check the name and its permissions; `-` reads standard input\n\
             b.yaml:10:2: error CTL-0101: Gateway shop/door: broken\n  fix: check the name and its permissions; `-` reads standard input\n\
             2 errors, 1 warning\n"
        );
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!(
            json["summary"],
            serde_json::json!({"errors": 2, "warnings": 1, "notes": 0})
        );
        assert_eq!(
            json["findings"][2],
            serde_json::json!({"code": "CTL-0101", "severity": "error", "file": "b.yaml", "line": 10, "column": 2,
                "object": "Gateway shop/door", "message": "broken", "fix": "check the name and its permissions; `-` reads standard input"})
        );
        assert_eq!(Findings::default().outcome(), Outcome::Well);
    }
}
