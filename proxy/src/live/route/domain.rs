//! Domains of virtual hosts: exact names, else the longest `*.suffix`, else the longest `prefix.*`, else `*`.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

/// Virtual hosts by text.
type Hosts = FxHashMap<Box<[u8]>, u32>;

/// Numbers of virtual hosts by domain.
#[derive(Debug, Default)]
pub struct Domains {
    exact: Hosts,
    /// By length, longest first: what follows the star.
    suffixes: Vec<(usize, Hosts)>,
    /// By length, longest first: what precedes the star.
    prefixes: Vec<(usize, Hosts)>,
    any: Option<u32>,
}

impl Domains {
    /// Adds a domain of a virtual host, in any case; false if the domain has one already.
    pub fn insert(&mut self, domain: &str, host: u32) -> bool {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            return self.any.is_none() && self.any.insert(host) == &host;
        }
        if let Some(suffix) = domain.strip_prefix('*') {
            return insert(&mut self.suffixes, suffix, host);
        }
        if let Some(prefix) = domain.strip_suffix('*') {
            return insert(&mut self.prefixes, prefix, host);
        }
        first(&mut self.exact, &domain, host)
    }

    /// The virtual host of a lower-case host. A wildcard stands for at least one character.
    pub fn find(&self, host: &[u8]) -> Option<u32> {
        if let Some(found) = self.exact.get(host) {
            return Some(*found);
        }
        let longest = |held: &[(usize, Hosts)], part: fn(&[u8], usize) -> &[u8]| {
            held.iter()
                .filter(|(length, _)| *length < host.len())
                .find_map(|(length, held)| held.get(part(host, *length)).copied())
        };
        longest(&self.suffixes, |host, length| &host[host.len() - length..])
            .or_else(|| longest(&self.prefixes, |host, length| &host[..length]))
            .or(self.any)
    }
}

fn insert(held: &mut Vec<(usize, Hosts)>, part: &str, host: u32) -> bool {
    let index = match held.binary_search_by(|(length, _)| part.len().cmp(length)) {
        Ok(index) => index,
        Err(index) => {
            held.insert(index, (part.len(), FxHashMap::default()));
            index
        }
    };
    first(&mut held[index].1, part, host)
}

/// Whoever comes first keeps the domain.
fn first(held: &mut Hosts, part: &str, host: u32) -> bool {
    match held.entry(part.as_bytes().into()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(place) => {
            place.insert(host);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_domain_wins() {
        let mut domains = Domains::default();
        for (number, domain) in [
            "*",
            "a.Example.com",
            "*.example.com",
            "*-b.example.com",
            "a.*",
            "a.example.*",
            "*.com",
            "x:80",
        ]
        .iter()
        .enumerate()
        {
            assert!(domains.insert(domain, number as u32), "{domain}");
        }
        assert!(!domains.insert("A.example.com", 9));
        assert!(!domains.insert("*", 9));
        for (host, expected) in [
            ("a.example.com", 1),
            ("b.example.com", 2),
            ("c.b.example.com", 2),
            ("a-b.example.com", 3),
            ("-b.example.com", 2),
            (".example.com", 6),
            ("example.com", 6),
            ("a.org", 4),
            ("a.example.org", 5),
            ("other", 0),
            ("", 0),
            ("x:80", 7),
            ("x", 0),
        ] {
            assert_eq!(domains.find(host.as_bytes()), Some(expected), "{host}");
        }
        assert_eq!(Domains::default().find(b"a"), None);
    }
}
