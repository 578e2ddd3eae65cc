//! What is wrong in a file, and where.

use std::{fmt, path::PathBuf, sync::Arc};

use crate::model::Origin;

/// One finding, an error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: Kind,
    /// Where.
    pub origin: Origin,
    /// Path inside the document, `spec.ports[0].number`; empty when the document itself is meant.
    pub path: String,
    /// What was found, what was expected.
    pub message: String,
}

/// Kinds of findings, so that programs need not read sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A value that istiod's validation refuses. An error.
    #[default]
    Invalid,
    /// No YAML. An error.
    Syntax,
    /// A file or folder that cannot be read. An error.
    Unreadable,
    /// Istio's, and not served by this control plane. An error.
    NotServed,
    /// Two resources of one kind and name. An error.
    Twice,
    /// A field that nobody knows. A warning, as all below.
    UnknownField,
    /// Another API's resource.
    NotIstio,
    /// A resource that names no namespace.
    NoNamespace,
    /// A host of two ServiceEntries.
    HostTwice,
    /// A reference to a service that is not there.
    NoService,
    /// A reference to a subset that is not there.
    NoSubset,
    /// A reference to a Gateway that is not there.
    NoGateway,
    /// A reference to an extension provider that is not there.
    NoProvider,
}

impl Problem {
    /// A finding without a position, such as a folder that cannot be read.
    #[must_use]
    pub fn file(file: PathBuf, message: String) -> Self {
        Self {
            kind: Kind::Unreadable,
            origin: Origin {
                file: Arc::new(file),
                line: 0,
                column: 0,
            },
            path: String::new(),
            message,
        }
    }

    /// The same as another kind of thing.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// A finding about a whole resource.
    #[must_use]
    pub fn at(origin: &Origin, message: String) -> Self {
        Self {
            kind: Kind::Invalid,
            origin: origin.clone(),
            path: String::new(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.line == 0 {
            write!(out, "{}: ", self.origin.file.display())?;
        } else {
            write!(out, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.message)
    }
}

/// Every error of a folder, in file order; never empty.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}
