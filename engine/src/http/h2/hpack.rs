//! Header compression (RFC 7541).
//!
//! | file | what it holds |
//! |---|---|
//! | [`integer`] | integers with a prefix |
//! | [`huffman`] | the code of strings |
//! | [`statics`] | the static table, by index and by name |
//! | [`table`] | entries, and the dynamic table of either side |
//! | [`decoder`] | header blocks to fields |
//! | [`encoder`] | fields to header blocks |

pub(super) mod decoder;
pub(super) mod encoder;
mod huffman;
mod integer;
mod statics;
pub(super) mod table;

#[cfg(test)]
mod tests;

pub(super) use self::decoder::Decoder;
pub(super) use self::encoder::Encoder;
pub(super) use self::table::{Name, Value};

/// A header block that breaks the compression state: the connection cannot go on (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The size of a dynamic table where no SETTINGS say otherwise; more is not offered and not used.
pub(super) const TABLE_BYTES: usize = 4096;
