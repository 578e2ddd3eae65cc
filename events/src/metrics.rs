//! Metrics in Prometheus' text form: the same words in every process.

use std::fmt::{Display, Write};

use crate::emit::{BOUNDS, Histogram, Status};

/// What a process with an outlet says.
pub fn write(status: &Status, into: &mut String) {
    let mut out = Out(into);
    let topics = |each: &dyn Fn(&crate::emit::TopicStatus) -> u64| -> Vec<(String, u64)> {
        let values = status.topics.iter();
        values
            .map(|(topic, counts)| (format!("topic=\"{}\"", topic.name()), each(counts)))
            .collect()
    };
    out.family(
        "carbyne_events_emitted_total",
        "counter",
        "Events that were emitted.",
        &topics(&|counts| counts.emitted),
    );
    out.family(
        "carbyne_events_coalesced_total",
        "counter",
        "Refusals that were folded into an event that waited.",
        &topics(&|counts| counts.coalesced),
    );
    out.family(
        "carbyne_events_spooled_total",
        "counter",
        "Events on disk, synced as their class asks.",
        &topics(&|counts| counts.spooled),
    );
    let mut lost = Vec::new();
    for (topic, counts) in &status.topics {
        let reasons = [
            ("ring_full", counts.lost_ring_full),
            ("spool_full", counts.lost_spool_full),
            ("too_large", counts.lost_too_large),
        ];
        for (reason, count) in reasons {
            lost.push((
                format!("topic=\"{}\",reason=\"{reason}\"", topic.name()),
                count,
            ));
        }
    }
    out.family(
        "carbyne_events_lost_total",
        "counter",
        "Events that were dropped; each is declared by an AuditGap.",
        &lost,
    );
    out.family(
        "carbyne_events_refused_total",
        "counter",
        "Events of class Block that were not taken: their operations were refused.",
        &topics(&|counts| counts.refused),
    );
    let rings: Vec<(String, f64)> = status
        .rings
        .iter()
        .map(|(worker, used)| (format!("worker=\"{worker}\""), *used))
        .collect();
    out.family(
        "carbyne_events_ring_used_ratio",
        "gauge",
        "How full a worker's ring is.",
        &rings,
    );
    out.one(
        "carbyne_events_spool_bytes",
        "gauge",
        "Bytes of the spool.",
        status.spool_bytes,
    );
    out.one(
        "carbyne_events_spool_limit_bytes",
        "gauge",
        "Bytes from which on the spool counts as full.",
        status.spool_limit,
    );
    let oldest = status.oldest.map_or(0.0, |age| age.as_secs_f64());
    out.one(
        "carbyne_events_spool_oldest_seconds",
        "gauge",
        "Age of the oldest event that is not acknowledged.",
        oldest,
    );
    out.one(
        "carbyne_events_spool_torn_blocks_total",
        "counter",
        "Damaged places of rings.",
        status.torn_blocks,
    );
    out.histogram(
        "carbyne_events_sync_seconds",
        "How long the disk took to keep what was written.",
        &status.syncs,
    );
}

/// What a shipper says that is a process of its own: how the client fares, and of each spool what is owed.
#[cfg(feature = "kafka")]
pub fn write_shipper(status: &crate::ship::ShipStatus, into: &mut String) {
    write_client(status, into);
    let mut out = Out(into);
    let spools = |each: &dyn Fn(&crate::ship::SpoolStatus) -> f64| -> Vec<(String, f64)> {
        let spools = status.spools.iter();
        spools
            .map(|spool| (format!("spool=\"{}\"", spool.name), each(spool)))
            .collect()
    };
    out.family(
        "carbyne_events_spool_bytes",
        "gauge",
        "Bytes of the spool.",
        &spools(&|spool| spool.bytes as f64),
    );
    out.family(
        "carbyne_events_spool_oldest_seconds",
        "gauge",
        "Age of the oldest event that is not acknowledged.",
        &spools(&|spool| spool.oldest.map_or(0.0, |age| age.as_secs_f64())),
    );
}

/// What a shipper adds to the words of the outlet whose spool it ships, which tell what is owed.
#[cfg(feature = "kafka")]
pub fn write_client(status: &crate::ship::ShipStatus, into: &mut String) {
    use std::collections::BTreeMap;

    use crate::event::Topic;

    let mut out = Out(into);
    let topics = Topic::ALL.into_iter().zip(status.acknowledged);
    let acknowledged: Vec<(String, u64)> = topics
        .map(|(topic, count)| (format!("topic=\"{}\"", topic.name()), count))
        .collect();
    out.family(
        "carbyne_events_acknowledged_total",
        "counter",
        "Events that the brokers have acknowledged.",
        &acknowledged,
    );
    out.histogram(
        "carbyne_events_delivery_seconds",
        "From a block's first event to the acknowledgement of all of it.",
        &status.delivery,
    );
    out.one(
        "carbyne_events_gaps_total",
        "counter",
        "Sequences missing between blocks of a spool.",
        status.gaps,
    );
    out.one(
        "carbyne_events_dead_letters",
        "gauge",
        "Events that can never be sent.",
        status.dead_letters,
    );
    out.one(
        "carbyne_events_producer_retries_total",
        "counter",
        "Requests that the client has sent again.",
        status.retries,
    );
    // From the first scrape on, so that a rate sees the first of them.
    let mut errors: BTreeMap<&str, u64> = USUAL_ERRORS.map(|reason| (reason, 0)).into();
    errors.extend(
        status
            .errors
            .iter()
            .map(|(reason, count)| (&**reason, *count)),
    );
    let errors: Vec<(String, u64)> = errors
        .iter()
        .map(|(reason, count)| (format!("reason=\"{reason}\""), *count))
        .collect();
    out.family(
        "carbyne_events_producer_errors_total",
        "counter",
        "Errors of the client.",
        &errors,
    );
    out.one(
        "carbyne_events_producer_restarts_total",
        "counter",
        "Clients that were made anew, and the spool read once more from the cursor.",
        status.restarts,
    );
    out.one(
        "carbyne_events_producer_queue_messages",
        "gauge",
        "Events on their way.",
        status.queued,
    );
    out.one(
        "carbyne_events_brokers_up",
        "gauge",
        "Brokers that the client is connected with.",
        status.brokers_up,
    );
}

/// What a client says of brokers that are away, by librdkafka's names.
#[cfg(feature = "kafka")]
const USUAL_ERRORS: [&str; 2] = ["AllBrokersDown", "BrokerTransportFailure"];

struct Out<'a>(&'a mut String);

impl Out<'_> {
    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help, &[(String::new(), value)]);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, values: &[(String, impl Display)]) {
        self.head(name, kind, help);
        for (labels, value) in values {
            self.sample(name, labels, value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let bounds = BOUNDS
            .iter()
            .map(ToString::to_string)
            .chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bound, below) in bounds.zip(histogram.counts) {
            count += below;
            self.sample(
                &format!("{name}_bucket"),
                &format!("le=\"{bound}\""),
                &count,
            );
        }
        self.sample(&format!("{name}_sum"), "", &histogram.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), "", &count);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Nothing refuses to be written to a string.
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
    }

    fn sample(&mut self, name: &str, labels: &str, value: &dyn Display) {
        let (open, close) = if labels.is_empty() {
            ("", "")
        } else {
            ("{", "}")
        };
        writeln!(self.0, "{name}{open}{labels}{close} {value}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_told_once_with_its_type() {
        let root = tempfile::tempdir().unwrap();
        let outlet =
            crate::emit::Outlet::open(root.path(), crate::emit::Options::new("n", "proxy"))
                .unwrap();
        let emitter = outlet.emitter();
        emitter
            .emit(&crate::samples::refusal("10.0.0.0/24"))
            .unwrap();
        let mut text = String::new();
        write(&outlet.status(), &mut text);
        assert!(
            text.contains("carbyne_events_emitted_total{topic=\"security-events\"} 1\n"),
            "{text}"
        );
        assert!(text.contains(
            "carbyne_events_lost_total{topic=\"audit-api-calls\",reason=\"ring_full\"} 0\n"
        ));
        assert!(text.contains("carbyne_events_sync_seconds_bucket{le=\"+Inf\"}"));
        let mut types: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let all = types.len();
        types.dedup();
        assert_eq!((types.len(), all), (11, 11));
    }
}
