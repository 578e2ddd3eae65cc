//! Header blocks to fields.

use http::HeaderName;

use super::table::{Entry, Name, OVERHEAD, Table, Value};
use super::{Broken, TABLE_BYTES, huffman, integer, statics};
use crate::http::h1::names::frequent;

/// The receiving side of a connection's compression.
#[derive(Debug)]
pub(in crate::http::h2) struct Decoder {
    table: Table,
}

/// What takes the fields of a block.
pub(in crate::http::h2) trait Sink {
    /// A field with its size as RFC 9113 §6.5.2 counts it. An error ends the block, and
    /// with it the connection.
    fn field(&mut self, name: &Name, value: &Value, size: usize) -> Result<(), Broken>;
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
        }
    }
}

impl Decoder {
    /// Reads a whole block.
    pub(in crate::http::h2) fn decode(
        &mut self,
        mut block: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Broken> {
        let mut begun = false;
        while let Some(first) = block.first() {
            match *first {
                0x80.. => {
                    let index = integer::read(&mut block, 7)?;
                    let entry = self.entry(index)?;
                    sink.field(&entry.name, &entry.value, entry.size)?;
                }
                0x40.. => {
                    let entry = self.literal(&mut block, 6)?;
                    sink.field(&entry.name, &entry.value, entry.size)?;
                    self.table.add(entry);
                }
                0x20.. => {
                    let limit = integer::read(&mut block, 5)?;
                    // RFC 7541 §4.2: at the beginning of a block, and never more than was allowed.
                    if begun || limit > TABLE_BYTES {
                        return Err(Broken);
                    }
                    self.table.set_limit(limit);
                    continue;
                }
                // Without indexing, and never to be indexed.
                _ => {
                    let sensitive = *first & 0x10 != 0;
                    let mut entry = self.literal(&mut block, 4)?;
                    if sensitive && let Value::Field(value) = &mut entry.value {
                        value.set_sensitive(true);
                    }
                    sink.field(&entry.name, &entry.value, entry.size)?;
                }
            }
            begun = true;
        }
        Ok(())
    }

    #[inline]
    fn entry(&self, index: usize) -> Result<&Entry, Broken> {
        match index.checked_sub(statics::COUNT + 1) {
            None => statics::get(index),
            Some(age) => self.table.get(age),
        }
        .ok_or(Broken)
    }

    fn literal(&self, block: &mut &[u8], prefix: u32) -> Result<Entry, Broken> {
        let index = integer::read(block, prefix)?;
        let (name, name_length) = if index == 0 {
            string(block, |text| (name(text), text.len()))?
        } else {
            let entry = self.entry(index)?;
            let name_length = entry.size - OVERHEAD - entry.value_length;
            (entry.name.clone(), name_length)
        };
        let (value, value_length) = string(block, |text| (Value::new(&name, text), text.len()))?;
        Ok(Entry {
            name,
            value,
            value_length,
            size: name_length + value_length + OVERHEAD,
        })
    }
}

/// Reads a string literal (RFC 7541 §5.2).
fn string<T>(block: &mut &[u8], take: impl FnOnce(&[u8]) -> T) -> Result<T, Broken> {
    let coded = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer::read(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    if !coded {
        return Ok(take(text));
    }
    // The shortest code has five bits.
    let mut plain = Vec::with_capacity(length * 8 / 5);
    huffman::decode(text, &mut plain)?;
    Ok(take(&plain))
}

fn name(text: &[u8]) -> Name {
    if let Some(name) = frequent(text)
        && name.as_str().as_bytes() == text
    {
        return Name::Field(name.clone());
    }
    match text {
        b":authority" => Name::Authority,
        b":method" => Name::Method,
        b":path" => Name::Path,
        b":protocol" => Name::Protocol,
        b":scheme" => Name::Scheme,
        b":status" => Name::Status,
        // Refuses capitals, as RFC 9113 §8.2.1 has it.
        _ => HeaderName::from_lowercase(text).map_or(Name::Bad, Name::Field),
    }
}
