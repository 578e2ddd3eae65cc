//! Routes at random.

use carbyne_gateway::plan::route::{PathHandling, Peer, Protocol, Route};
use carbyne_gateway::router::Flavor;
use carbyne_gateway::schema::uuid;
use fastrand::Rng;
use http::StatusCode;

use crate::{expressions, words};

pub(crate) fn route(random: &mut Rng, flavor: Flavor, stream: bool) -> Route {
    let expression = flavor == Flavor::Expressions && random.u8(..3) != 0;
    let mut route = Route {
        id: id(random),
        name: None,
        service: None,
        protocols: protocols(random, stream),
        methods: Vec::new(),
        hosts: Vec::new(),
        paths: Vec::new(),
        headers: Vec::new(),
        snis: Vec::new(),
        sources: Vec::new(),
        destinations: Vec::new(),
        regex_priority: *random.choice(&[0, 0, 0, 1, 5, 1024, 4096, -1]).unwrap(),
        expression: None,
        priority: 0,
        strip_path: true,
        preserve_host: false,
        path_handling: PathHandling::V0,
        https_redirect_status_code: StatusCode::UPGRADE_REQUIRED,
        request_buffering: true,
        response_buffering: true,
    };
    if expression {
        route.expression = Some(expressions::expression(random, stream).into());
        route.priority = *random.choice(&[0, 0, 1, 7, (1 << 46) - 1]).unwrap();
        return route;
    }
    route.snis = some(random, 8, |random| words::sni(random).into());
    route.sources = some(random, if stream { 2 } else { 12 }, peer);
    route.destinations = some(random, if stream { 2 } else { 12 }, peer);
    if stream {
        return route;
    }
    route.methods = some(random, 5, |random| words::method(random).into());
    route.hosts = some(random, 2, |random| host(random).into());
    route.paths = some(random, 2, |random| path(random).into());
    for _ in 0..[0, 0, 0, 1, 2][random.usize(..5)] {
        let name: Box<str> = words::header(random).into();
        if route.headers.iter().all(|(known, _)| *known != name) {
            route.headers.push((name, header_values(random)));
        }
    }
    route
}

/// Version 4, from the seed.
fn id(random: &mut Rng) -> Box<str> {
    let template = uuid();
    template
        .chars()
        .map(|letter| match letter {
            '-' => '-',
            _ => random.digit(16),
        })
        .collect::<String>()
        .into()
}

fn protocols(random: &mut Rng, stream: bool) -> Vec<Protocol> {
    let sets: &[&[Protocol]] = match stream {
        true => &[
            &[Protocol::Tcp],
            &[Protocol::Tls],
            &[Protocol::Udp],
            &[Protocol::Tcp, Protocol::Tls],
            &[Protocol::TlsPassthrough],
        ],
        false => &[
            &[Protocol::Http, Protocol::Https],
            &[Protocol::Http, Protocol::Https],
            &[Protocol::Https],
            &[Protocol::Http],
            &[Protocol::Grpc, Protocol::Grpcs],
        ],
    };
    random.choice(sets).unwrap().to_vec()
}

/// Nothing mostly; one time in `rare`, up to three.
fn some<T>(random: &mut Rng, rare: u8, one: impl Fn(&mut Rng) -> T) -> Vec<T> {
    match random.u8(..rare) {
        0 => (0..random.usize(1..4)).map(|_| one(random)).collect(),
        _ => Vec::new(),
    }
}

fn host(random: &mut Rng) -> String {
    let name = words::host(random);
    let host = match random.u8(..6) {
        0 | 1 => format!("*.{name}"),
        2 => format!("{name}.*"),
        3 => name.to_uppercase(),
        _ => name,
    };
    match random.u8(..4) {
        0 => format!("{host}:{}", words::port(random)),
        _ => host,
    }
}

fn path(random: &mut Rng) -> String {
    match random.u8(..3) {
        0 => format!("~{}", words::pattern(random)),
        _ => words::path(random),
    }
}

fn peer(random: &mut Rng) -> Peer {
    let ip = match random.u8(..12) {
        0..4 => Some(words::address(random)),
        4 => Some(words::network(random)),
        5..8 => Some("10.0.0.0/8"),
        _ => None,
    };
    let port = (ip.is_none() || random.bool()).then(|| words::port(random));
    Peer {
        ip: ip.map(Into::into),
        port,
    }
}

fn header_values(random: &mut Rng) -> Vec<Box<str>> {
    let one = |random: &mut Rng| {
        let patterns = ["~*^a", "~*(A)(?P<h>b)?", "~*\\d+", "~*", "~*^$"];
        match random.u8(..120) {
            0 => "~*(b",
            1..40 => words::pick(random, &patterns),
            _ => words::value(random),
        }
    };
    // Kong can make nothing of a header without values.
    let count = if random.u8(..40) == 0 {
        0
    } else {
        random.usize(1..3)
    };
    (0..count).map(|_| one(random).into()).collect()
}
