//! Every code that `carbyne` says, with what it means and what to do; `carbyne explain` reads this table. A code keeps its meaning
//! for ever: one that is no longer said stays in the table's gaps and is not used again.

use std::fmt;

use serde::{Serialize, Serializer};

/// A kind of finding with a number that stays.
#[derive(Debug, Serialize)]
pub struct Code {
    /// The number; `CTL-0123` is written with four digits.
    #[serde(serialize_with = "written")]
    pub code: u16,
    /// How bad it is, where the finding does not say otherwise.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means and why it matters.
    pub explanation: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know; nothing is wrong.
    Note,
    /// It works, and probably not as meant.
    Warning,
    /// Something is refused or does not work.
    Error,
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CTL-{:04}", self.code)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

fn written<S: Serializer>(code: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("CTL-{code:04}"))
}

/// The code that somebody wrote: `CTL-0123`, `ctl-123` or `123`.
#[must_use]
pub fn find(text: &str) -> Option<&'static Code> {
    let digits = text
        .get(..4)
        .filter(|start| start.eq_ignore_ascii_case("CTL-"))
        .map_or(text, |_| &text[4..]);
    let number: u16 = digits.parse().ok()?;
    ALL.iter().copied().find(|code| code.code == number)
}

macro_rules! codes {
    ($($name:ident = $code:literal $severity:ident $title:literal $explanation:literal $fix:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code {
                code: $code,
                severity: Severity::$severity,
                title: $title,
                explanation: $explanation,
                fix: $fix,
            };
        )*
        /// All of them, in the order of their numbers.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

// 01 what any verb may say · 02 lint: Istio · 03 lint: kong.yml · 04 lint and topics · 05 status and proxy · 06 verify · 07 events · 08 graph, doctor
codes! {
    UNREADABLE = 101 Error
        "A file cannot be read"
        "The file is not there, may not be read, or is not UTF-8 text. Nothing was done with it."
        "check the name and its permissions; `-` reads standard input";
    NO_SUCH_FORMAT = 102 Error
        "The verb does not write this format"
        "Pictures (mermaid, dot, svg) are drawn of graphs only; every verb writes text and json."
        "use `-o text` or `-o json`";
    NOT_WRITTEN = 103 Error
        "A result could not be written"
        "The result does not fit the format that was asked for, or the file could not be written."
        "use `-o text`; check the place that is written to";
    UNKNOWN_CODE = 104 Error
        "There is no such code"
        "`carbyne explain` knows the codes that this version says; another version may know more."
        "`carbyne explain` without a code lists all of them";
    NOT_RUNNING = 105 Error
        "No platform is running"
        "The verb looks at a platform that `carbyne up` runs, by the file running.json in its runtime directory. There is none, or the process that wrote it has ended."
        "start one with `carbyne up`, or name its directory with `--run DIR`";
    NO_ANSWER = 106 Error
        "An address does not answer"
        "Nothing listens there, the answer did not come in time, or it was no HTTP."
        "check that the process runs and that the address is its own";
    UNREADABLE_ANSWER = 107 Error
        "An answer is not what was expected"
        "Something answered, but with another status or content than this page has: the address may be another program's."
        "check that the address is a carbyne-proxy's (or Envoy's) admin port";
    SYSTEM = 108 Error
        "The system refused something"
        "A thread, a runtime or a socket could not be made."
        "check the limits of the process (`ulimit -a`)";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_every_code_says_what_to_do() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for code in ALL {
            assert!(!code.title.ends_with('.'), "{code}: {}", code.title);
            assert!(
                code.explanation.ends_with('.'),
                "{code}: {}",
                code.explanation
            );
            assert!(!code.fix.is_empty() && !code.fix.contains('\n'), "{code}");
        }
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        for text in ["CTL-0101", "ctl-0101", "CTL-101", "101"] {
            assert_eq!(
                find(text).map(ToString::to_string).as_deref(),
                Some("CTL-0101")
            );
        }
        for text in ["CTL-9999", "CTL", "x", "", "ÄÖÜ-1"] {
            assert!(find(text).is_none(), "{text}");
        }
    }
}
