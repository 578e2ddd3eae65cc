//! A share of requests (Envoy's `FractionalPercent`).

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: u32,
}

impl Fraction {
    /// All of them.
    pub const ALL: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    /// None of them.
    pub const NONE: Self = Self {
        numerator: 0,
        denominator: 1,
    };

    /// `numerator` of `denominator`, which is not 0; a larger numerator is all.
    pub const fn new(numerator: u32, denominator: u32) -> Self {
        Self {
            numerator,
            denominator: if denominator == 0 { 1 } else { denominator },
        }
    }

    /// A percentage of two decimal places (Envoy's `Percent`).
    pub fn percent(percent: f64) -> Self {
        // Saturating: what is below 0 is none, what is above 100 is all.
        Self::new((percent.clamp(0.0, 100.0) * 100.0).round() as u32, 10_000)
    }

    /// Whether a request with this random number belongs to it.
    pub const fn holds(self, random: u64) -> bool {
        random % (self.denominator as u64) < self.numerator as u64
    }

    /// Whether it is all requests.
    pub const fn is_all(self) -> bool {
        self.numerator >= self.denominator
    }

    /// Whether it is no request.
    pub const fn is_none(self) -> bool {
        self.numerator == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let half = Fraction::new(500_000, 1_000_000);
        assert_eq!(
            (0..1_000_000).filter(|random| half.holds(*random)).count(),
            500_000
        );
        assert!(
            (0..100).all(|random| Fraction::ALL.holds(random) && !Fraction::NONE.holds(random))
        );
        assert_eq!(Fraction::percent(12.5), Fraction::new(1250, 10_000));
        assert!(Fraction::percent(100.0).is_all());
    }
}
