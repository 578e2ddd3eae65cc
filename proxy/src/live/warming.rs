//! What a listener or a cluster waits for before it takes the place of the old one.
//!
//! Envoy's rule: each discovered thing is waited for as long as its own source says (`initial_fetch_timeout`, 15 s where unset, for ever
//! where 0); afterwards its user serves without it, as far as it can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_engine::tls::{IdentitySlot, TrustSlot};

/// Something that comes by discovery.
#[derive(Clone, Debug)]
pub struct Need {
    /// What it is.
    pub thing: Thing,
    /// How long it is waited for; `None` for ever.
    pub patience: Option<Duration>,
}

/// What may be waited for.
#[derive(Clone, Debug)]
pub enum Thing {
    /// The endpoints of a cluster, by the name under which they are asked for.
    Endpoints(Arc<str>),
    /// A filter's configuration, by name.
    Extension(Arc<str>),
    /// A certificate with its key.
    Identity(Arc<IdentitySlot>),
    /// A route configuration, by name.
    Routes(Arc<str>),
    /// Roots.
    Trust(Arc<TrustSlot>),
}

/// The needs of one version of a resource.
#[derive(Clone, Debug)]
pub struct Warming {
    needs: Vec<Need>,
    since: Instant,
}

/// Which of the discovered things that are not secrets are there.
pub trait Known {
    /// Whether the thing came.
    fn has(&self, thing: &Thing) -> bool;
}

impl Warming {
    /// From now on these are waited for.
    pub fn new(needs: Vec<Need>, now: Instant) -> Self {
        Self { needs, since: now }
    }

    /// What has not come and is still waited for.
    pub fn missing<'a>(
        &'a self,
        known: &'a impl Known,
        now: Instant,
    ) -> impl Iterator<Item = &'a Thing> {
        let waited = now.saturating_duration_since(self.since);
        self.needs
            .iter()
            .filter(move |need| need.patience.is_none_or(|patience| waited < patience))
            .map(|need| &need.thing)
            .filter(|thing| !thing.is_there(known))
    }

    /// When something that has not come ceases to be waited for.
    pub fn next_end(&self, known: &impl Known, now: Instant) -> Option<Instant> {
        let ends = self.needs.iter().filter(|need| !need.thing.is_there(known));
        ends.filter_map(|need| Some(self.since + need.patience?))
            .filter(|end| *end > now)
            .min()
    }
}

impl Thing {
    /// Whether it is a certificate or a root.
    pub const fn is_secret(&self) -> bool {
        matches!(self, Self::Identity(_) | Self::Trust(_))
    }

    /// What it is called where people read it.
    pub fn describe(&self) -> String {
        match self {
            Self::Endpoints(name) => format!("eds {name}"),
            Self::Extension(name) => format!("ecds {name}"),
            Self::Identity(slot) => format!("sds {}", slot.name()),
            Self::Routes(name) => format!("rds {name}"),
            Self::Trust(slot) => format!("sds {}", slot.name()),
        }
    }

    fn is_there(&self, known: &impl Known) -> bool {
        match self {
            Self::Identity(slot) => slot.is_ready(),
            Self::Trust(slot) => slot.is_ready(),
            Self::Endpoints(_) | Self::Extension(_) | Self::Routes(_) => known.has(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use carbyne_engine::tls::SecretSlot;

    use super::*;

    struct Routes(&'static [&'static str]);

    impl Known for Routes {
        fn has(&self, thing: &Thing) -> bool {
            matches!(thing, Thing::Routes(name) if self.0.contains(&&**name))
        }
    }

    #[test]
    fn each_need_is_waited_for_as_long_as_its_source_says() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let routes = |name: &str, patience| Need {
            thing: Thing::Routes(Arc::from(name)),
            patience,
        };
        let needs = vec![
            routes("ten", Some(second * 10)),
            routes("fifteen", Some(second * 15)),
            Need {
                thing: Thing::Identity(SecretSlot::new("default")),
                patience: None,
            },
        ];
        let warming = Warming::new(needs, start);
        // (known, seconds) → what is missing, when the next wait ends
        type Row = (
            &'static [&'static str],
            u32,
            &'static [&'static str],
            Option<u32>,
        );
        let cases: [Row; 5] = [
            (&[], 0, &["rds ten", "rds fifteen", "sds default"], Some(10)),
            (&["ten"], 0, &["rds fifteen", "sds default"], Some(15)),
            (&[], 10, &["rds fifteen", "sds default"], Some(15)),
            (&[], 15, &["sds default"], None),
            (&["ten", "fifteen"], 900, &["sds default"], None),
        ];
        for (known, seconds, missing, end) in cases {
            let now = start + second * seconds;
            let known = Routes(known);
            let found: Vec<_> = warming.missing(&known, now).map(Thing::describe).collect();
            assert_eq!(found, missing, "after {seconds} s");
            assert_eq!(
                warming.next_end(&known, now),
                end.map(|end| start + second * end),
                "after {seconds} s"
            );
        }
    }
}
