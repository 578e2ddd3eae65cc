//! The ordered header list of a message.
//!
//! A proxied message has ten to twenty fields: a list in arrival order with a linear scan is cheaper than
//! a hash map, keeps the order that the peer sent (Envoy does too), and keeps every value of a repeated
//! field apart, which access rules need (CVE-2026-26308 came from joining them).

use http::header::{HeaderName, HeaderValue};

/// Header fields in arrival order; names are lower-case, values are raw bytes without CR, LF and NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// An empty list with room for `fields` fields.
    pub fn with_capacity(fields: usize) -> Self {
        Self {
            entries: Vec::with_capacity(fields),
        }
    }

    /// Adds a field at the end, keeping those of the same name.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.entries.push((name, value));
    }

    /// Sets a field: the first of that name takes the value, further ones go.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.entries.iter().position(|(n, _)| *n == name) else {
            self.entries.push((name, value));
            return;
        };
        self.entries[first].1 = value;
        if self.entries[first + 1..].iter().any(|(n, _)| *n == name) {
            let mut index = 0;
            self.entries.retain(|(n, _)| {
                index += 1;
                index <= first + 1 || *n != name
            });
        }
    }

    /// Removes every field of that name; true if there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(n, _)| n != name);
        self.entries.len() != before
    }

    /// Removes and returns the first field of that name and drops the others.
    pub fn take(&mut self, name: &HeaderName) -> Option<HeaderValue> {
        let first = self.entries.iter().position(|(n, _)| n == name)?;
        let (_, value) = self.entries.remove(first);
        self.remove(name);
        Some(value)
    }

    /// Keeps the fields for which `keep` says true.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.entries.retain(|(name, value)| keep(name, value));
    }

    /// The first value of that name.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.entries
            .iter()
            .find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The first value of that name as text, if it is visible ASCII.
    pub fn text(&self, name: &HeaderName) -> Option<&str> {
        self.get(name).and_then(|value| value.to_str().ok())
    }

    /// Every value of that name, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        self.entries
            .iter()
            .filter_map(move |(n, value)| (n == name).then_some(value))
    }

    /// Whether a field of that name is present.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.entries.iter().any(|(n, _)| n == name)
    }

    /// All fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (HeaderName, HeaderValue)> {
        self.entries.iter()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of names and values together; what limits and byte counters mean by the size of a head.
    pub fn byte_size(&self) -> usize {
        self.entries
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum()
    }
}

/// Room for what filters add to a head, so that the list seldom grows.
pub(crate) const SPARE_FIELDS: usize = 4;

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a (HeaderName, HeaderValue);
    type IntoIter = std::slice::Iter<'a, (HeaderName, HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl IntoIterator for Headers {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = std::vec::IntoIter<(HeaderName, HeaderValue)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<T: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: T) -> Self {
        Self {
            entries: fields.into_iter().collect(),
        }
    }
}

impl From<http::HeaderMap> for Headers {
    fn from(map: http::HeaderMap) -> Self {
        let mut headers = Self::with_capacity(map.len() + SPARE_FIELDS);
        for (name, value) in map {
            // A HeaderMap names a repeated field once and then yields `None` for its further values.
            let name = name.or_else(|| headers.entries.last().map(|(name, _)| name.clone()));
            if let Some(name) = name {
                headers.append(name, value);
            }
        }
        headers
    }
}

impl From<Headers> for http::HeaderMap {
    fn from(headers: Headers) -> Self {
        let mut map = Self::with_capacity(headers.len());
        for (name, value) in headers {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn insert_keeps_the_first_place_and_drops_repeats() {
        let mut headers = Headers::new();
        headers.append(header::ACCEPT, value("a"));
        headers.append(header::COOKIE, value("b"));
        headers.append(header::ACCEPT, value("c"));
        headers.insert(header::ACCEPT, value("d"));
        let listed: Vec<_> = headers.iter().cloned().collect();
        assert_eq!(
            listed,
            [(header::ACCEPT, value("d")), (header::COOKIE, value("b"))]
        );
    }

    #[test]
    fn take_returns_the_first_and_removes_all() {
        let mut headers = Headers::new();
        headers.append(header::ACCEPT, value("a"));
        headers.append(header::ACCEPT, value("b"));
        assert_eq!(headers.take(&header::ACCEPT), Some(value("a")));
        assert!(headers.is_empty());
    }

    #[test]
    fn header_maps_survive_the_way_there_and_back() {
        let mut headers = Headers::new();
        headers.append(header::ACCEPT, value("a"));
        headers.append(header::ACCEPT, value("b"));
        headers.append(header::COOKIE, value("c"));
        let map = http::HeaderMap::from(headers.clone());
        assert_eq!(Headers::from(map), headers);
    }
}
