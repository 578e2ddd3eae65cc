//! From a host to the lists of paths of those who want it.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::NONE;
use super::keys::HostKey;
use super::trie::{Ranked, Trie};

/// Lists by host.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Keys are the configuration's, so nobody can make them collide.
    exact: HashMap<Box<[u8]>, Bucket, FxBuildHasher>,
    prefixes: Tails,
    suffixes: Tails,
    any: Option<Bucket>,
}

/// A trie of paths, and the lowest rank in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) root: u32,
    pub(super) best: u32,
}

/// Hosts that begin alike; turned around, hosts that end alike.
#[derive(Debug, Default)]
struct Tails {
    trie: Trie<Bucket>,
    root: Option<u32>,
}

impl Hosts {
    pub(super) fn new(buckets: Vec<(HostKey, Bucket)>) -> Self {
        let mut hosts = Self {
            exact: HashMap::default(),
            prefixes: Tails::default(),
            suffixes: Tails::default(),
            any: None,
        };
        let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
        for (key, bucket) in buckets {
            match key {
                HostKey::Any => hosts.any = Some(bucket),
                HostKey::Exact(host) => {
                    hosts.exact.insert(host.into_boxed_bytes(), bucket);
                }
                HostKey::Prefix(start) => prefixes.push((start.as_bytes().into(), vec![bucket])),
                HostKey::Suffix(end) => {
                    suffixes.push((end.bytes().rev().collect(), vec![bucket]));
                }
            }
        }
        hosts.prefixes = Tails::new(prefixes);
        hosts.suffixes = Tails::new(suffixes);
        hosts
    }

    /// Asks every list that a host leads to for something better than what is there, those of
    /// longer texts first.
    pub(super) fn visit(&self, host: Option<&[u8]>, ask: impl Fn(Bucket, u32) -> u32) -> u32 {
        let mut best = NONE;
        if let Some(host) = host {
            if let Some(bucket) = self.exact.get(host) {
                best = ask(*bucket, best);
            }
            best = self.suffixes.visit::<true>(host, best, &ask);
            best = self.prefixes.visit::<false>(host, best, &ask);
        }
        match self.any {
            Some(bucket) if bucket.best < best => ask(bucket, best),
            _ => best,
        }
    }
}

impl Tails {
    fn new(mut lists: Vec<(Vec<u8>, Vec<Bucket>)>) -> Self {
        lists.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut trie = Trie::default();
        let root = (!lists.is_empty()).then(|| trie.add(lists));
        Self { trie, root }
    }

    fn visit<const BACKWARD: bool>(
        &self,
        host: &[u8],
        best: u32,
        ask: impl Fn(Bucket, u32) -> u32,
    ) -> u32 {
        let Some(root) = self.root else {
            return best;
        };
        self.trie
            .walk::<BACKWARD>(root, host, best, |buckets, best| {
                buckets.iter().fold(best, |best, bucket| ask(*bucket, best))
            })
    }
}

impl Ranked for Bucket {
    fn rank(&self) -> u32 {
        self.best
    }
}
