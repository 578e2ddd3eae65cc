//! `admin_listen` and its like: addresses with flags.

use std::net::SocketAddr;

use super::ConfError;
use crate::object;
use crate::value::Object;

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: bool,
    pub http2: bool,
    /// Every connection begins with the PROXY protocol's header.
    pub proxy_protocol: bool,
    /// One socket a worker.
    pub reuse_port: bool,
    /// Connections that wait in the kernel.
    pub backlog: Option<i32>,
}

impl Listen {
    /// Reads `127.0.0.1:8001 reuseport backlog=16384, 127.0.0.1:8444 http2 ssl`, or `off`.
    pub(super) fn parse(key: &str, text: &str) -> Result<Vec<Self>, ConfError> {
        if text == "off" {
            return Ok(Vec::new());
        }
        let invalid = |value: &str, problem: &str| ConfError::Invalid {
            key: key.into(),
            value: value.into(),
            problem: problem.into(),
        };
        let mut all = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let mut words = part.split_whitespace();
            let written = words.next().unwrap_or_default();
            let address = written.replace("localhost:", "127.0.0.1:").parse();
            let address =
                address.map_err(|_| invalid(written, "is no address such as 127.0.0.1:8001"))?;
            let mut listen = Self {
                address,
                tls: false,
                http2: false,
                proxy_protocol: false,
                reuse_port: false,
                backlog: None,
            };
            for flag in words {
                let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
                match name {
                    "ssl" => listen.tls = true,
                    "http2" => listen.http2 = true,
                    "proxy_protocol" => listen.proxy_protocol = true,
                    "reuseport" => listen.reuse_port = true,
                    "backlog" => {
                        let backlog = value.parse();
                        listen.backlog = Some(backlog.map_err(|_| invalid(flag, "is no number"))?);
                    }
                    // How nginx listens; the sockets here do as well without being told.
                    "bind" | "deferred" | "ipv6only" | "so_keepalive" => {}
                    _ => return Err(invalid(flag, "is no flag of an address that is served")),
                }
            }
            all.push(listen);
        }
        Ok(all)
    }

    /// As `GET /` shows it.
    pub fn print(&self) -> Object {
        let mut listener = self.address.to_string();
        let flags = [
            ("proxy_protocol", self.proxy_protocol),
            ("ssl", self.tls),
            ("reuseport", self.reuse_port),
        ];
        for (flag, _) in flags.iter().filter(|(_, is_set)| *is_set) {
            listener.push(' ');
            listener.push_str(flag);
        }
        if let Some(backlog) = self.backlog {
            listener.push_str(&format!(" backlog={backlog}"));
        }
        object! {
            "ip": self.address.ip().to_string(),
            "port": u32::from(self.address.port()),
            "ssl": self.tls,
            "http2": self.http2,
            "proxy_protocol": self.proxy_protocol,
            "reuseport": self.reuse_port,
            "listener": listener,
        }
    }

    /// Whether others than this machine can reach it.
    pub fn is_open(&self) -> bool {
        !self.address.ip().is_loopback()
    }
}
