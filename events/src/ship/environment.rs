//! What the environment asks of a process that ships its own spool.

use std::time::Duration;

use super::Settings;
use super::properties::{BadLine, properties};
use crate::envelope::Form;
use crate::source::KAFKA;

/// A file of lines NAME=VALUE, as `carbyne events ship --kafka-config` takes it.
const CONFIG: &str = "CARBYNE_EVENTS_KAFKA_CONFIG";
/// How values are written: `json` or `avro`.
const FORM: &str = "CARBYNE_EVENTS_KAFKA_FORM";
/// Seconds for which the end goes on with what is not shipped.
const GRACE: &str = "CARBYNE_EVENTS_KAFKA_GRACE_SECONDS";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub settings: Settings,
    /// How long the end goes on with what is not shipped.
    pub grace: Duration,
}

/// What was asked for and cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{CONFIG}: {path}: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error("{CONFIG}: {path}: {source}")]
    Line { path: String, source: BadLine },
    #[error("{FORM} is json or avro, not {0}")]
    Form(String),
    #[error("{GRACE} is a number of seconds, not {0}")]
    Grace(String),
    #[error("{0} is set, and {KAFKA} is not, which says to which brokers")]
    NoBrokers(&'static str),
}

impl Asked {
    /// Reads the variables; nothing where nothing is to be shipped.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, EnvironmentError> {
        let told = |name| variable(name).filter(|value| !value.is_empty());
        let Some(brokers) = told(KAFKA) else {
            let idle = [CONFIG, FORM, GRACE];
            let idle = idle.into_iter().find(|name| told(name).is_some());
            return idle.map_or(Ok(None), |name| Err(EnvironmentError::NoBrokers(name)));
        };
        let mut settings = Settings::new(brokers);
        if let Some(path) = told(CONFIG) {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(source) => return Err(EnvironmentError::Unreadable { path, source }),
            };
            settings.client = match properties(&text) {
                Ok(client) => client,
                Err(source) => return Err(EnvironmentError::Line { path, source }),
            };
        }
        settings.form = match told(FORM).as_deref() {
            None | Some("json") => Form::Json,
            Some("avro") => Form::Avro,
            Some(other) => return Err(EnvironmentError::Form(other.to_owned())),
        };
        let grace = match told(GRACE) {
            None => GRACE_TIME,
            Some(text) => match text.parse() {
                Ok(seconds @ 0..=LONGEST_GRACE) => Duration::from_secs(seconds),
                _ => return Err(EnvironmentError::Grace(text)),
            },
        };
        Ok(Some(Self { settings, grace }))
    }
}

/// Far more than brokers that are well take for what is left, and short of the five seconds that `restart` waits for an end.
const GRACE_TIME: Duration = Duration::from_secs(2);
/// A day.
const LONGEST_GRACE: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Asked>, String> {
        let variable = |asked: &str| {
            let told = variables.iter().find(|(name, _)| *name == asked);
            told.map(|(_, value)| (*value).to_owned())
        };
        Asked::read(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_done_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        std::fs::write(&file, "# as whom\nsasl.username=gateway\n").unwrap();
        let file = file.to_str().unwrap();
        let bad = folder.path().join("bad");
        std::fs::write(&bad, "a=b\nthe-password\n").unwrap();
        let bad = bad.to_str().unwrap();

        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[(KAFKA, ""), (FORM, "")]).unwrap().is_none());
        let asked = read(&[(KAFKA, "a:1,b:2")]).unwrap().unwrap();
        assert_eq!(asked.settings.bootstrap, "a:1,b:2");
        assert_eq!(
            (asked.settings.form, asked.grace),
            (Form::Json, Duration::from_secs(2))
        );
        let all = [
            (KAFKA, "a:1"),
            (CONFIG, file),
            (FORM, "avro"),
            (GRACE, "20"),
        ];
        let asked = read(&all).unwrap().unwrap();
        let client = [("sasl.username".to_owned(), "gateway".to_owned())];
        assert_eq!(asked.settings.client, client);
        assert_eq!(
            (asked.settings.form, asked.grace),
            (Form::Avro, Duration::from_secs(20))
        );

        for (name, value, why) in [
            (CONFIG, "/nonexistent", "/nonexistent: No such file"),
            (CONFIG, bad, "line 2 is not NAME=VALUE"),
            (FORM, "xml", "is json or avro, not xml"),
            (GRACE, "-1", "is a number of seconds, not -1"),
            (GRACE, "2s", "is a number of seconds, not 2s"),
        ] {
            let error = read(&[(KAFKA, "a:1"), (name, value)]).unwrap_err();
            assert!(error.starts_with(name) && error.contains(why), "{error}");
            assert!(!error.contains("the-password"), "{error}");
        }
        let error = read(&[(FORM, "avro")]).unwrap_err();
        assert!(error.contains("CARBYNE_EVENTS_KAFKA is not"), "{error}");
    }
}
