//! Avro's primitives.

use bytes::BufMut;

/// Bytes of a number, at most.
pub(crate) const LONG: usize = 10;

/// A number that is never negative. What is beyond 63 bits is written as the largest.
#[inline]
pub fn long(value: u64, into: &mut impl BufMut) {
    // Zigzag: numbers from zero on are the even ones.
    let mut rest = value.min(i64::MAX as u64) << 1;
    while rest >= 0x80 {
        into.put_u8(low(rest) | 0x80);
        rest >>= 7;
    }
    into.put_u8(low(rest));
}

const fn low(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

#[inline]
pub fn boolean(value: bool, into: &mut impl BufMut) {
    into.put_u8(value.into());
}

#[inline]
pub fn double(value: f64, into: &mut impl BufMut) {
    into.put_f64_le(value);
}

#[inline]
pub fn string(value: &str, into: &mut impl BufMut) {
    long(value.len() as u64, into);
    into.put_slice(value.as_bytes());
}

/// A union of null and a string; so are the others of this name.
#[inline]
pub fn optional_string(value: Option<&str>, into: &mut impl BufMut) {
    if some(value.is_some(), into) {
        string(value.unwrap_or_default(), into);
    }
}

#[inline]
pub fn optional_long(value: Option<u64>, into: &mut impl BufMut) {
    if some(value.is_some(), into) {
        long(value.unwrap_or_default(), into);
    }
}

#[inline]
pub fn optional_double(value: Option<f64>, into: &mut impl BufMut) {
    if some(value.is_some(), into) {
        double(value.unwrap_or_default(), into);
    }
}

/// The branch of a union whose first is null.
#[inline]
fn some(some: bool, into: &mut impl BufMut) -> bool {
    into.put_u8(if some { 2 } else { 0 });
    some
}

/// An array: one block and the empty one that ends it.
pub fn strings(values: &[&str], into: &mut impl BufMut) {
    if !values.is_empty() {
        long(values.len() as u64, into);
        for value in values {
            string(value, into);
        }
    }
    into.put_u8(0);
}

/// A map, as an array of pairs.
pub fn map(entries: &[(&str, &str)], into: &mut impl BufMut) {
    if !entries.is_empty() {
        long(entries.len() as u64, into);
        for (name, value) in entries {
            string(name, into);
            string(value, into);
        }
    }
    into.put_u8(0);
}

/// Bytes that an array takes, at most.
pub(crate) fn bound_of_strings(values: &[&str]) -> usize {
    let each = values.iter().map(|value| LONG + value.len());
    LONG + 1 + each.sum::<usize>()
}

/// Bytes that a map takes, at most.
pub(crate) fn bound_of_map(entries: &[(&str, &str)]) -> usize {
    let each = entries
        .iter()
        .map(|(name, value)| 2 * LONG + name.len() + value.len());
    LONG + 1 + each.sum::<usize>()
}
