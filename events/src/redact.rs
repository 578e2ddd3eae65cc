//! What may be said of a request.
//!
//! Events are kept for a year and read by many. So no field of theirs ever holds what a client proved itself with, nor what
//! identifies a person beyond need: `Authorization`, cookies and API keys are not passed on at all, addresses become networks
//! or keyed hashes, of a query remains what a list allows, of a path what a route matched, of a token its issuer, subject
//! and a hash of its key's id.

use std::fmt::{self, Write};
use std::net::IpAddr;

use aws_lc_rs::{digest, hmac};

/// A node's rules.
#[derive(Debug, Default)]
pub struct Redaction {
    /// Names of query parameters that may be told.
    query: Vec<Box<str>>,
    /// Hashes addresses in place of cutting them.
    key: Option<hmac::Key>,
    /// Whether paths are told as they came.
    paths: bool,
}

/// A rule that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("{KEY_FILE}: {path}: {source}")]
    KeyFile {
        path: String,
        source: std::io::Error,
    },
    #[error("{KEY_FILE}: {path} holds fewer than {SHORTEST_KEY} bytes")]
    ShortKey { path: String },
    #[error("{PATHS} is on or off, not {0}")]
    Switch(String),
}

/// Names of query parameters, separated by commas.
pub const QUERY: &str = "CARBYNE_EVENTS_QUERY";
/// A file whose bytes key the hashes of addresses.
pub const KEY_FILE: &str = "CARBYNE_EVENTS_ADDRESS_KEY_FILE";
/// `on`: paths are told as they came, without their query.
pub const PATHS: &str = "CARBYNE_EVENTS_PATHS";

const SHORTEST_KEY: usize = 16;
/// Bytes of a path or of a query that are told.
const LONGEST: usize = 1024;

impl Redaction {
    /// The rules that variables of the environment tell.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        if let Some(names) = variable(QUERY) {
            let names = names.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            rules.query = names.map(Box::from).collect();
        }
        if let Some(path) = variable(KEY_FILE) {
            match std::fs::read(&path) {
                Err(source) => return Err(RuleError::KeyFile { path, source }),
                Ok(key) if key.len() < SHORTEST_KEY => return Err(RuleError::ShortKey { path }),
                Ok(key) => rules.key = Some(hmac::Key::new(hmac::HMAC_SHA256, &key)),
            }
        }
        rules.paths = match variable(PATHS).as_deref() {
            None | Some("" | "off") => false,
            Some("on") => true,
            Some(other) => return Err(RuleError::Switch(other.to_owned())),
        };
        Ok(rules)
    }

    /// A client's address: its network, or a hash by which the same client is known again.
    pub fn address(&self, address: IpAddr) -> Short {
        let address = address.to_canonical();
        let Some(key) = &self.key else {
            return network(address);
        };
        let tag = match address {
            IpAddr::V4(address) => hmac::sign(key, &address.octets()),
            IpAddr::V6(address) => hmac::sign(key, &address.octets()),
        };
        Short::hash("hmac:", tag.as_ref())
    }

    /// A path without its query, where the node tells paths.
    pub fn path<'a>(&self, target: &'a str) -> Option<&'a str> {
        let end = target.find(['?', '#']).unwrap_or(target.len());
        self.paths.then(|| clipped(&target[..end], LONGEST))
    }

    /// Of a query, the parameters that may be told; none where that is nothing. A node without a list allocates nothing.
    pub fn query(&self, query: &str) -> Option<String> {
        if self.query.is_empty() {
            return None;
        }
        let mut told = String::new();
        for pair in query.split('&') {
            let name = pair.split('=').next().unwrap_or_default();
            let allowed = self.query.iter().any(|allowed| **allowed == *name);
            if !allowed || told.len() + pair.len() >= LONGEST {
                continue;
            }
            if !told.is_empty() {
                told.push('&');
            }
            told.push_str(pair);
        }
        (!told.is_empty()).then_some(told)
    }
}

/// A hash of a key's id: which key, for whoever has the key set, and nothing for others.
pub fn key_id(id: &str) -> Short {
    let digest = digest::digest(&digest::SHA256, id.as_bytes());
    Short::hash("sha256:", digest.as_ref())
}

/// The beginning of a text that a client chose: events have an end.
pub fn clipped(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn network(address: IpAddr) -> Short {
    let mut text = Short::default();
    // The longest network has 24 bytes, which fit.
    let written = match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            write!(text, "{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            write!(text, "{a:x}:{b:x}:{c:x}::/48")
        }
    };
    debug_assert!(written.is_ok(), "a network is longer than it can be");
    text
}

/// A short text that needs no allocation.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Short {
    bytes: [u8; 40],
    length: u8,
}

impl Short {
    pub fn as_str(&self) -> &str {
        // Only whole strings are written.
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Sixteen bytes of a hash in hexadecimal digits.
    fn hash(name: &str, hash: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = Self::default();
        text.put(name.as_bytes());
        for byte in hash.iter().take(16) {
            let digit = |half: u8| DIGITS[usize::from(half)];
            text.put(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }

    fn put(&mut self, bytes: &[u8]) -> bool {
        let start = usize::from(self.length);
        let Some(room) = self.bytes.get_mut(start..start + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        // The end lies within forty bytes.
        self.length = u8::try_from(start + bytes.len()).unwrap_or(self.length);
        true
    }
}

impl Default for Short {
    fn default() -> Self {
        Self {
            bytes: [0; 40],
            length: 0,
        }
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.put(text.as_bytes()) {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn rules(variables: &[(&str, &str)]) -> Result<Redaction, RuleError> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        Redaction::read(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn addresses_are_networks() {
        let rules = Redaction::default();
        for (address, expected) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
            ("ffff:ffff:ffff:ffff::1", "ffff:ffff:ffff::/48"),
            ("::1", "0:0:0::/48"),
        ] {
            assert_eq!(rules.address(address.parse().unwrap()).as_str(), expected);
        }
    }

    #[test]
    fn a_key_makes_hashes_of_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, [7; 32]).unwrap();
        let path = path.to_str().unwrap();
        let keyed = rules(&[(KEY_FILE, path)]).unwrap();
        let hash = |address: &str| keyed.address(address.parse().unwrap());
        // python3 -c 'import hmac; print(hmac.new(b"\x07" * 32, bytes([203, 0, 113, 77]), "sha256").hexdigest()[:32])'
        assert_eq!(
            hash("203.0.113.77").as_str(),
            "hmac:b44a107562f623402ec8070cfef40e4c"
        );
        assert_eq!(
            hash("::ffff:203.0.113.77").as_str(),
            hash("203.0.113.77").as_str()
        );
        assert_ne!(hash("203.0.113.78").as_str(), hash("203.0.113.77").as_str());
    }

    #[test]
    fn rules_that_cannot_be_followed_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "hunter2").unwrap();
        for (name, value, expected) in [
            (KEY_FILE, "/nonexistent/key", "No such file"),
            (KEY_FILE, short.to_str().unwrap(), "fewer than 16 bytes"),
            (PATHS, "yes", "is on or off"),
        ] {
            let error = rules(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn of_a_query_remains_what_the_list_allows() {
        let listed = rules(&[(QUERY, "page, size")]).unwrap();
        for (query, expected) in [
            ("page=2&apikey=s3cr3t&size=10", Some("page=2&size=10")),
            ("page", Some("page")),
            ("PAGE=1&xpage=2&p%61ge=3&s3cr3t", None),
            ("", None),
        ] {
            assert_eq!(listed.query(query).as_deref(), expected, "{query}");
        }
        let long = format!("page=1&size={}&page=2", "9".repeat(LONGEST));
        assert_eq!(listed.query(&long).as_deref(), Some("page=1&page=2"));
        assert_eq!(Redaction::default().query("page=2"), None);
    }

    #[test]
    fn paths_are_told_where_the_node_is_told_to() {
        let on = rules(&[(PATHS, "on")]).unwrap();
        assert_eq!(on.path("/a/b?apikey=s3cr3t"), Some("/a/b"));
        assert_eq!(on.path("/a#b"), Some("/a"));
        assert_eq!(on.path(&"é".repeat(LONGEST)).map(str::len), Some(LONGEST));
        assert_eq!(Redaction::default().path("/a"), None);
    }

    #[test]
    fn clipped_texts_are_texts() {
        assert_eq!(clipped("añb", 2), "a");
        assert_eq!(clipped("añb", 3), "añ");
        assert_eq!(clipped("ab", 9), "ab");
    }

    proptest! {
        /// Whatever stands around it: what no rule allows is not in what is told.
        #[test]
        fn secrets_are_not_told(
            secret in "[A-Za-z0-9]{12,40}",
            around in "[ -~]{0,20}",
            address: [u8; 16],
        ) {
            let plain = Redaction::default();
            let listed = rules(&[(QUERY, "page"), (PATHS, "on")]).unwrap();
            let query = format!("{around}&token={secret}&page=1&{secret}={around}&{secret}");
            // What stands around may be the allowed name itself, never the secret's.
            let told = [
                plain.query(&query).unwrap_or_default(),
                listed.query(&query).unwrap_or_default(),
                plain.path(&format!("/{secret}")).unwrap_or_default().to_owned(),
                listed.path(&format!("/a?{query}")).unwrap_or_default().to_owned(),
                key_id(&secret).as_str().to_owned(),
            ];
            for told in told {
                prop_assert!(!told.contains(&secret), "{told}");
            }
            let address = IpAddr::from(address);
            let cut = plain.address(address);
            prop_assert_ne!(cut.as_str(), address.to_string());
        }
    }
}
