//! Runs a machine over a stream: opens it, sends what is due, applies what arrives, opens it again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::grpc::{Decoder, FramingError, Status, framed};
use super::xds::{Ads, Apply, BackOff, Interest, ReceiveError, ResourceType, Update};

/// The two directions of one gRPC call.
pub trait GrpcStream {
    /// Sends bytes of the request's body.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), StreamError>>;

    /// The next bytes of the response's body, cut anywhere; `None` at its end. Must lose nothing when the
    /// future is dropped before it is ready.
    fn receive(&mut self) -> impl Future<Output = Result<Option<Bytes>, StreamError>>;

    /// How the call ended; asked after [`GrpcStream::receive`] returned `None`.
    fn status(&self) -> Status;
}

/// Opens calls to one control plane.
pub trait Connect {
    /// An open call.
    type Stream: GrpcStream;

    /// Sends the head of a call to `path`. Need not wait for the response's head: istiod sends it with its
    /// first message.
    fn connect(
        &mut self,
        path: &'static str,
    ) -> impl Future<Output = Result<Self::Stream, StreamError>>;
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No connection, or it broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// The control plane ended the call.
    #[error("closed by the control plane: {0}")]
    Closed(Status),
    /// Bytes that are not gRPC messages.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// Messages that are not discovery responses.
    #[error(transparent)]
    Message(#[from] ReceiveError),
}

/// Tells the client that another set of resources is wanted. Clones go to whoever decides that.
#[derive(Clone, Debug)]
pub struct Interests {
    sender: mpsc::UnboundedSender<Option<Wanted>>,
}

type Wanted = (ResourceType, Interest);

/// A discovery client on one stream at a time.
#[derive(Debug)]
pub struct Client<C, A> {
    machine: Rc<RefCell<Ads>>,
    path: &'static str,
    connect: C,
    apply: A,
    interests: mpsc::UnboundedReceiver<Option<Wanted>>,
    back_off: BackOff,
    message_limit: usize,
    /// Origin of the times that the machine is told.
    start: Instant,
}

impl Interests {
    /// From now on `interest` is wanted of this type. May be called while an update is applied: the
    /// request goes out after that update's acknowledgement.
    pub fn want(&self, resource_type: ResourceType, interest: Interest) {
        // A client that has ended wants nothing more.
        drop(self.sender.send(Some((resource_type, interest))));
    }

    /// The machine may have something to say: it was told of something else than interests.
    pub fn look_again(&self) {
        drop(self.sender.send(None));
    }
}

impl<C: Connect, A: Apply> Client<C, A> {
    /// A client of the service at `path`. `machine` is shared with whoever shows its state; it is never
    /// borrowed across an await. The client ends when all [`Interests`] are dropped.
    pub fn new(
        machine: Rc<RefCell<Ads>>,
        path: &'static str,
        connect: C,
        apply: A,
        back_off: BackOff,
    ) -> (Self, Interests) {
        let (sender, interests) = mpsc::unbounded_channel();
        let client = Self {
            machine,
            path,
            connect,
            apply,
            interests,
            back_off,
            message_limit: MESSAGE_LIMIT,
            start: Instant::now(),
        };
        (client, Interests { sender })
    }

    /// Refuses responses of more than `limit` bytes.
    pub fn with_message_limit(mut self, limit: usize) -> Self {
        self.message_limit = limit;
        self
    }

    /// Runs until nobody is left to want anything.
    pub async fn run(mut self) {
        while let Err(error) = self.attempt().await {
            let wait = self.back_off.next_wait();
            tracing::warn!(path = self.path, %error, ?wait, "discovery stream ended");
            let until = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    wanted = self.interests.recv() => match wanted {
                        Some(wanted) => self.want(wanted).await,
                        None => return,
                    },
                }
            }
        }
    }

    /// One stream from its opening to its end; `Ok` when nobody wants anything any more.
    async fn attempt(&mut self) -> Result<(), StreamError> {
        let stream = self.connect.connect(self.path).await?;
        let now = self.start.elapsed();
        self.machine.borrow_mut().connected(now);
        let end = self.converse(stream).await;
        self.machine.borrow_mut().disconnected();
        end
    }

    async fn converse(&mut self, mut stream: C::Stream) -> Result<(), StreamError> {
        let mut decoder = Decoder::new(self.message_limit);
        loop {
            while let Ok(wanted) = self.interests.try_recv() {
                self.want(wanted).await;
            }
            while let Some(request) = self.next_request() {
                stream.send(framed(&request)).await?;
            }
            if let Some(message) = decoder.next_message()? {
                let update = self
                    .machine
                    .borrow_mut()
                    .receive(&message, SystemTime::now())?;
                // What is applied keeps its own copy.
                drop(message);
                if let Some(update) = update {
                    self.back_off.reset();
                    self.apply(update).await;
                }
                continue;
            }
            let wake_at = self.machine.borrow().wake_at();
            tokio::select! {
                chunk = stream.receive() => match chunk? {
                    Some(chunk) => decoder.push(&chunk),
                    None => {
                        decoder.finish()?;
                        return Err(StreamError::Closed(stream.status()));
                    }
                },
                wanted = self.interests.recv() => match wanted {
                    Some(wanted) => self.want(wanted).await,
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(self.start + wake_at.unwrap_or_default()), if wake_at.is_some() => {}
            }
        }
    }

    fn next_request(&self) -> Option<Vec<u8>> {
        self.machine.borrow_mut().next_request(self.start.elapsed())
    }

    async fn want(&mut self, wanted: Option<Wanted>) {
        let Some((resource_type, interest)) = wanted else {
            return;
        };
        let held = self.machine.borrow_mut().want(resource_type, interest);
        if let Some(update) = held {
            self.apply(update).await;
        }
    }

    async fn apply(&mut self, update: Update) {
        let rejected = self
            .apply
            .apply(update.resource_type, &update.upserts, &update.removed)
            .await;
        for rejected in &rejected {
            tracing::warn!(type_url = update.resource_type.type_url(), name = %rejected.name, reason = rejected.reason, "rejected");
        }
        self.machine
            .borrow_mut()
            .applied(update, rejected, SystemTime::now());
    }
}

/// istiod's answer to a big mesh is far above gRPC's usual 4 MiB; pilot-agent accepts 2 GiB.
const MESSAGE_LIMIT: usize = 1 << 30;

#[cfg(test)]
mod tests;
