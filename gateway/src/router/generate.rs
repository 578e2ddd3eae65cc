//! The expression that stands for a route's fields: Kong's `kong/router/transform.lua`.

use std::net::{IpAddr, Ipv6Addr};

use super::expression::{Check, Expression, Network, Relation, Test};
use super::field::{Field, Header};
use super::pattern::Pattern;
use super::{Calculation, Flavor, Problem, parse};
use crate::plan::route::{Peer, Protocol, Route};

/// The expression of a route, whose paths may be fewer than it has.
pub(super) fn expression(
    flavor: Flavor,
    calculation: Calculation,
    route: &Route,
    paths: &[Box<str>],
) -> Result<Expression, Problem> {
    let mut parts = match &route.expression {
        None => parts(calculation, route, paths)?,
        // Nothing binds looser than `&&`: what is added is one more of its parts.
        Some(text) => match parse::expression(text, route.is_stream())? {
            Expression::All(parts) => parts,
            other => vec![other],
        },
    };
    if parts.is_empty() {
        return Err(Problem::Empty);
    }
    if flavor == Flavor::Expressions {
        parts.extend(protocols(&route.protocols));
    }
    Ok(match parts.len() {
        1 => parts.remove(0),
        _ => Expression::All(parts),
    })
}

fn parts(
    calculation: Calculation,
    route: &Route,
    paths: &[Box<str>],
) -> Result<Vec<Expression>, Problem> {
    let mut parts = Vec::new();
    if !route.snis.is_empty() {
        parts.push(snis(calculation, route));
    }
    for (peers, ip, port) in [
        (&route.sources, Field::SourceIp, Field::SourcePort),
        (
            &route.destinations,
            Field::DestinationIp,
            Field::DestinationPort,
        ),
    ] {
        if !peers.is_empty() {
            let peers = peers.iter().map(|peer| one_peer(peer, &ip, &port));
            parts.push(Expression::Any(peers.collect::<Result<_, _>>()?));
        }
    }
    if route.is_stream() {
        return Ok(parts);
    }
    if !route.methods.is_empty() {
        let methods = route.methods.iter();
        let methods = methods.map(|method| test(Field::Method, Check::Equal(method.clone())));
        parts.push(Expression::Any(methods.collect()));
    }
    if !route.hosts.is_empty() {
        parts.push(Expression::Any(
            route.hosts.iter().map(|host| one_host(host)).collect(),
        ));
    }
    if !paths.is_empty() {
        let paths = paths.iter().map(|path| one_path(path));
        parts.push(Expression::Any(paths.collect::<Result<_, _>>()?));
    }
    for (name, values) in &route.headers {
        parts.push(one_header(name, values)?);
    }
    Ok(parts)
}

fn test(field: Field, check: Check) -> Expression {
    Test::new(field, check).into()
}

/// A client that speaks no TLS names no server: by the original calculation it passes, which
/// lets plain requests through to routes of HTTPS alone, where they are redirected.
fn snis(calculation: Calculation, route: &Route) -> Expression {
    let snis = Expression::Any(route.snis.iter().map(|sni| one_sni(sni)).collect());
    let plain = |protocol: &Protocol| {
        matches!(
            protocol,
            Protocol::Grpc | Protocol::Http | Protocol::Tcp | Protocol::Udp
        )
    };
    if calculation == Calculation::Strict && !route.protocols.iter().any(plain) {
        return snis;
    }
    let secure = if route.is_stream() { "tls" } else { "https" };
    let other = test(Field::Protocol, Check::Unequal(secure.into()));
    Expression::Any(vec![other, snis])
}

fn one_sni(sni: &str) -> Expression {
    let sni = sni.to_ascii_lowercase();
    if !sni.starts_with('*')
        && let Some(start) = sni.strip_suffix('*')
    {
        return test(Field::Sni, Check::Prefix(start.into()));
    }
    // The last dot of a full name is no part of what clients send.
    let name = match sni.strip_suffix('.') {
        Some(name) if !name.is_empty() => name,
        _ => &sni,
    };
    test(
        Field::Sni,
        match name.strip_prefix('*') {
            Some(end) => Check::Suffix(end.into()),
            None => Check::Equal(name.into()),
        },
    )
}

fn one_peer(peer: &Peer, ip_field: &Field, port_field: &Field) -> Result<Expression, Problem> {
    let ip = match &peer.ip {
        Some(ip) => Some(test(ip_field.clone(), address(ip)?)),
        None => None,
    };
    let port = peer.port.map(|port| {
        test(
            port_field.clone(),
            Check::Number(Relation::Equal, port.into()),
        )
    });
    match (ip, port) {
        (Some(ip), Some(port)) => Ok(Expression::All(vec![ip, port])),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err(Problem::Empty),
    }
}

/// An address or a network. The engine's grammar has no dots in IPv6, and no network with bits
/// behind its prefix; Kong removes these from IPv4 networks, other than `/0`.
fn address(text: &str) -> Result<Check, Problem> {
    let bad = || Problem::Address(text.into());
    let parse = |text: &str| -> Result<IpAddr, Problem> {
        let address = text.parse().map_err(|_| bad())?;
        match address {
            IpAddr::V6(_) if text.contains('.') => Err(bad()),
            address => Ok(address),
        }
    };
    let Some((address, length)) = text.split_once('/') else {
        return parse(text).map(Check::Address);
    };
    let length: u8 = length.parse().map_err(|_| bad())?;
    let address = match parse(address)? {
        IpAddr::V4(address) if (1..=32).contains(&length) => {
            let mask = u32::MAX << (32 - length);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        address => address,
    };
    Network::new(address, length).map(Check::In).ok_or_else(bad)
}

fn one_host(text: &str) -> Expression {
    let text = text.to_ascii_lowercase();
    let (host, port) = split_port(&text);
    let check = match (host.strip_prefix('*'), host.strip_suffix('*')) {
        (Some(end), _) => Check::Suffix(end.into()),
        (None, Some(start)) => Check::Prefix(start.into()),
        (None, None) => Check::Equal(host.into()),
    };
    let host = test(Field::Host, check);
    match port {
        None => host,
        Some(port) => Expression::All(vec![
            host,
            test(
                Field::DestinationPort,
                Check::Number(Relation::Equal, port.into()),
            ),
        ]),
    }
}

/// Takes the port off a route's host. Kong leaves it on `[::1]:80`, as it does with a request's;
/// here neither has one.
fn split_port(text: &str) -> (&str, Option<u16>) {
    let is_v6 = |host: &str| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
    };
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || is_v6(host) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn one_path(path: &str) -> Result<Expression, Problem> {
    let check = match path.strip_prefix('~') {
        None => Check::Prefix(path.into()),
        Some(pattern) => Check::Regex(path_pattern(pattern)?),
    };
    Ok(test(Field::Path, check))
}

/// Anchored at its start; `(?<name>…)` in the engine's older spelling.
fn path_pattern(pattern: &str) -> Result<Pattern, Problem> {
    Ok(Pattern::new(&format!("^{}", pattern.replace("?<", "?P<")))?)
}

fn one_header(name: &str, values: &[Box<str>]) -> Result<Expression, Problem> {
    // Kong writes `()`, which its engine cannot read.
    if values.is_empty() {
        return Err(Problem::Empty);
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let header = Header::named(&name).ok_or_else(|| Problem::Header(name.clone()))?;
    let header = Box::new(header);
    let one = |value: &str| {
        let check = match value.strip_prefix("~*") {
            Some(pattern) => Check::Regex(Pattern::new(&pattern.to_ascii_lowercase())?),
            None => Check::Equal(value.to_ascii_lowercase().into()),
        };
        Ok(Expression::Test(Test {
            field: Field::Header(header.clone()),
            lower: true,
            any: true,
            check,
        }))
    };
    let values = values.iter().map(|value| one(value));
    let values = values.collect::<Result<_, Problem>>()?;
    Ok(Expression::Any(values))
}

/// What the expressions flavour adds, unless the route is of one protocol for which others are
/// redirected.
fn protocols(protocols: &[Protocol]) -> Option<Expression> {
    if let [Protocol::Https | Protocol::Tls | Protocol::TlsPassthrough] = protocols {
        return None;
    }
    let one = |protocol: &Protocol| {
        let name = match protocol {
            Protocol::Grpc | Protocol::Http => "http",
            Protocol::Grpcs | Protocol::Https => "https",
            Protocol::Tcp | Protocol::TlsPassthrough => "tcp",
            Protocol::Tls => "tls",
            Protocol::Udp => "udp",
        };
        test(Field::Protocol, Check::Equal(name.into()))
    };
    Some(Expression::Any(protocols.iter().map(one).collect()))
}
