//! Round robin as Kong's: a wheel with as many places for an address as its weight divided by what all weights have in common, shuffled
//! once. A turn of the wheel gives everybody exactly their share.

/// The wheel: indices of addresses.
pub(super) fn wheel(weights: &[u32], random: &mut fastrand::Rng) -> Box<[u32]> {
    let divisor = weights
        .iter()
        .fold(0, |divisor, weight| gcd(divisor, *weight));
    if divisor == 0 {
        return Box::default();
    }
    let total: u64 = weights
        .iter()
        .map(|weight| u64::from(weight / divisor))
        .sum();
    let places = |weight: u32| -> u64 {
        let places = u64::from(weight / divisor);
        if total <= LARGEST {
            return places;
        }
        // Weights without a common divisor and many addresses: shares are rounded to a millionth, and nobody loses his place.
        (places * LARGEST / total).max(u64::from(weight > 0))
    };
    let mut wheel = Vec::new();
    for (index, weight) in (0..).zip(weights) {
        wheel.extend((0..places(*weight)).map(|_| index));
    }
    random.shuffle(&mut wheel);
    wheel.into()
}

fn gcd(left: u32, right: u32) -> u32 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

/// Places of the largest wheel.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &[u32]) -> Vec<u32> {
        let wheel = wheel(weights, &mut fastrand::Rng::with_seed(7));
        let mut counts = vec![0; weights.len()];
        for index in &wheel {
            counts[*index as usize] += 1;
        }
        counts
    }

    #[test]
    fn places_follow_weights() {
        let cases: [(&[u32], &[u32]); 6] = [
            (&[], &[]),
            (&[0, 0], &[0, 0]),
            (&[100, 100, 100], &[1, 1, 1]),
            (&[50, 100, 150], &[1, 2, 3]),
            (&[10, 0, 25], &[2, 0, 5]),
            (&[7], &[1]),
        ];
        for (weights, expected) in cases {
            assert_eq!(counts(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_wheel_stays_small_and_nobody_loses_his_place() {
        let mut weights = vec![65_535; 40];
        weights.extend([65_534, 1]);
        let counts = counts(&weights);
        let size: u32 = counts.iter().sum();
        assert!(u64::from(size) <= LARGEST + weights.len() as u64);
        assert_eq!(counts[41], 1);
        assert!(counts[..40].iter().all(|count| *count == counts[0]));
    }

    #[test]
    fn the_order_is_shuffled() {
        let weights = [1; 64];
        let one = wheel(&weights, &mut fastrand::Rng::with_seed(1));
        let other = wheel(&weights, &mut fastrand::Rng::with_seed(2));
        assert_ne!(one, other);
        assert_ne!(*one, *(0..64).collect::<Vec<u32>>());
    }
}
