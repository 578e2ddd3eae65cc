//! Which route serves a request, and what it does to it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`table`] | one route configuration: virtual hosts by host, routes in order |
//! | [`domain`] | the index of domains |
//! | [`index`] | the index of routes by the first segment of the path |
//! | [`entry`] | one route |
//! | [`forward`] | what a forwarding route does: cluster, rewrites, timeouts, mirrors |
//! | [`redirect`] | what a redirecting route answers |
//! | [`headers`] | fields added and removed |
//! | [`hash`] | the hash that consistent balancers use |
//! | [`timeout`] | the times of one request |

pub mod domain;
pub mod entry;
pub mod forward;
pub mod hash;
pub mod headers;
pub mod index;
pub mod redirect;
pub mod table;
pub mod timeout;

pub use self::domain::Domains;
pub use self::entry::{
    BodyFormat, Decorator, DirectResponse, FilterConfig, FilterConfigs, RouteAction, RouteEntry,
};
pub use self::forward::{
    ClusterPick, ClusterTarget, Forward, HostRewrite, MirrorRule, PathRewrite, RandomSource,
    UpgradeRule, WeightedCluster,
};
pub use self::hash::{CookieRule, HashFacts, HashOutcome, HashRule, HashSource};
pub use self::headers::{AppendAction, HeaderAddition, HeaderFormat, HeaderOperations, HeaderText};
pub use self::redirect::Redirect;
pub use self::table::{
    Choice, RouteFacts, RouteMatch, RouteTable, TlsMatch, TlsRequirement, VirtualHost,
};
pub use self::timeout::{MaxStreamDuration, TimeoutRules, Timeouts};
