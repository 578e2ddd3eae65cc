//! Where a process lives: a loopback address and a folder that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback address of its own, so that ports can be fixed and two processes never fight over one.
#[derive(Debug)]
pub struct Place {
    pub address: Ipv4Addr,
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            address: free_address(),
            folder: tempfile::Builder::new()
                .prefix("carbyne-suite-")
                .tempdir()
                .unwrap(),
        }
    }

    /// The working directory of the process.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }
}

/// The admin port of every proxy, at its own address.
pub const ADMIN_PORT: u16 = 9901;

/// An address of 127.0.0.0/8 where the admin port is free. It comes from the process id, so that suites
/// which run at the same time do not meet.
fn free_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = (64 + (process >> 8) as u8 % 128, process as u8);
    loop {
        let last = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(last < 250, "no free loopback address is left");
        let address = Ipv4Addr::new(127, high, low, last);
        if TcpListener::bind((address, ADMIN_PORT)).is_ok() {
            return address;
        }
    }
}
