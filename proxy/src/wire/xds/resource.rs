//! One resource as it arrived.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::ResourceType;

/// A resource with its original bytes, which `/config_dump` prints back.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// What it is.
    pub resource_type: ResourceType,
    /// Its name, unique within the type.
    pub name: Arc<str>,
    /// The version under which these bytes arrived first.
    pub version: Arc<str>,
    /// The message, encoded as it was sent.
    pub bytes: Bytes,
    /// When it arrived.
    pub received: SystemTime,
}

/// The name of an encoded resource: in every type that we ask for it is the string in field 1
/// (`name`, in endpoints `cluster_name`). Reads all of the message's fields, so that a cut one is
/// noticed here.
pub(super) fn name_of(message: &[u8]) -> Result<String, Malformed> {
    let mut rest = message;
    let mut name: &[u8] = &[];
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
        if tag == 1 && wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut rest).map_err(|_| Malformed)?;
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            // As in any protobuf message, the last value wins.
            (name, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        } else {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|_| Malformed)?;
        }
    }
    str::from_utf8(name).map(str::to_owned).map_err(|_| Malformed)
}

/// Not a protobuf message, or its name is not UTF-8.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Malformed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_cut_messages_refused() {
        let cases: [(&[u8], Result<&str, Malformed>); 8] = [
            (b"", Ok("")),
            (b"\x0a\x02ab", Ok("ab")),
            (b"\x10\x05\x0a\x02ab\x1a\x01x", Ok("ab")),
            (b"\x0a\x02ab\x0a\x01c", Ok("c")),
            (b"\x0a\x03ab", Err(Malformed)),
            (b"\x0a\x02ab\x1a\x09x", Err(Malformed)),
            (b"\x0a\x02\xff\xfe", Err(Malformed)),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01ab", Err(Malformed)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(name_of(bytes).as_deref().map_err(|_| Malformed), expected, "{bytes:?}");
        }
    }
}
