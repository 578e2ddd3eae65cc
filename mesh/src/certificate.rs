//! The mesh's own certificate authority: a root, and short-lived SPIFFE leaves that are renewed at half their life.

mod authority;
mod identity;

pub use self::{
    authority::{Authority, CertificateError, Leaf},
    identity::Identity,
};
