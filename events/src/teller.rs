//! What a worker tells: events of its own, and refusals, of which those that are alike are told as one.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::emit::{Burst, Coalescer, Emitter, Full, now};
use crate::event::security_event::Reason;
use crate::event::{Event, SecurityEvent, Topic};
use crate::redact::{Redaction, Short};
use crate::source::Source;

/// A worker's own.
pub struct Teller {
    // Before the source: it ends when its emitters have.
    emitter: Emitter,
    source: Arc<Source>,
    refusals: RefCell<Coalescer<Rc<Refusal>>>,
    /// Whether somebody waits for the end of a window.
    waiting: Cell<bool>,
}

/// What makes refusals alike.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Refusal {
    pub reason: Reason,
    /// What decided: the plugin, the policy, the setting.
    pub policy: Option<Box<str>>,
    /// The id of the plugin's instance.
    pub policy_id: Option<Box<str>>,
    pub status: Option<u16>,
    pub source_principal: Option<Box<str>>,
    pub client_address: Option<Short>,
    pub destination_principal: Option<Box<str>>,
    pub listener: Option<Box<str>>,
    pub route_id: Option<Box<str>>,
    pub service_id: Option<Box<str>>,
    pub consumer_id: Option<Box<str>>,
}

/// What is told of the first of many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Particulars<'a> {
    pub detail: Option<&'a str>,
    pub request_id: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    pub method: Option<&'a str>,
    pub host: Option<&'a str>,
    pub path_template: Option<&'a str>,
    pub credential_id: Option<&'a str>,
    pub token_issuer: Option<&'a str>,
    pub token_subject: Option<&'a str>,
    pub token_key_hash: Option<&'a str>,
}

impl Refusal {
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            policy: None,
            policy_id: None,
            status: None,
            source_principal: None,
            client_address: None,
            destination_principal: None,
            listener: None,
            route_id: None,
            service_id: None,
            consumer_id: None,
        }
    }
}

impl Teller {
    pub(crate) fn new(emitter: Emitter, source: Arc<Source>) -> Self {
        let others = Rc::new(Refusal::new(Reason::Various));
        Self {
            emitter,
            source,
            refusals: RefCell::new(Coalescer::new(WINDOW, SORTS, others)),
            waiting: Cell::new(false),
        }
    }

    pub fn emit<E: Event>(&self, event: &E) -> Result<(), Full> {
        self.emitter.emit(event)
    }

    pub fn redaction(&self) -> &Redaction {
        self.source.redaction()
    }

    pub fn node(&self) -> &str {
        self.source.node()
    }

    /// Tells a refusal: at once where it is the first of its sort for a while, else with the others when the while is over.
    /// For a task on the worker's own runtime.
    pub fn refused(self: &Rc<Self>, refusal: Refusal, particulars: &Particulars<'_>) {
        let burst = self.refusals.borrow_mut().note(Rc::new(refusal), now());
        match burst {
            Some(burst) => self.tell(&burst, particulars),
            None => {
                self.emitter.coalesced(Topic::SecurityEvents);
                self.wait();
            }
        }
    }

    /// Tells what waits: nothing else will be refused here.
    pub fn finish(&self) {
        let left = self.refusals.borrow_mut().drain();
        for burst in left {
            self.tell(&burst, &Particulars::default());
        }
    }

    fn wait(self: &Rc<Self>) {
        if self.waiting.replace(true) {
            return;
        }
        let teller = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            loop {
                let Some(teller) = teller.upgrade() else {
                    return;
                };
                let next = teller.refusals.borrow().next();
                let Some(next) = next else {
                    teller.waiting.set(false);
                    return;
                };
                drop(teller.told(next).await);
            }
        });
    }

    /// Waits for the end of a window and tells what it gathered.
    async fn told(self: Rc<Self>, end: u64) -> Rc<Self> {
        let left = end.saturating_sub(now()).min(WINDOW);
        tokio::time::sleep(Duration::from_micros(left.max(1000))).await;
        let bursts = self.refusals.borrow_mut().due(now());
        for burst in bursts {
            self.tell(&burst, &Particulars::default());
        }
        self
    }

    fn tell(&self, burst: &Burst<Rc<Refusal>>, of: &Particulars<'_>) {
        let refusal = &*burst.key;
        let event = SecurityEvent {
            time: burst.first,
            node: self.source.node(),
            component: self.source.component(),
            reason: refusal.reason,
            policy: refusal.policy.as_deref(),
            policy_id: refusal.policy_id.as_deref(),
            status: refusal.status.map(u32::from),
            detail: of.detail,
            source_principal: refusal.source_principal.as_deref(),
            client_address: refusal.client_address.as_ref().map(Short::as_str),
            destination_principal: refusal.destination_principal.as_deref(),
            listener: refusal.listener.as_deref(),
            request_id: of.request_id,
            traceparent: of.traceparent,
            method: of.method,
            host: of.host,
            path_template: of.path_template,
            route_id: refusal.route_id.as_deref(),
            service_id: refusal.service_id.as_deref(),
            consumer_id: refusal.consumer_id.as_deref(),
            credential_id: of.credential_id,
            token_issuer: of.token_issuer,
            token_subject: of.token_subject,
            token_key_hash: of.token_key_hash,
            count: burst.count,
            last_time: burst.last,
        };
        // What has no room is counted.
        self.emitter.emit(&event).ok();
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Teller")
            .field("emitter", &self.emitter)
            .finish_non_exhaustive()
    }
}

/// How long refusals of a sort are gathered, in microseconds: what the end of the process by force may cost of their count.
const WINDOW: u64 = 1_000_000;
/// Sorts that are told apart within a window; a client that is always another one cannot take more memory.
const SORTS: usize = 1024;
