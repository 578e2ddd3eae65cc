//! Listening sockets and what an accepted one knows about its origin.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// How a TCP listening socket is opened.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Length of the kernel's queue of established connections (Envoy: `tcp_backlog_size`).
    pub backlog: i32,
    /// `SO_REUSEPORT`: one socket a worker, the kernel spreads connections.
    pub reuse_port: bool,
    /// `IP_TRANSPARENT`, for TPROXY interception; needs `CAP_NET_ADMIN`.
    pub transparent: bool,
    /// `IP_FREEBIND`: the address need not be there yet.
    pub freebind: bool,
    /// Whether an IPv6 wildcard socket takes IPv4 connections too.
    pub ipv4_compat: bool,
    /// Mode of the file of a Unix socket.
    pub mode: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            // The kernel caps it at net.core.somaxconn.
            backlog: 4096,
            reuse_port: true,
            transparent: false,
            freebind: false,
            ipv4_compat: false,
            mode: None,
        }
    }
}

/// Binds a non-blocking TCP socket. The address is taken from now on, and refuses connections until [`listen`].
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!options.ipv4_compat)?;
    }
    if options.transparent {
        if address.is_ipv6() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "transparent IPv6 listeners are not served",
            ));
        }
        socket.set_ip_transparent_v4(true)?;
    }
    if options.freebind {
        if address.is_ipv6() {
            socket.set_freebind_v6(true)?;
        } else {
            socket.set_freebind_v4(true)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets a bound socket take connections.
pub fn listen(socket: Socket, options: ListenOptions) -> io::Result<StdTcpListener> {
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// The address that the client dialled before an iptables REDIRECT changed it (`SO_ORIGINAL_DST`);
/// `None` where the connection was not redirected.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let found = match stream.local_addr().ok()? {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    found.ok()?.as_socket()
}
