//! The table of Maglev hashing, entry for entry as Envoy builds it.

use xxhash_rust::xxh64::xxh64;

use super::table::Weighted;

/// A table of host indexes; its length is a prime.
#[derive(Debug, Default)]
pub struct Maglev {
    entries: Vec<u32>,
    /// Fewest entries of a host.
    pub least: u64,
    /// Most entries of a host.
    pub most: u64,
}

struct Row {
    host: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    target: f64,
    next: u64,
    count: u64,
}

impl Maglev {
    /// The table of these hosts.
    #[must_use]
    pub fn build(hosts: &[Weighted<'_>], table_size: u64) -> Self {
        let most_weight = hosts.iter().map(|host| host.weight).fold(0.0, f64::max);
        let size = usize::try_from(table_size).unwrap_or(0).min(LARGEST_TABLE);
        // The planner refuses sizes that are not prime; below 2 there is no permutation.
        if hosts.is_empty() || size < 2 || most_weight <= 0.0 {
            return Self::default();
        }
        let mut rows = rows(hosts, size as u64);
        let mut entries = vec![EMPTY; size];
        let mut filled = 0;
        let mut iteration = 0.0;
        while filled < size {
            iteration += 1.0;
            for row in &mut rows {
                if filled == size {
                    break;
                }
                // The heaviest host is picked in every iteration, one of a third of its weight in every third.
                if iteration * row.weight < row.target {
                    continue;
                }
                row.target += most_weight;
                let place = row.claim(&entries);
                if let Some(entry) = entries.get_mut(place) {
                    *entry = row.host;
                }
                row.count += 1;
                filled += 1;
            }
        }
        Self {
            entries,
            least: rows.iter().map(|row| row.count).min().unwrap_or(0),
            most: rows.iter().map(|row| row.count).max().unwrap_or(0),
        }
    }

    /// The index of the host for `hash`; other attempts look at other entries.
    #[must_use]
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        // Envoy flips most bits for a further attempt, so that keys of one host do not all go to the same next one.
        let hash = if attempt == 0 {
            hash
        } else {
            hash ^ (u64::MAX - u64::from(attempt) + 1)
        };
        let place = hash.checked_rem(self.entries.len() as u64)?;
        self.entries.get(usize::try_from(place).ok()?).copied()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Row {
    /// The next place of this host's permutation that nobody has.
    fn claim(&mut self, entries: &[u32]) -> usize {
        loop {
            let place = (self.offset + self.skip * self.next) % entries.len() as u64;
            self.next += 1;
            let place = usize::try_from(place).unwrap_or(0);
            if entries.get(place) == Some(&EMPTY) {
                return place;
            }
        }
    }
}

/// Rows in the order of their hash text: a stable order keeps the table stable.
fn rows(hosts: &[Weighted<'_>], size: u64) -> Vec<Row> {
    let mut order: Vec<(u32, &Weighted<'_>)> = (0u32..).zip(hosts).collect();
    order.sort_by(|(_, left), (_, right)| left.text.cmp(right.text));
    order
        .into_iter()
        .map(|(host, weighted)| Row {
            host,
            offset: xxh64(weighted.text.as_bytes(), 0) % size,
            skip: xxh64(weighted.text.as_bytes(), 1) % (size - 1) + 1,
            weight: weighted.weight,
            target: 0.0,
            next: 0,
            count: 0,
        })
        .collect()
}

const EMPTY: u32 = u32::MAX;
/// Envoy's largest table (5000011), the limit of its API.
const LARGEST_TABLE: usize = 5_000_011;

#[cfg(test)]
mod tests {
    use super::*;

    fn equal_hosts(texts: &[String]) -> Vec<Weighted<'_>> {
        let weight = 1.0 / texts.len() as f64;
        texts.iter().map(|text| Weighted { text, weight }).collect()
    }

    #[test]
    fn tables_match_the_published_ones() {
        // The tables of Envoy's maglev tests: by address, and by host name.
        let cases: [(&str, [u32; 7]); 2] = [
            ("127.0.0.1:", [2, 4, 0, 1, 5, 0, 3]),
            ("", [2, 5, 0, 3, 4, 1, 0]),
        ];
        for (prefix, expected) in cases {
            let texts: Vec<String> = (90..=95).map(|port| format!("{prefix}{port}")).collect();
            let table = Maglev::build(&equal_hosts(&texts), 7);
            assert_eq!(table.entries, expected, "{prefix}");
            assert_eq!((table.least, table.most), (1, 2));
        }
    }

    #[test]
    fn the_order_of_hosts_does_not_matter() {
        let texts: Vec<String> = (0..20).map(|host| format!("10.0.0.{host}:80")).collect();
        let reversed: Vec<String> = texts.iter().rev().cloned().collect();
        let (one, other) = (
            Maglev::build(&equal_hosts(&texts), 1009),
            Maglev::build(&equal_hosts(&reversed), 1009),
        );
        let mirrored: Vec<u32> = other.entries.iter().map(|index| 19 - index).collect();
        assert_eq!(one.entries, mirrored);
    }

    #[test]
    fn entries_follow_the_weights() {
        let texts: Vec<String> = (0..3).map(|host| format!("10.0.0.{host}:80")).collect();
        let weights = [0.5, 0.3, 0.2];
        let hosts: Vec<_> = texts
            .iter()
            .zip(weights)
            .map(|(text, weight)| Weighted { text, weight })
            .collect();
        let table = Maglev::build(&hosts, 65_537);
        for (host, weight) in (0u32..).zip(weights) {
            let count = table.entries.iter().filter(|entry| **entry == host).count() as f64;
            assert!((count / 65_537.0 - weight).abs() < 0.001, "{host}: {count}");
        }
    }

    #[test]
    fn a_removed_host_moves_few_other_keys() {
        let texts: Vec<String> = (0..20).map(|host| format!("10.0.0.{host}:80")).collect();
        let (before, after) = (
            Maglev::build(&equal_hosts(&texts), 65_537),
            Maglev::build(&equal_hosts(&texts[..19]), 65_537),
        );
        let moved = before
            .entries
            .iter()
            .zip(&after.entries)
            .filter(|(old, new)| **old != 19 && old != new)
            .count();
        assert!(moved < 65_537 / 10, "{moved}");
    }

    #[test]
    fn degenerate_tables_are_empty_or_whole() {
        let texts = ["a".to_owned()];
        assert!(Maglev::build(&[], 7).is_empty());
        assert!(Maglev::build(&equal_hosts(&texts), 1).is_empty());
        assert_eq!(Maglev::default().pick(5, 1), None);
        let single = Maglev::build(&equal_hosts(&texts), 2);
        assert_eq!(
            (single.len(), single.pick(3, 0), single.pick(3, 9)),
            (2, Some(0), Some(0))
        );
    }

    #[test]
    fn further_attempts_flip_most_bits() {
        let texts: Vec<String> = (90..=95).map(|port| format!("127.0.0.1:{port}")).collect();
        let table = Maglev::build(&equal_hosts(&texts), 7);
        // attempt 1 flips all bits: !5 mod 7 and so on.
        for (hash, attempt) in [(5u64, 1u32), (9, 2), (100, 3)] {
            let flipped = hash ^ (u64::MAX - u64::from(attempt) + 1);
            assert_eq!(
                table.pick(hash, attempt),
                Some(table.entries[(flipped % 7) as usize])
            );
        }
    }
}
