//! What can stop a run.

use std::io;
use std::path::PathBuf;

/// Why a run, or one peer's part of it, could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backend could not listen: most often another run holds its ports.
    #[error("the backend cannot listen on {address}: {source}; is another run going on?")]
    Listen {
        /// Where it wanted to.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A helper program (valgrind, strace) did not do its part.
    #[error("{program}: {what}")]
    Helper {
        /// Its name.
        program: &'static str,
        /// What went wrong.
        what: String,
    },
    /// A peer is not installed.
    #[error("{peer} was not found: {hint}")]
    Missing {
        /// Which one.
        peer: &'static str,
        /// How to get it.
        hint: String,
    },
    /// A peer did not start, or died.
    #[error("{peer} {what}; its output: {output}")]
    Peer {
        /// Which one.
        peer: &'static str,
        /// What it did.
        what: String,
        /// The file with what it printed.
        output: PathBuf,
    },
    /// Answers came back wrong, so the figure would be of something else.
    #[error("{peer}, {scenario}: {faults} of {total} answers were wrong, the first: {first}")]
    Wrong {
        /// Which peer.
        peer: &'static str,
        /// Which scenario.
        scenario: &'static str,
        /// Wrong answers.
        faults: u64,
        /// All requests.
        total: u64,
        /// What was wrong with the first.
        first: String,
    },
    /// Keys or certificates could not be made.
    #[error("certificates: {0}")]
    Certificate(String),
}

impl BenchError {
    /// For `map_err` on file work.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
