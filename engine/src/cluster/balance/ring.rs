//! The ring of consistent hashing, point for point as Envoy builds it: `<hash text>_<i>` hashed by xxHash64 (seed 0) or MurmurHash2.

use std::fmt::Write;

use xxhash_rust::xxh64::xxh64;

use super::table::Weighted;
use crate::cluster::settings::RingHashFunction;

/// The points of a ring, sorted, each with the index of its host.
#[derive(Debug, Default)]
pub struct Ring {
    points: Vec<(u64, u32)>,
    /// Fewest points of a host.
    pub least: u64,
    /// Most points of a host.
    pub most: u64,
}

impl Ring {
    /// The ring of these hosts, whose weights add up to 1 (or less, when localities have nobody to pick).
    #[must_use]
    pub fn build(
        hosts: &[Weighted<'_>],
        min_size: u64,
        max_size: u64,
        function: RingHashFunction,
    ) -> Self {
        let least_weight = hosts.iter().map(|host| host.weight).fold(1.0, f64::min);
        if hosts.is_empty() || least_weight <= 0.0 {
            return Self::default();
        }
        // The lightest host gets a whole number of points if that fits into the largest ring; the others get fractions, which are
        // carried along from host to host.
        let scale = ((least_weight * min_size as f64).ceil() / least_weight).min(max_size as f64);
        let size = scale.ceil() as u64;
        let mut ring = Self {
            points: Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(LARGEST_RESERVE)),
            least: size,
            most: 0,
        };
        let (mut current, mut target) = (0.0, 0.0);
        let mut text = String::new();
        for (index, host) in (0u32..).zip(hosts) {
            text.clear();
            text.push_str(host.text);
            text.push('_');
            let prefix = text.len();
            target += scale * host.weight;
            let mut count = 0u64;
            while current < target {
                text.truncate(prefix);
                // Writing to a String cannot fail.
                let written = write!(text, "{count}");
                debug_assert!(written.is_ok());
                let point = match function {
                    RingHashFunction::XxHash => xxh64(text.as_bytes(), 0),
                    RingHashFunction::Murmur2 => murmur2(text.as_bytes()),
                };
                ring.points.push((point, index));
                count += 1;
                current += 1.0;
            }
            ring.least = ring.least.min(count);
            ring.most = ring.most.max(count);
        }
        ring.points.sort_unstable();
        ring
    }

    /// The index of the host at the first point not before `hash`, `attempt` points further on.
    #[must_use]
    pub fn pick(&self, hash: u64, attempt: u32) -> Option<u32> {
        let first = self.points.partition_point(|(point, _)| *point < hash);
        let position =
            (first % self.points.len().max(1) + attempt as usize) % self.points.len().max(1);
        self.points.get(position).map(|(_, index)| *index)
    }

    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

/// MurmurHash2, 64 bit, with the seed of GNU's `std::hash`, as Envoy's MURMUR_HASH_2.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xc70f_6907;
    let mix = |value: u64| value ^ (value >> 47);
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let data =
            mix(u64::from_le_bytes(*chunk).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        hash = (hash ^ data).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let data = rest
            .iter()
            .rev()
            .fold(0u64, |data, byte| data << 8 | u64::from(*byte));
        hash = (hash ^ data).wrapping_mul(MULTIPLIER);
    }
    mix(mix(hash).wrapping_mul(MULTIPLIER))
}

/// Points reserved ahead; larger rings grow as they are built.
const LARGEST_RESERVE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn equal_hosts(texts: &[String]) -> Vec<Weighted<'_>> {
        let weight = 1.0 / texts.len() as f64;
        texts.iter().map(|text| Weighted { text, weight }).collect()
    }

    fn ports(range: std::ops::RangeInclusive<u16>) -> Vec<String> {
        range.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    #[test]
    fn hashes_match_the_published_values() {
        // Values of Envoy's hash tests.
        let cases = [
            ("foo", 3_728_699_739_546_630_719, 9_631_199_822_919_835_226),
            ("bar", 5_234_164_152_756_840_025, 11_474_628_671_133_349_555),
            (
                "foo\nbar",
                8_917_841_378_505_826_757,
                16_306_510_975_912_980_159,
            ),
            (
                "lyft",
                4_400_747_396_090_729_504,
                12_847_078_931_730_529_320,
            ),
            ("", 17_241_709_254_077_376_921, 6_142_509_188_972_423_790),
        ];
        for (text, xx, murmur) in cases {
            assert_eq!(xxh64(text.as_bytes(), 0), xx, "{text}");
            assert_eq!(murmur2(text.as_bytes()), murmur, "{text}");
        }
    }

    #[test]
    fn rings_match_the_published_points() {
        // (function, first port, points in order): the rings printed in Envoy's ring hash tests.
        type Case = (RingHashFunction, u16, [(u64, u16); 12]);
        let cases: [Case; 2] = [
            (
                RingHashFunction::XxHash,
                90,
                [
                    (833_437_586_790_550_860, 94),
                    (928_266_305_478_181_108, 92),
                    (1_033_482_794_131_418_490, 90),
                    (3_551_244_743_356_806_947, 95),
                    (3_851_675_632_748_031_481, 93),
                    (5_583_722_120_771_150_861, 91),
                    (6_311_230_543_546_372_928, 91),
                    (7_700_377_290_971_790_572, 93),
                    (13_144_177_310_400_110_813, 95),
                    (13_444_792_449_719_432_967, 92),
                    (15_516_499_411_664_133_160, 94),
                    (16_117_243_373_044_804_889, 90),
                ],
            ),
            (
                RingHashFunction::Murmur2,
                80,
                [
                    (1_358_027_074_129_602_068, 85),
                    (4_361_834_613_929_391_114, 83),
                    (7_224_494_972_555_149_682, 84),
                    (7_701_421_856_454_313_576, 81),
                    (8_649_315_368_077_433_379, 82),
                    (8_739_448_859_063_030_639, 84),
                    (9_887_544_217_113_020_895, 81),
                    (10_150_910_876_324_007_731, 82),
                    (15_168_472_011_420_622_455, 83),
                    (15_427_156_902_705_414_897, 80),
                    (16_375_050_414_328_759_093, 85),
                    (17_613_279_263_364_193_813, 80),
                ],
            ),
        ];
        for (function, first, expected) in cases {
            let texts = ports(first..=first + 5);
            let ring = Ring::build(&equal_hosts(&texts), 12, 8 << 20, function);
            let points: Vec<(u64, u16)> = ring
                .points
                .iter()
                .map(|(point, index)| (*point, first + *index as u16))
                .collect();
            assert_eq!(points, expected, "{function:?}");
            assert_eq!((ring.least, ring.most), (2, 2));
        }
    }

    #[test]
    fn lookups_match_the_published_ones() {
        let texts = ports(90..=95);
        let ring = Ring::build(&equal_hosts(&texts), 12, 8 << 20, RingHashFunction::XxHash);
        // (hash, attempt, host)
        let cases = [
            (0, 0, 4),
            (u64::MAX, 0, 4),
            (3_551_244_743_356_806_947, 0, 5),
            (3_551_244_743_356_806_948, 0, 3),
            (16_117_243_373_044_804_880, 0, 0),
            (0, 1, 2),
            (u64::MAX, 2, 0),
            (16_117_243_373_044_804_880, 1, 4),
        ];
        for (hash, attempt, host) in cases {
            assert_eq!(
                ring.pick(hash, attempt),
                Some(host),
                "{hash} attempt {attempt}"
            );
        }
        assert_eq!(Ring::default().pick(1, 3), None);
    }

    #[test]
    fn sizes_follow_weights_and_bounds() {
        // (weights, min, max) → (points, least, most)
        type Case = (&'static [f64], u64, u64, (usize, u64, u64));
        let cases: &[Case] = &[
            (&[0.25; 4], 6, 6, (6, 1, 2)),
            (&[0.25; 4], 6, 100, (8, 2, 2)),
            (&[1.0], 1024, 8 << 20, (1024, 1024, 1024)),
            (&[0.25, 0.75], 4, 100, (4, 1, 3)),
            (&[], 1024, 2048, (0, 0, 0)),
        ];
        for (weights, min, max, expected) in cases {
            let texts = ports(1..=weights.len() as u16);
            let hosts: Vec<_> = texts
                .iter()
                .zip(*weights)
                .map(|(text, weight)| Weighted {
                    text,
                    weight: *weight,
                })
                .collect();
            let ring = Ring::build(&hosts, *min, *max, RingHashFunction::XxHash);
            assert_eq!(
                (ring.len(), ring.least, ring.most),
                *expected,
                "{weights:?} {min} {max}"
            );
        }
    }

    #[test]
    fn a_removed_host_moves_only_its_own_keys() {
        let texts = ports(1000..=1019);
        let before = Ring::build(
            &equal_hosts(&texts),
            1024,
            8 << 20,
            RingHashFunction::XxHash,
        );
        let rest = &texts[..19];
        let after = Ring::build(&equal_hosts(rest), 1024, 8 << 20, RingHashFunction::XxHash);
        let mut random = fastrand::Rng::with_seed(7);
        let (mut moved, mut own) = (0, 0);
        for _ in 0..20_000 {
            let hash = random.u64(..);
            let (old, new) = (before.pick(hash, 0).unwrap(), after.pick(hash, 0).unwrap());
            if old == 19 {
                own += 1;
            } else if old != new {
                moved += 1;
            }
        }
        // 1024/20 and 1024/19 round to 52 and 54 points a host: the two extra points move a few keys.
        assert!(own > 500 && own < 1600, "{own}");
        assert!(moved < 20_000 / 15, "{moved}");
    }
}
