//! One ADS stream by istiod's rules (istio.md 2.3 to 2.6), without I/O: requests go in, what to send comes out.
//!
//! The caller generates resources for each [`Push`], sends them with a nonce of its choice, and reports them with [`Session::sent`].

use std::collections::{BTreeMap, BTreeSet};

use crate::generate::Kind;

/// The two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// A request of either protocol, reduced to what the rules look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Type asked for.
    pub type_url: String,
    /// Nonce answered; empty in a request that answers nothing.
    pub nonce: String,
    /// Why the last response was refused.
    pub error: Option<String>,
    /// SotW: all names wanted. Delta: names added.
    pub names: Vec<String>,
    /// Delta: names given up.
    pub removed: Vec<String>,
    /// Delta: what the client still holds from an earlier stream.
    pub held: Vec<String>,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Type.
    pub kind: Kind,
    /// Names; none means the whole type.
    pub names: Option<BTreeSet<String>>,
    /// Sent even where nothing changed.
    pub forced: bool,
}

/// What is known of one type on a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// Names subscribed.
    pub names: BTreeSet<String>,
    /// The whole type is subscribed.
    pub wildcard: bool,
    /// Nonce and version of the last response.
    pub nonce_sent: String,
    /// Version of the last response.
    pub version_sent: String,
    /// Nonce last acknowledged.
    pub nonce_acked: String,
    /// Version last acknowledged.
    pub version_acked: String,
    /// Why the last response was refused; empty again after the next acknowledgement.
    pub error: Option<String>,
    /// Resources that the client holds, name → content hash.
    pub held: BTreeMap<String, u64>,
    /// Responses that went out.
    pub pushes: u64,
    /// Responses that were refused.
    pub rejects: u64,
    /// The next request is answered even if it only acknowledges (warming).
    always_respond: bool,
}

/// A request that ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A type that cannot be subscribed is only ignored; an empty one is a fault.
    #[error("the request names no type")]
    NoType,
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    variant: Variant,
    watched: BTreeMap<Kind, Watched>,
}

impl Session {
    /// A new stream.
    #[must_use]
    pub const fn new(variant: Variant) -> Self {
        Self {
            variant,
            watched: BTreeMap::new(),
        }
    }

    /// What is subscribed, by type.
    #[must_use]
    pub const fn watched(&self) -> &BTreeMap<Kind, Watched> {
        &self.watched
    }

    /// Takes a request; gives back what it is owed, in push order.
    ///
    /// # Errors
    /// When the stream must end.
    pub fn request(&mut self, request: &Request) -> Result<Vec<Push>, ProtocolError> {
        if request.type_url.is_empty() {
            return Err(ProtocolError::NoType);
        }
        let Some(kind) = Kind::from_type_url(&request.type_url) else {
            // Secrets over ADS, ECDS and the agent's own types are not served here: no answer, as for an unknown subscription.
            return Ok(Vec::new());
        };
        if let Some(error) = &request.error {
            // A NACK is written down and not answered: the same resources would be refused again.
            let watched = self.watched.entry(kind).or_default();
            watched.error = Some(error.clone());
            watched.rejects += 1;
            return Ok(Vec::new());
        }
        Ok(match self.variant {
            Variant::Sotw => self.sotw(kind, request),
            Variant::Delta => self.delta(kind, request),
        })
    }

    fn sotw(&mut self, kind: Kind, request: &Request) -> Vec<Push> {
        let names: BTreeSet<String> = request.names.iter().cloned().collect();
        if names.is_empty() && !kind.is_wildcard() {
            self.watched.remove(&kind);
            return Vec::new();
        }
        let first = !self.watched.contains_key(&kind) || request.nonce.is_empty();
        let watched = self.watched.entry(kind).or_default();
        if first {
            watched.wildcard = kind.is_wildcard();
            watched.names.clone_from(&names);
            self.warm(kind);
            return vec![whole(kind, &names)];
        }
        if request.nonce != watched.nonce_sent {
            // An answer to something older than what is on its way.
            return Vec::new();
        }
        watched.acknowledge();
        let before = std::mem::replace(&mut watched.names, names.clone());
        watched
            .held
            .retain(|name, _| kind.is_wildcard() || names.contains(name));
        if std::mem::take(&mut watched.always_respond) {
            return vec![whole(kind, &names)];
        }
        let added: BTreeSet<String> = names.difference(&before).cloned().collect();
        if kind.is_wildcard() || added.is_empty() {
            return Vec::new();
        }
        vec![Push {
            kind,
            names: Some(added),
            forced: true,
        }]
    }

    fn delta(&mut self, kind: Kind, request: &Request) -> Vec<Push> {
        let subscribed: BTreeSet<String> = request
            .names
            .iter()
            .filter(|name| *name != "*")
            .cloned()
            .collect();
        let star = request.names.iter().any(|name| name == "*");
        if !self.watched.contains_key(&kind) {
            let mut names = subscribed;
            names.extend(request.held.iter().cloned());
            let watched = self.watched.entry(kind).or_default();
            watched.wildcard = star || request.names.is_empty();
            // What the client holds and we do not send any more is named as removed.
            watched.held = request.held.iter().map(|name| (name.clone(), 0)).collect();
            watched.names.clone_from(&names);
            for name in &request.removed {
                watched.names.remove(name);
                watched.wildcard &= name != "*";
            }
            if !watched.wildcard && watched.names.is_empty() {
                return Vec::new();
            }
            let push = if watched.wildcard {
                whole_type(kind)
            } else {
                whole(kind, &names)
            };
            self.warm(kind);
            let mut pushes = vec![push];
            pushes.extend(self.dependent(kind));
            return pushes;
        }
        let Some(watched) = self.watched.get_mut(&kind) else {
            return Vec::new();
        };
        if !request.nonce.is_empty() {
            if request.nonce != watched.nonce_sent {
                return Vec::new();
            }
            watched.acknowledge();
        }
        for name in &request.removed {
            watched.names.remove(name);
            watched.held.remove(name);
            watched.wildcard &= name != "*";
        }
        let added: BTreeSet<String> = subscribed.difference(&watched.names).cloned().collect();
        let again = request.nonce.is_empty() && !subscribed.is_empty();
        watched.names.extend(subscribed.iter().cloned());
        let grew = star && !watched.wildcard;
        watched.wildcard |= star;
        if grew {
            return vec![whole_type(kind)];
        }
        if std::mem::take(&mut watched.always_respond) && !watched.names.is_empty() {
            let names = watched.names.clone();
            return vec![whole(kind, &names)];
        }
        // A request of its own for a name already known asks for it again; in an ACK it says nothing new.
        let owed = if again { subscribed } else { added };
        if owed.is_empty() {
            return Vec::new();
        }
        vec![Push {
            kind,
            names: Some(owed),
            forced: true,
        }]
    }

    /// After new clusters (listeners) their endpoints (routes) are answered once more, so that they can warm.
    fn warm(&mut self, kind: Kind) {
        if let Some(watched) =
            dependency(kind).and_then(|dependent| self.watched.get_mut(&dependent))
        {
            watched.always_respond = true;
        }
    }

    /// Endpoints that follow a cluster response by themselves (delta only: forceEDSPush).
    fn dependent(&self, kind: Kind) -> Option<Push> {
        if kind != Kind::Cluster {
            return None;
        }
        let watched = self.watched.get(&Kind::Endpoint)?;
        Some(Push {
            forced: true,
            ..self.everything(Kind::Endpoint, watched)
        })
    }

    /// What a new configuration owes this stream, in istiod's order. Nothing is forced: what did not change is not sent.
    #[must_use]
    pub fn changed(&self) -> Vec<Push> {
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some(self.everything(kind, self.watched.get(&kind)?)))
            .collect()
    }

    /// When clusters (listeners) were sent, their endpoints (routes) go too, changed or not: the client may be warming them.
    #[must_use]
    pub fn follows(kind: Kind) -> Option<Kind> {
        dependency(kind)
    }

    fn everything(&self, kind: Kind, watched: &Watched) -> Push {
        Push {
            kind,
            names: (!watched.wildcard && !kind.is_wildcard()).then(|| watched.names.clone()),
            forced: false,
        }
    }

    /// Reports a response that went out: its resources with content hashes, and the names said to be gone.
    pub fn sent(
        &mut self,
        kind: Kind,
        nonce: &str,
        version: &str,
        resources: impl IntoIterator<Item = (String, u64)>,
        complete: bool,
    ) {
        let Some(watched) = self.watched.get_mut(&kind) else {
            return;
        };
        nonce.clone_into(&mut watched.nonce_sent);
        version.clone_into(&mut watched.version_sent);
        watched.pushes += 1;
        if complete {
            watched.held.clear();
        }
        watched.held.extend(resources);
    }

    /// Names that the client holds of those that this push is about.
    #[must_use]
    pub fn held(&self, push: &Push) -> BTreeMap<String, u64> {
        let Some(watched) = self.watched.get(&push.kind) else {
            return BTreeMap::new();
        };
        let about = |name: &String| push.names.as_ref().is_none_or(|names| names.contains(name));
        watched
            .held
            .iter()
            .filter(|(name, _)| about(name))
            .map(|(name, hash)| (name.clone(), *hash))
            .collect()
    }

    /// The client was told that these are gone.
    pub fn forget<'a>(&mut self, kind: Kind, names: impl IntoIterator<Item = &'a String>) {
        if let Some(watched) = self.watched.get_mut(&kind) {
            for name in names {
                watched.held.remove(name);
            }
        }
    }
}

impl Watched {
    fn acknowledge(&mut self) {
        self.nonce_acked.clone_from(&self.nonce_sent);
        self.version_acked.clone_from(&self.version_sent);
        self.error = None;
    }
}

const fn dependency(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Cluster => Some(Kind::Endpoint),
        Kind::Listener => Some(Kind::Route),
        Kind::Endpoint | Kind::Route => None,
    }
}

fn whole_type(kind: Kind) -> Push {
    Push {
        kind,
        names: None,
        forced: true,
    }
}

fn whole(kind: Kind, names: &BTreeSet<String>) -> Push {
    Push {
        kind,
        names: (!kind.is_wildcard()).then(|| names.clone()),
        forced: true,
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
