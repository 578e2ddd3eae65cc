//! The program's verbs: arguments, words, exit codes, and what they do to a node.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test: failing loudly is the point"
)]

#[path = "command/declarative.rs"]
mod declarative;
#[path = "command/interfaces.rs"]
mod interfaces;
#[path = "command/lifecycle.rs"]
mod lifecycle;
#[path = "command/program.rs"]
mod program;
#[path = "command/words.rs"]
mod words;
