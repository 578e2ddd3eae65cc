//! What HTTP filters count, by Envoy's names below `http.{HCM}.`.

use carbyne_engine::observe::metrics::Counter;

use super::HttpFilter;
use super::rbac::RbacFilter;
use crate::observe::stats::{Counted, Reading};

impl Counted for HttpFilter {
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        match self {
            Self::Cors(filter) => {
                let stats = &*filter.stats;
                all(
                    "cors.",
                    &[
                        ("origin_valid", &stats.origin_valid),
                        ("origin_invalid", &stats.origin_invalid),
                    ],
                    show,
                );
            }
            Self::ExtAuthz(filter) => {
                let stats = &filter.stats;
                all(
                    &format!("ext_authz.{}", filter.stat_prefix),
                    &[
                        ("ok", &stats.ok),
                        ("denied", &stats.denied),
                        ("error", &stats.error),
                        ("disabled", &stats.disabled),
                        ("failure_mode_allowed", &stats.failure_mode_allowed),
                    ],
                    show,
                );
            }
            Self::Fault(filter) => {
                let stats = &*filter.stats;
                all(
                    "fault.",
                    &[
                        ("delays_injected", &stats.delays_injected),
                        ("aborts_injected", &stats.aborts_injected),
                        ("faults_overflow", &stats.faults_overflow),
                    ],
                    show,
                );
            }
            Self::JwtAuthn(filter) => {
                let stats = &filter.stats;
                all(
                    &format!("jwt_authn.{}", filter.stat_prefix),
                    &[
                        ("allowed", &stats.allowed),
                        ("denied", &stats.denied),
                        ("cors_preflight_bypassed", &stats.cors_preflight_bypassed),
                    ],
                    show,
                );
                for keys in filter.remote_keys() {
                    all(
                        &format!("jwt_authn.{}", filter.stat_prefix),
                        &[
                            ("jwks_fetch_success", &keys.fetched),
                            ("jwks_fetch_failed", &keys.fetch_failed),
                        ],
                        show,
                    );
                }
            }
            Self::Rbac(filter) => filter.visit(show),
            // Its names do not stand below the connection manager's: see `outside`.
            Self::LocalRateLimit(_)
            | Self::Buffer(_)
            | Self::HeaderMutation(_)
            | Self::Refuse(_) => {}
        }
    }

    fn outside(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        if let Self::LocalRateLimit(filter) = self {
            let stats = &filter.stats;
            all(
                &format!("{}.http_local_rate_limit.", filter.stat_prefix),
                &[
                    ("enabled", &stats.enabled),
                    ("enforced", &stats.enforced),
                    ("ok", &stats.ok),
                    ("rate_limited", &stats.rate_limited),
                ],
                show,
            );
        }
    }
}

impl Counted for RbacFilter {
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        let stats = &*self.stats;
        let (enforced, shadow) = self.stat_prefixes();
        all(
            &format!("rbac.{}", joined(enforced)),
            &[("allowed", &stats.allowed), ("denied", &stats.denied)],
            show,
        );
        all(
            &format!("rbac.{}", joined(shadow)),
            &[
                ("shadow_allowed", &stats.shadow_allowed),
                ("shadow_denied", &stats.shadow_denied),
            ],
            show,
        );
    }
}

/// A prefix of one's own with the dot that Envoy puts behind it: `istio_dry_run_allow_.shadow_denied`.
fn joined(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('.') {
        prefix.to_owned()
    } else {
        format!("{prefix}.")
    }
}

fn all(prefix: &str, counters: &[(&str, &Counter)], show: &mut dyn FnMut(&str, Reading<'_>)) {
    for (name, counter) in counters {
        show(
            &format!("{prefix}{name}"),
            Reading::Counter(counter.value()),
        );
    }
}
