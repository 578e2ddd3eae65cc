//! Sends what waits, on the control runtime, through the proxy's own clusters.

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use carbyne_engine::runtime::Worker;
use http::StatusCode;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior};

use crate::filter::upstream::call;
use crate::live::clusters::Clusters;
use crate::plan::service::Service;
use crate::wire::grpc::Status;

/// Something that is told to a collector.
pub trait Source: fmt::Debug + Send + Sync {
    /// Who is told.
    fn service(&self) -> &Service;

    /// Method and content type of its messages: the former for gRPC, the latter for HTTP.
    fn words(&self) -> (&'static str, &'static str);

    /// Longest time that something waits.
    fn interval(&self) -> Duration;

    /// Woken when there is enough for a message before that time.
    fn wake(&self) -> &Notify;

    /// That time was up.
    fn timed(&self);

    /// The next message, where something waits.
    fn next(&self) -> Option<Vec<u8>>;

    /// What became of a message.
    fn ended(&self, outcome: &Outcome);
}

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// There is no such cluster.
    NoCluster,
    /// No answer came, or it was no.
    Failed(String),
    /// The answer.
    Answered(StatusCode),
}

/// All that is told, and who is told.
#[derive(Debug)]
pub struct Batcher {
    sender: UnboundedSender<Arc<dyn Source>>,
    /// Until it runs.
    receiver: Mutex<Option<UnboundedReceiver<Arc<dyn Source>>>>,
    sources: Mutex<Vec<Weak<dyn Source>>>,
}

impl Batcher {
    /// With nothing to tell yet.
    pub fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            sources: Mutex::default(),
        }
    }

    /// Sends what `source` gathers from now on, until nobody else holds it.
    pub fn add(&self, source: Arc<dyn Source>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Arc::downgrade(&source));
        drop(sources);
        // It is never closed while this is there.
        self.sender.send(source).unwrap_or_default();
    }

    /// Runs until the process ends.
    pub async fn run(&self, worker: Rc<Worker>, clusters: Arc<Clusters>) {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut receiver) = receiver else { return };
        while let Some(source) = receiver.recv().await {
            tokio::task::spawn_local(serve(source, worker.clone(), clusters.clone()));
        }
    }

    /// Sends everything that waits, as long as `limit` allows: before the process ends.
    pub async fn flush(&self, worker: &Worker, clusters: &Clusters, limit: Duration) {
        let sources: Vec<_> = self
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let all = async {
            for source in &sources {
                drain(&**source, worker, clusters).await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("spans or logs were not sent before the end");
        }
    }
}

impl Default for Batcher {
    fn default() -> Self {
        Self::new()
    }
}

/// One message at a time: what comes meanwhile makes the next one larger.
async fn serve(source: Arc<dyn Source>, worker: Rc<Worker>, clusters: Arc<Clusters>) {
    let interval = source.interval();
    let mut every = tokio::time::interval_at(Instant::now() + interval, interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let timed = tokio::select! {
            () = source.wake().notified() => false,
            _ = every.tick() => true,
        };
        if timed {
            source.timed();
        }
        // A configuration that was replaced still tells what it gathered.
        let alone = Arc::strong_count(&source) == 1;
        drain(&*source, &worker, &clusters).await;
        if alone && Arc::strong_count(&source) == 1 {
            return;
        }
    }
}

async fn drain(source: &dyn Source, worker: &Worker, clusters: &Clusters) {
    while let Some(message) = source.next() {
        let outcome = send(source, message, worker, clusters).await;
        if let Outcome::Failed(reason) = &outcome {
            tracing::debug!(cluster = %source.service().cluster, %reason, "a collector did not take a message");
        }
        source.ended(&outcome);
    }
}

async fn send(
    source: &dyn Source,
    message: Vec<u8>,
    worker: &Worker,
    clusters: &Clusters,
) -> Outcome {
    let service = source.service();
    if clusters.find(service.cluster.as_bytes()).is_none() {
        return Outcome::NoCluster;
    }
    let (method, content) = source.words();
    let request = service.request(method, content, message);
    let timeout = Some(service.timeout);
    let called = call(
        clusters,
        worker,
        &service.cluster,
        request,
        timeout,
        LARGEST_ANSWER,
    );
    let called = match called.await {
        Ok(called) => called,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let status = called.response.status;
    if service.is_grpc() {
        let fields = called.trailers.as_ref().unwrap_or(&called.response.headers);
        let status = Status::from_fields(status.as_u16(), |name| {
            let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
            fields.get(&name).map(http::HeaderValue::as_bytes)
        });
        if status.code != 0 {
            return Outcome::Failed(status.to_string());
        }
    } else if !status.is_success() {
        tracing::debug!(cluster = %service.cluster, status = status.as_u16(), "a collector refused a message");
    }
    Outcome::Answered(status)
}

/// Bytes of an answer; collectors say little.
const LARGEST_ANSWER: usize = 64 << 10;
