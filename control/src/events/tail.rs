//! `carbyne events tail`.

use std::{fmt, path::PathBuf, thread, time::Duration};

use carbyne_events::{
    avro,
    event::{Kind, Topic},
    ring::Record,
    spool::{Position, Reader, Step},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Folder, unreadable};
use crate::{
    output::{Finding, Options, Outcome, Text, Verdict, code},
    terminal::{BOLD, DIM},
};

/// Arguments of `carbyne events tail`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Whose spools.
    #[command(flatten)]
    pub folder: Folder,
    /// Directory of the platform that is meant [default: the one that runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Go on with the events that come, until stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Only events of this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// Only events whose type has this in it, such as gap or carbyne.audit
    #[arg(long = "type", value_name = "TEXT")]
    pub event_type: Option<String>,
    /// Only events with this field, such as status=401 or request_id=…
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub condition: Option<String>,
}

/// Prints events: one line of JSON each for programs.
///
/// # Errors
/// When there is no spool, or none of the topic.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    if let Some(topic) = &arguments.topic
        && Topic::from_name(topic).is_none()
    {
        return Err(Finding::new(
            &code::NO_TOPIC,
            format!("`{topic}` is no topic of Carbyne's"),
        ));
    }
    let directories = arguments.folder.spools(arguments.run.as_deref())?;
    let mut readers: Vec<Reader> = directories
        .iter()
        .map(|directory| Reader::new(directory, Position::default()))
        .collect();
    loop {
        for (reader, directory) in readers.iter_mut().zip(&directories) {
            loop {
                let step = reader
                    .step()
                    .map_err(|error| unreadable(directory.path(), &error))?;
                let block = match step {
                    Step::Block(block) => block,
                    Step::Damage(_) => continue,
                    Step::End => break,
                };
                let producer = format!("{}/{}", reader.name(), block.header.worker);
                for record in block.records() {
                    let shown = Shown::new(&producer, block.header.epoch, &record);
                    if let Some(shown) = shown.filter(|shown| arguments.wants(shown)) {
                        options.show_line(&shown)?;
                    }
                }
            }
        }
        if !arguments.follow {
            return Ok(Outcome::Well);
        }
        thread::sleep(PAUSE);
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    topic: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// None for a tombstone.
    data: Option<Box<RawValue>>,
}

impl Shown {
    /// None where this version does not know the kind.
    fn new(producer: &str, epoch: u64, record: &Record<'_>) -> Option<Self> {
        let kind = Kind::from_number(record.kind)?;
        let data = kind.schema().and_then(|schema| {
            let mut json = String::new();
            avro::to_json(schema, record.body, &mut json).ok()?;
            RawValue::from_string(json).ok()
        });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            id: format!("{producer}/{epoch}/{}", record.sequence),
            topic: kind.topic().name(),
            event_type: kind.event_type(),
            time: record.time,
            key: record.key.map(text),
            traceparent: record.trace.map(text),
            data,
        })
    }

    fn field(&self, name: &str) -> Option<Value> {
        let data: Value = serde_json::from_str(self.data.as_ref()?.get()).ok()?;
        data.get(name).cloned()
    }
}

impl Arguments {
    fn wants(&self, shown: &Shown) -> bool {
        let topic = self.topic.as_ref().is_none_or(|topic| topic == shown.topic);
        let of_type = self
            .event_type
            .as_ref()
            .is_none_or(|text| shown.event_type.contains(text.as_str()));
        topic
            && of_type
            && self.condition.as_ref().is_none_or(|condition| {
                let (name, wanted) = condition.split_once('=').unwrap_or((condition, ""));
                match shown.field(name) {
                    Some(Value::String(text)) => text == wanted,
                    // Numbers and words of JSON, as they are written.
                    Some(value) => {
                        serde_json::from_str(wanted).is_ok_and(|wanted: Value| wanted == value)
                    }
                    None => false,
                }
            })
    }
}

impl Text for Shown {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let data = self.data.as_ref().map_or("(removed)", |data| data.get());
        writeln!(
            out,
            "{BOLD}{}{BOLD:#} {} {DIM}{}{DIM:#}\n  {data}",
            self.event_type, self.topic, self.id
        )
    }
}

/// How long nothing is looked for after everything was shown.
const PAUSE: Duration = Duration::from_millis(100);
