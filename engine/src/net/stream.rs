//! One byte stream type for TCP, Unix and TLS on both sides, so that codecs need no type parameter and
//! no boxed trait object.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::runtime::budget::OpenConnection;
use crate::tls::{ClientStream, ServerStream};

/// A connected stream, with bytes that an inspector read ahead put back in front.
#[derive(Debug)]
pub struct Stream {
    prefix: Bytes,
    io: Io,
}

/// The plain socket below TLS.
#[derive(Debug)]
pub struct Socket {
    prefix: Bytes,
    io: SocketIo,
    _open: OpenConnection,
}

#[derive(Debug)]
enum Io {
    Plain(Socket),
    Server(Box<ServerStream<Socket>>),
    Client(Box<ClientStream<Socket>>),
}

#[derive(Debug)]
enum SocketIo {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Puts `bytes` in front of what is still to be read.
    pub fn rewind(&mut self, bytes: Bytes) {
        self.prefix = prepend(bytes, &self.prefix);
    }

    /// Whether bytes were read ahead that nobody has taken.
    pub const fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// The TCP socket, if it is one.
    pub const fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            SocketIo::Tcp(stream) => Some(stream),
            SocketIo::Unix(_) => None,
        }
    }

    /// Whether the kernel reported that a read would not wait. Registers nobody, unlike a poll.
    fn is_read_ready(&self) -> bool {
        // The operation is none: only the readiness that comes before it is asked for.
        let ready = match &self.io {
            SocketIo::Tcp(stream) => stream.try_io(Interest::READABLE, || Ok(())),
            SocketIo::Unix(stream) => stream.try_io(Interest::READABLE, || Ok(())),
        };
        ready.is_ok()
    }
}

impl Stream {
    /// Puts `bytes` in front of what is still to be read.
    pub fn rewind(&mut self, bytes: Bytes) {
        self.prefix = prepend(bytes, &self.prefix);
    }

    /// The socket below, whatever is on top of it.
    pub fn socket(&self) -> &Socket {
        match &self.io {
            Io::Plain(socket) => socket,
            Io::Server(stream) => stream.transport(),
            Io::Client(stream) => stream.transport(),
        }
    }

    /// The plain socket, or `self` again where TLS is on it.
    pub fn into_plain(self) -> Result<Socket, Self> {
        match self.io {
            Io::Plain(mut socket) => {
                socket.rewind(self.prefix);
                Ok(socket)
            }
            io => Err(Self {
                prefix: self.prefix,
                io,
            }),
        }
    }

    /// Whether bytes are on the wire as they are here: no TLS.
    pub const fn is_plain(&self) -> bool {
        matches!(self.io, Io::Plain(_))
    }

    /// Whether the peer closed, or sent something that nobody asked for, while the stream lay idle in a
    /// pool. Costs no system call unless the kernel reported an event.
    pub fn is_stale(&self) -> bool {
        !self.prefix.is_empty() || self.socket().is_read_ready()
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            prefix: Bytes::new(),
            io: SocketIo::Tcp(stream),
            _open: OpenConnection::new(),
        }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self {
            prefix: Bytes::new(),
            io: SocketIo::Unix(stream),
            _open: OpenConnection::new(),
        }
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self {
            prefix: Bytes::new(),
            io: Io::Plain(socket),
        }
    }
}

impl From<ServerStream<Socket>> for Stream {
    fn from(stream: ServerStream<Socket>) -> Self {
        Self {
            prefix: Bytes::new(),
            io: Io::Server(Box::new(stream)),
        }
    }
}

impl From<ClientStream<Socket>> for Stream {
    fn from(stream: ClientStream<Socket>) -> Self {
        Self {
            prefix: Bytes::new(),
            io: Io::Client(Box::new(stream)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.io {
            SocketIo::Tcp(stream) => stream.as_fd(),
            SocketIo::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if replay(&mut self.prefix, buffer) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            SocketIo::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            SocketIo::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if replay(&mut self.prefix, buffer) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Io::Server(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Io::Client(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

/// Writes go to whatever is inside; the two types differ only in their arms.
macro_rules! write_through {
    ($type:ty { $($arm:path => $inner:ident),+ }) => {
        impl AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match &mut self.io {
                    $($arm($inner) => Pin::new($inner).poll_write(cx, bytes)),+
                }
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match &mut self.io {
                    $($arm($inner) => Pin::new($inner).poll_write_vectored(cx, slices)),+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match &self.io {
                    $($arm($inner) => $inner.is_write_vectored()),+
                }
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut self.io {
                    $($arm($inner) => Pin::new($inner).poll_flush(cx)),+
                }
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut self.io {
                    $($arm($inner) => Pin::new($inner).poll_shutdown(cx)),+
                }
            }
        }
    };
}

write_through!(Socket { SocketIo::Tcp => stream, SocketIo::Unix => stream });
write_through!(Stream { Io::Plain => socket, Io::Server => stream, Io::Client => stream });

/// Serves a read from bytes put back; false if there are none.
fn replay(prefix: &mut Bytes, buffer: &mut ReadBuf<'_>) -> bool {
    if prefix.is_empty() {
        return false;
    }
    let length = prefix.len().min(buffer.remaining());
    buffer.put_slice(&prefix[..length]);
    prefix.advance(length);
    if prefix.is_empty() {
        // Lets go of the allocation that the slice kept alive.
        *prefix = Bytes::new();
    }
    true
}

fn prepend(bytes: Bytes, rest: &Bytes) -> Bytes {
    if rest.is_empty() {
        return bytes;
    }
    if bytes.is_empty() {
        return rest.clone();
    }
    [bytes, rest.clone()].concat().into()
}
