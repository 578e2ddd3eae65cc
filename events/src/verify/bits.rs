//! A set of numbers, most of which are neighbours.

use std::collections::BTreeMap;

/// A set of sequences: a bit each, 8 KiB for 65,536 of them.
#[derive(Debug, Default)]
pub(super) struct Bits {
    pages: BTreeMap<u64, Box<[u64; PAGE]>>,
}

impl Bits {
    /// True where it was not in the set.
    pub(super) fn set(&mut self, number: u64) -> bool {
        let page = self
            .pages
            .entry(number / SPAN)
            .or_insert_with(|| Box::new([0; PAGE]));
        let (word, bit) = place(number);
        let fresh = page[word] & bit == 0;
        page[word] |= bit;
        fresh
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.pages
            .get(&(number / SPAN))
            .is_some_and(|page| page[word] & bit != 0)
    }

    pub(super) fn len(&self) -> u64 {
        let words = self.pages.values().flat_map(|page| page.iter());
        words.map(|word| u64::from(word.count_ones())).sum()
    }

    /// The smallest number of the set that is not below this one.
    pub(super) fn at_or_after(&self, number: u64) -> Option<u64> {
        self.pages.range(number / SPAN..).find_map(|(index, page)| {
            let start = index * SPAN;
            let (from, bit) = place(number.max(start));
            let words = page.iter().enumerate().skip(from);
            let mut words = words.map(|(at, word)| {
                // Of the first word, what lies below the number does not count.
                let below = if at == from { bit - 1 } else { 0 };
                (at, word & !below)
            });
            let (at, word) = words.find(|(_, word)| *word != 0)?;
            Some(start + at as u64 * 64 + u64::from(word.trailing_zeros()))
        })
    }

    /// The runs of numbers from `first` to `last`, which is not the largest that there is, that are not in the set.
    pub(super) fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        let mut number = first;
        while number <= last {
            let index = number / SPAN;
            let page = self.pages.get(&index);
            let word = page.map(|page| page[place(number).0]);
            let whole = number.is_multiple_of(64) && last - number >= 63;
            if page.is_none() {
                // Whoever claims a number may claim any: what is missing is not walked through.
                let next = self.pages.range(index..).next();
                let end = next.map_or(last, |(next, _)| last.min(next * SPAN - 1));
                push(&mut runs, number, end);
                number = end + 1;
            } else if whole && word == Some(u64::MAX) {
                number += 64;
            } else {
                if !self.contains(number) {
                    push(&mut runs, number, number);
                }
                number += 1;
            }
        }
        runs
    }
}

fn push(runs: &mut Vec<(u64, u64)>, first: u64, last: u64) {
    match runs.last_mut() {
        Some((_, end)) if *end + 1 == first => *end = last,
        _ => runs.push((first, last)),
    }
}

fn place(number: u64) -> (usize, u64) {
    let within = number % SPAN;
    ((within / 64) as usize, 1 << (within % 64))
}

const PAGE: usize = 1024;
const SPAN: u64 = PAGE as u64 * 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Each case looks at three pages number by number.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0_u64..200_000, 0..300), runs in proptest::collection::vec((0_u64..200_000, 1_u64..3000), 0..5)) {
            let (mut bits, mut set) = (Bits::default(), BTreeSet::new());
            let all = numbers.into_iter().chain(runs.into_iter().flat_map(|(first, length)| first..first + length));
            for number in all {
                prop_assert_eq!(bits.set(number), set.insert(number));
            }
            prop_assert_eq!(bits.len(), set.len() as u64);
            for number in (0..210_000).step_by(997).chain(set.iter().map(|number| number + 1)) {
                prop_assert_eq!(bits.at_or_after(number), set.range(number..).next().copied());
            }
            let mut missing = BTreeSet::new();
            for (first, last) in bits.missing(1, 210_000) {
                missing.extend(first..=last);
            }
            let expected: BTreeSet<u64> = (1..=210_000).filter(|number| !set.contains(number)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
