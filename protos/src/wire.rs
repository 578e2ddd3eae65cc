//! Reading and writing the protobuf encoding without a type (protobuf.dev, "Encoding").

/// How deep messages may nest, as in prost.
pub(crate) const DEPTH: usize = 100;

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed protobuf encoding")]
pub(crate) struct Malformed;

/// A field's content as it stands on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Raw<'bytes> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'bytes [u8]),
    /// A group's content; no message of the closure has one.
    Group,
}

/// Walks the fields of one message.
#[derive(Debug)]
pub(crate) struct Fields<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Fields<'bytes> {
    pub(crate) fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and content; `None` at the end.
    pub(crate) fn next_field(&mut self) -> Result<Option<(u32, Raw<'bytes>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 || number > MAX_NUMBER {
            return Err(Malformed);
        }
        let raw = match key & 7 {
            0 => Raw::Varint(varint(&mut self.rest)?),
            1 => Raw::Fixed64(fixed64(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed)?;
                Raw::Bytes(take(&mut self.rest, length)?)
            }
            3 => {
                self.skip_group(number, DEPTH)?;
                Raw::Group
            }
            5 => Raw::Fixed32(fixed32(&mut self.rest)?),
            _ => return Err(Malformed),
        };
        Ok(Some((number, raw)))
    }

    fn skip_group(&mut self, group: u32, depth: usize) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        loop {
            let mut ahead = self.rest;
            let key = varint(&mut ahead)?;
            if key & 7 == 4 {
                self.rest = ahead;
                return if key >> 3 == u64::from(group) {
                    Ok(())
                } else {
                    Err(Malformed)
                };
            }
            if key & 7 == 3 {
                self.rest = ahead;
                self.skip_group(u32::try_from(key >> 3).map_err(|_| Malformed)?, depth)?;
            } else {
                self.next_field()?;
            }
        }
    }
}

/// Reads a varint off the front.
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        if at == 9 && byte > 1 {
            return Err(Malformed);
        }
        value |= u64::from(byte & 0x7f) << (at * 7);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Reads 8 bytes, little endian.
pub(crate) fn fixed64(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

/// Reads 4 bytes, little endian.
pub(crate) fn fixed32(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*head))
}

fn take<'bytes>(bytes: &mut &'bytes [u8], length: usize) -> Result<&'bytes [u8], Malformed> {
    let (head, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    Ok(head)
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the key of a field.
pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// ZigZag, the encoding of `sint32` and `sint64`.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The inverse of [`unzigzag`].
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The greatest field number that protobuf allows.
const MAX_NUMBER: u32 = (1 << 29) - 1;
