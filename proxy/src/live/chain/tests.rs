use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

fn facts<'a>(
    local: &'a Address,
    remote: &'a Address,
    name: &'a str,
    transport: &'a str,
    protocols: &'a [&'a str],
) -> ConnectionFacts<'a, &'a str> {
    ConnectionFacts {
        local,
        remote,
        direct_remote: remote,
        server_name: name,
        transport_protocol: transport,
        application_protocols: protocols,
    }
}

fn tcp(address: &str) -> Address {
    Address::Tcp(address.parse::<SocketAddr>().unwrap())
}

fn cidr(text: &str) -> Cidr {
    let (address, length) = text.split_once('/').unwrap();
    Cidr::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

/// One line of istiod's table of inbound chains.
fn inbound(transport: Option<&str>, protocols: &[&str]) -> ChainMatch {
    ChainMatch {
        destination_port: Some(8080),
        transport_protocol: transport.map(str::to_owned),
        application_protocols: protocols.iter().map(|&name| name.to_owned()).collect(),
        ..ChainMatch::default()
    }
}

const MTLS_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MTLS_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];
const MTLS_ALL: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];

/// What arrives: transport, protocols offered or sniffed.
const TRAFFIC: [(&str, &str, &[&str]); 7] = [
    (
        "mTLS HTTP/1.1",
        "tls",
        &["istio-http/1.1", "istio", "http/1.1"],
    ),
    ("mTLS HTTP/2", "tls", &["istio-h2", "istio", "h2"]),
    ("mTLS TCP", "tls", &["istio-peer-exchange", "istio"]),
    ("foreign TLS", "tls", &["h2", "http/1.1"]),
    ("plain HTTP/1.1", "raw_buffer", &["http/1.1"]),
    ("plain HTTP/2", "raw_buffer", &["h2c"]),
    ("plain TCP", "raw_buffer", &[]),
];

#[test]
fn inbound_chains_of_every_mode() {
    let tls = Some("tls");
    let raw = Some("raw_buffer");
    let plain_http = ["http/1.1", "h2c"];
    // Mode; chains; the chain (from 1) that each kind of traffic gets, 0 for none.
    let modes: [(&str, Vec<ChainMatch>, [usize; 7]); 9] = [
        (
            "PERMISSIVE, auto",
            vec![
                inbound(tls, &MTLS_HTTP),
                inbound(raw, &plain_http),
                inbound(tls, &MTLS_TCP),
                inbound(raw, &[]),
                inbound(tls, &[]),
            ],
            [1, 1, 3, 5, 2, 2, 4],
        ),
        (
            "PERMISSIVE, HTTP",
            vec![inbound(tls, &MTLS_ALL), inbound(raw, &[])],
            [1, 1, 1, 0, 2, 2, 2],
        ),
        (
            "PERMISSIVE, TCP",
            vec![
                inbound(tls, &MTLS_ALL),
                inbound(tls, &[]),
                inbound(raw, &[]),
            ],
            [1, 1, 1, 2, 3, 3, 3],
        ),
        (
            "STRICT, auto",
            vec![inbound(tls, &MTLS_HTTP), inbound(tls, &[])],
            [1, 1, 2, 2, 0, 0, 0],
        ),
        (
            "STRICT, HTTP",
            vec![inbound(tls, &[])],
            [1, 1, 1, 1, 0, 0, 0],
        ),
        (
            "STRICT, TCP",
            vec![inbound(tls, &[])],
            [1, 1, 1, 1, 0, 0, 0],
        ),
        (
            "DISABLE, auto",
            vec![inbound(raw, &plain_http), inbound(raw, &[])],
            [0, 0, 0, 0, 1, 1, 2],
        ),
        (
            "DISABLE, HTTP",
            vec![inbound(raw, &[])],
            [0, 0, 0, 0, 1, 1, 1],
        ),
        (
            "DISABLE, TCP",
            vec![inbound(raw, &[])],
            [0, 0, 0, 0, 1, 1, 1],
        ),
    ];
    let (local, remote) = (tcp("10.0.0.1:8080"), tcp("10.0.0.2:4000"));
    for (mode, chains, expected) in &modes {
        let table = ChainTable::new(chains, None).unwrap();
        for ((traffic, transport, protocols), expected) in TRAFFIC.iter().zip(expected) {
            let found = table.find(&facts(&local, &remote, "", transport, protocols));
            assert_eq!(
                found.map_or(0, |chain| chain + 1),
                *expected,
                "{mode}: {traffic}"
            );
        }
    }
}

#[test]
fn there_is_no_way_back() {
    // A port of its own wins, although only the chain without a port could take plaintext.
    let chains = [
        ChainMatch {
            destination_port: Some(80),
            transport_protocol: Some("tls".to_owned()),
            ..ChainMatch::default()
        },
        ChainMatch::default(),
    ];
    let remote = tcp("10.0.0.2:4000");
    let (here, elsewhere) = (tcp("10.0.0.1:80"), tcp("10.0.0.1:81"));
    let table = ChainTable::new(&chains, Some(9)).unwrap();
    assert_eq!(
        table.find(&facts(&here, &remote, "", "raw_buffer", &[])),
        Some(9)
    );
    assert_eq!(table.find(&facts(&here, &remote, "", "tls", &[])), Some(0));
    assert_eq!(
        table.find(&facts(&elsewhere, &remote, "", "tls", &[])),
        Some(1)
    );
}

#[test]
fn names_addresses_and_sources() {
    let named = |names: &[&str]| ChainMatch {
        server_names: names.iter().map(|&name| name.to_owned()).collect(),
        ..ChainMatch::default()
    };
    let to = |range: &str| ChainMatch {
        destination: vec![cidr(range)],
        ..ChainMatch::default()
    };
    let typed = |source_type| ChainMatch {
        source_type,
        ..ChainMatch::default()
    };
    let from = |range: &str, ports: &[u16]| ChainMatch {
        source: vec![cidr(range)],
        source_ports: ports.to_vec(),
        ..ChainMatch::default()
    };

    let table = ChainTable::new(
        &[
            named(&["a.example.com"]),
            named(&["*.example.com"]),
            named(&["*.com"]),
            named(&[]),
        ],
        None,
    )
    .unwrap();
    let (local, remote) = (tcp("10.0.0.1:80"), tcp("10.0.0.2:4000"));
    for (name, expected) in [
        ("a.example.com", 0),
        ("b.example.com", 1),
        ("x.b.example.com", 1),
        ("example.com", 2),
        ("com", 3),
        ("", 3),
        ("a.org", 3),
    ] {
        assert_eq!(
            table.find(&facts(&local, &remote, name, "tls", &[])),
            Some(expected),
            "{name}"
        );
    }

    let table = ChainTable::new(
        &[to("10.0.0.0/8"), to("10.1.0.0/16"), to("2001:db8::/32")],
        Some(7),
    )
    .unwrap();
    for (address, expected) in [
        ("10.2.0.1:80", 0),
        ("10.1.0.1:80", 1),
        ("[2001:db8::1]:80", 2),
        ("[::ffff:10.1.0.1]:80", 1),
        ("11.0.0.1:80", 7),
    ] {
        assert_eq!(
            table.find(&facts(&tcp(address), &remote, "", "tls", &[])),
            Some(expected),
            "{address}"
        );
    }
    let socket = Address::unix("/run/s");
    assert_eq!(
        table.find(&facts(&socket, &socket, "", "tls", &[])),
        Some(7)
    );

    let table = ChainTable::new(
        &[typed(SourceType::Local), typed(SourceType::External)],
        None,
    )
    .unwrap();
    for (address, expected) in [("127.0.0.1:1", 0), ("10.0.0.1:1", 0), ("10.0.0.2:1", 1)] {
        assert_eq!(
            table.find(&facts(&local, &tcp(address), "", "tls", &[])),
            Some(expected),
            "{address}"
        );
    }

    let table = ChainTable::new(
        &[from("10.0.0.0/8", &[]), from("10.0.0.0/8", &[4000, 4001])],
        None,
    )
    .unwrap();
    for (address, expected) in [
        ("10.0.0.2:4000", Some(1)),
        ("10.0.0.2:1", Some(0)),
        ("11.0.0.2:4000", None),
    ] {
        assert_eq!(
            table.find(&facts(&local, &tcp(address), "", "tls", &[])),
            expected,
            "{address}"
        );
    }
}

#[test]
fn the_client_s_order_of_protocols_decides() {
    let table = ChainTable::new(
        &[inbound(None, &["h2"]), inbound(None, &["http/1.1"])],
        None,
    )
    .unwrap();
    let (local, remote) = (tcp("10.0.0.1:8080"), tcp("10.0.0.2:4000"));
    assert_eq!(
        table.find(&facts(&local, &remote, "", "tls", &["http/1.1", "h2"])),
        Some(1)
    );
    assert_eq!(
        table.find(&facts(&local, &remote, "", "tls", &["h2", "http/1.1"])),
        Some(0)
    );
    assert_eq!(
        table.find(&facts(&local, &remote, "", "tls", &["spdy"])),
        None
    );
}

#[test]
fn chains_that_match_the_same_are_refused() {
    let conflict = ChainTable::new(
        &[
            inbound(None, &["a"]),
            inbound(None, &["b"]),
            inbound(None, &["c", "b"]),
        ],
        None,
    )
    .err();
    assert_eq!(
        conflict,
        Some(Conflict {
            first: 1,
            second: 2
        })
    );
    // A chain may repeat itself.
    assert!(ChainTable::new(&[inbound(None, &["a", "a"])], None).is_ok());
}

/// The sieve as its description reads: sets of chains that shrink.
fn naive(chains: &[ChainMatch], facts: &ConnectionFacts<'_, &str>) -> Option<usize> {
    let mut left: Vec<usize> = (0..chains.len()).collect();
    let mut sieve = |hit: &dyn Fn(&ChainMatch) -> Option<usize>,
                     unset: &dyn Fn(&ChainMatch) -> bool| {
        let best = left.iter().filter_map(|&chain| hit(&chains[chain])).max();
        match best {
            Some(best) => left.retain(|&chain| hit(&chains[chain]) == Some(best)),
            None => left.retain(|&chain| unset(&chains[chain])),
        }
    };
    let (local, remote) = (
        facts.local.socket().unwrap(),
        facts.remote.socket().unwrap(),
    );
    let longest = |ranges: &[Cidr], ip: IpAddr| {
        ranges
            .iter()
            .filter(|range| range.contains(ip))
            .map(|range| usize::from(range.length()))
            .max()
    };
    sieve(
        &|c| (c.destination_port == Some(local.port())).then_some(0),
        &|c| c.destination_port.is_none(),
    );
    sieve(&|c| longest(&c.destination, local.ip()), &|c| {
        c.destination.is_empty()
    });
    let name = facts.server_name;
    let name_rank = |wanted: &String| match wanted.strip_prefix('*') {
        Some(suffix) if !name.is_empty() && name.ends_with(suffix) && name.len() > suffix.len() => {
            Some(suffix.len())
        }
        None if wanted == name => Some(1000),
        _ => None,
    };
    sieve(
        &|c| c.server_names.iter().filter_map(name_rank).max(),
        &|c| c.server_names.is_empty(),
    );
    sieve(
        &|c| (c.transport_protocol.as_deref() == Some(facts.transport_protocol)).then_some(0),
        &|c| c.transport_protocol.is_none(),
    );
    let protocol_rank = |c: &ChainMatch| {
        let rank = facts.application_protocols.iter().position(|offered| {
            c.application_protocols
                .iter()
                .any(|wanted| wanted == offered)
        })?;
        Some(100 - rank)
    };
    sieve(&protocol_rank, &|c| c.application_protocols.is_empty());
    let side = if is_local(facts.local, facts.remote) {
        SourceType::Local
    } else {
        SourceType::External
    };
    sieve(&|c| (c.source_type == side).then_some(0), &|c| {
        c.source_type == SourceType::Any
    });
    sieve(&|c| longest(&c.source, remote.ip()), &|c| {
        c.source.is_empty()
    });
    sieve(
        &|c| c.source_ports.contains(&remote.port()).then_some(0),
        &|c| c.source_ports.is_empty(),
    );
    assert!(left.len() < 2, "the table should have refused {left:?}");
    left.first().copied()
}

fn some_of(choices: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(choices, 0..=2)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn ranges(choices: &'static [&'static str]) -> impl Strategy<Value = Vec<Cidr>> {
    some_of(choices).prop_map(|ranges| ranges.iter().map(|range| cidr(range)).collect())
}

fn chain() -> impl Strategy<Value = ChainMatch> {
    (
        proptest::option::of(80_u16..82),
        ranges(&["10.0.0.0/8", "10.1.0.0/16", "10.1.0.1/32"]),
        some_of(&["a.b.c", "*.b.c", "*.c", "x.c"]),
        proptest::option::of(proptest::sample::select(vec![
            "tls".to_owned(),
            "raw_buffer".to_owned(),
        ])),
        some_of(&["h2", "http/1.1", "istio"]),
        proptest::sample::select(vec![
            SourceType::Any,
            SourceType::Local,
            SourceType::External,
        ]),
        ranges(&["10.0.0.0/8", "127.0.0.0/8"]),
        proptest::sample::subsequence(vec![1_u16, 2], 0..=2),
    )
        .prop_map(
            |(
                destination_port,
                destination,
                server_names,
                transport_protocol,
                application_protocols,
                source_type,
                source,
                source_ports,
            )| ChainMatch {
                destination_port,
                destination,
                server_names,
                transport_protocol,
                application_protocols,
                direct_source: Vec::new(),
                source_type,
                source,
                source_ports,
            },
        )
}

proptest! {
    #[test]
    fn the_tree_finds_what_the_sieve_finds(
        chains in proptest::collection::vec(chain(), 0..8),
        port in 80_u16..83,
        ip in proptest::sample::select(vec!["10.1.0.1", "10.1.0.2", "10.2.0.1", "11.0.0.1"]),
        name in proptest::sample::select(vec!["", "a.b.c", "z.b.c", "x.c", "c", "q"]),
        transport in proptest::sample::select(vec!["tls", "raw_buffer"]),
        protocols in proptest::sample::subsequence(vec!["h2", "http/1.1", "istio", "other"], 0..=3),
        from in proptest::sample::select(vec!["10.1.0.1:1", "127.0.0.1:2", "10.9.0.1:3", "12.0.0.1:1"]),
    ) {
        // Chains that conflict with an earlier one are left out, as a table never holds them.
        let mut kept: Vec<ChainMatch> = Vec::new();
        for chain in chains {
            kept.push(chain);
            if ChainTable::new(&kept, None).is_err() {
                kept.pop();
            }
        }
        let table = ChainTable::new(&kept, None).unwrap();
        let (local, remote) = (tcp(&format!("{ip}:{port}")), tcp(from));
        let facts = facts(&local, &remote, name, transport, &protocols);
        prop_assert_eq!(table.find(&facts), naive(&kept, &facts));
    }
}
