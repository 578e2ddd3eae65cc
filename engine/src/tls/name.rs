//! Distinguished names as text, in the form of RFC 2253 that OpenSSL prints with `XN_FLAG_RFC2253` and Envoy puts into XFCC and logs.

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::X509Name;

/// Last component first, `,` between components, `+` inside one, short names where OpenSSL has one.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let components: Vec<_> = name.iter().collect();
    for component in components.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (index, attribute) in component.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            let value = attribute.attr_value();
            match SHORT_NAMES.iter().find(|(known, _)| *known == oid) {
                Some((_, short)) => {
                    text.push_str(short);
                    text.push('=');
                    append_value(&mut text, value);
                }
                None => {
                    text.push_str(&oid);
                    text.push('=');
                    append_dump(&mut text, value);
                }
            }
        }
    }
    text
}

fn append_value(text: &mut String, value: &Any<'_>) {
    let decoded;
    let bytes: &[u8] = match value.tag() {
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::NumericString
        | Tag::VisibleString => value.data,
        Tag::T61String => {
            // Read as Latin-1, as everybody does who still meets it.
            decoded = value
                .data
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>();
            decoded.as_bytes()
        }
        Tag::BmpString => {
            let units = value
                .data
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            decoded = char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>();
            decoded.as_bytes()
        }
        _ => return append_dump(text, value),
    };
    let last = bytes.len().saturating_sub(1);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if index == 0 => text.push_str("\\#"),
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => {
                text.push('\\');
                append_hexadecimal(text, *byte);
            }
        }
    }
}

/// `#` and the DER in hexadecimal (RFC 2253 section 2.4). Lengths above 127 take the long form.
fn append_dump(text: &mut String, value: &Any<'_>) {
    text.push('#');
    let mut der = vec![u8::try_from(value.tag().0).unwrap_or(0)];
    match u8::try_from(value.data.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        Ok(long) => der.extend([0x81, long]),
        Err(_) => {
            let length = u16::try_from(value.data.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes();
            der.extend([0x82, length[0], length[1]]);
        }
    }
    der.extend_from_slice(value.data);
    for byte in der {
        append_hexadecimal(text, byte);
    }
}

fn append_hexadecimal(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// OpenSSL's short names (`crypto/obj/objects.txt`).
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];
