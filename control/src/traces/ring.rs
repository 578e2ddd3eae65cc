//! The last spans, shared by who takes them and who asks for them.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Span, Summary};

/// The last spans; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    addresses: Vec<SocketAddr>,
    received: u64,
    spans: VecDeque<Span>,
}

impl Traces {
    /// Keeps these, and lets go of the oldest where there is no room.
    pub fn add(&self, spans: Vec<Span>) {
        let mut kept = self.kept();
        for span in spans {
            if kept.spans.len() == ROOM {
                kept.spans.pop_front();
            }
            kept.received += 1;
            kept.spans.push_back(span);
        }
    }

    /// The spans of a trace, in the order of their starts.
    #[must_use]
    pub fn of(&self, trace: &str) -> Vec<Span> {
        let kept = self.kept();
        let mut found: Vec<Span> = kept
            .spans
            .iter()
            .filter(|span| span.trace == trace)
            .cloned()
            .collect();
        drop(kept);
        found.sort_by_key(|span| span.start);
        found
    }

    /// How many there are.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let kept = self.kept();
        let traces: BTreeSet<&str> = kept.spans.iter().map(|span| span.trace.as_str()).collect();
        Summary {
            addresses: kept.addresses.clone(),
            received: kept.received,
            kept: kept.spans.len(),
            traces: traces.len(),
        }
    }

    pub(super) fn taken_at(&self, addresses: Vec<SocketAddr>) {
        self.kept().addresses = addresses;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spans that are kept: about a mebibyte of them.
const ROOM: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes() {
        let traces = Traces::default();
        let span = |number: u64| Span {
            trace: format!("{:032x}", number / 2),
            id: format!("{number:016x}"),
            parent: String::new(),
            service: "portal.shop".to_owned(),
            name: "a".to_owned(),
            kind: "server".to_owned(),
            start: 2 * ROOM as u64 - number,
            duration: 1,
        };
        traces.add((0..ROOM as u64 + 2).map(span).collect());
        let summary = traces.summary();
        assert_eq!(
            (summary.received, summary.kept, summary.traces),
            (ROOM as u64 + 2, ROOM, ROOM / 2)
        );
        assert_eq!(traces.of(&format!("{:032x}", 0)), []);
        // By their starts, whichever came first.
        assert_eq!(traces.of(&format!("{:032x}", 1)), [span(3), span(2)]);
    }
}
