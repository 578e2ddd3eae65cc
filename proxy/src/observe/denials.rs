//! Refusals by what refused: Envoy counts them by filter only, and says the policy in logs.

use std::sync::{Arc, PoisonError, RwLock};

use carbyne_engine::observe::metrics::Counter;
use rustc_hash::FxHashMap;

use super::istio::Store;

/// Counts refusals by policy.
#[derive(Debug)]
pub struct Denials {
    store: Arc<Store>,
    /// Written when a policy refuses for the first time.
    known: RwLock<FxHashMap<Arc<str>, Counter>>,
}

impl Denials {
    /// Shown with Istio's metrics, and by the same rules.
    pub fn new(store: &Arc<Store>) -> Self {
        Self {
            store: Arc::clone(store),
            known: RwLock::default(),
        }
    }

    /// A policy and rule, or a filter, refused a request or a connection.
    pub fn count(&self, policy: &Arc<str>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(policy) {
            counter.increment();
            return;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let name = if known.len() < MOST_POLICIES {
            policy
        } else {
            &Arc::from(OTHER)
        };
        let counter = known.entry(Arc::clone(name)).or_insert_with(|| {
            let labels = vec![(Arc::from("policy"), Box::from(&**name))];
            self.store.counter(DENIED, labels)
        });
        counter.increment();
    }
}

const DENIED: &str = "carbyne_authorization_denied_total";
/// Policies come and go with configurations; their series stay until the process ends.
const MOST_POLICIES: usize = 1_000;
const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::super::istio::SeriesValue;
    use super::*;

    #[test]
    fn each_policy_has_its_series_and_too_many_share_one() {
        let store = Arc::new(Store::new(|_| Arc::from([])));
        let denials = Denials::new(&store);
        let all: u64 = 1_500;
        for number in 0..all {
            denials.count(&Arc::from(format!("policy {number}").as_str()));
        }
        denials.count(&Arc::from("policy 7"));
        let (mut series, mut counted, mut seventh) = (0, 0, 0);
        store.visit(|found| {
            let SeriesValue::Counter(counter) = found.value else {
                panic!("{found:?}");
            };
            assert_eq!(found.name, DENIED);
            series += 1;
            counted += counter.value();
            if &*found.labels[0].1 == "policy 7" {
                seventh = counter.value();
            }
        });
        assert_eq!((series, counted, seventh), (1_001, all + 1, 2));
    }
}
