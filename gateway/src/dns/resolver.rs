//! Names, types and the cache.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::settings::Type;
use super::{Answer, DnsError, Kind, Record, Settings};

/// Resolves names and remembers.
#[derive(Debug)]
pub struct Resolver {
    settings: Settings,
    client: Client,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cache: HashMap<Question, Entry>,
    /// The type that answered last, by name.
    last: HashMap<Arc<str>, Kind>,
    /// Questions under way: who asks the same waits for the answer.
    running: HashMap<Question, Arc<tokio::sync::Mutex<()>>>,
}

type Question = (Arc<str>, Kind);

#[derive(Clone, Debug)]
struct Entry {
    found: Result<Found, DnsError>,
    expires: Instant,
}

/// Records, perhaps none.
#[derive(Clone, Debug)]
struct Found {
    records: Arc<[Record]>,
    is_momentary: bool,
    /// Until when they serve although they are over.
    stale_until: Instant,
}

impl Resolver {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            client: Client::default(),
            state: Mutex::default(),
        }
    }

    /// What a name resolves to, by the types in their order and for each by the names that it may stand for.
    pub async fn resolve(&self, name: &str) -> Result<Answer, DnsError> {
        let name = name.to_ascii_lowercase();
        if let Some(answer) = self.in_hosts(&name) {
            return Ok(answer);
        }
        let mut done = Vec::new();
        let mut failed = DnsError::Empty;
        for wanted in &self.settings.order {
            let kind = match wanted {
                Type::Kind(kind) => Some(*kind),
                Type::Last => self.lock().last.get(name.as_str()).copied(),
            };
            let Some(kind) = kind.filter(|kind| !done.contains(kind)) else {
                continue;
            };
            done.push(kind);
            for candidate in self.candidates(&name) {
                match self.look_up(&candidate, kind).await {
                    Ok(answer) if is_itself(&answer, &candidate) => {}
                    Ok(answer) => {
                        self.lock().last.insert(name.as_str().into(), kind);
                        return Ok(answer);
                    }
                    Err(error) => failed = worse(failed, error),
                }
            }
        }
        self.lock().last.remove(name.as_str());
        Err(failed)
    }

    /// The addresses of a host in an SRV record.
    pub async fn addresses(&self, name: &str) -> Result<(Vec<IpAddr>, Instant), DnsError> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok((vec![address], Instant::now() + FOR_EVER));
        }
        let name = name.to_ascii_lowercase();
        if let Some(answer) = self.in_hosts(&name) {
            return Ok((addresses_of(&answer), answer.expires));
        }
        let mut failed = DnsError::Empty;
        for kind in self
            .settings
            .order
            .iter()
            .filter_map(|wanted| match wanted {
                Type::Kind(kind @ (Kind::A | Kind::Aaaa)) => Some(*kind),
                _ => None,
            })
        {
            for candidate in self.candidates(&name) {
                match self.look_up(&candidate, kind).await {
                    Ok(answer) => return Ok((addresses_of(&answer), answer.expires)),
                    Err(error) => failed = worse(failed, error),
                }
            }
        }
        Err(failed)
    }

    fn in_hosts(&self, name: &str) -> Option<Answer> {
        let known = self.settings.hosts.get(name.trim_end_matches('.'))?;
        let prefers_v6 = self.settings.order.iter().find_map(|wanted| match wanted {
            Type::Kind(Kind::A) => Some(false),
            Type::Kind(Kind::Aaaa) => Some(true),
            _ => None,
        });
        let preferred = known
            .iter()
            .find(|address| address.is_ipv6() == (prefers_v6 == Some(true)));
        let address = preferred.or_else(|| known.first())?;
        Some(Answer {
            records: [Record::Address(*address)].into(),
            kind: if address.is_ipv4() {
                Kind::A
            } else {
                Kind::Aaaa
            },
            expires: Instant::now() + FOR_EVER,
            is_momentary: false,
        })
    }

    /// The names that a name may stand for, in the order in which they are asked for.
    fn candidates(&self, name: &str) -> Vec<Arc<str>> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.into()];
        }
        let searched = self
            .settings
            .search
            .iter()
            .map(|domain| format!("{name}.{domain}").into());
        let mut candidates: Vec<Arc<str>> = searched.collect();
        let place = if name.matches('.').count() < self.settings.ndots {
            candidates.len()
        } else {
            0
        };
        candidates.insert(place, name.into());
        candidates
    }

    /// One question, from the cache where that knows.
    async fn look_up(&self, name: &Arc<str>, kind: Kind) -> Result<Answer, DnsError> {
        let question = (name.clone(), kind);
        if let Some(entry) = self.fresh(&question) {
            return entry.into_answer(kind);
        }
        let turn = self
            .lock()
            .running
            .entry(question.clone())
            .or_default()
            .clone();
        let held = turn.lock().await;
        // Whoever asked meanwhile has its answer in the cache.
        let entry = match self.fresh(&question) {
            Some(entry) => entry,
            None => {
                let reply = self.ask(name, kind).await;
                self.remember(&question, reply)
            }
        };
        drop(held);
        self.lock().running.remove(&question);
        entry.into_answer(kind)
    }

    fn fresh(&self, question: &Question) -> Option<Entry> {
        let state = self.lock();
        let entry = state.cache.get(question)?;
        (entry.expires > Instant::now()).then(|| entry.clone())
    }

    /// Asks, and follows aliases that lead out of an answer.
    async fn ask(&self, name: &str, kind: Kind) -> Result<(Vec<Record>, Duration), DnsError> {
        let mut asked = name.to_owned();
        let mut ttl = FOR_EVER;
        for _ in 0..MOST_ALIASES {
            let reply = self.client.ask(&self.settings, &asked, kind).await?;
            ttl = ttl.min(reply.ttl);
            match reply.alias {
                Some(alias) => asked = alias,
                None => return Ok((reply.records, ttl)),
            }
        }
        Err(DnsError::Empty)
    }

    /// Keeps what a server said. Where none said anything, or there are no records for once, what was known before goes on for the time that
    /// stale answers may.
    fn remember(
        &self,
        question: &Question,
        reply: Result<(Vec<Record>, Duration), DnsError>,
    ) -> Entry {
        let now = Instant::now();
        let settings = &self.settings;
        let mut state = self.lock();
        let stale = state.cache.get(question).and_then(|entry| {
            let found = entry.found.as_ref().ok()?;
            (found.stale_until > now).then(|| found.clone())
        });
        let entry = match (reply, stale) {
            (Ok((records, ttl)), _) if !records.is_empty() => {
                let ttl = settings.valid_ttl.unwrap_or(ttl).min(FOR_EVER);
                Entry {
                    found: Ok(Found {
                        records: records.into(),
                        is_momentary: ttl.is_zero(),
                        stale_until: now + ttl + settings.stale_ttl.min(FOR_EVER),
                    }),
                    // Who wants to be asked each time is asked each second: every request waits for nobody.
                    expires: now + ttl.max(LEAST_TTL),
                }
            }
            (Err(DnsError::Name), _) => Entry {
                found: Err(DnsError::Name),
                expires: now + settings.not_found_ttl,
            },
            (reply, Some(found)) => {
                if let Err(error) = reply {
                    tracing::warn!(name = %question.0, %error, "a name is not resolved: the last answer goes on serving");
                }
                Entry {
                    found: Ok(found),
                    expires: now + settings.error_ttl.max(LEAST_TTL),
                }
            }
            (Ok(_), None) => Entry {
                found: Err(DnsError::Empty),
                expires: now + settings.not_found_ttl,
            },
            (Err(error), None) => Entry {
                found: Err(error),
                expires: now + settings.error_ttl,
            },
        };
        if state.cache.len() >= settings.cache_size && !state.cache.contains_key(question) {
            state.make_room(now);
        }
        state.cache.insert(question.clone(), entry.clone());
        entry
    }

    /// Ends the time of every answer, as its passing would.
    #[cfg(test)]
    pub(crate) fn let_expire(&self) {
        let now = Instant::now();
        self.lock()
            .cache
            .values_mut()
            .for_each(|entry| entry.expires = now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is over goes first; if nothing is, an answer that is over soon.
    fn make_room(&mut self, now: Instant) {
        let before = self.cache.len();
        self.cache.retain(|_, entry| match &entry.found {
            Ok(found) => found.stale_until > now,
            Err(_) => entry.expires > now,
        });
        if self.cache.len() == before {
            let soonest = self.cache.iter().min_by_key(|(_, entry)| entry.expires);
            if let Some(question) = soonest.map(|(question, _)| question.clone()) {
                self.cache.remove(&question);
            }
        }
        let cache = &self.cache;
        self.last
            .retain(|name, kind| cache.contains_key(&(name.clone(), *kind)));
    }
}

impl Entry {
    fn into_answer(self, kind: Kind) -> Result<Answer, DnsError> {
        let found = self.found?;
        Ok(Answer {
            records: found.records,
            kind,
            expires: self.expires,
            is_momentary: found.is_momentary,
        })
    }
}

fn addresses_of(answer: &Answer) -> Vec<IpAddr> {
    let address = |record: &Record| match record {
        Record::Address(address) => Some(*address),
        Record::Service { .. } => None,
    };
    answer.records.iter().filter_map(address).collect()
}

/// A service at its own name has no addresses: the next type may.
fn is_itself(answer: &Answer, name: &str) -> bool {
    answer.records.iter().all(
        |record| matches!(record, Record::Service { host, .. } if host.trim_end_matches('.') == name),
    )
}

/// That a server failed says more than that a name has no records, which says more than that it is none.
fn worse(left: DnsError, right: DnsError) -> DnsError {
    let rank = |error: &DnsError| match error {
        DnsError::Empty => 0,
        DnsError::Name => 1,
        DnsError::Server { .. } => 2,
        DnsError::Silence(_) => 3,
    };
    if rank(&right) >= rank(&left) {
        right
    } else {
        left
    }
}

/// What never ends: ten years, as in Kong.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const LEAST_TTL: Duration = Duration::from_secs(1);
const MOST_ALIASES: usize = 8;
