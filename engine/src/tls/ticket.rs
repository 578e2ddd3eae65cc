//! Session tickets under keys of our own that rotate every hour and die with the generation of secrets they were made for.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use rustls::TicketRotator;
use rustls::server::ProducesTickets;

/// Tickets are good for one to two hours, as in Envoy by default.
pub(super) fn rotator() -> Result<TicketRotator, rustls::Error> {
    TicketRotator::new(LIFETIME_SECONDS, || match Sealer::new() {
        Some(sealer) => Ok(Box::new(sealer)),
        None => Err(rustls::crypto::GetRandomFailed),
    })
}

/// One key. AES-256-GCM with random nonces: an hour of handshakes stays far below the 2^32 messages of NIST SP 800-38D.
struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    fn new() -> Option<Self> {
        let mut bytes = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &bytes)
            .ok()
            .map(|key| Self { key })
    }
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .ok()?;
        sealed.extend_from_slice(nonce.as_ref());
        Some(sealed)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if cipher.len() > LARGEST_TICKET {
            return None;
        }
        let (sealed, nonce) = cipher.split_last_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let length = self
            .key
            .open_in_place(nonce.into(), Aad::empty(), &mut opened)
            .ok()?
            .len();
        opened.truncate(length);
        Some(opened)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer([redacted])")
    }
}

const LIFETIME_SECONDS: u32 = 3600;
/// A ticket holds the client's chain; its length field has two bytes anyway.
const LARGEST_TICKET: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_once_sealed_and_never_when_touched() {
        let sealer = Sealer::new().unwrap();
        let sealed = sealer.encrypt(b"session").unwrap();
        assert_eq!(sealer.decrypt(&sealed).as_deref(), Some(&b"session"[..]));
        for index in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[index] ^= 1;
            assert_eq!(sealer.decrypt(&touched), None, "byte {index}");
            assert_eq!(sealer.decrypt(&sealed[..index]), None, "cut at {index}");
        }
        assert_eq!(Sealer::new().unwrap().decrypt(&sealed), None);
    }
}
