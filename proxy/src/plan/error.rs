//! Why a resource was refused, and what of an accepted one is not served.

use std::fmt;

use carbyne_engine::tls::{PlanError as TlsPlanError, SecretError};

use crate::live::chain::Conflict;
use crate::live::matcher::{PatternError, TemplateError};
use crate::observe::format::FormatError;

/// A resource that cannot be applied, with everything that is wrong with it. Its text is what the control plane gets to read in a NACK.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// All of it.
    pub errors: Vec<PlanError>,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Where, such as `filter_chains[2].filters[0].typed_config.stat_prefix`; empty for the whole.
    pub path: String,
    /// What.
    pub fault: Fault,
}

/// What can be wrong at one place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Two chains match the same connections.
    #[error(transparent)]
    Chains(#[from] Conflict),
    /// A value stands twice where it may stand once.
    #[error("`{0}` stands twice")]
    Duplicate(String),
    /// A file that cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A text with operators that does not compile.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Bytes that are not the message they should be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Nothing stands where something has to.
    #[error("required")]
    Missing,
    /// A value outside of what is allowed.
    #[error("{found} is not {expected}")]
    OutOfRange {
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A regular expression that does not compile.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A certificate or key that cannot be used.
    #[error("{0}")]
    Secret(String),
    /// What the system refused, in words.
    #[error("{0}")]
    System(String),
    /// A URI template that does not compile.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// TLS settings that cannot work.
    #[error("{0}")]
    Tls(String),
    /// Something else, in words.
    #[error("{0}")]
    Words(&'static str),
}

/// Something of an accepted resource that is not decoded or not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where; empty for the whole.
    pub path: String,
    /// What.
    pub what: What,
}

/// What is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A number that the enum does not name.
    EnumValue(i32, &'static str),
    /// A field number that the message does not have.
    Field(u32, &'static str),
    /// A message of this program that cannot be read there.
    Malformed(String),
    /// A field that is known and not served, by its message.
    NotServed(&'static str),
    /// A type that names no message of this program.
    Type(String),
    /// Something that a plan found out, in words.
    Words(String),
}

impl Rejection {
    /// One thing is wrong with the whole.
    pub fn single(fault: Fault) -> Self {
        Self {
            errors: vec![PlanError {
                path: String::new(),
                fault,
            }],
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match &self.what {
            What::EnumValue(number, name) => write!(f, "unknown value {number} of {name}"),
            What::Field(number, name) => write!(f, "unknown field {number} of {name}"),
            What::Malformed(reason) => write!(f, "cannot be read: {reason}"),
            What::NotServed(name) => write!(f, "field of {name} is not served"),
            What::Type(name) => write!(f, "unknown type {name}"),
            What::Words(words) => f.write_str(words),
        }
    }
}

impl From<TlsPlanError> for Fault {
    fn from(error: TlsPlanError) -> Self {
        Self::Tls(error.to_string())
    }
}

/// Only the words: nothing of the secret itself is in them.
impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        Self::Secret(error.to_string())
    }
}
