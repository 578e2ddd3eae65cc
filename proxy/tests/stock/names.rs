//! A server of names where the machine's configuration looks for one: every name is the same address.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::support::network::Namespace;

/// The first server that this machine asks; the loopback address where none is configured (resolv.conf(5)).
pub fn server() -> Ipv4Addr {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .find_map(|rest| match rest.trim().parse() {
            Ok(IpAddr::V4(address)) => Some(address),
            _ => None,
        })
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

/// Answers every question for an IPv4 address, and says that there is nothing else.
pub fn serve(namespace: &Namespace, server: Ipv4Addr, address: Ipv4Addr) {
    let socket = namespace
        .inside(|| UdpSocket::bind((server, 53)))
        .unwrap_or_else(|error| panic!("{}: names at {server}: {error}", namespace.name));
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..length], address) {
                // A client that is gone asks nothing more.
                socket.send_to(&answer, from).map(drop).unwrap_or_default();
            }
        }
    });
}

/// RFC 1035 section 4.1: the header, the question as it came, and a record that points at it.
fn answer(message: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut end = HEADER;
    while *message.get(end)? != 0 {
        end += usize::from(message[end]) + 1;
    }
    let kind = u16::from_be_bytes(message.get(end + 1..end + 3)?.try_into().ok()?);
    let question = message.get(HEADER..end + 5)?;
    let found = u8::from(kind == A);
    let mut answer = message[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0]);
    answer.extend(question);
    if found == 1 {
        answer.extend([0xc0, HEADER as u8, 0, A as u8, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

const HEADER: usize = 12;
const A: u16 = 1;
