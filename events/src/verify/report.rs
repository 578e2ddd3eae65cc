//! What a tally amounts to.

use super::{Producer, Tally};

/// What is there and what is not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    pub producers: Vec<ProducerReport>,
    /// Different events that were found.
    pub found: u64,
    /// Events that a topic holds once more.
    pub duplicates: u64,
    /// Sequences that are missing, by what is known of them.
    pub lost: u64,
    pub declared: u64,
    pub expired: u64,
    /// Places in spools that cannot be read, and their bytes.
    pub damages: u64,
    pub damaged_bytes: u64,
    /// Heads of segments that cannot be read: they say whose events follow, and so does the ledger.
    pub damaged_heads: u64,
    /// Events in the topics that do not say who produced them: other producers' libraries may do without.
    pub foreign: u64,
    /// Events that should tell of others and cannot be read.
    pub unreadable: u64,
}

/// One start of one producer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProducerReport {
    /// `NODE/ROLE-N/WORKER`.
    pub producer: String,
    pub epoch: u64,
    pub found: u64,
    pub duplicates: u64,
    pub last: u64,
    pub gaps: Vec<Gap>,
    pub tail: Tail,
}

/// A run of sequences that are missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gap {
    pub first: u64,
    pub last: u64,
    pub missing: Missing,
}

/// What is known of a gap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Missing {
    Lost,
    /// Lost, and nothing that came later is there.
    LostTail,
    /// Of which topics, and why.
    Declared(String),
    Expired,
}

/// Whether the end of a producer's count is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// It has ended, and said so or was said to have.
    Closed,
    /// It goes on, or its end is told nowhere yet.
    Open,
}

impl Tally {
    /// Sums up.
    pub fn report(&self) -> Report {
        let mut report = Report {
            damages: self.damages,
            damaged_heads: self.damaged_heads,
            damaged_bytes: self.damaged_bytes,
            foreign: self.foreign,
            unreadable: self.unreadable,
            ..Report::default()
        };
        for ((name, epoch), producer) in &self.producers {
            if self.held && producer.claimed == 0 {
                // It began meanwhile.
                continue;
            }
            let gaps = self.gaps(producer);
            let tail = if producer.closed {
                Tail::Closed
            } else {
                Tail::Open
            };
            for gap in &gaps {
                let count = gap.last - gap.first + 1;
                let sum = match gap.missing {
                    Missing::Lost | Missing::LostTail => &mut report.lost,
                    Missing::Declared(_) => &mut report.declared,
                    Missing::Expired => &mut report.expired,
                };
                *sum = sum.saturating_add(count);
            }
            let found = producer.seen.len();
            report.found += found;
            report.duplicates += producer.duplicates;
            report.producers.push(ProducerReport {
                producer: name.clone(),
                epoch: *epoch,
                found,
                duplicates: producer.duplicates,
                last: producer.claimed,
                gaps,
                tail,
            });
        }
        report
    }

    fn gaps(&self, producer: &Producer) -> Vec<Gap> {
        // Without the topics nobody knows what was acknowledged and is not in the spool any more.
        let first = if self.topics_read {
            1
        } else {
            let oldest = producer.seen.at_or_after(0).unwrap_or(producer.claimed + 1);
            producer.acknowledged.map_or(1, |_| oldest)
        };
        let mut gaps: Vec<Gap> = Vec::new();
        for (from, to) in producer.seen.missing(first, producer.claimed) {
            let mut number = from;
            while number <= to {
                let (last, mut missing) = self.explain(producer, number, to);
                if missing == Missing::Lost && to == producer.claimed {
                    missing = Missing::LostTail;
                }
                match gaps.last_mut() {
                    Some(gap) if gap.last + 1 == number && gap.missing == missing => {
                        gap.last = last
                    }
                    _ => gaps.push(Gap {
                        first: number,
                        last,
                        missing,
                    }),
                }
                number = last + 1;
            }
        }
        // What is declared and replaced by its own declaration is seen, and missing all the same.
        for (first, last, said) in &producer.declared {
            let covered = gaps
                .iter()
                .any(|gap| gap.first == *first + 1 && matches!(gap.missing, Missing::Declared(_)));
            if let Some(gap) = gaps
                .iter_mut()
                .find(|gap| covered && gap.first == *first + 1)
            {
                gap.first = *first;
            } else if producer.seen.contains(*first) {
                gaps.push(Gap {
                    first: *first,
                    last: *first,
                    missing: Missing::Declared(said.clone()),
                });
            }
            debug_assert!(first <= last);
        }
        gaps.sort_by_key(|gap| gap.first);
        gaps
    }

    /// What is known of a missing sequence, and up to which one that holds.
    fn explain(&self, producer: &Producer, number: u64, to: u64) -> (u64, Missing) {
        let said = producer
            .declared
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&number));
        if let Some((_, last, said)) = said {
            return (to.min(*last), Missing::Declared(said.clone()));
        }
        let declared = producer.declared.iter().map(|(first, _, _)| *first);
        let next = declared.filter(|first| *first > number).min();
        let to = next.map_or(to, |next| to.min(next - 1));
        if !self.expiring.iter().any(|expiring| *expiring) {
            return (to, Missing::Lost);
        }
        let kept = producer
            .previous
            .iter()
            .filter(|(topic, _)| !self.expiring[**topic]);
        let referred = kept.filter_map(|(_, previous)| previous.at_or_after(number));
        match referred.min() {
            Some(referred) if referred == number => (number, Missing::Lost),
            Some(referred) => (to.min(referred - 1), Missing::Expired),
            None => (to, Missing::Expired),
        }
    }
}

impl Report {
    /// Nothing is missing that nobody declared.
    pub fn is_complete(&self) -> bool {
        self.lost == 0 && self.unreadable == 0
    }
}
