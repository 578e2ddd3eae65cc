//! The Huffman code of strings (RFC 7541 §5.2 and appendix B).
//!
//! The code is canonical: of equal lengths the symbols follow each other, and a longer code begins where the shorter ones
//! ended. So the lengths are all there is to know, and the tables come from them when the program is compiled.

use super::Broken;

/// Appends what `bytes` stand for to `out`.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    let mut rest = bytes;
    // The low `have` bits are those not yet used.
    let mut bits: u64 = 0;
    let mut have: u32 = 0;
    loop {
        if have < LONGEST {
            if let Some((word, tail)) = rest.split_first_chunk::<4>() {
                bits = bits << 32 | u64::from(u32::from_be_bytes(*word));
                have += 32;
                rest = tail;
            } else {
                while let Some((byte, tail)) = rest.split_first() {
                    bits = bits << 8 | u64::from(*byte);
                    have += 8;
                    rest = tail;
                }
            }
        }
        let entry = SHORT[window(bits, have, SHORT_BITS)];
        if u32::from(entry.length) <= have && entry.length != 0 {
            out.push(entry.symbol);
            have -= u32::from(entry.length);
            continue;
        }
        if have < 8 {
            // What is left is the beginning of the end of string: ones (RFC 7541 §5.2).
            let ones = (1_u64 << have) - 1;
            return if bits & ones == ones {
                Ok(())
            } else {
                Err(Broken)
            };
        }
        let (symbol, length) = long(bits, have)?;
        out.push(symbol);
        have -= length;
    }
}

/// The next `wanted` bits, with ones behind the last.
#[inline]
fn window(bits: u64, have: u32, wanted: u32) -> usize {
    let mask = (1_u64 << wanted) - 1;
    let window = if have >= wanted {
        bits >> (have - wanted) & mask
    } else {
        let missing = wanted - have;
        (bits << missing | ((1 << missing) - 1)) & mask
    };
    // Masked to at most thirty bits.
    usize::try_from(window).unwrap_or(0)
}

/// A code that the short table does not have.
#[cold]
fn long(bits: u64, have: u32) -> Result<(u8, u32), Broken> {
    let mut length = SHORT_BITS + 1;
    while length <= LONGEST && length <= have {
        let code = window(bits, have, length);
        let range = &RANGES[length as usize];
        if code >= range.first && code < range.first + range.count {
            let symbol = SORTED[range.start + code - range.first];
            // The end of string inside a string is an error.
            return u8::try_from(symbol)
                .map(|symbol| (symbol, length))
                .map_err(|_| Broken);
        }
        length += 1;
    }
    Err(Broken)
}

#[derive(Clone, Copy)]
struct Short {
    symbol: u8,
    length: u8,
}

/// The codes of one length.
#[derive(Clone, Copy)]
struct Range {
    first: usize,
    count: usize,
    /// Where in [`SORTED`] its symbols are.
    start: usize,
}

const SHORT_BITS: u32 = 10;
const LONGEST: u32 = 30;
const SYMBOLS: usize = 257;

/// Symbols by length and number.
static SORTED: [u16; SYMBOLS] = {
    let mut sorted = [0; SYMBOLS];
    let mut filled = 0;
    let mut length = 0;
    while length <= LONGEST as usize {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                sorted[filled] = symbol as u16;
                filled += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
};

static RANGES: [Range; LONGEST as usize + 1] = ranges();

const fn ranges() -> [Range; LONGEST as usize + 1] {
    let mut ranges = [Range {
        first: 0,
        count: 0,
        start: 0,
    }; LONGEST as usize + 1];
    let mut code = 0;
    let mut start = 0;
    let mut length = 1;
    while length <= LONGEST as usize {
        code <<= 1;
        let mut count = 0;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        ranges[length] = Range {
            first: code,
            count,
            start,
        };
        code += count;
        start += count;
        length += 1;
    }
    ranges
}

/// What the next ten bits begin with, where that is a whole code.
static SHORT: [Short; 1 << SHORT_BITS] = {
    let mut table = [Short {
        symbol: 0,
        length: 0,
    }; 1 << SHORT_BITS];
    let ranges = ranges();
    let mut length = 1;
    while length <= SHORT_BITS as usize {
        let range = ranges[length];
        let mut index = 0;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                let spare = SHORT_BITS as usize - length;
                let first = (range.first + index) << spare;
                let mut offset = 0;
                while offset < 1 << spare {
                    table[first + offset] = Short {
                        symbol: symbol as u8,
                        length: length as u8,
                    };
                    offset += 1;
                }
                index += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    table
};

/// Bits of the code of each byte, and of the end of string.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Encodes, for tests: what we send is not worth the time.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let length = usize::from(LENGTHS[usize::from(*byte)]);
        let range = RANGES[length];
        let place = SORTED[range.start..range.start + range.count]
            .iter()
            .position(|symbol| *symbol == u16::from(*byte))
            .expect("every byte has a code");
        bits = bits << length | (range.first + place) as u64;
        have += u32::from(LENGTHS[usize::from(*byte)]);
        while have >= 8 {
            out.push((bits >> (have - 8)) as u8);
            have -= 8;
        }
        bits &= (1 << have) - 1;
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | ((1_u16 << (8 - have)) - 1) as u8);
    }
    out
}
