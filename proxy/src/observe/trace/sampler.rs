//! Samplers of OpenTelemetry. They are asked beside Envoy's own decision: a span is exported where both say yes.

use super::context::SpanContext;

/// How a provider draws.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Everything.
    Always,
    /// What the parent's flag says; without a parent what the sampler inside says.
    ParentBased(Box<Self>),
    /// So many of all traces, by their id.
    Ratio(Ratio),
}

/// A share of trace ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    threshold: u64,
}

impl Ratio {
    /// `fraction` from 0 to 1. In two halves, as the specification's C++ library does it: a double cannot hold all 64 bits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1, multiplied by 2^32"
    )]
    pub fn new(fraction: f64) -> Self {
        if fraction <= 0.0 {
            return Self { threshold: 0 };
        }
        if fraction >= 1.0 {
            return Self {
                threshold: u64::MAX,
            };
        }
        let product = f64::from(u32::MAX) * fraction;
        let high = product.trunc();
        let low = (product - high) * 4_294_967_296.0 + product;
        Self {
            threshold: ((high as u64) << 32).wrapping_add(low as u64),
        }
    }

    const fn holds(self, trace_id: [u8; 16]) -> bool {
        let [a, b, c, d, e, f, g, h, ..] = trace_id;
        let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.threshold != 0 && number <= self.threshold
    }
}

impl Sampler {
    /// Whether the span is sampled, given what its parent said.
    pub fn samples(&self, span: &SpanContext, parent: Option<bool>) -> bool {
        match self {
            Self::Always => true,
            Self::ParentBased(root) => parent.unwrap_or_else(|| root.samples(span, None)),
            Self::Ratio(ratio) => ratio.holds(*span.trace_id()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_traces() {
        let mut random = fastrand::Rng::with_seed(7);
        for (fraction, low, high) in [
            (0.0, 0, 0),
            (0.25, 2300, 2700),
            (0.5, 4800, 5200),
            (1.0, 10_000, 10_000),
        ] {
            let ratio = Ratio::new(fraction);
            let held = (0..10_000)
                .filter(|_| ratio.holds(random.u128(1..).to_be_bytes()))
                .count();
            assert!((low..=high).contains(&held), "{fraction}: {held}");
        }
        // The first bytes, least significant first: every proxy must draw alike.
        let half = Ratio::new(0.5);
        let id = |first: [u8; 8]| {
            let mut id = [1; 16];
            id[..8].copy_from_slice(&first);
            id
        };
        assert!(half.holds(id([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7e])));
        assert!(!half.holds(id([0, 0, 0, 0, 0, 0, 0, 0x80])));
    }

    #[test]
    fn parents_decide_where_they_are_asked() {
        let span = SpanContext::root(true);
        let never = Sampler::Ratio(Ratio::new(0.0));
        let based = Sampler::ParentBased(Box::new(never.clone()));
        let cases = [
            (&Sampler::Always, Some(false), true),
            (&never, Some(true), false),
            (&based, Some(true), true),
            (&based, Some(false), false),
            (&based, None, false),
        ];
        for (sampler, parent, expected) in cases {
            assert_eq!(sampler.samples(&span, parent), expected, "{sampler:?}");
        }
    }
}
