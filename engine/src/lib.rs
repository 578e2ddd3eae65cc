//! The data plane: bytes in, bytes out. Knows no Envoy, no Istio, no Kong.
//!
//! | room | what lives there |
//! |---|---|
//! | [`net`] | listening and connecting sockets, original destination, streams |
//! | [`tls`] | server and client configurations, SPIFFE verification, ClientHello inspection, rotation |
//! | [`http`] | messages and bodies, HTTP/1, HTTP/2, one canonical host and path |
//! | [`cluster`] | endpoints, balancers, pools, breakers, outlier detection, health checks |
//! | [`forward`] | one request through, one TCP stream through; the seam to `proxy` and `gateway` |
//! | [`observe`] | metrics, the log writer, trace spans |
//! | [`runtime`] | workers, named tasks, drain, budgets |

pub mod cluster;
pub mod forward;
pub mod http;
pub mod net;
pub mod observe;
pub mod runtime;
pub mod tls;
