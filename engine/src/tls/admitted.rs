//! Chains that a verifier has found good, so that the next connection of the same peer need not check the same signatures again.
//!
//! A signature over the same bytes by the same key stays good; what may change is time, which is asked again at every use, and the roots, which make a
//! new verifier. Chains under revocation lists are not remembered. The check of an ECDSA P-256 signature costs about a quarter of a handshake, and a
//! mesh peer shows one chain for hours. That the peer holds the key is proved anew in every handshake.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::CertificateDer;

use super::certificate::CertificateFacts;

/// One chain as one verifier sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    verifier: u64,
    digest: [u8; 32],
    /// The time in which every certificate of the chain is valid, seconds since 1970.
    from: i64,
    until: i64,
}

impl Chain {
    /// None for chains that are not worth remembering or do not decode.
    pub(super) fn new(
        verifier: u64,
        leaf: &CertificateFacts,
        intermediates: &[CertificateDer<'_>],
    ) -> Option<Self> {
        let mut chain = Self {
            verifier,
            digest: leaf.digest,
            from: leaf.not_before,
            until: leaf.not_after,
        };
        if intermediates.is_empty() {
            return Some(chain);
        }
        if intermediates.len() > LONGEST_CHAIN {
            return None;
        }
        let mut context = Context::new(&SHA256);
        context.update(&leaf.digest);
        for intermediate in intermediates {
            let facts = CertificateFacts::shared(intermediate).ok()?;
            context.update(&facts.digest);
            chain.from = chain.from.max(facts.not_before);
            chain.until = chain.until.min(facts.not_after);
        }
        chain.digest.copy_from_slice(context.finish().as_ref());
        Some(chain)
    }

    /// Whether this thread saw the verifier admit this chain, and its time is not over.
    pub(super) fn is_known(&self, now: i64) -> bool {
        (self.from..=self.until).contains(&now)
            && ADMITTED.with_borrow(|admitted| {
                let held = admitted.get(self.place());
                held.is_some_and(|held| {
                    held.verifier == self.verifier && held.digest == self.digest
                })
            })
    }

    /// Remembers it, in place of whatever else fell there.
    pub(super) fn remember(self) {
        ADMITTED.with_borrow_mut(|admitted| {
            if admitted.is_empty() {
                admitted.resize(
                    REMEMBERED,
                    Self {
                        verifier: 0,
                        digest: [0; 32],
                        from: 0,
                        until: 0,
                    },
                );
            }
            if let Some(place) = admitted.get_mut(self.place()) {
                *place = self;
            }
        });
    }

    fn place(&self) -> usize {
        let verifier = usize::from(self.verifier.to_le_bytes()[0]);
        (usize::from(u16::from_le_bytes([self.digest[0], self.digest[1]])) ^ verifier) % REMEMBERED
    }
}

/// A number that no other verifier of this process has; never 0.
pub(super) fn next_verifier() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Entries a thread, 56 bytes each.
const REMEMBERED: usize = 256;
const LONGEST_CHAIN: usize = 4;

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static ADMITTED: RefCell<Vec<Chain>> = const { RefCell::new(Vec::new()) };
}
