//! Variants of an encoded message: something unknown at each place, everything else as it was.

use carbyne_protos::any::type_name;
use carbyne_protos::prost_types::Any;
use carbyne_protos::schema::{self, Shape};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// A message that differs from its sample in one place.
pub struct Variant {
    pub place: String,
    pub bytes: Vec<u8>,
}

/// A number that no message has: whatever a newer control plane may have added.
const UNKNOWN: u32 = 9_999;

/// An unknown field in every message inside of this one, and every arm that is set exchanged for an unknown one.
pub fn variants(any: &Any) -> Vec<Variant> {
    let schema = schema::message(type_name(&any.type_url))
        .unwrap_or_else(|| panic!("{} is not known", any.type_url));
    let mut found = Vec::new();
    walk(schema, &any.value, "", &mut found);
    found
}

fn walk(schema: &schema::Message, bytes: &[u8], place: &str, found: &mut Vec<Variant>) {
    let mut extended = bytes.to_vec();
    encode_key(UNKNOWN, WireType::Varint, &mut extended);
    encode_varint(1, &mut extended);
    found.push(Variant {
        place: format!("{place} with an unknown field"),
        bytes: extended,
    });
    let fields = fields(bytes);
    let rebuilt = |index: usize, number: u32, content: &[u8]| {
        let mut bytes = Vec::new();
        for (other, field) in fields.iter().enumerate() {
            if other == index {
                encode_key(number, WireType::LengthDelimited, &mut bytes);
                encode_varint(content.len() as u64, &mut bytes);
                bytes.extend_from_slice(content);
            } else {
                bytes.extend_from_slice(field.whole);
            }
        }
        bytes
    };
    let type_url = (schema.shape == Shape::Any)
        .then(|| fields.iter().find(|field| field.number == 1))
        .flatten()
        .map(|field| String::from_utf8(field.content.to_vec()).unwrap());
    for (index, field) in fields.iter().enumerate() {
        let described = schema.field(field.number).unwrap();
        let place = format!("{place}.{}", described.name());
        if described.one_of > 0 {
            found.push(Variant {
                place: format!("{place} as an unknown arm"),
                bytes: rebuilt(index, UNKNOWN, field.content),
            });
        }
        let inner = match &type_url {
            // What is in an Any is a message of the type that it names.
            Some(type_url) if field.number == 2 => schema::message(type_name(type_url)),
            _ => described.kind.message().filter(|_| field.delimited),
        };
        let Some(inner) = inner else {
            continue;
        };
        let mut within = Vec::new();
        walk(inner, field.content, &place, &mut within);
        found.extend(within.into_iter().map(|variant| Variant {
            bytes: rebuilt(index, field.number, &variant.bytes),
            place: variant.place,
        }));
    }
}

struct Field<'a> {
    number: u32,
    delimited: bool,
    /// With its key.
    whole: &'a [u8],
    /// Of a delimited field.
    content: &'a [u8],
}

fn fields(bytes: &[u8]) -> Vec<Field<'_>> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let (number, wire_type) = decode_key(&mut rest).unwrap();
        let mut content: &[u8] = &[];
        match wire_type {
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).unwrap() as usize;
                (content, rest) = rest.split_at(length);
            }
            WireType::Varint => {
                decode_varint(&mut rest).unwrap();
            }
            WireType::ThirtyTwoBit => rest = &rest[4..],
            WireType::SixtyFourBit => rest = &rest[8..],
            WireType::StartGroup | WireType::EndGroup => panic!("no sample has groups"),
        }
        found.push(Field {
            number,
            delimited: wire_type == WireType::LengthDelimited,
            whole: &start[..start.len() - rest.len()],
            content,
        });
    }
    found
}
