//! Integers whose first bits share a byte with something else (RFC 7541 §5.1).

use super::Broken;

/// Reads an integer of `prefix` bits from the front of `bytes`.
#[inline]
pub(super) fn read(bytes: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let (first, rest) = bytes.split_first().ok_or(Broken)?;
    *bytes = rest;
    let most = (1_usize << prefix) - 1;
    let value = usize::from(*first) & most;
    if value < most {
        return Ok(value);
    }
    read_rest(bytes, value)
}

fn read_rest(bytes: &mut &[u8], mut value: usize) -> Result<usize, Broken> {
    // Four bytes more are 28 bits: nothing that a header block can mean is larger.
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = bytes.split_first().ok_or(Broken)?;
        *bytes = rest;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken)
}

/// Writes `value` with `prefix` bits beside those of `pattern`.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, pattern: u8, prefix: u32, mut value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        out.push(pattern | low(value));
        return;
    }
    out.push(pattern | low(most));
    value -= most;
    while value >= 0x80 {
        out.push(low(value & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(low(value));
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "callers pass less than 256"
)]
const fn low(value: usize) -> u8 {
    value as u8
}
