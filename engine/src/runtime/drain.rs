//! Telling connections to finish: HTTP/1 says `connection: close` on its next answer, HTTP/2 sends GOAWAY,
//! idle connections close.

use tokio::sync::watch;

/// The end that starts a drain.
#[derive(Debug)]
pub struct Drain {
    started: watch::Sender<bool>,
}

/// The end that connections hold.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    started: watch::Receiver<bool>,
}

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self {
            started: watch::Sender::new(false),
        }
    }

    /// Starts it; a second call changes nothing.
    pub fn start(&self) {
        self.started
            .send_if_modified(|started| !std::mem::replace(started, true));
    }

    /// Whether it started.
    pub fn is_started(&self) -> bool {
        *self.started.borrow()
    }

    /// A signal for a connection.
    pub fn signal(&self) -> DrainSignal {
        DrainSignal {
            started: self.started.subscribe(),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl DrainSignal {
    /// Whether it started.
    pub fn is_started(&self) -> bool {
        *self.started.borrow()
    }

    /// Waits for the start; for ever where the [`Drain`] is gone without having started.
    pub async fn started(&mut self) {
        if self.started.wait_for(|started| *started).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
