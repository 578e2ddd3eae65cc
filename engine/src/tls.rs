//! TLS on both sides of the proxy: who we are, whom we trust, and what a stranger's first bytes say.
//!
//! | file | what lives there |
//! |---|---|
//! | [`slot`] | a secret that arrives late and rotates while running |
//! | [`identity`] | certificate chain and private key |
//! | [`trust`] | root bundle and revocation lists |
//! | [`san`] | matchers over subject alternative names |
//! | [`verify`] | the rules a peer's certificate must satisfy, as rustls verifiers |
//! | `admitted` | chains whose signatures need not be checked again |
//! | [`certificate`] | facts of one certificate, decoded once |
//! | [`parameters`] | versions, cipher suites and groups, by their OpenSSL names |
//! | [`server`], [`client`] | plans and handshakes |
//! | `selection` | which certificate for which server name |
//! | [`stream`] | the encrypted stream and what was negotiated |
//! | [`hello`], [`sniff`] | sans-io readers of a ClientHello and of the start of an HTTP stream |
//! | [`error`] | what went wrong, whose fault it is |
//!
//! What an idle mTLS connection keeps, about 6 KiB measured: the rustls connection (1.2 KiB and its record keys), one 4 KiB read buffer to which rustls
//! shrinks when nothing is pending, the peer's chain, and one [`stream::Negotiated`], whose certificate facts are shared by connections of one peer.
//! The handshake state (transcript, key shares, parsed hello) is dropped by rustls when the handshake ends.

mod admitted;
pub mod certificate;
pub mod client;
pub mod error;
pub mod hello;
pub mod identity;
mod live;
mod name;
pub mod parameters;
pub mod san;
mod selection;
pub mod server;
pub mod slot;
pub mod sniff;
pub mod stream;
mod ticket;
pub mod trust;
pub mod verify;

pub use certificate::CertificateFacts;
pub use client::{ClientTls, ClientTlsPlan, Overrides};
pub use error::{Fault, PeerRejection, PlanError, SecretError, Side, TlsError};
pub use identity::{Identity, IdentitySlot};
pub use parameters::{AlpnList, TlsParameters, Version};
pub use san::{SanKind, SanMatcher, TextRule};
pub use server::{
    ClientCertificate, Resumption, ServerIdentity, ServerNames, ServerTls, ServerTlsPlan,
};
pub use slot::{Secret, SecretSlot};
pub use stream::{ClientStream, Negotiated, ServerStream};
pub use trust::{Trust, TrustSlot};
pub use verify::PeerRules;

#[cfg(test)]
mod tests;
