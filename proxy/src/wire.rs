//! What arrives: bootstrap, xDS, SDS. Tolerant; keeps the original bytes to print back.
//!
//! | file | what lives there |
//! |---|---|
//! | [`bootstrap`] | the `-c` file and `--config-yaml`, merged and decoded, errors with their path |
//! | [`xds`] | the ADS client as a state machine without I/O, in both protocols |
//! | [`sds`] | one stream per secret and source, on the same machine |
//! | [`grpc`] | message framing and status |
//! | [`stream`] | drives a machine over a duplex stream of bytes |

pub mod bootstrap;
pub mod grpc;
pub mod sds;
pub mod stream;
pub mod xds;
