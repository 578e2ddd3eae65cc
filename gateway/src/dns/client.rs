//! One question to the name servers: over UDP, and over TCP where the answer does not fit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{DnsError, Kind, Record, Settings};

/// Asks name servers.
#[derive(Debug, Default)]
pub(super) struct Client {
    turn: AtomicUsize,
}

/// What a server said. Without records the name has none of this kind.
#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) records: Vec<Record>,
    pub(super) ttl: Duration,
    /// The name that the answer ends in, where it is an alias's and the answer holds nothing of it.
    pub(super) alias: Option<String>,
}

impl Client {
    /// Asks one server after another until one has an answer, several times over.
    pub(super) async fn ask(
        &self,
        settings: &Settings,
        name: &str,
        kind: Kind,
    ) -> Result<Reply, DnsError> {
        let count = settings.servers.len();
        let first = if settings.rotate {
            self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1)
        } else {
            0
        };
        let mut failed = DnsError::Silence("none is known".to_owned());
        let servers = settings.servers.iter().cycle().skip(first);
        for server in servers.take(count * settings.attempts.max(1)) {
            match tokio::time::timeout(settings.timeout, ask_one(*server, name, kind)).await {
                Ok(Ok(reply)) => return reply,
                Ok(Err(error)) => failed = DnsError::Silence(format!("{server}: {error}")),
                Err(_) => failed = DnsError::Silence(format!("{server}: timeout")),
            }
        }
        Err(failed)
    }
}

/// The inner result is the server's word; the outer says that it had none worth hearing.
async fn ask_one(
    server: SocketAddr,
    name: &str,
    kind: Kind,
) -> io::Result<Result<Reply, DnsError>> {
    let mut id = [0; 2];
    rand::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let question = question(id, name, kind)?;
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    // Only what this server sends is received from then on.
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(buffer.get(..length).unwrap_or_default(), id, name, kind) {
            // Not an answer to this question: somebody guesses.
            None => {}
            Some(Said::Truncated) => break,
            Some(said) => return Ok(said.into_result()),
        }
    }
    let answer = over_tcp(server, &question).await?;
    match read(&answer, id, name, kind) {
        Some(said) => Ok(said.into_result()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn question(id: u16, name: &str, kind: Kind) -> io::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(io::Error::other)?;
    packet.questions.push(Question::new(
        name,
        QTYPE::TYPE(type_of(kind)),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().map_err(io::Error::other)
}

/// What a message says.
enum Said {
    Answer(Reply),
    Refused(RCODE),
    Truncated,
}

impl Said {
    fn into_result(self) -> Result<Reply, DnsError> {
        match self {
            Self::Answer(reply) => Ok(reply),
            Self::Refused(RCODE::NameError) => Err(DnsError::Name),
            Self::Refused(code) => Err(server_error(code)),
            // Over TCP nothing is cut off: a server that says so is broken.
            Self::Truncated => Err(server_error(RCODE::FormatError)),
        }
    }
}

/// Reads a message, if it answers the question.
fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Said> {
    let packet = Packet::parse(bytes).ok()?;
    let is_answer = packet.id() == id && packet.has_flags(PacketFlag::RESPONSE);
    let asked = packet.questions.first();
    let is_asked = asked
        .is_some_and(|asked| asked.qtype == QTYPE::TYPE(type_of(kind)) && same(&asked.qname, name));
    if !is_answer || !is_asked {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Said::Truncated);
    }
    if packet.rcode() != RCODE::NoError {
        return Some(Said::Refused(packet.rcode()));
    }
    // Aliases may come in any order, and lead in circles.
    let mut current = name.trim_end_matches('.').to_ascii_lowercase();
    let mut ttl = u32::MAX;
    for _ in 0..packet.answers.len() {
        let alias = packet
            .answers
            .iter()
            .find_map(|record| match &record.rdata {
                RData::CNAME(alias) if same(&record.name, &current) => {
                    Some((alias.0.to_string(), record.ttl))
                }
                _ => None,
            });
        let Some((alias, alias_ttl)) = alias else {
            break;
        };
        current = alias.to_ascii_lowercase();
        ttl = ttl.min(alias_ttl);
    }
    let mut records = Vec::new();
    for record in packet
        .answers
        .iter()
        .filter(|record| same(&record.name, &current))
    {
        let found = match (&record.rdata, kind) {
            (RData::A(a), Kind::A) => Record::Address(Ipv4Addr::from(a.address).into()),
            (RData::AAAA(aaaa), Kind::Aaaa) => Record::Address(Ipv6Addr::from(aaaa.address).into()),
            (RData::SRV(service), Kind::Srv) => Record::Service {
                priority: service.priority,
                weight: service.weight,
                port: service.port,
                host: Arc::from(service.target.to_string().to_ascii_lowercase()),
            },
            _ => continue,
        };
        ttl = ttl.min(record.ttl);
        if !records.contains(&found) {
            records.push(found);
        }
    }
    let is_alias = current != name.trim_end_matches('.').to_ascii_lowercase();
    Some(Said::Answer(Reply {
        alias: (records.is_empty() && is_alias).then_some(current),
        records,
        // RFC 2181, section 8: a value with the highest bit set is zero.
        ttl: Duration::from_secs(if ttl > u32::MAX / 2 { 0 } else { ttl.into() }),
    }))
}

fn same(name: &Name<'_>, text: &str) -> bool {
    name.to_string()
        .trim_end_matches('.')
        .eq_ignore_ascii_case(text.trim_end_matches('.'))
}

fn type_of(kind: Kind) -> TYPE {
    match kind {
        Kind::A => TYPE::A,
        Kind::Aaaa => TYPE::AAAA,
        Kind::Srv => TYPE::SRV,
    }
}

/// Numbers and words of OpenResty's client.
fn server_error(code: RCODE) -> DnsError {
    let (code, text) = match code {
        RCODE::FormatError => (1, "format error"),
        RCODE::ServerFailure => (2, "server failure"),
        RCODE::NotImplemented => (4, "not implemented"),
        RCODE::Refused => (5, "refused"),
        _ => (15, "unknown"),
    };
    DnsError::Server { code, text }
}

/// Nothing larger is asked for; some servers send it all the same.
const LARGEST_DATAGRAM: usize = 4096;
