//! A gateway on the engine: the target chosen for every try, the body read by a filter, the error worded
//! by the handler.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use carbyne_engine::cluster::{Assignment, Cluster, Endpoint, LocalityEndpoints, Settings};
use carbyne_engine::forward::retry::{Conditions, RetryPolicy};
use carbyne_engine::forward::serve::{Refusal, Serve, ServeSettings};
use carbyne_engine::forward::{
    Answer, Downstream, Error, Exchange, Handler, Protocol, Route, Target,
};
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Accept, Accepted, Drain, Worker, Workers};
use http::{HeaderName, HeaderValue, StatusCode};

/// Bytes of a request that the filter reads.
const BODY_LIMIT: usize = 1024 * 1024;

/// Tries its targets in order, one a try, as Kong's balancer hands out one target after another.
#[derive(Debug)]
pub struct Gateway {
    cluster: Arc<Cluster>,
    protocol: Protocol,
    log: Sender<String>,
}

impl Handler for Gateway {
    type Context = usize;

    fn context(&self) -> usize {
        0
    }

    async fn request(&self, exchange: &mut Exchange<usize>) -> Result<Route, Answer> {
        let body = exchange
            .buffer_body(BODY_LIMIT)
            .await
            .map_err(|_| Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "too large", "body_limit"))?;
        exchange.context = body.len();
        let mut retry = RetryPolicy {
            retries: 3,
            ..RetryPolicy::default()
        };
        retry.on = Conditions::parse("connect-failure,gateway-error").0;
        Ok(Route {
            timeout: Some(Duration::from_secs(10)),
            retry: Some(Arc::new(retry)),
            upgrade: true,
            buffer_limit: 64 * 1024,
            ..Route::default()
        })
    }

    async fn attempt(&self, _exchange: &mut Exchange<usize>, number: u32) -> Result<Target, Error> {
        let set = self.cluster.endpoints();
        let host = set
            .hosts()
            .nth(number as usize)
            .ok_or(Error::NoHealthyHost)?;
        Ok(Target {
            cluster: self.cluster.clone(),
            host: host.clone(),
            tls: None,
            protocol: self.protocol,
            timeout: None,
            variant: 0,
        })
    }

    async fn response(&self, exchange: &mut Exchange<usize>) -> Result<(), Answer> {
        let length = exchange.context;
        if let Some(response) = &mut exchange.response {
            let name = HeaderName::from_static("x-request-length");
            response.headers.insert(name, HeaderValue::from(length));
        }
        Ok(())
    }

    fn error(&self, _exchange: &mut Exchange<usize>, error: &Error) -> Answer {
        let body = format!("{{\"message\":\"{error}\"}}");
        Answer::text(StatusCode::SERVICE_UNAVAILABLE, body, "upstream")
    }

    fn answered(&self, _exchange: &mut Exchange<usize>) {}

    fn log(&self, exchange: &Exchange<usize>) {
        let status = exchange
            .response
            .as_ref()
            .map(|response| response.status.as_u16());
        let line = format!("{status:?} {} tries", exchange.attempts);
        // The test may be over already.
        drop(self.log.send(line));
    }

    fn refused(&self, _downstream: &Downstream, refusal: &Refusal) -> Answer {
        let status = match refusal {
            Refusal::Head(error) => error.status(),
            Refusal::Request(rejection) => rejection.status(),
            Refusal::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        };
        Answer::text(status, "", "refused")
    }
}

#[derive(Debug)]
struct Listener {
    cluster: Arc<Cluster>,
    protocol: Protocol,
    log: Sender<String>,
    drain: Arc<Drain>,
}

impl Accept for Listener {
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let downstream = Downstream {
                id: 1,
                local: accepted.local,
                remote: accepted.remote.clone(),
                direct_remote: accepted.remote,
                server_name: None,
                tls: None,
                accepted: Instant::now(),
            };
            let serve = Serve {
                worker,
                handler: Rc::new(Gateway {
                    cluster: self.cluster.clone(),
                    protocol: self.protocol,
                    log: self.log.clone(),
                }),
                settings: Arc::new(ServeSettings::default()),
                downstream: Rc::new(downstream),
                drain: self.drain.signal(),
            };
            serve.run(accepted.socket.into()).await;
        })
    }
}

pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// One line a request.
    pub log: Receiver<String>,
    /// Told to drain.
    pub drain: Arc<Drain>,
    _workers: Workers,
    _listening: carbyne_engine::runtime::Listening,
}

/// A gateway in front of `targets`.
pub fn gateway(targets: &[SocketAddr], protocol: Protocol) -> Running {
    let cluster = Cluster::new(Settings::named("targets"), Instant::now());
    let endpoints = targets.iter().copied().map(Endpoint::at).collect();
    let locality = LocalityEndpoints {
        endpoints,
        weight: 1,
        ..LocalityEndpoints::default()
    };
    cluster.update_endpoints(Assignment::of(vec![locality]), Instant::now());
    let workers = Workers::start(1).unwrap();
    let (sender, log) = channel();
    let drain = Arc::new(Drain::new());
    let listener = Listener {
        cluster,
        protocol,
        log: sender,
        drain: drain.clone(),
    };
    let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listening = workers
        .listen(&address, ListenOptions::default(), Arc::new(listener))
        .unwrap();
    Running {
        address: listening.address().socket().unwrap(),
        log,
        drain,
        _workers: workers,
        _listening: listening,
    }
}
