//! The folder's topics.yaml, and the cluster made so. Without one, the twelve topics that this was built with are meant.

use std::{
    io,
    path::{Path, PathBuf},
};

use carbyne_events::topics::{ApplyError, BUILT_IN, Desired, File, Permission, Plan, Refusal};

use crate::{
    output::Finding,
    running,
    topics::access::{Cluster, fault},
};

/// The topics that are declared.
#[derive(Clone, Debug)]
pub struct Topics {
    file: Option<PathBuf>,
    /// What was last read of the file, good or bad.
    seen: String,
    /// What is declared where the last file was good.
    desired: Desired,
    /// What the cluster was last made to be.
    live: Option<Desired>,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Every fault on its own line, with line and column.
    #[error("{0}")]
    Faults(String),
}

/// Why a cluster was not made as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotApplied {
    /// It cannot be so: lines, each with the place of its topic in the file.
    Refused(Vec<String>),
    /// The brokers do not answer, or do not follow: it may be as well the next time.
    Later(String),
}

impl Topics {
    /// Reads the folder's file.
    ///
    /// # Errors
    /// Everything that is wrong in it.
    pub fn open(folder: &Path) -> Result<Self, TopicsError> {
        let file = find(folder);
        let seen = match &file {
            Some(path) => read(path)?,
            None => BUILT_IN.to_owned(),
        };
        let desired = desired(file.as_deref(), &seen)?;
        Ok(Self {
            file,
            seen,
            desired,
            live: None,
        })
    }

    /// Reads the file again; false if it is as it was.
    ///
    /// # Errors
    /// Everything that is wrong in it; then what was declared before stays.
    pub fn reload(&mut self) -> Result<bool, TopicsError> {
        let Some(path) = &self.file else {
            return Ok(false);
        };
        let text = read(path)?;
        if text == self.seen {
            return Ok(false);
        }
        self.seen = text;
        self.desired = desired(self.file.as_deref(), &self.seen)?;
        Ok(true)
    }

    /// What is declared.
    #[must_use]
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The cluster is as this declares.
    pub fn applied(&mut self, desired: Desired) {
        self.live = Some(desired);
    }

    /// The cluster cannot be as declared: what was live before is meant again.
    pub fn refused(&mut self) {
        if let Some(live) = &self.live {
            self.desired.clone_from(live);
        }
    }

    /// The file, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.file.as_ref().map_or_else(
            || "the twelve topics of Carbyne's events".to_owned(),
            |file| file.display().to_string(),
        )
    }

    /// What is needed to make a cluster so, elsewhere.
    #[must_use]
    pub fn task(&self, kafka: &running::Kafka) -> Task {
        Task {
            cluster: kafka.into(),
            topics: self.clone(),
        }
    }

    fn place(&self, refusal: &Refusal) -> String {
        let place = refusal.topic().and_then(|topic| place(&self.seen, topic));
        match (&self.file, place) {
            (Some(file), Some((line, column))) => {
                format!("{}:{line}:{column}: topics.{refusal}", file.display())
            }
            _ => format!("{}: {refusal}", self.name()),
        }
    }
}

/// A cluster to be made as declared.
#[derive(Clone, Debug)]
pub struct Task {
    cluster: Cluster,
    topics: Topics,
}

impl Task {
    /// Does it; blocks for some seconds where nobody answers. Gives back how many topics were made or changed.
    ///
    /// # Errors
    /// When it cannot be so, or cannot be now. Nothing is ever deleted.
    pub fn run(&self) -> Result<usize, NotApplied> {
        let later = |error: &dyn std::fmt::Display| NotApplied::Later(error.to_string());
        let message = |finding: Finding| NotApplied::Later(finding.message);
        let desired = &self.topics.desired;
        let admin = self.cluster.admin().map_err(message)?;
        let state = admin.state(|name| desired.topics.contains_key(name));
        let state = state.map_err(|error| later(&error))?;
        let mut plan = Plan::new(desired, &state, &Permission::default());
        plan.validate(&admin, desired)
            .map_err(|error| later(&error))?;
        match plan.apply(&admin, desired, self.cluster.limit(), |_| {}) {
            Ok(()) => Ok(plan.changes.len()),
            Err(ApplyError::Refused(refusals)) => {
                let lines = refusals.iter().map(|refusal| self.topics.place(refusal));
                Err(NotApplied::Refused(lines.collect()))
            }
            Err(error) => Err(later(&error)),
        }
    }
}

fn desired(file: Option<&Path>, text: &str) -> Result<Desired, TopicsError> {
    let name = file.unwrap_or_else(|| Path::new("(built in)"));
    let faults = |lines: Vec<String>| TopicsError::Faults(lines.join("\n"));
    let file = File::read(text).map_err(|problems| {
        let lines = problems.iter().map(|problem| {
            let finding = fault(name, problem);
            let place = &finding.place;
            let path = match place.path.as_str() {
                "" => String::new(),
                path => format!("{path}: "),
            };
            format!(
                "{}:{}:{}: {path}{}",
                name.display(),
                place.line,
                place.column,
                finding.message
            )
        });
        faults(lines.collect())
    })?;
    // A file whose own profile is not in it was refused just now.
    file.desired(None)
        .ok_or_else(|| faults(vec![format!("{}: no profile is chosen", name.display())]))
}

/// Where a topic is declared.
fn place(text: &str, topic: &str) -> Option<(usize, usize)> {
    let names = |line: &str| {
        let name = line.trim_start().trim_start_matches(['"', '\'']);
        let rest = name.strip_prefix(topic)?;
        rest.trim_start_matches(['"', '\''])
            .starts_with(':')
            .then(|| line.len() - line.trim_start().len() + 1)
    };
    let lines = (1..).zip(text.lines());
    // At the margin stand the file's own words.
    lines
        .filter(|(_, line)| line.starts_with(' '))
        .find_map(|(number, line)| Some((number, names(line)?)))
}

fn find(folder: &Path) -> Option<PathBuf> {
    FILES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

fn read(path: &Path) -> Result<String, TopicsError> {
    std::fs::read_to_string(path).map_err(|error| TopicsError::Read {
        path: path.to_owned(),
        error,
    })
}

/// Names of the file in the folder.
const FILES: [&str; 2] = ["topics.yaml", "topics.yml"];

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "profile: single\nprofiles:\n  single: {replication: 1}\ntopics:\n  a: {partitions: 1, retention: 7d, cleanup: delete}\n";

    #[test]
    fn a_bad_file_leaves_what_was_declared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topics.yaml");
        std::fs::write(&path, SMALL).unwrap();
        let mut topics = Topics::open(folder.path()).unwrap();
        assert!(!topics.reload().unwrap());
        std::fs::write(&path, SMALL.replace("7d", "often")).unwrap();
        let error = topics.reload().unwrap_err().to_string();
        let expected = format!(
            "{}:5:33: topics.a.retention: must be a time",
            path.display()
        );
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(
            topics.desired().topics["a"].config["retention.ms"],
            "604800000"
        );
        std::fs::write(&path, SMALL.replace("7d", "1d")).unwrap();
        assert!(topics.reload().unwrap());
        assert_eq!(
            topics.desired().topics["a"].config["retention.ms"],
            "86400000"
        );
    }

    #[test]
    fn refusals_have_the_place_of_their_topic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("topics.yaml");
        std::fs::write(&path, SMALL).unwrap();
        let mut topics = Topics::open(folder.path()).unwrap();
        topics.applied(topics.desired().clone());
        let shrink = Refusal::Shrink {
            topic: "a".to_owned(),
            has: 2,
            declared: 1,
        };
        let said = topics.place(&shrink);
        let expected = format!("{}:5:3: topics.a: has 2 partitions", path.display());
        assert!(said.starts_with(&expected), "{said}");
        let other = Refusal::Cluster {
            expected: "x".to_owned(),
            found: "y".to_owned(),
        };
        assert!(
            topics
                .place(&other)
                .contains("topics.yaml: this is cluster y")
        );

        // What cannot be is not tried again and again.
        std::fs::write(&path, SMALL.replace("partitions: 1", "partitions: 3")).unwrap();
        assert!(topics.reload().unwrap());
        topics.refused();
        assert_eq!(topics.desired().topics["a"].partitions, 1);
    }

    #[test]
    fn a_folder_without_a_file_means_all_twelve() {
        let folder = tempfile::tempdir().unwrap();
        let mut topics = Topics::open(folder.path()).unwrap();
        assert_eq!(topics.desired().topics.len(), 12);
        assert!(!topics.reload().unwrap());
    }

    /// The example declares what the programs emit to, word for word but for its comments.
    #[test]
    fn the_examples_topics_are_those_that_this_was_built_with() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/platform");
        let own = File::read(&read(&folder.join("topics.yaml")).unwrap()).unwrap();
        let built_in = File::read(BUILT_IN).unwrap();
        for profile in ["single", "ha"] {
            let topics = |file: &File| format!("{:?}", file.desired(Some(profile)));
            assert_eq!(topics(&own), topics(&built_in));
        }
    }
}
