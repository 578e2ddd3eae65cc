//! Requests at random, near to what a table asks for.

use std::net::SocketAddr;

use carbyne_engine::http::Headers;
use carbyne_gateway::plan::route::Route;
use carbyne_gateway::router::{Http, Lookup, Protocol};
use fastrand::Rng;
use http::{HeaderName, HeaderValue, Method};

use crate::words;

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    pub(crate) sni: Option<String>,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) path: Vec<u8>,
    pub(crate) query: Option<String>,
    pub(crate) headers: Headers,
    stream: bool,
}

impl Asked {
    pub(crate) fn new(random: &mut Rng, routes: &[Route], stream: bool) -> Self {
        let protocols: &[Protocol] = match stream {
            true => &[Protocol::Tcp, Protocol::Tls, Protocol::Udp],
            false => &[Protocol::Http, Protocol::Https],
        };
        let near = random.choice(routes).unwrap();
        let mut headers = Headers::new();
        for _ in 0..random.usize(..4) {
            let name = words::header(random).to_lowercase();
            let value = match random.u8(..150) {
                0 => HeaderValue::from_bytes(b"\xff").unwrap(),
                _ => HeaderValue::from_bytes(words::value(random).as_bytes()).unwrap(),
            };
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        for (name, values) in &near.headers {
            if random.u8(..4) != 0 && !values.is_empty() {
                let value = random.choice(values).unwrap().replace("~*", "");
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
        }
        Self {
            protocol: *random.choice(protocols).unwrap(),
            sni: match random.u8(..4) {
                0 => None,
                1 => Some(words::host(random)),
                _ => Some(given(random, &near.snis)),
            },
            source: peer(random),
            destination: peer(random),
            method: match near.methods.is_empty() {
                true => words::method(random).parse().unwrap(),
                false => random.choice(&near.methods).unwrap().parse().unwrap(),
            },
            host: match random.u8(..40) {
                0 => String::new(),
                1..11 => words::host(random),
                _ => given(random, &near.hosts),
            },
            port: random.bool().then(|| words::port(random)),
            path: path(random, near),
            query: match random.u8(..4) {
                0 => Some(format!("a={}&B&a=%41+b", words::value(random))),
                1 => Some("B=A&b=1".into()),
                _ => None,
            },
            headers,
            stream,
        }
    }

    pub(crate) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            protocol: self.protocol,
            sni: self.sni.as_deref(),
            source: self.source,
            destination: self.destination,
            http: (!self.stream).then_some(Http {
                method: &self.method,
                host: self.host.as_bytes(),
                port: self.port,
                path: &self.path,
                query: self.query.as_deref().map(str::as_bytes),
                headers: &self.headers,
                authority: self.host.as_bytes(),
            }),
        }
    }
}

/// One of a route's hosts or names, with a label in place of the wildcard.
fn given(random: &mut Rng, names: &[Box<str>]) -> String {
    let Some(name) = random.choice(names) else {
        return words::host(random);
    };
    let name = name.to_lowercase();
    let name = name.split(':').next().unwrap();
    let label = words::host(random);
    name.trim_end_matches('.').replace('*', &label)
}

fn path(random: &mut Rng, near: &Route) -> Vec<u8> {
    let path = match random.choice(&near.paths) {
        Some(path) if path.starts_with('/') && random.u8(..4) != 0 => {
            let mut path = path.to_string();
            match random.u8(..4) {
                0 => path.push('b'),
                1 => path.push_str("/1"),
                _ => {}
            }
            path
        }
        _ => words::path(random),
    };
    let mut path = path.into_bytes();
    if random.u8(..100) == 0 {
        path.push(0xff);
    }
    path
}

fn peer(random: &mut Rng) -> SocketAddr {
    let address = words::address(random);
    let port = words::port(random);
    // A dual-stack socket shows IPv4 clients so.
    let mapped = format!("[::ffff:{address}]:{port}").parse();
    match mapped {
        Ok(mapped) if random.bool() => mapped,
        _ => SocketAddr::new(address.parse().unwrap(), port),
    }
}
