//! Requests that were let through, by who made them and by window. Every instance on the node counts here, whatever is
//! reloaded.
//!
//! An identity is one entry with a count for each of its windows. A request takes its place in all windows or in none,
//! under the lock of the entry's shard: it is held for a look-up and some additions. Entries whose windows are over are
//! removed, a shard a second, and where a shard is full one makes room that has used least.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::{Equivalent, IndexMap};
use smallvec::SmallVec;

use super::window::Period;

/// All counters of a node.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Mutex<Shard>]>,
    scopes: Mutex<Vec<(Option<Box<str>>, Option<Box<str>>)>>,
    /// Keyed at random: clients choose identities.
    hasher: RandomState,
    digest: [RandomState; 2],
    /// The second in which a shard was last tidied.
    tidied: AtomicU64,
}

/// What an instance is for, as a number: those for the same route and service count together (Kong's keys have these two).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Scope(u32);

/// Who is counted.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

/// What an identity was made of: what a client says in a header never counts for what something else is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    Address,
    Consumer,
    Credential,
    Header,
    Path,
    Service,
}

/// So many in a period. Fractions let the request through that they are reached by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub period: Period,
    pub most: f64,
}

/// What became of a request.
#[derive(Debug)]
pub struct Usage {
    /// Whether a limit was reached already: the request was not counted.
    pub exceeded: bool,
    /// What is left for each limit, in their order, after this request where it was counted.
    pub left: SmallVec<[f64; 6]>,
}

type Shard = IndexMap<Key, Entry, RandomState>;

#[derive(Debug, Eq, PartialEq)]
struct Key {
    scope: Scope,
    kind: Kind,
    bytes: Box<[u8]>,
}

/// A key to look for.
struct Wanted<'a> {
    scope: Scope,
    identity: Identity<'a>,
}

#[derive(Debug, Default)]
struct Entry {
    windows: SmallVec<[Window; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    period: Period,
    count: u32,
    start: u64,
}

/// More shards than workers that could meet in one.
const SHARDS: usize = 64;
/// Identities of one shard: all together as many as fit in about 20 MiB.
const SHARD_LIMIT: usize = 2048;
/// Identities that are longer are kept as a digest.
const LONGEST: usize = 64;
/// Of how many the one makes room that has used least.
const SAMPLE: usize = 8;

impl Default for Counters {
    fn default() -> Self {
        let shard = || Mutex::new(Shard::default());
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            scopes: Mutex::default(),
            hasher: RandomState::new(),
            digest: [RandomState::new(), RandomState::new()],
            tidied: AtomicU64::new(0),
        }
    }
}

impl<'a> Identity<'a> {
    pub const fn new(kind: Kind, text: &'a str) -> Self {
        Self::of(kind, text.as_bytes())
    }

    pub const fn of(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }
}

impl Counters {
    /// The scope of an instance, the same for the same route and service as long as the process runs.
    pub fn scope(&self, route: Option<&str>, service: Option<&str>) -> Scope {
        let mut scopes = locked(&self.scopes);
        let known = scopes
            .iter()
            .position(|known| known.0.as_deref() == route && known.1.as_deref() == service);
        let index = known.unwrap_or_else(|| {
            scopes.push((route.map(Box::from), service.map(Box::from)));
            scopes.len() - 1
        });
        Scope(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Counts a request at the second `now`, unless a limit is reached.
    pub fn take(&self, scope: Scope, identity: Identity<'_>, limits: &[Limit], now: u64) -> Usage {
        self.tidy(now);
        let mut digest = [0; 16];
        let identity = self.shortened(identity, &mut digest);
        let wanted = Wanted { scope, identity };
        let hash = self.hasher.hash_one(&wanted);
        // The upper bits: the table's place comes of the lower ones.
        let index = usize::try_from(hash >> 58).unwrap_or_default() % SHARDS;
        let mut shard = locked(&self.shards[index]);
        match shard.get_mut(&wanted) {
            Some(entry) => entry.take(limits, now),
            None => {
                if shard.len() >= SHARD_LIMIT {
                    make_room(&mut shard, now);
                }
                let mut entry = Entry::default();
                let usage = entry.take(limits, now);
                shard.insert(wanted.to_key(), entry);
                usage
            }
        }
    }

    /// How many identities there are entries of, and how many there is room for.
    pub fn size(&self) -> (usize, usize) {
        let sizes = self.shards.iter().map(|shard| locked(shard).len());
        (sizes.sum(), SHARDS * SHARD_LIMIT)
    }

    fn shortened<'a>(&self, identity: Identity<'a>, digest: &'a mut [u8; 16]) -> Identity<'a> {
        if identity.bytes.len() <= LONGEST {
            return identity;
        }
        for (half, keyed) in digest.chunks_mut(8).zip(&self.digest) {
            half.copy_from_slice(&keyed.hash_one(identity.bytes).to_ne_bytes());
        }
        Identity::of(identity.kind, digest)
    }

    /// Whoever comes first in a second tidies one shard.
    fn tidy(&self, now: u64) {
        let before = self.tidied.load(Ordering::Relaxed);
        if before == now {
            return;
        }
        let mine = self
            .tidied
            .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_err() {
            return;
        }
        let index = usize::try_from(now).unwrap_or_default() % SHARDS;
        let mut shard = locked(&self.shards[index]);
        shard.retain(|_, entry| !entry.is_over(now));
        if shard.capacity() > 4 * shard.len().max(16) {
            shard.shrink_to_fit();
        }
    }
}

/// Removes one of a handful: one that is over, else the one that has used least of what it may.
fn make_room(shard: &mut Shard, now: u64) {
    let sample = (0..SAMPLE).map(|_| fastrand::usize(..shard.len()));
    let used = |index: &usize| {
        let entry = shard.get_index(*index).map(|(_, entry)| entry);
        let entry = entry.filter(|entry| !entry.is_over(now));
        let counts = entry.map(|entry| entry.windows.iter().map(|window| window.count));
        counts.and_then(Iterator::max)
    };
    if let Some(least) = sample.min_by_key(used) {
        shard.swap_remove_index(least);
    }
}

impl Entry {
    fn take(&mut self, limits: &[Limit], now: u64) -> Usage {
        let mut left: SmallVec<[f64; 6]> = limits
            .iter()
            .map(|limit| limit.most - f64::from(self.window(limit.period, now).count))
            .collect();
        let exceeded = left.iter().any(|left| *left <= 0.0);
        if !exceeded {
            for (limit, left) in limits.iter().zip(&mut left) {
                let window = self.window(limit.period, now);
                window.count = window.count.saturating_add(1);
                *left -= 1.0;
            }
        }
        Usage { exceeded, left }
    }

    /// The window of a period that `now` is in. Where somebody was in the next one already, because this request waited
    /// behind it, that one counts: an old window never comes back with an empty count.
    fn window(&mut self, period: Period, now: u64) -> &mut Window {
        let start = period.start(now);
        let index = match self
            .windows
            .iter()
            .position(|window| window.period == period)
        {
            Some(index) => index,
            None => {
                self.windows.push(Window {
                    period,
                    count: 0,
                    start,
                });
                self.windows.len() - 1
            }
        };
        let window = &mut self.windows[index];
        // Further ahead than one window is a clock that was set back.
        if window.start < start || window.start > start + period.longest() {
            window.start = start;
            window.count = 0;
        }
        window
    }

    fn is_over(&self, now: u64) -> bool {
        self.windows
            .iter()
            .all(|window| window.start + window.period.longest() < now)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let identity = Identity::of(self.kind, &self.bytes);
        Wanted {
            scope: self.scope,
            identity,
        }
        .hash(state);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.scope.0) << 8 | self.identity.kind as u64);
        state.write(self.identity.bytes);
    }
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope
            && self.identity.kind == key.kind
            && *self.identity.bytes == *key.bytes
    }
}

impl Wanted<'_> {
    fn to_key(&self) -> Key {
        Key {
            scope: self.scope,
            kind: self.identity.kind,
            bytes: self.identity.bytes.into(),
        }
    }
}

/// Nothing that is done under these locks leaves anything half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const NOON: u64 = 1_700_000_000;

    fn minute(most: f64) -> Limit {
        Limit {
            period: Period::Minute,
            most,
        }
    }

    fn take(counters: &Counters, who: &str, limits: &[Limit], now: u64) -> (bool, Vec<f64>) {
        let scope = counters.scope(None, None);
        let usage = counters.take(scope, Identity::new(Kind::Consumer, who), limits, now);
        (usage.exceeded, usage.left.to_vec())
    }

    #[test]
    fn as_many_threads_as_there_are_pass_exactly_the_limit() {
        const THREADS: usize = 16;
        const EACH: usize = 5_000;
        for most in [1, 7, 1_000, 60_000] {
            let counters = Arc::new(Counters::default());
            let passed = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (counters, passed) = (counters.clone(), passed.clone());
                    std::thread::spawn(move || {
                        let limits = [
                            minute(f64::from(most)),
                            Limit {
                                period: Period::Year,
                                most: f64::from(most) * 2.0,
                            },
                        ];
                        for _ in 0..EACH {
                            if !take(&counters, "who", &limits, NOON).0 {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            let most = usize::try_from(most).unwrap();
            assert_eq!(passed.load(Ordering::Relaxed), most.min(THREADS * EACH));
        }
    }

    #[test]
    fn threads_on_both_sides_of_a_boundary_pass_no_more_than_two_windows() {
        let counters = Arc::new(Counters::default());
        let boundary = Period::Minute.start(NOON) + 60;
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let counters = counters.clone();
                std::thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    let times = (0..10_000).map(|_| boundary - 1 + random.u64(..2));
                    times
                        .filter(|now| !take(&counters, "who", &[minute(100.0)], *now).0)
                        .count()
                })
            })
            .collect();
        let passed: usize = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert!((100..=200).contains(&passed), "{passed}");
    }

    #[test]
    fn a_request_counts_in_all_windows_or_in_none() {
        let counters = Counters::default();
        let limits = [
            Limit {
                period: Period::Second,
                most: 2.0,
            },
            minute(3.0),
        ];
        let take = |now| take(&counters, "who", &limits, now);
        assert_eq!(take(NOON), (false, vec![1.0, 2.0]));
        assert_eq!(take(NOON), (false, vec![0.0, 1.0]));
        assert_eq!(take(NOON), (true, vec![0.0, 1.0]));
        assert_eq!(take(NOON + 1), (false, vec![1.0, 0.0]));
        assert_eq!(take(NOON + 1), (true, vec![1.0, 0.0]));
        // A late one does not bring the old second back.
        assert_eq!(take(NOON), (true, vec![1.0, 0.0]));
        assert_eq!(take(NOON + 60), (false, vec![1.0, 2.0]));
        // A clock that was set back by more than a window counts anew.
        assert_eq!(take(NOON - 600), (false, vec![1.0, 2.0]));
    }

    #[test]
    fn fractions_and_scopes() {
        let counters = Counters::default();
        assert_eq!(
            take(&counters, "a", &[minute(1.5)], NOON),
            (false, vec![0.5])
        );
        assert_eq!(
            take(&counters, "a", &[minute(1.5)], NOON),
            (false, vec![-0.5])
        );
        assert_eq!(
            take(&counters, "a", &[minute(1.5)], NOON),
            (true, vec![-0.5])
        );
        let (all, route) = (counters.scope(None, None), counters.scope(Some("r"), None));
        assert_ne!(all, route);
        assert_ne!(route, counters.scope(None, Some("r")));
        assert_eq!(route, counters.scope(Some("r"), None));
        let limits = [minute(1.0)];
        for (kind, scope) in [
            (Kind::Address, all),
            (Kind::Header, all),
            (Kind::Header, route),
        ] {
            let identity = Identity::new(kind, "1.2.3.4");
            assert!(!counters.take(scope, identity, &limits, NOON).exceeded);
            assert!(counters.take(scope, identity, &limits, NOON).exceeded);
        }
        // Long ones are told apart to the last byte.
        let long = |end: &str| "x".repeat(1000) + end;
        assert!(!take(&counters, &long("a"), &limits, NOON).0);
        assert!(!take(&counters, &long("b"), &limits, NOON).0);
        assert!(take(&counters, &long("a"), &limits, NOON).0);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let counters = Counters::default();
        let heavy = [minute(1e9)];
        for _ in 0..100 {
            take(&counters, "heavy", &heavy, NOON);
        }
        let (_, limit) = counters.size();
        for number in 0..limit + limit / 2 {
            take(&counters, &number.to_string(), &[minute(5.0)], NOON);
        }
        assert!(counters.size().0 <= limit);
        // Who has used most keeps its count.
        assert_eq!(take(&counters, "heavy", &heavy, NOON).1, [1e9 - 101.0]);
        for second in 0..=SHARDS as u64 {
            take(&counters, "other", &[minute(5.0)], NOON + 3600 + second);
        }
        assert_eq!(counters.size().0, 1);
    }
}
