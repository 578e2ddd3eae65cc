//! A name server that says what it is told to say.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use simple_dns::rdata::{A, AAAA, CNAME, RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use crate::dns::Settings;

/// The server; it ends when it is dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Zone {
    given: Mutex<HashMap<String, Vec<Given>>>,
    asked: Mutex<Vec<String>>,
}

/// What is said about a name: records of one type, or a failure.
#[derive(Clone)]
pub(crate) struct Given {
    kind: Option<TYPE>,
    records: Vec<(Option<String>, RData<'static>, u32)>,
    failure: u16,
    is_truncated: bool,
    is_silent: bool,
}

impl Given {
    fn new(kind: Option<TYPE>, records: Vec<RData<'static>>, ttl: u32) -> Self {
        Self {
            kind,
            records: records.into_iter().map(|data| (None, data, ttl)).collect(),
            failure: 0,
            is_truncated: false,
            is_silent: false,
        }
    }

    pub(crate) fn a(addresses: &[&str], ttl: u32) -> Self {
        let record = |address: &&str| {
            let address: Ipv4Addr = address.parse().unwrap();
            RData::A(A {
                address: address.into(),
            })
        };
        Self::new(Some(TYPE::A), addresses.iter().map(record).collect(), ttl)
    }

    pub(crate) fn aaaa(addresses: &[&str], ttl: u32) -> Self {
        let record = |address: &&str| {
            let address: Ipv6Addr = address.parse().unwrap();
            RData::AAAA(AAAA {
                address: address.into(),
            })
        };
        Self::new(
            Some(TYPE::AAAA),
            addresses.iter().map(record).collect(),
            ttl,
        )
    }

    /// Priority, weight, port, host.
    pub(crate) fn srv(services: &[(u16, u16, u16, &str)], ttl: u32) -> Self {
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            RData::SRV(SRV {
                priority: *priority,
                weight: *weight,
                port: *port,
                target: name(target),
            })
        };
        Self::new(Some(TYPE::SRV), services.iter().map(record).collect(), ttl)
    }

    /// Another name, whatever is asked for.
    pub(crate) fn alias(to: &str, ttl: u32) -> Self {
        Self::new(None, vec![RData::CNAME(CNAME(name(to)))], ttl)
    }

    pub(crate) fn failure(code: u16) -> Self {
        Self {
            failure: code,
            ..Self::new(None, Vec::new(), 0)
        }
    }

    pub(crate) fn silence() -> Self {
        Self {
            is_silent: true,
            ..Self::new(None, Vec::new(), 0)
        }
    }

    /// Together with records of another name.
    pub(crate) fn with(mut self, other: Self, of: &str) -> Self {
        let named = other
            .records
            .into_iter()
            .map(|(_, data, ttl)| (Some(of.to_owned()), data, ttl));
        self.records.extend(named);
        self
    }

    /// Only over TCP.
    pub(crate) fn truncated(mut self) -> Self {
        self.is_truncated = true;
        self
    }
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let zone = Arc::new(Zone::default());
        // A port that is free for both.
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let tasks = [
            tokio::spawn(serve_udp(udp, zone.clone())),
            tokio::spawn(serve_tcp(tcp, zone.clone())),
        ];
        Self {
            address,
            zone,
            tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Settings that ask this server, and it alone.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            servers: vec![self.address],
            ..Settings::default()
        }
    }

    /// Says this about a name from now on, in place of what was said of the same type.
    pub(crate) fn give(&self, name: &str, given: Given) {
        let mut all = self.zone.given.lock().unwrap();
        let known = all.entry(name.to_owned()).or_default();
        known.retain(|known| {
            known.kind.is_some() && given.kind.is_some() && known.kind != given.kind
        });
        known.push(given);
    }

    /// What was asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.zone.asked.lock().unwrap())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Zone {
    fn answer(&self, question: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let packet = Packet::parse(question).unwrap();
        let asked = packet.questions.first().unwrap();
        let text = asked.qname.to_string();
        let QTYPE::TYPE(kind) = asked.qtype else {
            panic!("a type is asked for");
        };
        let way = if is_tcp { " over TCP" } else { "" };
        self.asked
            .lock()
            .unwrap()
            .push(format!("{text} {kind:?}{way}"));
        let given = self.given.lock().unwrap().get(&text).cloned();
        let mut reply = Packet::new_reply(packet.id());
        reply.questions.push(asked.clone().into_owned());
        let Some(given) = given else {
            *reply.rcode_mut() = RCODE::NameError;
            return Some(reply.build_bytes_vec().unwrap());
        };
        for given in given
            .iter()
            .filter(|given| given.kind.is_none_or(|known| known == kind))
        {
            if given.is_silent {
                return None;
            }
            *reply.rcode_mut() = RCODE::from(given.failure);
            if given.is_truncated && !is_tcp {
                reply.set_flags(PacketFlag::TRUNCATION);
                continue;
            }
            for (of, data, ttl) in &given.records {
                let owner = name(of.as_deref().unwrap_or(&text));
                reply
                    .answers
                    .push(ResourceRecord::new(owner, CLASS::IN, *ttl, data.clone()));
            }
        }
        Some(reply.build_bytes_vec().unwrap())
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(answer) = zone.answer(&buffer[..length], false) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.unwrap();
        if let Some(answer) = zone.answer(&question, true) {
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

fn name(text: &str) -> Name<'static> {
    Name::new(text).unwrap().into_owned()
}
