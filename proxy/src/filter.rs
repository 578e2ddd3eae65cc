//! One file a filter: each turns its message into a compiled filter and runs it on an exchange.
