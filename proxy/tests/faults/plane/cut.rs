//! A connection that breaks after so many bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Shared;

/// After how many bytes of ours, and how.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub after: u64,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In order: the peer reads all of them and then the end.
    Close,
    /// With a reset.
    Reset,
}

#[derive(Debug)]
pub struct CutStream {
    socket: TcpStream,
    number: usize,
    cut: Option<Cut>,
    written: u64,
    shared: Arc<Shared>,
}

impl CutStream {
    pub fn new(socket: TcpStream, number: usize, cut: Option<Cut>, shared: Arc<Shared>) -> Self {
        socket.set_nodelay(true).unwrap_or_default();
        Self {
            socket,
            number,
            cut,
            written: 0,
            shared,
        }
    }

    /// How many bytes may still go out; an error when none may, and the connection will break.
    fn room(&self) -> io::Result<usize> {
        let Some(cut) = self.cut else {
            return Ok(usize::MAX);
        };
        if self.written < cut.after {
            return Ok((cut.after - self.written) as usize);
        }
        if cut.how == How::Reset {
            socket2::SockRef::from(&self.socket)
                .set_linger(Some(Duration::ZERO))
                .unwrap_or_default();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.room()?.min(bytes.len());
        let written = Pin::new(&mut self.socket).poll_write(cx, &bytes[..room]);
        if let Poll::Ready(Ok(count)) = written {
            self.written += count as u64;
            self.shared.state().written[self.number - 1] = self.written;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
