//! One active health check: a connection of its own to one host, apart from those that carry traffic.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::attempt::{Progress, Replay, UploadError, send_head_on};
use super::error::Error;
use super::{Protocol, TlsTarget};
use crate::cluster::health::{
    CheckOutcome, HealthCheckSettings, HttpProbe, Probe, grpc_request, grpc_serves, tcp_matches,
};
use crate::cluster::pool::{Session, dial, http2_settings};
use crate::cluster::settings::Transport;
use crate::cluster::{Cluster, Host};
use crate::http::{Body, Frame, Headers, Request, Response, h1, h2};
use crate::net::{Address, Stream};

/// Checks one host, over one connection if that is kept (`reuse_connection`).
#[derive(Debug)]
pub struct Prober {
    settings: Arc<HealthCheckSettings>,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    address: Address,
    secure: bool,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Http(Session),
    Tcp(Stream),
}

/// A response, read to its end.
struct Answer {
    response: Response,
    body: Vec<u8>,
    trailers: Option<Headers>,
    keep_alive: bool,
}

impl Prober {
    /// Without a connection.
    #[must_use]
    pub fn new(settings: Arc<HealthCheckSettings>) -> Self {
        Self {
            settings,
            kept: None,
        }
    }

    /// Makes one check, in the time that the settings give it.
    pub async fn check(&mut self, cluster: &Cluster, host: &Host) -> CheckOutcome {
        let limit = self.settings.timeout;
        let kept = self.kept.take();
        match tokio::time::timeout(limit, self.probe(cluster, host, kept)).await {
            Ok(Ok((outcome, wire))) => {
                self.kept = wire.filter(|_| self.settings.reuse_connection);
                outcome
            }
            Ok(Err(error)) => {
                tracing::debug!(cluster = %cluster.name(), host = %host.address_text, %error, "health check");
                CheckOutcome::Network
            }
            Err(_) => CheckOutcome::Timeout,
        }
    }

    async fn probe(
        &self,
        cluster: &Cluster,
        host: &Host,
        kept: Option<Kept>,
    ) -> Result<(CheckOutcome, Option<Kept>), Error> {
        let address = match (self.settings.port, &host.address) {
            (Some(port), Address::Tcp(address)) => {
                Address::Tcp(std::net::SocketAddr::new(address.ip(), port))
            }
            _ => host.address.clone(),
        };
        let kept = kept.filter(|kept| kept.address == address && !kept.wire.is_stale());
        let mut kept = match kept {
            Some(kept) => kept,
            None => self.connect(cluster, host, address).await?,
        };
        let (outcome, reusable) = match (&self.settings.probe, &mut kept.wire) {
            (Probe::Tcp { send, receive }, Wire::Tcp(stream)) => tcp(stream, send, receive).await?,
            (Probe::Http(probe), Wire::Http(session)) => {
                let request = http_request(probe, cluster, host);
                let answer = exchange(session, kept.secure, &request, Body::empty()).await?;
                let degraded = answer.response.headers.contains(&DEGRADED);
                let status = answer.response.status.as_u16();
                (probe.judge(status, degraded), answer.keep_alive)
            }
            (Probe::Grpc { service, authority }, Wire::Http(session)) => {
                let request = grpc_head(authority, cluster, host);
                let body = Body::full(grpc_request(service));
                let answer = exchange(session, kept.secure, &request, body).await?;
                let status = answer
                    .trailers
                    .as_ref()
                    .and_then(|trailers| trailers.get(&GRPC_STATUS))
                    .or_else(|| answer.response.headers.get(&GRPC_STATUS));
                let ok = answer.response.status == http::StatusCode::OK
                    && status.is_some_and(|status| status == "0");
                if ok && grpc_serves(&answer.body) {
                    (CheckOutcome::Success, true)
                } else {
                    (CheckOutcome::Unexpected, true)
                }
            }
            // The wire is made for the probe.
            _ => (CheckOutcome::Network, false),
        };
        Ok((outcome, reusable.then_some(kept)))
    }

    async fn connect(
        &self,
        cluster: &Cluster,
        host: &Host,
        address: Address,
    ) -> Result<Kept, Error> {
        let settings = cluster.settings_cell().load_full();
        let number = self.settings.transport.unwrap_or(host.transport);
        let transport = settings.transports.get(usize::from(number));
        let tls = match transport.map(|transport| &**transport) {
            Some(Transport::Tls(client)) => Some(TlsTarget {
                client: Arc::clone(client),
                server_name: None,
                alpn: None,
                verify_name: None,
            }),
            Some(Transport::Raw) | None => None,
        };
        let (stream, _, negotiated) = dial(&address, tls.as_ref(), None, &settings).await?;
        let wire = match &self.settings.probe {
            Probe::Tcp { .. } => Wire::Tcp(stream),
            probe => Wire::Http(match protocol(probe) {
                Protocol::Http1 => Session::H1(h1::client::ClientConnection::new(stream)),
                Protocol::Http2 => Session::H2(h2::client::ClientConnection::begin(
                    stream,
                    &http2_settings(&settings),
                    Arc::new(h2::Budgets::default()),
                    || {},
                )),
            }),
        };
        Ok(Kept {
            address,
            secure: negotiated.is_some(),
            wire,
        })
    }
}

impl Wire {
    fn is_stale(&self) -> bool {
        match self {
            Self::Http(Session::H1(connection)) => !connection.is_clean() || connection.is_stale(),
            Self::Http(Session::H2(connection)) => connection.is_closed(),
            // A peer that closed is found out by the check.
            Self::Tcp(_) => false,
        }
    }
}

/// Sends and waits for the pieces. Without any, the connection was the check; it is not kept, as in Envoy.
async fn tcp(
    stream: &mut Stream,
    send: &[u8],
    receive: &[Vec<u8>],
) -> Result<(CheckOutcome, bool), Error> {
    let failed = |error: std::io::Error| Error::from_transport(&error);
    if !send.is_empty() {
        stream.write_all(send).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
    }
    if receive.is_empty() {
        return Ok((CheckOutcome::Success, false));
    }
    let mut received = Vec::new();
    while !tcp_matches(receive, &received) {
        if received.len() > MOST_RECEIVED {
            return Ok((CheckOutcome::Unexpected, false));
        }
        if stream.read_buf(&mut received).await.map_err(failed)? == 0 {
            return Ok((CheckOutcome::Network, false));
        }
    }
    Ok((CheckOutcome::Success, true))
}

/// One request with its whole response.
async fn exchange(
    session: &mut Session,
    secure: bool,
    request: &Request,
    body: Body,
) -> Result<Answer, Error> {
    let progress = Progress::default();
    let mut replay = Replay::new(body, 0, &progress);
    let limits = h1::Limits::default();
    let (mut writer, mut reader) = send_head_on(session, secure, request, None, &replay, limits)?;
    let uploaded = replay.upload(&mut writer, false, false).await;
    if let Err(UploadError::Client(error) | UploadError::Host(error)) = uploaded {
        return Err(error);
    }
    let mut reply = reader.head(&request.method, &RefCell::default()).await?;
    let mut answer = Answer {
        response: reply.response,
        body: Vec::new(),
        trailers: None,
        keep_alive: reply.keep_alive,
    };
    while let Some(frame) = reply.body.frame().await {
        match frame.map_err(|error| Error::from_response_body(&error))? {
            // Only the health message is read; a page that is longer passes by.
            Frame::Data(bytes) if answer.body.len() < MOST_RECEIVED => {
                answer.body.extend_from_slice(&bytes);
            }
            Frame::Data(_) => {}
            Frame::Trailers(fields) => answer.trailers = Some(fields),
        }
    }
    Ok(answer)
}

fn protocol(probe: &Probe) -> Protocol {
    match probe {
        Probe::Http(probe) if !probe.http2 => Protocol::Http1,
        _ => Protocol::Http2,
    }
}

fn http_request(probe: &HttpProbe, cluster: &Cluster, host: &Host) -> Request {
    let authority = authority(&probe.host, cluster, host, probe.http2);
    let mut request = Request::get(authority, probe.path.to_string());
    request.method.clone_from(&probe.method);
    request.headers.append(header::USER_AGENT, CHECKER);
    for (name, value) in &probe.headers {
        if *name == header::HOST {
            // Envoy's fields may overwrite the pseudo-header.
            request.authority = Bytes::copy_from_slice(value.as_bytes());
        } else {
            request.headers.append(name.clone(), value.clone());
        }
    }
    request
}

fn grpc_head(wanted: &str, cluster: &Cluster, host: &Host) -> Request {
    let authority = authority(wanted, cluster, host, true);
    let mut request = Request::get(authority, GRPC_PATH);
    request.method = Method::POST;
    let headers = &mut request.headers;
    headers.append(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.append(header::TE, HeaderValue::from_static("trailers"));
    headers.append(header::USER_AGENT, CHECKER);
    request
}

/// What was asked for, else the cluster's name, as in Envoy; where HTTP/2 cannot carry that (`outbound|80||x`), the host's address.
fn authority(wanted: &str, cluster: &Cluster, host: &Host, http2: bool) -> String {
    let name = if wanted.is_empty() {
        &**cluster.name()
    } else {
        wanted
    };
    if http2 && name.parse::<http::uri::Authority>().is_err() {
        return host.address_text.to_string();
    }
    name.to_owned()
}

const CHECKER: HeaderValue = HeaderValue::from_static("Envoy/HC");
const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";
/// More than any answer that a check waits for.
const MOST_RECEIVED: usize = 64 * 1024;
