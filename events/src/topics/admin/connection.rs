//! The clients, and how long they may take.
//!
//! librdkafka blocks in places (name resolution, the end of a client) where no time limit reaches; so each question is asked on a thread
//! of its own, which is left behind when its time is over.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    admin::AdminClient,
    config::RDKafkaLogLevel,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::Metadata,
    producer::{BaseProducer, Producer, ProducerContext},
};

use super::{Access, AdminError};
use crate::ship::refusal;

/// Clients, and where they go.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) access: Access,
    clients: Arc<Held>,
}

impl Connection {
    pub(super) fn new(access: Access) -> Result<Self, AdminError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "carbyne");
        for (name, value) in &access.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &access.bootstrap);
        let wrong = |error: KafkaError| AdminError::Property(refusal(&error));
        let clients = Clients {
            admin: config.create_with_context(Silent).map_err(wrong)?,
            reader: config
                .create_with_context(Complaints::default())
                .map_err(wrong)?,
        };
        let clients = Arc::new(Held(Some(clients)));
        Ok(Self { access, clients })
    }

    /// Asks on a thread of its own and waits no longer than the limit and a little.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        asked: &'static str,
        question: impl FnOnce(&Clients, Duration) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, AdminError> {
        let (answer, answered) = mpsc::channel();
        let (clients, limit) = (Arc::clone(&self.clients), self.access.limit);
        thread::Builder::new()
            .name("kafka admin".to_owned())
            .spawn(move || {
                // Nobody waits any more where this fails.
                answer.send(question(clients.get(), limit)).ok();
            })
            .map_err(|error| AdminError::Thread(Arc::new(error)))?;
        match answered.recv_timeout(limit + GRACE) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if !unanswered(&error) => Err(AdminError::Refused { asked, error }),
            Ok(Err(_)) | Err(_) => Err(self.late(asked)),
        }
    }

    fn late(&self, asked: &'static str) -> AdminError {
        let bootstrap = self.access.bootstrap.clone();
        let complaint = self.clients.get().complaint();
        match complaint {
            Some(Complaint {
                stranger: true,
                reason,
            }) => AdminError::Authentication { bootstrap, reason },
            complaint => AdminError::Late {
                bootstrap,
                asked,
                limit: self.access.limit,
                last: complaint.map(|complaint| complaint.reason),
            },
        }
    }
}

/// One that administers, and one that reads and hears why it cannot: the first is never told of errors.
pub(super) struct Clients {
    pub(super) admin: AdminClient<Silent>,
    pub(super) reader: BaseProducer<Complaints>,
}

impl Clients {
    /// Asks again and again, so that a wrong password is told at once and not at the end of the time.
    pub(super) fn metadata(&self, limit: Duration) -> KafkaResult<Metadata> {
        let client = self.reader.client();
        self.again(limit, Duration::from_secs(1), |limit| {
            client.fetch_metadata(None, limit)
        })
    }

    /// Asks something that changes nothing. Where a broker has just died, its fellows may still name it as the one to ask, and the
    /// client waits for it until it hears of another: so it is made to look again.
    pub(super) fn read<T>(
        &self,
        limit: Duration,
        ask: impl Fn(Duration) -> KafkaResult<T>,
    ) -> KafkaResult<T> {
        self.again(limit, Duration::from_secs(5), |limit| {
            let answer = ask(limit);
            if answer.as_ref().is_err_and(unanswered) {
                // Whether it hears of another shows when it asks again.
                self.admin.inner().fetch_metadata(None, limit).ok();
            }
            answer
        })
    }

    fn again<T>(
        &self,
        limit: Duration,
        each: Duration,
        ask: impl Fn(Duration) -> KafkaResult<T>,
    ) -> KafkaResult<T> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = ask(left.min(each));
            match answer {
                Err(error) if unanswered(&error) && !left.is_zero() => {
                    if self.complaint().is_some_and(|complaint| complaint.stranger) {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    /// What weighs most of what went wrong: that name or password are wrong, else what came last.
    fn complaint(&self) -> Option<Complaint> {
        // Errors wait in a queue; this hands them to the context below.
        self.reader.poll(Duration::from_millis(10));
        let complaint = &self.reader.context().0;
        complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Whether an error only says that nobody answered.
fn unanswered(error: &KafkaError) -> bool {
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    };
    matches!(
        code,
        Some(
            RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
        )
    )
}

/// Clients that end on a thread of their own: the end of a client waits for librdkafka's.
struct Held(Option<Clients>);

impl Held {
    fn get(&self) -> &Clients {
        #[expect(
            clippy::expect_used,
            reason = "they are taken only where this is dropped"
        )]
        self.0.as_ref().expect("the clients")
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let clients = self.0.take();
        // Where there is no thread, they end here.
        thread::Builder::new()
            .name("kafka admin end".to_owned())
            .spawn(move || drop(clients))
            .ok();
    }
}

/// What a client says of its connections.
#[derive(Clone, Debug)]
struct Complaint {
    /// That name or password are wrong: waiting helps nobody.
    stranger: bool,
    reason: String,
}

/// Keeps what weighs most.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<Complaint>>);

impl ClientContext for Complaints {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let stranger = code == Some(RDKafkaErrorCode::Authentication);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let weighty = kept.as_ref().is_some_and(|kept| kept.stranger);
        // "All brokers are down" tells less than what came before it.
        if stranger
            || !weighty && (code != Some(RDKafkaErrorCode::AllBrokersDown) || kept.is_none())
        {
            // How long it was connecting, and how often it said so, is librdkafka's own affair.
            let reason = reason.split(" (after ").next().unwrap_or(reason).to_owned();
            *kept = Some(Complaint { stranger, reason });
        }
    }
}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

/// Says nothing.
#[derive(Debug)]
pub(super) struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
}

const GRACE: Duration = Duration::from_secs(2);
