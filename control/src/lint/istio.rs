//! Istio YAML: read as the mesh reads it, whose findings get codes; then what resources say together.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use carbyne_mesh::{
    model::{Labels, Origin},
    source::{Examined, Problem, ProblemKind, examine},
};
use serde_json::Value;

use super::{across, policy};
use crate::output::{Code, Finding, Severity, code};

/// Findings of Kubernetes and Istio YAML.
#[must_use]
pub fn look(files: &[(PathBuf, String)]) -> Vec<Finding> {
    if files.is_empty() {
        return Vec::new();
    }
    let examined = examine(files, Vec::new());
    let cluster = Cluster::of(&examined);
    let broken = !examined.errors.is_empty();
    let mut findings: Vec<Finding> = examined.errors.iter().map(finding).collect();
    let mut others: HashMap<PathBuf, (Origin, usize)> = HashMap::new();
    for problem in &examined.snapshot.warnings {
        match problem.kind {
            ProblemKind::NotIstio => {
                let entry = others
                    .entry(problem.origin.file.to_path_buf())
                    .or_insert_with(|| (problem.origin.clone(), 0));
                entry.1 += 1;
            }
            // What is missing may be in a resource that could not be read.
            ProblemKind::NoService
            | ProblemKind::NoSubset
            | ProblemKind::NoGateway
            | ProblemKind::NoProvider
                if broken => {}
            ProblemKind::NoService if cluster.knows(&problem.message) => {}
            _ => findings.push(finding(problem)),
        }
    }
    for (origin, count) in others.into_values() {
        let objects = if count == 1 {
            "1 object is".to_owned()
        } else {
            format!("{count} objects are")
        };
        findings.push(
            Finding::new(
                &code::NOT_ISTIO,
                format!("{objects} another API's: not looked at"),
            )
            .in_file(&origin.file)
            .at(origin.line, origin.column),
        );
    }
    if !broken {
        across::look(&examined, &cluster, &mut findings);
        policy::look(&examined, &cluster, &mut findings);
    }
    findings
}

/// What the files say of a cluster beside Istio's resources.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Full names of Kubernetes Services.
    hosts: BTreeSet<String>,
    /// Namespace and labels of workloads: of pods and pod templates, WorkloadEntries, endpoints.
    pub workloads: Vec<(String, Labels)>,
}

impl Cluster {
    fn of(examined: &Examined) -> Self {
        let mut cluster = Self::default();
        let domain = &examined.snapshot.mesh.domain;
        for object in examined.others() {
            let text = |pointer: &str| {
                object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let namespace = match text("/metadata/namespace") {
                "" => "default",
                name => name,
            };
            let labels = |pointer: &str| -> Option<Labels> {
                let map = object.pointer(pointer)?.as_object()?;
                let pairs = map
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                Some(pairs.collect())
            };
            match text("/kind") {
                "Service" => {
                    cluster.hosts.insert(format!(
                        "{}.{namespace}.svc.{domain}",
                        text("/metadata/name")
                    ));
                }
                "Pod" => cluster.workloads.extend(
                    labels("/metadata/labels").map(|labels| (namespace.to_owned(), labels)),
                ),
                "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet" => {
                    let labels = labels("/spec/template/metadata/labels");
                    cluster
                        .workloads
                        .extend(labels.map(|labels| (namespace.to_owned(), labels)));
                }
                _ => {}
            }
        }
        let entries = examined.snapshot.workload_entries.iter();
        cluster
            .workloads
            .extend(entries.map(|entry| (entry.meta.namespace.clone(), entry.spec.labels.clone())));
        for service in &examined.snapshot.registry.services {
            let in_place = service
                .instances
                .iter()
                .filter(|instance| instance.workload.is_empty());
            cluster.workloads.extend(
                in_place.map(|instance| (service.namespace.clone(), instance.labels.clone())),
            );
        }
        cluster
    }

    /// True if a message about a missing service names one of Kubernetes.
    fn knows(&self, message: &str) -> bool {
        message.split(' ').any(|word| self.hosts.contains(word))
    }
}

fn finding(problem: &Problem) -> Finding {
    let Problem {
        kind,
        origin,
        path,
        message,
    } = problem;
    let mut finding = Finding::new(code_of(*kind), message.clone());
    // The embedded control plane refuses it; istiod may well serve it.
    if *kind == ProblemKind::NotServed {
        finding.severity = Severity::Warning;
    }
    finding = finding.in_file(&origin.file).at(origin.line, origin.column);
    finding.place.path.clone_from(path);
    finding
}

const fn code_of(kind: ProblemKind) -> &'static Code {
    match kind {
        ProblemKind::Invalid => &code::INVALID,
        ProblemKind::Syntax => &code::NOT_YAML,
        ProblemKind::Unreadable => &code::UNREADABLE,
        ProblemKind::NotServed => &code::NOT_SERVED,
        ProblemKind::Twice => &code::TWICE,
        ProblemKind::UnknownField => &code::UNKNOWN_FIELD,
        ProblemKind::NotIstio => &code::NOT_ISTIO,
        ProblemKind::NoNamespace => &code::NO_NAMESPACE,
        ProblemKind::HostTwice => &code::HOST_TWICE,
        ProblemKind::NoService => &code::NO_SERVICE,
        ProblemKind::NoSubset => &code::NO_SUBSET,
        ProblemKind::NoGateway => &code::NO_GATEWAY,
        ProblemKind::NoProvider => &code::NO_PROVIDER,
    }
}

/// A finding about a path of a resource.
pub(super) fn at(
    examined: &Examined,
    code: &'static Code,
    object: String,
    origin: &Origin,
    pointer: &str,
    message: String,
) -> Finding {
    let place = examined.place(origin, pointer);
    Finding::new(code, message)
        .about(object)
        .in_file(&place.file)
        .at(place.line, place.column)
}
