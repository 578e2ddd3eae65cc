//! Outgoing sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, UnixStream};

use super::address::Address;
use super::stream::Socket;

/// How an outgoing TCP socket is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Local address to bind to; Istio's inbound clusters use 127.0.0.6 so that iptables lets the
    /// proxy's own connections pass.
    pub source: Option<IpAddr>,
    /// The client's own address, taken over instead; needs `CAP_NET_ADMIN`.
    pub original: Option<OriginalSource>,
    /// TCP keepalive probes.
    pub keepalive: Option<Keepalive>,
}

/// An address that is not this host's, to connect from (`IP_TRANSPARENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginalSource {
    /// The address; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// `SO_MARK` by which answers are routed back here; 0 sets none.
    pub mark: u32,
}

/// TCP keepalive; `None` leaves the kernel's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes until the connection counts as dead.
    pub probes: Option<u32>,
}

/// Connects to `address`. The caller bounds the time.
pub async fn connect(address: &Address, options: &ConnectOptions) -> io::Result<Socket> {
    match address {
        Address::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
        Address::Tcp(address) => connect_tcp(*address, options).await,
    }
}

async fn connect_tcp(address: SocketAddr, options: &ConnectOptions) -> io::Result<Socket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(original) = &options.original {
        take_over(&socket, original, address)?;
    } else if let Some(source) = options.source
        && source.is_ipv4() == address.is_ipv4()
    {
        // Port 0 with SO_REUSEADDR: the kernel may give one local port to several destinations, else a
        // bound source address runs out at 28,000 connections (socket2 has no IP_BIND_ADDRESS_NO_PORT).
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    if let Some(keepalive) = &options.keepalive {
        let mut settings = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            settings = settings.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            settings = settings.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            settings = settings.with_retries(probes);
        }
        SockRef::from(&socket).set_tcp_keepalive(&settings)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// Binds to an address of somebody else.
fn take_over(socket: &TcpSocket, original: &OriginalSource, target: SocketAddr) -> io::Result<()> {
    let unsupported = |words| Err(io::Error::new(io::ErrorKind::Unsupported, words));
    if original.address.is_ipv4() != target.is_ipv4() {
        return unsupported("client and host are of different address families");
    }
    if original.address.is_ipv6() {
        return unsupported("transparent IPv6 sockets are not served");
    }
    let raw = SockRef::from(socket);
    raw.set_ip_transparent_v4(true)?;
    if original.mark != 0 {
        raw.set_mark(original.mark)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(original.address)
}
