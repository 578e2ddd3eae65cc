//! Which routes of a long list can match a path at all.
//!
//! Routes are tried in order and the first that matches wins, so an index may only leave out what cannot match. A route whose path begins with
//! a whole segment (`/orders/…`) can match only paths with that first segment; these are found by it, the rest are always tried.

use rustc_hash::FxHashMap;

use crate::live::matcher::{PathMatcher, PathRule};

/// Numbers of routes by the first segment of their path.
#[derive(Debug)]
pub struct RouteIndex {
    segments: FxHashMap<Box<[u8]>, Box<[u32]>>,
    /// Routes that may match any path.
    rest: Box<[u32]>,
}

impl RouteIndex {
    /// The index of a list of paths, if it is long enough to be worth one.
    pub fn new<'a>(paths: impl ExactSizeIterator<Item = &'a PathMatcher>) -> Option<Self> {
        if paths.len() < WORTH_IT {
            return None;
        }
        let mut segments: FxHashMap<Box<[u8]>, Vec<u32>> = FxHashMap::default();
        let mut rest = Vec::new();
        for (number, path) in (0_u32..).zip(paths) {
            match only_segment(path) {
                Some(segment) => segments.entry(segment.into()).or_default().push(number),
                None => rest.push(number),
            }
        }
        Some(Self {
            segments: segments
                .into_iter()
                .map(|(segment, routes)| (segment, routes.into()))
                .collect(),
            rest: rest.into(),
        })
    }

    /// The routes that may match `path`, in order.
    pub fn candidates<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = usize> + 'a {
        let mut named: &[u32] = first_segment(path)
            .and_then(|segment| self.segments.get(segment))
            .map_or(&[], |routes| routes);
        let mut rest: &[u32] = &self.rest;
        std::iter::from_fn(move || {
            let from = match (named.first(), rest.first()) {
                (Some(left), Some(right)) if left < right => &mut named,
                (Some(_), None) => &mut named,
                (None, None) => return None,
                _ => &mut rest,
            };
            let (first, tail) = from.split_first()?;
            *from = tail;
            Some(*first as usize)
        })
    }
}

/// The first segment that a path must have to match, where the rule says it whole.
fn only_segment(path: &PathMatcher) -> Option<&[u8]> {
    if path.ignores_case() {
        return None;
    }
    match path.rule() {
        PathRule::Exact(text) | PathRule::Segments(text) => first_segment(text),
        // `/orders` is also a prefix of `/ordersandmore`; `/orders/` is not.
        PathRule::Prefix(text) => {
            memchr::memchr(b'/', text.get(1..)?).and_then(|_| first_segment(text))
        }
        PathRule::Connect | PathRule::Regex(_) | PathRule::Template(_) => None,
    }
}

fn first_segment(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_prefix(b"/")?;
    Some(match memchr::memchr(b'/', path) {
        Some(end) => &path[..end],
        None => path,
    })
}

/// Shorter lists are tried one after the other.
const WORTH_IT: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher() -> impl Strategy<Value = PathMatcher> {
        let text = proptest::sample::select(vec![
            "/", "/a", "/a/", "/a/b", "/b", "/b/c/", "/ab", "", "//", "/A/",
        ]);
        (text, 0..4, any::<bool>()).prop_map(|(text, kind, ignore_case)| {
            let bytes = || Box::from(text.as_bytes());
            let rule = match kind {
                0 => PathRule::Exact(bytes()),
                1 => PathRule::Prefix(bytes()),
                2 => PathRule::Segments(bytes()),
                _ => return PathMatcher::regex("/a.*").unwrap(),
            };
            PathMatcher::new(rule, ignore_case)
        })
    }

    proptest! {
        #[test]
        fn the_index_leaves_out_only_what_cannot_match(
            paths in proptest::collection::vec(matcher(), WORTH_IT..24),
            path in proptest::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/b/c/d", "", "//", "/A/x"]),
        ) {
            let index = RouteIndex::new(paths.iter()).unwrap();
            let matching = |number: &usize| paths[*number].matches(path.as_bytes());
            let found: Vec<usize> = index.candidates(path.as_bytes()).filter(matching).collect();
            let expected: Vec<usize> = (0..paths.len()).filter(matching).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
