//! A TCP stream: one byte asks for a megabyte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Call, Fault, MEGABYTE};

/// A connection that stays for many megabytes.
#[derive(Debug)]
pub(super) struct Tcp {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Tcp {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Fault> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 * 1024],
        })
    }

    pub(super) async fn exchange(&mut self, call: &Call) -> Result<(), Fault> {
        self.socket.write_u8(1).await?;
        let mut left = MEGABYTE;
        while left > 0 {
            let read = self.socket.read(&mut self.buffer).await?;
            if read == 0 {
                return Err(Fault::Wrong(format!("closed with {left} bytes to come")));
            }
            if read > left || self.buffer[..read] != call.answer_body[..read] {
                return Err(Fault::Wrong("the bytes differ".to_owned()));
            }
            left -= read;
        }
        Ok(())
    }
}
