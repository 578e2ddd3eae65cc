//! What is told about connections and streams.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carbyne_engine::forward::{Downstream, Event, Events};

use super::Telling;
use crate::observe::access_log::AccessLogs;
use crate::observe::facts::{Facts, StreamRecord};
use crate::observe::flags::Flags;
use crate::observe::istio::{IstioStats, StatsPlan, TcpSeries};
use crate::observe::security::Security;

/// What is told about connections and streams.
#[derive(Debug)]
pub struct ConnectionLog {
    logs: Arc<AccessLogs>,
    security: Option<Security>,
    /// Istio's metrics of streams, where the chain has them.
    stats: Option<IstioStats>,
}

/// Tells about one stream, while it goes on and at its end.
#[derive(Debug)]
pub struct StreamTelling<'a> {
    log: &'a ConnectionLog,
    series: Option<Rc<TcpSeries>>,
    /// Bytes that are counted.
    received: u64,
    sent: u64,
}

impl ConnectionLog {
    /// With these access logs.
    pub fn new(telling: &Telling, logs: &Arc<AccessLogs>) -> Self {
        Self {
            logs: logs.clone(),
            security: telling.security.clone(),
            stats: None,
        }
    }

    /// Counts streams in Istio's metrics.
    pub fn count(&mut self, telling: &Telling, plan: &StatsPlan, inbound: bool) {
        let store = telling.registry.istio();
        self.stats = Some(IstioStats::new(plan, inbound, &telling.node, store));
    }

    /// No chain wanted the connection; `plaintext` says that the listener's chains want TLS and it had none.
    pub fn no_chain(&self, downstream: &Rc<Downstream>, plaintext: bool) {
        if let Some(security) = self.security.as_ref().filter(|_| plaintext) {
            security.plaintext_refused(downstream);
        }
        let mut record = StreamRecord::new(downstream.clone());
        let mut events = Events::default();
        events.insert(Event::NoRoute);
        record.flags = Flags::of(events);
        record.details = "filter_chain_not_found".into();
        self.ended(record);
    }

    /// The TLS handshake failed.
    pub fn handshake_failed(&self, downstream: &Rc<Downstream>, reason: &'static str) {
        if let Some(security) = &self.security {
            security.handshake_failed(downstream, reason);
        }
        let mut record = StreamRecord::new(downstream.clone());
        record.termination = reason.into();
        self.ended(record);
    }

    /// A filter closed the connection.
    pub fn refused(&self, downstream: &Rc<Downstream>, details: &str) {
        if let Some(security) = &self.security {
            security.closed(downstream, details);
        }
        let mut record = StreamRecord::new(downstream.clone());
        record.termination = details.to_owned().into();
        self.ended(record);
    }

    /// A stream begins.
    pub const fn stream(&self) -> StreamTelling<'_> {
        StreamTelling {
            log: self,
            series: None,
            received: 0,
            sent: 0,
        }
    }

    /// A connection ended that was no stream.
    fn ended(&self, record: StreamRecord) {
        self.stream().ended(record);
    }
}

impl StreamTelling<'_> {
    /// Time between two reports while the stream goes on; none where nobody counts.
    pub fn interval(&self) -> Option<Duration> {
        Some(self.log.stats.as_ref()?.tcp_reporting)
    }

    /// Counts what went through since the last report. The first one says that the stream is open, and fixes its labels:
    /// it must come when the peers are known.
    pub fn report(&mut self, record: &StreamRecord) {
        let Some(stats) = &self.log.stats else {
            return;
        };
        let series = self.series.get_or_insert_with(|| {
            let series = stats.stream(&Facts::of_stream(record));
            series.opened();
            series
        });
        let counts = &record.counts;
        series.bytes(counts.received - self.received, counts.sent - self.sent);
        (self.received, self.sent) = (counts.received, counts.sent);
    }

    /// It is over.
    pub fn ended(mut self, mut record: StreamRecord) {
        record.end(Instant::now());
        self.report(&record);
        if let Some(series) = self.series {
            series.closed();
        }
        self.log.logs.log(&Facts::of_stream(&record));
    }
}
