//! The checks that the node makes itself, as Kong's checker makes them: a connection, over it a request where HTTP is spoken, and of the answer
//! no more than the status line.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::net::connect::{ConnectOptions, connect};
use carbyne_engine::tls::{
    AlpnList, ClientTls, ClientTlsPlan, Overrides, PeerRules, TlsParameters, TrustSlot,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Secrets;
use super::address::Address;
use super::health::Observed;
use crate::plan::upstream::{Active, CheckKind, Upstream};

/// How the targets of an upstream are checked.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) active: Active,
    host_header: Option<Arc<str>>,
    tls: Option<Arc<ClientTls>>,
}

impl Secrets {
    /// Whether these are the very same: secrets change in their slots.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |left: Option<*const ()>, right: Option<*const ()>| left == right;
        let pointer = |secrets: &Self| {
            (
                secrets
                    .identity
                    .as_ref()
                    .map(|slot| Arc::as_ptr(slot).cast()),
                secrets.trust.as_ref().map(|slot| Arc::as_ptr(slot).cast()),
            )
        };
        let (left, right) = (pointer(self), pointer(other));
        same(left.0, right.0) && same(left.1, right.1)
    }
}

impl Checks {
    /// The checks that an upstream wants.
    pub(super) fn new(upstream: &Upstream, secrets: &Secrets) -> Option<Self> {
        let active = upstream.healthchecks.active.clone();
        if !active.is_on() {
            return None;
        }
        let tls = (active.kind == CheckKind::Https).then(|| client_tls(&active, upstream, secrets));
        Some(Self {
            host_header: upstream.host_header.clone(),
            tls: tls.flatten(),
            active,
        })
    }

    /// The time between checks of targets that serve, or of those that do not.
    pub(super) fn interval(&self, healthy: bool) -> Option<Duration> {
        let interval = if healthy {
            self.active.healthy_interval
        } else {
            self.active.unhealthy_interval
        };
        (!interval.is_zero()).then_some(interval.max(LEAST_INTERVAL))
    }

    /// Checks one address.
    pub(super) async fn check(&self, address: &Address) -> Observed {
        let Some(host) = address.host(&[]) else {
            // A name in an SRV record that has no address.
            return Observed::TcpFailure;
        };
        let options = ConnectOptions::default();
        let connecting = connect(&host.address, &options);
        let socket = match tokio::time::timeout(self.active.timeout, connecting).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(_)) => return Observed::TcpFailure,
            Err(_) => return Observed::Timeout,
        };
        let name = self.host_header.as_deref().unwrap_or(&address.key.hostname);
        match self.active.kind {
            CheckKind::Tcp | CheckKind::Grpc => Observed::Connected,
            CheckKind::Http => self.ask(socket, name).await,
            CheckKind::Https => {
                let Some(tls) = &self.tls else {
                    return Observed::TcpFailure;
                };
                let name_for_tls = self.active.https_sni.as_deref().unwrap_or(name);
                let overrides = Overrides {
                    sni: Some(name_for_tls),
                    alpn: None,
                    verify_name: None,
                };
                let connecting = tls.connect(socket, overrides);
                match tokio::time::timeout(self.active.timeout, connecting).await {
                    Ok(Ok(stream)) => self.ask(stream, name).await,
                    // Kong counts a handshake as a failed connection, whatever it failed of.
                    Ok(Err(error)) => {
                        tracing::debug!(host = %host.address_text, %error, "a check's handshake failed");
                        Observed::TcpFailure
                    }
                    Err(_) => Observed::TcpFailure,
                }
            }
        }
    }

    /// Sends the request and reads the status. The time is for each of the two, as in Kong.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, name: &str) -> Observed {
        let limit = self.active.timeout;
        let request = self.request(name);
        let sending = async {
            stream.write_all(&request).await?;
            stream.flush().await
        };
        match tokio::time::timeout(limit, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Observed::TcpFailure,
            Err(_) => return Observed::Timeout,
        }
        match tokio::time::timeout(limit, status_line(&mut stream)).await {
            Ok(Ok(line)) => status(&line).map_or(Observed::Malformed, Observed::Status),
            Ok(Err(_)) => Observed::TcpFailure,
            Err(_) => Observed::Timeout,
        }
    }

    fn request(&self, name: &str) -> Vec<u8> {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n",
            self.active.http_path
        )
        .into_bytes();
        for (name, value) in &self.active.headers {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

async fn status_line<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            read.truncate(end);
            return Ok(read);
        }
        if read.len() > LONGEST_LINE {
            return Ok(read);
        }
    }
}

/// The status in a status line: `HTTP/x.y 200 …`.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let digits = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let major = digits(rest);
    let rest = rest.get(major..)?.strip_prefix(b".")?;
    let minor = digits(rest);
    let rest = rest.get(minor..)?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    if major == 0 || minor == 0 || spaces == 0 {
        return None;
    }
    let rest = rest.get(spaces..)?;
    std::str::from_utf8(rest.get(..digits(rest))?)
        .ok()?
        .parse()
        .ok()
}

fn client_tls(active: &Active, upstream: &Upstream, secrets: &Secrets) -> Option<Arc<ClientTls>> {
    let verifies = active.https_verify_certificate;
    let trust = || {
        let nobody = || TrustSlot::new(&upstream.id);
        secrets.trust.clone().unwrap_or_else(nobody)
    };
    let plan = ClientTlsPlan {
        identity: secrets.identity.clone(),
        peer: PeerRules {
            // Where nobody is trusted no handshake succeeds.
            trust: verifies.then(trust),
            ..PeerRules::default()
        },
        verifies_host: verifies,
        sni: None,
        alpn: AlpnList::new(["http/1.1"]).ok()?,
        parameters: TlsParameters::default(),
        resumed_names: 0,
    };
    match ClientTls::new(plan) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            tracing::error!(upstream = %upstream.name, %error, "the checks of an upstream cannot speak TLS");
            None
        }
    }
}

/// Kong looks ten times a second whether a check is due.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_LINE: usize = 8 * 1024;

#[cfg(test)]
mod tests;
