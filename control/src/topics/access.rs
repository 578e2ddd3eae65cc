//! Which file, which cluster, as whom.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use carbyne_events::{
    ship,
    topics::{Access, Admin, AdminError, BUILT_IN, Desired, File, Problem},
};

use crate::{
    output::{self, Finding, Findings, Options, Verdict, code},
    running::{self, Kafka},
};

/// The cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Cluster {
    /// Brokers, `HOST:PORT` with commas between several [default: those of the platform that `carbyne up` runs]
    #[arg(long, value_name = "ADDRESSES")]
    pub bootstrap: Option<String>,
    /// Directory of the platform whose brokers are meant [default: the one that runs]
    #[arg(long, value_name = "DIR", conflicts_with = "bootstrap")]
    pub run: Option<PathBuf>,
    /// File of lines NAME=VALUE, properties of librdkafka: the place for sasl.password
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
    /// One such property
    #[arg(short = 'X', value_name = "NAME=VALUE")]
    pub property: Vec<String>,
    /// Seconds that the cluster may take for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// The file.
#[derive(Clone, Debug, clap::Args)]
pub struct Declared {
    /// File that declares topics, `-` for standard input [default: the twelve topics of Carbyne's events]
    pub file: Option<PathBuf>,
    /// Profile of the file, such as single or ha [default: the file's own]
    #[arg(long)]
    pub profile: Option<String>,
}

impl Cluster {
    /// How long one answer may take.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// A client for it.
    ///
    /// # Errors
    /// When no cluster is named, or a property is wrong.
    pub fn admin(&self) -> Result<Admin, Finding> {
        let access = Access {
            bootstrap: self.address()?,
            properties: self.properties()?,
            limit: self.limit(),
        };
        Admin::new(access).map_err(finding)
    }

    /// Its brokers.
    ///
    /// # Errors
    /// When none are named, and none run.
    pub fn address(&self) -> Result<String, Finding> {
        if let Some(bootstrap) = &self.bootstrap {
            return Ok(bootstrap.clone());
        }
        let none = |reason: String| Finding::new(&code::NO_CLUSTER, reason);
        let (_, running) =
            running::find(self.run.as_deref()).map_err(|error| none(error.to_string()))?;
        let kafka = running
            .kafka
            .ok_or_else(|| none("the platform that runs has no broker".to_owned()))?;
        Ok(kafka.bootstrap)
    }

    /// The file of properties that is named, else the one that the platform was given for its brokers.
    fn file(&self) -> Option<PathBuf> {
        if self.kafka_config.is_some() || self.bootstrap.is_some() {
            return self.kafka_config.clone();
        }
        let (_, running) = running::find(self.run.as_deref()).ok()?;
        running.kafka?.config
    }

    /// Properties of the client.
    ///
    /// # Errors
    /// When one is no `NAME=VALUE`.
    pub fn properties(&self) -> Result<Vec<(String, String)>, Finding> {
        let mut properties = Vec::new();
        if let Some(path) = &self.file() {
            properties = ship::properties(&output::read(path)?).map_err(|bad| {
                Finding::new(&code::KAFKA_PROPERTY, "is not NAME=VALUE")
                    .in_file(path)
                    .at(bad.line, 1)
            })?;
        }
        for property in &self.property {
            let message = "-X takes NAME=VALUE";
            properties.push(
                ship::property(property)
                    .ok_or_else(|| Finding::new(&code::KAFKA_PROPERTY, message))?,
            );
        }
        Ok(properties)
    }
}

impl From<&Kafka> for Cluster {
    fn from(kafka: &Kafka) -> Self {
        Self {
            bootstrap: Some(kafka.bootstrap.clone()),
            run: None,
            kafka_config: kafka.config.clone(),
            property: Vec::new(),
            timeout: PATIENCE,
        }
    }
}

impl Declared {
    /// What the file declares.
    ///
    /// # Errors
    /// When it cannot be read, has no such profile, or faults: then all of them.
    pub fn desired(&self) -> Result<Desired, Stop> {
        let (name, text) = match &self.file {
            Some(path) => (path.clone(), output::read(path)?),
            None => (PathBuf::from("(built in)"), BUILT_IN.to_owned()),
        };
        let file = File::read(&text).map_err(|problems| {
            let findings: Vec<Finding> = problems
                .iter()
                .map(|problem| fault(&name, problem))
                .collect();
            Stop::Many(findings.into())
        })?;
        let desired = file.desired(self.profile.as_deref());
        desired.ok_or_else(|| {
            let known: Vec<&str> = file.profiles().collect();
            let wanted = self.profile.as_deref().unwrap_or_default();
            let finding = Finding::new(&code::NO_PROFILE, format!("there is no profile {wanted}"));
            Stop::One(
                finding
                    .in_file(&name)
                    .fix(format!("it has {}", known.join(", "))),
            )
        })
    }
}

/// Why a verb ends early.
#[derive(Debug)]
pub enum Stop {
    /// For one reason.
    One(Finding),
    /// For several, all of a file.
    Many(Findings),
}

impl Stop {
    /// How the verb ends.
    ///
    /// # Errors
    /// With the one reason.
    pub fn end(self, options: &Options) -> Verdict {
        match self {
            Self::One(finding) => Err(finding),
            Self::Many(findings) => {
                options.show(&findings)?;
                Ok(findings.outcome())
            }
        }
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::One(finding)
    }
}

impl From<AdminError> for Stop {
    fn from(error: AdminError) -> Self {
        Self::One(finding(error))
    }
}

/// Something wrong with a file.
#[must_use]
pub fn fault(file: &Path, problem: &Problem) -> Finding {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut finding = Finding::new(&code::TOPICS_FILE, problem.fault.to_string())
        .in_file(file)
        .at(number(problem.place.line), number(problem.place.column));
    finding.place.path.clone_from(&problem.path);
    finding
}

/// What a cluster's refusal to answer is to the one who asked.
fn finding(error: AdminError) -> Finding {
    let code = match &error {
        AdminError::Property(_) => &code::KAFKA_PROPERTY,
        AdminError::Late { .. } => &code::NO_BROKER,
        AdminError::Authentication { .. } => &code::BROKER_STRANGER,
        AdminError::Refused { .. } | AdminError::Hidden { .. } => &code::BROKER_REFUSES,
        AdminError::Thread(_) => &code::SYSTEM,
    };
    Finding::new(code, error.to_string())
}

/// Seconds that brokers which a platform ships to may take for one answer.
const PATIENCE: u64 = 5;
