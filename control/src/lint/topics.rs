//! topics.yaml: read as `carbyne topics` reads it, and asked whether its profiles can hold.

use std::path::PathBuf;

use carbyne_events::topics::{Fault, File};

use crate::output::{Code, Finding, code};

/// Findings of files of topics.
#[must_use]
pub fn look(files: &[(PathBuf, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        let Err(problems) = File::read(text) else {
            continue;
        };
        findings.extend(problems.into_iter().map(|problem| {
            let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let mut finding = Finding::new(code_of(&problem.fault), problem.fault.to_string())
                .in_file(path)
                .at(place(problem.place.line), place(problem.place.column));
            finding.place.path = problem.path;
            finding
        }));
    }
    findings
}

const fn code_of(fault: &Fault) -> &'static Code {
    match fault {
        Fault::KeyMissing => &code::COMPACTED_WITHOUT_KEY,
        Fault::InSync { .. } => &code::NOBODY_COULD_WRITE,
        _ => &code::TOPICS_INVALID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let findings = look(&[("topics.yaml".into(), text.to_owned())]);
        let lines = findings
            .iter()
            .map(|finding| finding.to_string().lines().next().map(str::to_owned));
        lines.flatten().collect()
    }

    #[test]
    fn our_own_topics_have_no_fault() {
        assert_eq!(found(carbyne_events::topics::BUILT_IN), [""; 0]);
    }

    #[test]
    fn faults_have_their_places() {
        let text = "profile: single\nprofiles:\n  single: {replication: 1, config: {min.insync.replicas: 2}}\ntopics:\n  a: {partitions: 0, retention: 7d, cleanup: delete}\n  b: {partitions: 1, retention: 7d, cleanup: compacted}\n";
        let found = found(text);
        for expected in [
            "topics.yaml:5:3: error CTL-0403: topics.a: profile single",
            "topics.yaml:5:19: error CTL-0401: topics.a.partitions: ",
            "error CTL-0402: topics.b: a compacted topic needs a key",
        ] {
            assert!(
                found.iter().any(|line| line.contains(expected)),
                "{expected} in {found:#?}"
            );
        }
    }
}
