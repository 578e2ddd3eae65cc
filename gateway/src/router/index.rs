//! Expressions, compiled: the routes that can match are found by host (of a connection: by the
//! server's name), then by path.
//!
//! One index is of one protocol, so what expressions ask about the protocol is settled when it is
//! built. What is left of an expression is taken apart into branches, of which one has to hold; a
//! branch is a list of conditions that all have to. Where one of them asks for a host (equal,
//! prefix, suffix) or for a path (equal, prefix, a regular expression that begins with a text), the
//! branch is listed under these; the others are its rest, and are asked of those requests alone that
//! come by. Most routes of hosts and prefixes have no rest.
//!
//! Conditions that lead nowhere (a regular expression on the host, segments, queries, headers,
//! anything under `!`) leave their route among those that are asked of every request, in order.
//!
//! | file | what it holds |
//! |---|---|
//! | `simplify` | settles the protocol |
//! | `keys` | which hosts and paths a condition needs |
//! | `hosts` | from a host to lists of paths |
//! | `trie` | texts that begin, or end, alike |

use std::collections::BTreeMap;

use carbyne_engine::runtime::background::give_way;

use super::evaluate::Request;
use super::expression::Expression;

mod hosts;
mod keys;
mod simplify;
mod trie;

use hosts::{Bucket, Hosts};
use keys::{HostKey, Keys};
pub(super) use simplify::{Simplified, simplified};
use trie::{Ranked, Trie};

/// The compiled expressions of one protocol.
#[derive(Debug)]
pub(super) struct Index {
    hosts: Hosts,
    paths: Trie<Posting>,
    rests: Vec<Expression>,
}

/// An expression that holds where its rest does.
#[derive(Clone, Copy, Debug)]
struct Posting {
    rank: u32,
    /// In `rests`; [`NO_REST`] where nothing is left to ask.
    rest: u32,
}

/// A set of ranks that are not to be found.
#[derive(Clone, Debug, Default)]
pub(super) struct Gone {
    /// A bit a rank, as far as there are any.
    bits: Vec<u64>,
    count: usize,
}

const NO_REST: u32 = u32::MAX;

/// The rank of nothing: higher than any.
const NONE: u32 = u32::MAX;

/// A branch with more pairs of a host and a path is listed by hosts alone.
const MAX_PAIRS: usize = 4096;

/// The branches under their hosts and paths.
struct Branches {
    hosts: fn(&Expression) -> Option<Keys<HostKey>>,
    lists: BTreeMap<HostKey, BTreeMap<Vec<u8>, Vec<Posting>>>,
    rests: Vec<Expression>,
}

impl Index {
    /// Compiles expressions with their ranks, in the order of these.
    pub(super) fn new(stream: bool, expressions: &[(u32, Simplified)]) -> Self {
        let mut branches = Branches {
            hosts: if stream { keys::servers } else { keys::hosts },
            lists: BTreeMap::new(),
            rests: Vec::new(),
        };
        for (rank, expression) in expressions {
            give_way();
            match expression {
                Simplified::Never => {}
                Simplified::Always => branches.add(*rank, &[]),
                Simplified::If(expression) => {
                    let any = match expression {
                        Expression::Any(any) => any,
                        other => std::slice::from_ref(other),
                    };
                    for branch in any {
                        let conditions = match branch {
                            Expression::All(conditions) => conditions,
                            other => std::slice::from_ref(other),
                        };
                        branches.add(*rank, conditions);
                    }
                }
            }
        }
        let mut paths = Trie::default();
        let hosts = branches.lists.into_iter().map(|(host, lists)| {
            give_way();
            let root = paths.add(lists.into_iter().collect());
            let best = paths.best(root);
            (host, Bucket { root, best })
        });
        Self {
            hosts: Hosts::new(hosts.collect()),
            paths,
            rests: branches.rests,
        }
    }

    /// The lowest rank of the expressions that hold and are not gone.
    pub(super) fn find(&self, request: &Request<'_>, gone: &Gone) -> Option<usize> {
        let path = request.path;
        let key = if request.http.is_some() {
            request.host
        } else {
            request.lookup.sni.map(str::as_bytes)
        };
        let found = self.hosts.visit(key, |bucket, best| {
            self.paths
                .walk::<false>(bucket.root, path, best, |postings, best| {
                    self.first(postings, best, request, gone)
                })
        });
        (found != NONE).then_some(found as usize)
    }

    fn first(&self, postings: &[Posting], best: u32, request: &Request<'_>, gone: &Gone) -> u32 {
        for posting in postings {
            if posting.rank >= best {
                break;
            }
            if gone.contains(posting.rank as usize) {
                continue;
            }
            let rest = self.rests.get(posting.rest as usize);
            if rest.is_none_or(|rest| rest.holds(request, &mut ())) {
                return posting.rank;
            }
        }
        best
    }
}

impl Gone {
    pub(super) fn insert(&mut self, rank: usize) {
        let (word, bit) = (rank / 64, 1 << (rank % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] & bit == 0 {
            self.bits[word] |= bit;
            self.count += 1;
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    fn contains(&self, rank: usize) -> bool {
        let word = self.bits.get(rank / 64);
        word.is_some_and(|word| word & (1 << (rank % 64)) != 0)
    }
}

impl Branches {
    /// Lists a branch under the hosts and paths that it needs.
    fn add(&mut self, rank: u32, conditions: &[Expression]) {
        let (hosts, from_host) = fewest(conditions, self.hosts, HostKey::Any);
        let (mut paths, mut from_path) = fewest(conditions, keys::paths, Vec::new());
        if hosts.len() * paths.len() > MAX_PAIRS {
            (paths, from_path) = (vec![(Vec::new(), false)], None);
        }
        // By whether the host and the path answer their conditions.
        let mut known: [Option<u32>; 4] = [None; 4];
        for (host, host_answers) in &hosts {
            for (path, path_answers) in &paths {
                let slot = &mut known[usize::from(*host_answers) * 2 + usize::from(*path_answers)];
                let answered = [
                    from_host.filter(|_| *host_answers),
                    from_path.filter(|_| *path_answers),
                ];
                let rest = *slot.get_or_insert_with(|| self.rest(conditions, answered));
                let lists = self.lists.entry(host.clone()).or_default();
                let list = lists.entry(path.clone()).or_default();
                list.push(Posting { rank, rest });
            }
        }
    }

    /// The conditions that are not answered.
    fn rest(&mut self, conditions: &[Expression], answered: [Option<usize>; 2]) -> u32 {
        let left = conditions.iter().enumerate();
        let left = left.filter(|(index, _)| !answered.contains(&Some(*index)));
        let mut left: Vec<_> = left.map(|(_, condition)| condition.clone()).collect();
        let left = match left.len() {
            0 => return NO_REST,
            1 => left.remove(0),
            _ => Expression::All(left),
        };
        self.rests.push(left);
        // There are no more than postings, of which there are less than 2^32.
        u32::try_from(self.rests.len() - 1).unwrap_or(NO_REST)
    }
}

/// The keys of the condition that has the fewest, and which one it is.
fn fewest<K>(
    conditions: &[Expression],
    keys: fn(&Expression) -> Option<Keys<K>>,
    without: K,
) -> (Keys<K>, Option<usize>) {
    let found = conditions.iter().enumerate();
    let found = found.filter_map(|(index, condition)| Some((keys(condition)?, Some(index))));
    found
        .min_by_key(|(keys, _)| keys.len())
        .unwrap_or_else(|| (vec![(without, false)], None))
}

impl Ranked for Posting {
    fn rank(&self) -> u32 {
        self.rank
    }
}
