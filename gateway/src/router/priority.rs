//! The order of routes: Kong's `get_priority` and `split_routes_and_services_by_path`.
//!
//! Routes of higher priority are asked first; among equals the higher id. A route with paths of
//! several lengths, or with regular expressions beside prefixes, counts as one route a group.
//!
//! | | strict | original |
//! |---|---|---|
//! | weight: how many kinds of conditions | bits 61 to 63 | 29, 30, 63 |
//! | no host has a wildcard | 60 | 60 |
//! | how many headers | 52 to 59 | 20 to 27 |
//! | regular expressions | 51 | 51 |
//! | `regex_priority` | 19 to 50 | 19 to 30, 63 |
//! | length of the prefix | 0 to 18 | 0 to 18 |
//!
//! `strict` is what Kong documents. `original` is what every Kong from 3.0 to 3.9 does: it shifts
//! a Lua number where it meant a 64-bit one, which takes the distance modulo 32 and the result for
//! a signed 32-bit integer. So a route of plain hosts goes before all with less than four kinds of
//! conditions, whatever they are, and next come those with regular expressions. What reaches bit 31
//! (four kinds of conditions; `regex_priority` negative or from 4096 on) is negative there: as a
//! 64-bit number it has bit 63, and whether it has those below depends on how far LuaJIT has compiled
//! Kong by then. Here it has not, so that routes of expressions stay above. Kong Enterprise gave the
//! choice a name, `route_match_calculation`, and left it at `original`.

use super::Calculation;
use crate::plan::route::{Peer, Route};
use crate::schema::uuid_of;

/// Where Kong makes the ids of groups.
const NAMESPACE: [u8; 16] = [
    0x7f, 0x14, 0x5b, 0xf9, 0x0d, 0xce, 0x4f, 0x91, 0x98, 0xeb, 0xde, 0xbb, 0xce, 0x4b, 0x9f, 0x6b,
];

const MAX_HEADERS: u64 = 255;
const PLAIN_HOSTS: u64 = 1 << 60;
const REGEX: u64 = 1 << 51;
const MAX_LENGTH: u64 = 0x7_FFFF;
/// A route with an expression goes before all that have none.
const EXPRESSION: u64 = 0xff << 56;
const STREAM: u64 = 1 << 61;

/// A route, or the part of it whose paths are of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Group {
    pub(super) id: [u8; 16],
    pub(super) paths: Vec<Box<str>>,
}

/// Takes a route apart.
pub(super) fn groups(route: &Route) -> Vec<Group> {
    let mut groups: Vec<(usize, Vec<Box<str>>)> = Vec::new();
    if route.expression.is_none() && !route.is_stream() {
        for path in &route.paths {
            let kind = if is_regex(path) { 0 } else { path.len() };
            match groups.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, paths)) => paths.push(path.clone()),
                None => groups.push((kind, vec![path.clone()])),
            }
        }
    }
    if groups.len() < 2 {
        let paths = groups.pop().map(|(_, paths)| paths).unwrap_or_default();
        let id = uuid(&route.id);
        return vec![Group { id, paths }];
    }
    let one = |(index, (_, paths)): (usize, (usize, Vec<Box<str>>))| Group {
        id: uuid_of(NAMESPACE, &format!("{}#{}", route.id, index + 1)),
        paths,
    };
    groups.into_iter().enumerate().map(one).collect()
}

fn is_regex(path: &str) -> bool {
    path.starts_with('~')
}

/// The bytes of a UUID that was checked when the route was read.
fn uuid(text: &str) -> [u8; 16] {
    let digits = text.chars().filter_map(|digit| digit.to_digit(16));
    let number = digits.fold(0_u128, |number, digit| number << 4 | u128::from(digit));
    number.to_be_bytes()
}

/// The priority of a group.
pub(super) fn priority(calculation: Calculation, route: &Route, paths: &[Box<str>]) -> u64 {
    if route.expression.is_some() {
        return EXPRESSION | route.priority;
    }
    if route.is_stream() {
        return stream(route);
    }
    let present = [
        !route.sources.is_empty(),
        !route.destinations.is_empty(),
        !route.methods.is_empty(),
        !route.hosts.is_empty(),
        !route.headers.is_empty(),
        !route.snis.is_empty(),
        !paths.is_empty(),
    ];
    let weight = present.into_iter().map(u64::from).sum::<u64>();
    let headers = (route.headers.len() as u64).min(MAX_HEADERS);
    let plain = !route.hosts.is_empty() && route.hosts.iter().all(|host| !host.contains('*'));
    let regex = paths.first().is_some_and(|path| is_regex(path));
    let length = match paths.first() {
        Some(path) if !regex => path.len() as u64 & MAX_LENGTH,
        _ => 0,
    };
    let regex_priority = if regex { route.regex_priority } else { 0 };
    let shifted = match calculation {
        Calculation::Original => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "as LuaJIT does"
            )]
            let low = |number: i64, distance: u32| {
                let shifted = u64::from((number as u32) << distance);
                shifted & 0x7fff_ffff | shifted >> 31 << 63
            };
            #[expect(clippy::cast_possible_wrap, reason = "both are small")]
            let (weight, headers) = (weight as i64, headers as i64);
            low(weight, 61 % 32) | low(headers, 52 % 32) | low(regex_priority, 19)
        }
        Calculation::Strict => {
            let regex_priority = regex_priority.clamp(0, u32::MAX.into()).unsigned_abs();
            weight << 61 | headers << 52 | regex_priority << 19
        }
    };
    let flags = [(plain, PLAIN_HOSTS), (regex, REGEX)];
    let flags = flags.into_iter().filter(|(set, _)| *set);
    flags.fold(shifted | length, |all, (_, flag)| all | flag)
}

fn stream(route: &Route) -> u64 {
    let both = !route.sources.is_empty() && !route.destinations.is_empty();
    let first = if both || !route.snis.is_empty() {
        STREAM
    } else {
        0
    };
    first | peers(&route.sources) << 4 | peers(&route.destinations)
}

/// An address counts more than a port, a port more than a network.
fn peers(peers: &[Peer]) -> u64 {
    peers.iter().fold(0, |weight, peer| {
        let ip = match &peer.ip {
            Some(ip) if ip.contains('/') => 1,
            Some(_) => 8,
            None => 0,
        };
        weight | ip | if peer.port.is_some() { 4 } else { 0 }
    })
}
