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
    let mut name: &[u8] = &[];
    let whole = read_name(message, &mut name);
    match (whole, str::from_utf8(name)) {
        (Some(()), Ok(name)) => Ok(name.to_owned()),
        (None, Ok(name)) if !name.is_empty() => Err(Malformed {
            name: Some(name.to_owned()),
        }),
        _ => Err(Malformed { name: None }),
    }
}

/// Not a protobuf message, or its name is not UTF-8.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Malformed {
    /// The name, where it stands before what cannot be read.
    pub(super) name: Option<String>,
}

fn read_name<'a>(mut rest: &'a [u8], name: &mut &'a [u8]) -> Option<()> {
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        if tag == 1 && wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            // As in any protobuf message, the last value wins.
            (*name, rest) = rest.split_at_checked(length)?;
        } else {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_cut_messages_refused() {
        type Case = (&'static [u8], Result<&'static str, Option<&'static str>>);
        let cases: [Case; 8] = [
            (b"", Ok("")),
            (b"\x0a\x02ab", Ok("ab")),
            (b"\x10\x05\x0a\x02ab\x1a\x01x", Ok("ab")),
            (b"\x0a\x02ab\x0a\x01c", Ok("c")),
            (b"\x0a\x03ab", Err(None)),
            (b"\x0a\x02ab\x1a\x09x", Err(Some("ab"))),
            (b"\x0a\x02\xff\xfe", Err(None)),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01ab", Err(None)),
        ];
        for (bytes, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(|name| Malformed {
                name: name.map(str::to_owned),
            });
            assert_eq!(name_of(bytes), expected, "{bytes:?}");
        }
    }
}
