//! HPACK (RFC 7541) for tests: everything can be decoded; what is written is what the case says, literal and
//! without Huffman, so that malformed fields can be sent as they are.

/// Header fields in order.
pub type Fields = Vec<(String, String)>;

/// A field as a literal that no table keeps (RFC 7541 6.2.2), with a literal name.
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    text(out, name);
    text(out, value);
}

/// A field as a literal that the peer's table keeps (RFC 7541 6.2.1).
pub fn indexed_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x40);
    text(out, name);
    text(out, value);
}

/// A field that a table already holds (RFC 7541 6.1).
pub fn index(out: &mut Vec<u8>, number: usize) {
    integer(out, 0x80, 7, number);
}

/// A block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        literal(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

/// An integer with a prefix of so many bits (RFC 7541 5.1).
pub fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let limit = (1 << bits) - 1;
    if value < limit {
        out.push(first | value as u8);
        return;
    }
    out.push(first | limit as u8);
    let mut rest = value - limit;
    while rest >= 128 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// The state of one direction of a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The newest entry is the first.
    dynamic: Vec<(String, String)>,
    size: usize,
}

const TABLE_SIZE: usize = 4096;

impl Decoder {
    /// All fields of a block, or what is wrong with it.
    pub fn decode(&mut self, block: &[u8]) -> Result<Fields, String> {
        let mut input = Input(block);
        let mut fields = Vec::new();
        while let Some(first) = input.peek() {
            if first & 0x80 != 0 {
                fields.push(self.entry(input.integer(7)?)?);
            } else if first & 0x40 != 0 {
                let field = self.field(&mut input, 6)?;
                self.keep(field.clone());
                fields.push(field);
            } else if first & 0x20 != 0 {
                // The size that the peer's table now has: entries over it are gone.
                let limit = input.integer(5)?;
                self.shrink(limit);
            } else {
                fields.push(self.field(&mut input, 4)?);
            }
        }
        Ok(fields)
    }

    fn field(&self, input: &mut Input<'_>, bits: u32) -> Result<(String, String), String> {
        let name = match input.integer(bits)? {
            0 => input.text()?,
            number => self.entry(number)?.0,
        };
        Ok((name, input.text()?))
    }

    fn entry(&self, number: usize) -> Result<(String, String), String> {
        if let Some((name, value)) = STATIC.get(number.wrapping_sub(1)) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let place = number.wrapping_sub(STATIC.len() + 1);
        self.dynamic
            .get(place)
            .cloned()
            .ok_or_else(|| format!("no entry {number}"))
    }

    fn keep(&mut self, field: (String, String)) {
        self.size += cost(&field);
        self.dynamic.insert(0, field);
        self.shrink(TABLE_SIZE);
    }

    fn shrink(&mut self, limit: usize) {
        while self.size > limit {
            let Some(oldest) = self.dynamic.pop() else {
                return;
            };
            self.size -= cost(&oldest);
        }
    }
}

/// RFC 7541 4.1.
fn cost(field: &(String, String)) -> usize {
    field.0.len() + field.1.len() + 32
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.0.split_first().ok_or("the block ends early")?;
        self.0 = rest;
        Ok(*first)
    }

    fn integer(&mut self, bits: u32) -> Result<usize, String> {
        let limit = (1usize << bits) - 1;
        let mut value = self.byte()? as usize & limit;
        if value < limit {
            return Ok(value);
        }
        for shift in (0..28).step_by(7) {
            let byte = self.byte()?;
            value += ((byte & 0x7f) as usize) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer is too long".into())
    }

    fn text(&mut self) -> Result<String, String> {
        let huffman = self.peek().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        if length > self.0.len() {
            return Err("a string ends early".into());
        }
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        let bytes = if huffman {
            huffman_text(bytes)?
        } else {
            bytes.to_vec()
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Decodes bit by bit: the code is canonical, so the lengths of RFC 7541 appendix B say it all.
fn huffman_text(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    // The code so far, its length, the first code and the first rank of that length.
    let (mut code, mut length, mut first, mut rank) = (0u32, 0u8, 0u32, 0usize);
    let ranks = ranks();
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1))
    {
        code = code << 1 | u32::from(bit);
        first <<= 1;
        length += 1;
        let count = LENGTHS.iter().filter(|other| **other == length).count();
        if code - first < count as u32 {
            let symbol = ranks[rank + (code - first) as usize];
            out.push(u8::try_from(symbol).map_err(|_| "an end of string inside a string")?);
            (code, length, first, rank) = (0, 0, 0, 0);
        } else {
            first += count as u32;
            rank += count;
        }
    }
    // What is left is padding: the beginning of the end-of-string code.
    if length > 7 || code != (1 << length) - 1 {
        Err("bad padding".into())
    } else {
        Ok(out)
    }
}

/// The symbols in the order of their codes.
fn ranks() -> &'static [u16] {
    static RANKS: std::sync::OnceLock<Vec<u16>> = std::sync::OnceLock::new();
    RANKS.get_or_init(|| {
        let mut ranks: Vec<u16> = (0..257).collect();
        ranks.sort_by_key(|symbol| (LENGTHS[usize::from(*symbol)], *symbol));
        ranks
    })
}

/// RFC 7541 appendix B: the length of each symbol's code; the last is the end of a string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// RFC 7541 appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];
