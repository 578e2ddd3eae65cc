//! A queue of entries, and the task that sends them: it is there while there is something to send, on the worker that put the first
//! one in. Kong's rules: what is full drops its oldest, a batch is tried until its time is over, ever more slowly.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carbyne_engine::http::Headers;
use carbyne_engine::runtime::Worker;
use http::Method;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::plugin::outgoing::Endpoint;

/// What the schema has for a queue; times in seconds.
#[derive(Clone, Debug, Deserialize)]
pub struct Settings {
    pub(super) max_batch_size: usize,
    pub(super) max_coalescing_delay: f64,
    max_entries: usize,
    max_bytes: Option<usize>,
    max_retry_time: f64,
    initial_retry_delay: f64,
    max_retry_delay: f64,
    concurrency_limit: i64,
}

/// Where batches go.
#[derive(Debug)]
pub struct Sender {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    pub(super) headers: Headers,
}

/// Every queue that somebody holds.
#[derive(Debug, Default)]
pub struct Queues(Mutex<Vec<Weak<Queue>>>);

#[derive(Debug)]
pub struct Queue {
    id: Box<str>,
    sender: Sender,
    settings: Settings,
    state: Mutex<State>,
    /// A batch may be full.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Bytes>,
    bytes: usize,
    /// Whether a task sends.
    running: bool,
    /// Entries that were taken and are not yet sent.
    taken: usize,
    dropped: u64,
    /// Whether it was said that entries are dropped, since it last was not full.
    told: bool,
}

impl Queues {
    pub(super) fn open(&self, queue: Queue) -> Arc<Queue> {
        let queue = Arc::new(queue);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|queue| queue.strong_count() > 0);
        all.push(Arc::downgrade(&queue));
        queue
    }

    /// Waits until everything was sent, but no longer than `limit`.
    pub async fn finish(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let pending = || {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let queues = all.iter().filter_map(Weak::upgrade);
            queues.map(|queue| queue.pending()).sum::<usize>()
        };
        while pending() > 0 && Instant::now() < until {
            tokio::time::sleep(FINISH_INTERVAL).await;
        }
        let lost = pending();
        if lost > 0 {
            tracing::error!(lost, "http-log: entries were not sent before the end");
        }
    }
}

/// How often the end looks whether everything was sent.
const FINISH_INTERVAL: Duration = Duration::from_millis(10);

impl Queue {
    pub(super) fn new(id: &str, sender: Sender, settings: Settings) -> Self {
        Self {
            id: id.into(),
            sender,
            settings,
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Puts an entry in.
    pub(super) fn push(self: &Arc<Self>, entry: Bytes, worker: &Rc<Worker>) {
        if self.settings.concurrency_limit == -1 {
            // Nothing is queued: every entry goes by itself.
            self.lock().taken += 1;
            let (queue, worker) = (self.clone(), worker.clone());
            tokio::task::spawn_local(async move {
                queue.send(&[entry], &worker).await;
                queue.lock().taken -= 1;
            });
            return;
        }
        let mut state = self.lock();
        if !self.make_room(&mut state, entry.len()) {
            return;
        }
        state.bytes += entry.len();
        state.entries.push_back(entry);
        if state.entries.len() >= self.settings.max_batch_size {
            self.filled.notify_one();
        }
        if std::mem::replace(&mut state.running, true) {
            return;
        }
        drop(state);
        let (queue, worker) = (self.clone(), worker.clone());
        tokio::task::spawn_local(async move { queue.run(&worker).await });
    }

    /// Drops the oldest until there is room; false where the entry is larger than all the room.
    fn make_room(&self, state: &mut State, length: usize) -> bool {
        let most = self.settings.max_bytes.unwrap_or(usize::MAX);
        if length > most {
            state.dropped += 1;
            tracing::error!(id = %self.id, length, most, "http-log: an entry is longer than max_bytes");
            return false;
        }
        let full = |state: &State| {
            state.entries.len() >= self.settings.max_entries || state.bytes + length > most
        };
        while full(state) {
            let Some(oldest) = state.entries.pop_front() else {
                break;
            };
            state.bytes -= oldest.len();
            state.dropped += 1;
            if !std::mem::replace(&mut state.told, true) {
                tracing::error!(id = %self.id, "http-log: queue full, dropping old entries until processing is successful again");
            }
        }
        true
    }

    /// Sends until nothing is left.
    async fn run(&self, worker: &Worker) {
        loop {
            self.coalesce().await;
            let batch = {
                let mut state = self.lock();
                let count = state.entries.len().min(self.settings.max_batch_size);
                if count == 0 {
                    state.running = false;
                    return;
                }
                let batch: Vec<_> = state.entries.drain(..count).collect();
                state.bytes -= batch.iter().map(Bytes::len).sum::<usize>();
                state.taken += count;
                batch
            };
            self.send(&batch, worker).await;
            let mut state = self.lock();
            state.taken -= batch.len();
            if std::mem::take(&mut state.told) {
                let dropped = std::mem::take(&mut state.dropped);
                tracing::warn!(id = %self.id, dropped, "http-log: queue resumed processing");
            }
        }
    }

    /// Waits until a batch is full, or its time is over.
    async fn coalesce(&self) {
        let until = tokio::time::Instant::now() + seconds(self.settings.max_coalescing_delay);
        while self.lock().entries.len() < self.settings.max_batch_size {
            let filled = tokio::time::timeout_at(until, self.filled.notified());
            if filled.await.is_err() {
                return;
            }
        }
    }

    /// Sends a batch, again and again until it was taken or its time is over.
    async fn send(&self, batch: &[Bytes], worker: &Worker) {
        let settings = &self.settings;
        let body = if settings.max_batch_size == 1 || settings.concurrency_limit == -1 {
            batch.first().cloned().unwrap_or_default()
        } else {
            array(batch)
        };
        let began = Instant::now();
        let mut delay = seconds(settings.initial_retry_delay);
        loop {
            let Err(problem) = self.sender.send(body.clone(), worker).await else {
                return;
            };
            tracing::warn!(id = %self.id, problem, "http-log: entries could not be sent");
            if began.elapsed() > seconds(settings.max_retry_time) {
                self.lock().dropped += batch.len() as u64;
                tracing::error!(id = %self.id, lost = batch.len(), "http-log: max_retry_time exceeded, entries were lost");
                return;
            }
            tokio::time::sleep(delay.min(seconds(settings.max_retry_delay))).await;
            delay = delay.saturating_mul(2);
        }
    }

    fn pending(&self) -> usize {
        let state = self.lock();
        state.entries.len() + state.taken
    }

    /// Nothing that is done under this lock leaves anything half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    async fn send(&self, body: Bytes, worker: &Worker) -> Result<(), String> {
        let mut request = self.endpoint.request();
        request.method = self.method.clone();
        for (name, value) in &self.headers {
            request.headers.insert(name.clone(), value.clone());
        }
        let called = self.endpoint.call(worker, request, body).await;
        let (response, _) = called.map_err(|error| error.to_string())?;
        if response.status.as_u16() < 300 {
            return Ok(());
        }
        Err(format!("status {}", response.status.as_u16()))
    }
}

fn array(batch: &[Bytes]) -> Bytes {
    let mut all = Vec::with_capacity(batch.iter().map(|entry| entry.len() + 1).sum::<usize>() + 1);
    for (index, entry) in batch.iter().enumerate() {
        all.push(if index == 0 { b'[' } else { b',' });
        all.extend_from_slice(entry);
    }
    all.push(b']');
    all.into()
}

fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}
