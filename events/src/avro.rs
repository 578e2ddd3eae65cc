//! Avro's binary form: written field by field, read by schema.

mod read;
mod write;

pub use read::{Corrupt, to_json};
pub(crate) use write::{LONG, bound_of_map, bound_of_strings};
pub use write::{
    boolean, double, long, map, optional_double, optional_long, optional_string, string, strings,
};

/// How a record is written.
#[derive(Debug)]
pub struct Schema {
    /// With its namespace.
    pub name: &'static str,
    /// CRC-64-AVRO of the parsing canonical form.
    pub fingerprint: u64,
    /// The schema as it stands in its file.
    pub text: &'static str,
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub of: Type,
}

impl Field {
    pub const fn new(name: &'static str, of: Type) -> Self {
        Self { name, of }
    }
}

/// The types that events are made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    Boolean,
    /// `int` and `long` are written alike.
    Long,
    Double,
    String,
    /// An array of strings.
    Strings,
    /// A map of strings.
    Map,
    /// A union of null and another.
    Optional(&'static Self),
}
