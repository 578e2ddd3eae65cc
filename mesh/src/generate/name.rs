//! Names that istiod and proxies agree on.

/// `outbound|PORT|SUBSET|HOST`.
pub(super) fn outbound(port: u32, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// SNI of the same: `outbound_.PORT_.SUBSET_.HOST`.
pub(super) fn outbound_sni(port: u32, subset: &str, host: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}

/// `inbound|PORT||`.
pub(super) fn inbound(port: u32) -> String {
    format!("inbound|{port}||")
}

/// Port, subset and host of an outbound name.
pub(super) fn parse_outbound(name: &str) -> Option<(u32, &str, &str)> {
    let mut parts = name.splitn(4, '|');
    if parts.next()? != "outbound" {
        return None;
    }
    let port = parts.next()?.parse().ok()?;
    Some((port, parts.next()?, parts.next()?))
}

/// `HOST:PORT`, brackets around IPv6.
pub(super) fn domain(host: &str, port: u32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Host patterns: `*`, `*.suffix`, or a name. True when some name fits both (Istio: `Name.Matches`).
pub(super) fn hosts_meet(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
    }
}

/// True when every name of `a` is a name of `b` (Istio: `Name.SubsetOf`).
pub(super) fn host_within(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (None, Some(suffix)) => a.ends_with(suffix),
        (Some(one), Some(other)) => one.ends_with(other),
        (Some(_), None) => false,
    }
}

/// Names other than the full one by which clients of a DNS domain may call a host, full stop first.
pub(super) fn alternatives(host: &str, domain: &str) -> Vec<String> {
    let mut names = Vec::new();
    if host.parse::<std::net::IpAddr>().is_err() {
        names.push(format!("{host}."));
    }
    // The client's domain is `NAMESPACE.svc.DOMAIN`; a host of the same cluster domain has short forms.
    let Some(at) = domain.find(".svc.") else {
        return names;
    };
    let Some(before) = host.find(".svc.") else {
        return names;
    };
    if !host.ends_with(&domain[at..]) {
        return names;
    }
    let head = &host[..before];
    let Some((short, namespace)) = head.split_once('.') else {
        return names;
    };
    if namespace == &domain[..at] {
        names.extend([short.to_owned(), format!("{head}.svc"), head.to_owned()]);
    } else {
        names.extend([head.to_owned(), format!("{head}.svc")]);
    }
    names
}

/// Cluster of unknown outbound traffic.
pub(super) const PASSTHROUGH: &str = "PassthroughCluster";
/// Cluster of refused traffic.
pub(super) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Cluster of unknown inbound traffic.
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// Virtual host and route of unknown outbound traffic.
pub(super) const ALLOW_ANY: &str = "allow_any";
/// Virtual host and route of refused outbound traffic.
pub(super) const BLOCK_ALL: &str = "block_all";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names() {
        let cases = [
            (
                "a.ns.svc.cluster.local",
                "ns.svc.cluster.local",
                "a.ns.svc.cluster.local. a a.ns.svc a.ns",
            ),
            (
                "a.other.svc.cluster.local",
                "ns.svc.cluster.local",
                "a.other.svc.cluster.local. a.other a.other.svc",
            ),
            ("a.example", "ns.svc.cluster.local", "a.example."),
            ("10.0.0.1", "ns.svc.cluster.local", ""),
        ];
        for (host, domain, want) in cases {
            assert_eq!(alternatives(host, domain).join(" "), want, "{host}");
        }
    }

    #[test]
    fn host_patterns() {
        for (a, b, meet, within) in [
            ("a.b", "a.b", true, true),
            ("a.b", "*.b", true, true),
            ("*.b", "a.b", true, false),
            ("*.a.b", "*.b", true, true),
            ("*.b", "*.a.b", true, false),
            ("*", "a", true, false),
            ("a", "*", true, true),
            ("a.c", "*.b", false, false),
        ] {
            assert_eq!(
                (hosts_meet(a, b), host_within(a, b)),
                (meet, within),
                "{a} {b}"
            );
        }
    }
}
