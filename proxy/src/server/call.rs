//! gRPC calls of the proxy itself, through its own clusters.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use carbyne_engine::cluster::PickContext;
use carbyne_engine::cluster::settings::Transport;
use carbyne_engine::forward::client::Duplex;
use carbyne_engine::forward::{Protocol, Target, TlsTarget};
use carbyne_engine::http::Request;
use carbyne_engine::runtime::Worker;
use http::{HeaderValue, Method, header};

use crate::live::clusters::{ClusterSlot, LiveCluster};
use crate::wire::grpc::Status;
use crate::wire::stream::{Connect, GrpcStream, StreamError};

/// Opens calls to one cluster.
#[derive(Clone, Debug)]
pub struct ClusterCalls {
    /// The worker whose connections carry them.
    pub worker: Rc<Worker>,
    /// The cluster.
    pub slot: Arc<ClusterSlot>,
}

/// One call.
#[derive(Debug)]
pub struct ClusterCall(Duplex);

impl Connect for ClusterCalls {
    type Stream = ClusterCall;

    async fn connect(&mut self, path: &'static str) -> Result<ClusterCall, StreamError> {
        let failed = |error: &dyn std::fmt::Display| StreamError::Connection(error.to_string());
        let live = (*self.slot.load())
            .clone()
            .ok_or_else(|| failed(&"no such cluster"))?;
        let target = target(&self.worker, &live, Protocol::Http2)
            .ok_or_else(|| failed(&"no healthy host"))?;
        let mut request = Request::get(live.cluster.name().to_string(), path);
        request.method = Method::POST;
        // A cluster's name is no host (`outbound|80||x`); Envoy sends it all the same, servers ignore it.
        request.authority = Bytes::from_static(b"carbyne");
        request.headers.append(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        request
            .headers
            .append(header::TE, HeaderValue::from_static("trailers"));
        let call = Duplex::open(&self.worker, &target, &request).await;
        call.map(ClusterCall).map_err(|error| failed(&error))
    }
}

impl GrpcStream for ClusterCall {
    async fn send(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let sent = self.0.send(bytes).await;
        sent.map_err(|error| StreamError::Connection(error.to_string()))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        let received = self.0.receive().await;
        received.map_err(|error| StreamError::Connection(error.to_string()))
    }

    fn status(&self) -> Status {
        let head = self.0.response();
        let code = head.map_or(0, |head| head.status.as_u16());
        Status::from_fields(code, |name| {
            let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
            let trailers = self.0.trailers().and_then(|fields| fields.get(&name));
            let value = trailers.or_else(|| head.and_then(|head| head.headers.get(&name)));
            value.map(HeaderValue::as_bytes)
        })
    }
}

/// A host of the cluster for a request of the proxy's own.
pub fn target(worker: &Worker, live: &LiveCluster, protocol: Protocol) -> Option<Target> {
    let host = worker
        .pickers
        .pick(&live.cluster, &PickContext::first(Instant::now()))?;
    let settings = live.cluster.settings();
    let transport = settings.transports.get(usize::from(host.transport));
    let tls = match transport.map(|transport| &**transport) {
        Some(Transport::Tls(client)) => Some(TlsTarget {
            client: client.clone(),
            server_name: None,
            alpn: None,
            verify_name: None,
        }),
        _ => None,
    };
    Some(Target {
        cluster: live.cluster.clone(),
        host,
        tls,
        protocol,
        timeout: None,
        // Apart from forwarded traffic: a discovery stream must not share its connection.
        source: None,
        variant: u64::MAX - protocol as u64,
    })
}
