//! How hosts are picked.

use carbyne_engine::cluster::settings::{BalancerSettings, RingHashFunction, SlowStart};
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::cluster::v3 as wire;
use carbyne_protos::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use carbyne_protos::envoy::config::cluster::v3::cluster::ring_hash_lb_config::HashFunction;
use carbyne_protos::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy};
use carbyne_protos::envoy::extensions::load_balancing_policies as policies;
use carbyne_protos::prost_types::Any;

use super::ClusterPlan;
use crate::plan::filter::decode;
use crate::plan::scope::Scope;
use crate::plan::value;

/// Plans the balancer.
pub fn plan(message: &wire::Cluster, plan: &mut ClusterPlan, scope: &Scope<'_>) {
    let common = message.common_lb_config.as_ref();
    let common_scope = scope.field("common_lb_config");
    let settings = &mut plan.settings;
    if let Some(common) = common {
        if let Some(threshold) = value::percent(
            common.healthy_panic_threshold.as_ref(),
            &common_scope.field("healthy_panic_threshold"),
        ) {
            // Within 0 to 100; Envoy looks at whole percents too.
            settings.panic_threshold = threshold as u32;
        }
        settings.locality_weighted = matches!(
            common.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        );
        settings.ignore_new_hosts_until_first_check = common.ignore_new_hosts_until_first_hc;
    }
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let use_hostname = hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing);
    if let Some(policy) = &message.load_balancing_policy {
        let scope = scope.field("load_balancing_policy");
        let configs = policy.policies.iter().filter_map(|policy| {
            policy
                .typed_extension_config
                .as_ref()?
                .typed_config
                .as_ref()
        });
        // The first that is known counts, as in Envoy.
        match configs
            .enumerate()
            .find_map(|(index, config)| extension(config, plan, &scope.item("policies", index)))
        {
            Some(balancer) => plan.settings.balancer = balancer,
            None => scope.note("none of the policies is served: round robin"),
        }
        return;
    }
    plan.settings.balancer = match LbPolicy::try_from(message.lb_policy) {
        Ok(
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided | LbPolicy::LoadBalancingPolicyConfig,
        ) => BalancerSettings::RoundRobin {
            slow_start: match &message.lb_config {
                Some(LbConfig::RoundRobinLbConfig(config)) => slow_start(
                    config.slow_start_config.as_ref(),
                    &scope.field("round_robin_lb_config"),
                ),
                _ => None,
            },
        },
        Ok(LbPolicy::LeastRequest) => match &message.lb_config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                let scope = scope.field("least_request_lb_config");
                BalancerSettings::LeastRequest {
                    choice_count: value::within(
                        config.choice_count,
                        2..=u32::MAX,
                        "2 or more",
                        2,
                        &scope.field("choice_count"),
                    ),
                    active_request_bias: config
                        .active_request_bias
                        .as_ref()
                        .map_or(1.0, |bias| bias.default_value),
                    slow_start: slow_start(config.slow_start_config.as_ref(), &scope),
                }
            }
            _ => BalancerSettings::least_request(),
        },
        Ok(LbPolicy::Random) => BalancerSettings::Random,
        Ok(LbPolicy::RingHash) => ring_hash(message, use_hostname, scope),
        Ok(LbPolicy::Maglev) => {
            let size = match &message.lb_config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size,
                _ => None,
            };
            maglev(size, use_hostname, &scope.field("maglev_lb_config"))
        }
        Err(_) => {
            scope
                .field("lb_policy")
                .out_of_range(message.lb_policy, "a balancer (0 to 7)");
            return;
        }
    };
}

fn ring_hash(message: &wire::Cluster, use_hostname: bool, scope: &Scope<'_>) -> BalancerSettings {
    let config = match &message.lb_config {
        Some(LbConfig::RingHashLbConfig(config)) => *config,
        _ => wire::cluster::RingHashLbConfig::default(),
    };
    let scope = scope.field("ring_hash_lb_config");
    ring(
        config.minimum_ring_size,
        config.maximum_ring_size,
        config.hash_function == HashFunction::MurmurHash2 as i32,
        use_hostname,
        &scope,
    )
}

fn ring(
    minimum: Option<u64>,
    maximum: Option<u64>,
    murmur: bool,
    use_hostname: bool,
    scope: &Scope<'_>,
) -> BalancerSettings {
    let (min_size, max_size) = (minimum.unwrap_or(1024), maximum.unwrap_or(LARGEST_RING));
    if min_size > max_size || max_size > LARGEST_RING {
        scope
            .field("minimum_ring_size")
            .out_of_range(min_size, "at most maximum_ring_size and 8388608");
    }
    BalancerSettings::RingHash {
        min_size,
        max_size,
        hash: if murmur {
            RingHashFunction::Murmur2
        } else {
            RingHashFunction::XxHash
        },
        use_hostname,
    }
}

fn maglev(size: Option<u64>, use_hostname: bool, scope: &Scope<'_>) -> BalancerSettings {
    let table_size = size.unwrap_or(65_537);
    let prime = table_size > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= table_size)
            .all(|divisor| !table_size.is_multiple_of(divisor));
    if table_size > LARGEST_TABLE || !prime {
        scope
            .field("table_size")
            .out_of_range(table_size, "a prime up to 5000011");
    }
    BalancerSettings::Maglev {
        table_size,
        use_hostname,
    }
}

fn slow_start(
    config: Option<&wire::cluster::SlowStartConfig>,
    scope: &Scope<'_>,
) -> Option<SlowStart> {
    let config = config?;
    let scope = scope.field("slow_start_config");
    let default = SlowStart::default();
    let aggression = config
        .aggression
        .as_ref()
        .map_or(default.aggression, |aggression| aggression.default_value);
    if aggression <= 0.0 {
        scope
            .field("aggression")
            .out_of_range(aggression, "above 0");
    }
    Some(SlowStart {
        window: value::duration(
            config.slow_start_window.as_ref(),
            &scope.field("slow_start_window"),
        )
        .unwrap_or_default(),
        aggression,
        min_weight_percent: value::percent(
            config.min_weight_percent.as_ref(),
            &scope.field("min_weight_percent"),
        )
        .unwrap_or(default.min_weight_percent),
    })
}

/// A balancer that comes as an extension; nothing where it is not served.
fn extension(config: &Any, plan: &mut ClusterPlan, scope: &Scope<'_>) -> Option<BalancerSettings> {
    let unwrapped = Unwrapped::of(config).ok()?;
    let scope = scope.field("typed_extension_config");
    let scope = scope.field("typed_config");
    if unwrapped.is::<policies::round_robin::v3::RoundRobin>() {
        let config = decode::<policies::round_robin::v3::RoundRobin>(&unwrapped, &scope)?;
        return Some(BalancerSettings::RoundRobin {
            slow_start: extension_slow_start(config.slow_start_config.as_ref(), &scope),
        });
    }
    if unwrapped.is::<policies::least_request::v3::LeastRequest>() {
        let config = decode::<policies::least_request::v3::LeastRequest>(&unwrapped, &scope)?;
        return Some(BalancerSettings::LeastRequest {
            choice_count: value::within(
                config.choice_count,
                2..=u32::MAX,
                "2 or more",
                2,
                &scope.field("choice_count"),
            ),
            active_request_bias: config
                .active_request_bias
                .as_ref()
                .map_or(1.0, |bias| bias.default_value),
            slow_start: extension_slow_start(config.slow_start_config.as_ref(), &scope),
        });
    }
    if unwrapped.is::<policies::random::v3::Random>() {
        return Some(BalancerSettings::Random);
    }
    if unwrapped.is::<policies::ring_hash::v3::RingHash>() {
        let config = decode::<policies::ring_hash::v3::RingHash>(&unwrapped, &scope)?;
        let hashing = config.consistent_hashing_lb_config.as_ref();
        let use_hostname = config.use_hostname_for_hashing
            || hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing);
        // The extension numbers its functions from 1; Murmur is 2.
        return Some(ring(
            config.minimum_ring_size,
            config.maximum_ring_size,
            config.hash_function == 2,
            use_hostname,
            &scope,
        ));
    }
    if unwrapped.is::<policies::maglev::v3::Maglev>() {
        let config = decode::<policies::maglev::v3::Maglev>(&unwrapped, &scope)?;
        let hashing = config.consistent_hashing_lb_config.as_ref();
        return Some(maglev(
            config.table_size,
            hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing),
            &scope,
        ));
    }
    if unwrapped.is::<policies::wrr_locality::v3::WrrLocality>() {
        let config = decode::<policies::wrr_locality::v3::WrrLocality>(&unwrapped, &scope)?;
        let inner = config.endpoint_picking_policy.as_ref()?;
        let configs = inner.policies.iter().filter_map(|policy| {
            policy
                .typed_extension_config
                .as_ref()?
                .typed_config
                .as_ref()
        });
        let scope = scope.field("endpoint_picking_policy");
        plan.settings.locality_weighted = true;
        return configs
            .enumerate()
            .find_map(|(index, config)| extension(config, plan, &scope.item("policies", index)));
    }
    scope.note(format!("{} is not served", unwrapped.type_name));
    None
}

fn extension_slow_start(
    config: Option<&policies::common::v3::SlowStartConfig>,
    scope: &Scope<'_>,
) -> Option<SlowStart> {
    let config = config?;
    let same = wire::cluster::SlowStartConfig {
        slow_start_window: config.slow_start_window,
        aggression: config.aggression.clone(),
        min_weight_percent: config.min_weight_percent,
    };
    slow_start(Some(&same), scope)
}

const LARGEST_RING: u64 = 8 << 20;
const LARGEST_TABLE: u64 = 5_000_011;
