//! `carbyne events verify`.

use std::{fmt, path::PathBuf};

use carbyne_events::verify::{
    ExamineError, Missing, ProducerReport, Report, Tail, TopicReader, examine,
};
use serde::Serialize;

use super::{Folder, damaged_heads, unreadable};
use crate::{
    output::{Finding, Findings, Options, Outcome, Text, Verdict, code},
    running,
    terminal::GREEN,
    topics::access::Cluster,
};

/// Arguments of `carbyne events verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Whose spools.
    #[command(flatten)]
    pub folder: Folder,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Look at the spools alone
    #[arg(long, conflicts_with = "bootstrap")]
    pub no_topics: bool,
    /// Look at the topics alone
    #[arg(long, conflicts_with_all = ["folder", "no_topics"])]
    pub no_spool: bool,
}

/// Reads and compares.
///
/// # Errors
/// When a folder or a cluster cannot be read.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let run = arguments.cluster.run.as_deref();
    let spool = if arguments.no_spool {
        None
    } else {
        Some(arguments.folder.path(run)?)
    };
    let bootstrap = bootstrap(arguments)?;
    let topics = match &bootstrap {
        Some(bootstrap) => {
            let properties = arguments.cluster.properties()?;
            Some(TopicReader::new(bootstrap, &properties))
        }
        None => None,
    };
    let report = examine(spool.as_deref(), topics).map_err(|error| match (error, &spool) {
        (ExamineError::Spool(error), Some(path)) => unreadable(path, &error),
        (error, _) => Finding::new(&code::TOPICS_UNREAD, error.to_string()),
    })?;
    let verified = Verified::new(spool, bootstrap, &report);
    options.show(&verified)?;
    Ok(verified.findings.outcome())
}

/// Which brokers, if any are meant.
fn bootstrap(arguments: &Arguments) -> Result<Option<String>, Finding> {
    if arguments.no_topics {
        return Ok(None);
    }
    let named = arguments.cluster.bootstrap.is_some() || arguments.no_spool;
    if named || arguments.folder.folder.is_none() {
        let running = running::find(arguments.cluster.run.as_deref());
        let without = running.is_ok_and(|(_, running)| running.kafka.is_none());
        if !named && without {
            return Ok(None);
        }
        return arguments.cluster.address().map(Some);
    }
    Ok(None)
}

#[derive(Debug, Serialize)]
struct Verified {
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootstrap: Option<String>,
    found: u64,
    duplicates: u64,
    lost: u64,
    declared: u64,
    expired: u64,
    producers: Vec<Producer>,
    #[serde(flatten)]
    findings: Findings,
}

#[derive(Debug, Serialize)]
struct Producer {
    producer: String,
    epoch: u64,
    found: u64,
    duplicates: u64,
    last: u64,
    closed: bool,
    gaps: Vec<Gap>,
}

#[derive(Debug, Serialize)]
struct Gap {
    first: u64,
    last: u64,
    is: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

impl Verified {
    fn new(spool: Option<PathBuf>, bootstrap: Option<String>, report: &Report) -> Self {
        Self {
            spool,
            bootstrap,
            found: report.found,
            duplicates: report.duplicates,
            lost: report.lost,
            declared: report.declared,
            expired: report.expired,
            producers: report.producers.iter().map(Producer::new).collect(),
            findings: findings(report).into(),
        }
    }
}

impl Producer {
    fn new(report: &ProducerReport) -> Self {
        let gaps = report.gaps.iter().map(|gap| {
            let (is, why) = match &gap.missing {
                Missing::Lost => ("lost", String::new()),
                Missing::LostTail => ("lost tail", String::new()),
                Missing::Declared(why) => ("declared", why.clone()),
                Missing::Expired => ("expired", String::new()),
            };
            Gap {
                first: gap.first,
                last: gap.last,
                is,
                why,
            }
        });
        Self {
            producer: report.producer.clone(),
            epoch: report.epoch,
            found: report.found,
            duplicates: report.duplicates,
            last: report.last,
            closed: report.tail == Tail::Closed,
            gaps: gaps.collect(),
        }
    }
}

fn findings(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    for producer in &report.producers {
        let about = format!("{}, epoch {}", producer.producer, producer.epoch);
        let mut shown = 0;
        for gap in &producer.gaps {
            let range = range(gap.first, gap.last);
            let finding = match &gap.missing {
                Missing::Lost => Finding::new(&code::EVENTS_LOST, format!("{range} lost")),
                Missing::LostTail => Finding::new(
                    &code::EVENTS_LOST,
                    format!("{range} lost: the tail of what it emitted"),
                ),
                Missing::Declared(why) => Finding::new(
                    &code::EVENTS_DROPPED,
                    format!("{range} dropped and declared: {why}"),
                ),
                Missing::Expired => continue,
            };
            shown += 1;
            if shown <= GAPS_SHOWN {
                findings.push(finding.about(&about));
            }
        }
        if shown > GAPS_SHOWN {
            let message = format!("{} further gaps; `-o json` lists all", shown - GAPS_SHOWN);
            let lost = producer
                .gaps
                .iter()
                .any(|gap| matches!(gap.missing, Missing::Lost | Missing::LostTail));
            let code = if lost {
                &code::EVENTS_LOST
            } else {
                &code::EVENTS_DROPPED
            };
            findings.push(Finding::new(code, message).about(&about));
        }
    }
    if report.damages > 0 {
        let message = format!("{} places, {} bytes", report.damages, report.damaged_bytes);
        findings.push(Finding::new(&code::SPOOL_DAMAGED, message));
    }
    if report.damaged_heads > 0 {
        let nameless = report.producers.iter();
        let nameless = nameless.filter(|of| of.producer.starts_with(NAMELESS));
        let nameless = nameless.map(|of| of.found).sum();
        let message = damaged_heads(report.damaged_heads, nameless);
        findings.push(Finding::new(&code::SEGMENT_HEAD_DAMAGED, message));
    }
    if report.unreadable > 0 {
        let message = format!(
            "{} events that tell of others cannot be read",
            report.unreadable
        );
        findings.push(Finding::new(&code::TOPICS_UNREAD, message));
    }
    if report.expired > 0 {
        let message = format!(
            "{} sequences may have been deleted by retention or compaction",
            report.expired
        );
        findings.push(Finding::new(&code::EVENTS_EXPIRED, message));
    }
    findings
}

fn range(first: u64, last: u64) -> String {
    if first == last {
        format!("sequence {first} is")
    } else {
        format!("sequences {first} to {last} ({}) are", last - first + 1)
    }
}

impl Text for Verified {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.findings.text(out)?;
        let open = self
            .producers
            .iter()
            .filter(|producer| !producer.closed)
            .count();
        if self.findings.outcome() == Outcome::Well {
            writeln!(
                out,
                "{GREEN}√{GREEN:#} {} events of {} producers' starts, none missing",
                self.found,
                self.producers.len()
            )?;
        } else {
            writeln!(
                out,
                "{} events found · {} lost · {} dropped and declared · {} expired",
                self.found, self.lost, self.declared, self.expired
            )?;
        }
        if self.duplicates > 0 {
            writeln!(
                out,
                "{} of them more than once: who reads drops what it has seen by ce_id",
                self.duplicates
            )?;
        }
        if open > 0 {
            writeln!(
                out,
                "{open} go on: of these all is there up to the last that is known"
            )?;
        }
        Ok(())
    }
}

/// How the names begin of producers whose node nobody knows any more.
const NAMELESS: &str = "?/";
/// Gaps of one producer that are told one by one.
const GAPS_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use carbyne_events::verify;

    use super::*;

    fn report() -> Report {
        let gap = |first, last, missing| verify::Gap {
            first,
            last,
            missing,
        };
        let gaps = vec![
            gap(
                11,
                11,
                Missing::Declared("audit-api-calls ring_full".to_owned()),
            ),
            gap(40, 49, Missing::Lost),
            gap(91, 100, Missing::LostTail),
        ];
        Report {
            producers: vec![ProducerReport {
                producer: "node/gateway-0/0".to_owned(),
                epoch: 1_795_774_000,
                found: 79,
                duplicates: 2,
                last: 100,
                gaps,
                tail: Tail::Closed,
            }],
            found: 79,
            duplicates: 2,
            lost: 20,
            declared: 1,
            ..Report::default()
        }
    }

    #[test]
    fn losses_are_errors_and_what_is_declared_is_a_warning() {
        let mut report = report();
        let verified = Verified::new(None, None, &report);
        assert_eq!(verified.findings.outcome(), Outcome::Failed);
        let text = Options::default().render(&verified).unwrap();
        for words in [
            "sequence 11 is dropped and declared: audit-api-calls ring_full",
            "sequences 40 to 49 (10) are lost",
            "sequences 91 to 100 (10) are lost: the tail of what it emitted",
            "79 events found · 20 lost · 1 dropped and declared · 0 expired",
            "2 of them more than once",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        report.producers[0].gaps.truncate(1);
        report.lost = 0;
        assert_eq!(
            Verified::new(None, None, &report).findings.outcome(),
            Outcome::Differs
        );
        report.producers[0].gaps.clear();
        let verified = Verified::new(None, None, &report);
        assert_eq!(verified.findings.outcome(), Outcome::Well);
        let text = Options::default().render(&verified).unwrap();
        assert!(
            text.contains("79 events of 1 producers' starts, none missing"),
            "{text}"
        );
    }
}
