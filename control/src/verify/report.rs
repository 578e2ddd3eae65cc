//! Checks in categories, as `linkerd check` shows them, whose JSON this has too: `{success, categories: [{categoryName, checks:
//! [{description, result, error, hint}]}]}`.

use std::fmt;

use serde::Serialize;

use crate::{
    output::{Outcome, Text},
    terminal::{BOLD, DIM, GREEN, RED, YELLOW},
};

/// Everything that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// No check failed.
    pub success: bool,
    /// Checks about one thing each.
    pub categories: Vec<Category>,
}

/// Checks about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Category {
    /// What they are about.
    #[serde(rename = "categoryName")]
    pub name: &'static str,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What must be so.
    pub description: String,
    /// Whether it is.
    pub result: Result,
    /// What is instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    /// √
    Success,
    /// ‼ It could not be checked, or is not as it should be and works.
    Warning,
    /// ×
    Error,
}

impl From<Vec<Category>> for Report {
    fn from(categories: Vec<Category>) -> Self {
        let success = categories
            .iter()
            .flat_map(|category| &category.checks)
            .all(|check| check.result != Result::Error);
        Self {
            success,
            categories,
        }
    }
}

impl Report {
    /// What it makes of the verb.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let all = self.categories.iter().flat_map(|category| &category.checks);
        match all.map(|check| check.result).max() {
            None | Some(Result::Success) => Outcome::Well,
            Some(Result::Warning) => Outcome::Differs,
            Some(Result::Error) => Outcome::Failed,
        }
    }
}

impl Category {
    /// Without checks as yet.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            checks: Vec::new(),
        }
    }
}

impl Check {
    /// √
    #[must_use]
    pub fn passed(description: impl Into<String>) -> Self {
        Self {
            description: description.into(),
            result: Result::Success,
            error: String::new(),
            hint: String::new(),
        }
    }

    /// ‼
    #[must_use]
    pub fn warned(
        description: impl Into<String>,
        error: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            result: Result::Warning,
            error: error.into(),
            hint: hint.into(),
            ..Self::passed(description)
        }
    }

    /// ×
    #[must_use]
    pub fn failed(
        description: impl Into<String>,
        error: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            result: Result::Error,
            ..Self::warned(description, error, hint)
        }
    }
}

impl Text for Report {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for category in &self.categories {
            let name = category.name;
            writeln!(out, "{BOLD}{name}{BOLD:#}")?;
            writeln!(out, "{DIM}{}{DIM:#}", "-".repeat(name.chars().count()))?;
            for check in &category.checks {
                let (style, sign) = match check.result {
                    Result::Success => (GREEN, "√"),
                    Result::Warning => (YELLOW, "‼"),
                    Result::Error => (RED, "×"),
                };
                writeln!(out, "{style}{sign}{style:#} {}", check.description)?;
                if !check.error.is_empty() {
                    writeln!(out, "    {}", check.error.replace('\n', "\n    "))?;
                }
                if !check.hint.is_empty() {
                    writeln!(out, "    {DIM}fix:{DIM:#} {}", check.hint)?;
                }
            }
            writeln!(out)?;
        }
        let all = || self.categories.iter().flat_map(|category| &category.checks);
        let count = |result| all().filter(|check| check.result == result).count();
        let (style, sign) = match self.outcome() {
            Outcome::Well => (GREEN, "√"),
            Outcome::Differs => (YELLOW, "‼"),
            Outcome::Failed => (RED, "×"),
        };
        writeln!(
            out,
            "{style}{sign}{style:#} {} checks: {} passed, {} with warnings, {} failed",
            all().count(),
            count(Result::Success),
            count(Result::Warning),
            count(Result::Error)
        )
    }
}
