//! What the verbs of `carbyne` are given to read.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::BenchError;

/// So many objects without a fault: services with a workload, a rule and routes each, ten of them a file.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_objects(folder: &Path, objects: usize) -> Result<(), BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    for group in 0..objects / 40 {
        let mut text = String::new();
        for index in group * 10..group * 10 + 10 {
            // Writing to a string does not fail.
            write!(
                text,
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{index}, namespace: shop}}\nspec:\n  \
                 hosts: [s{index}.shop.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
                 ports: [{{number: 80, name: http, protocol: HTTP}}]\n  workloadSelector: {{labels: {{app: s{index}}}}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{address: 10.0.{group}.{}, labels: {{app: s{index}, version: v1, security.istio.io/tlsMode: istio}}, serviceAccount: s{index}}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{host: s{index}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{index}, namespace: shop}}\n\
                 spec: {{hosts: [s{index}], http: [{{route: [{{destination: {{host: s{index}, subset: v1}}}}]}}]}}\n---\n",
                index % 250
            )
            .ok();
        }
        let file = folder.join(format!("{group:02}.yaml"));
        fs::write(&file, text).map_err(BenchError::file(&file))?;
    }
    Ok(())
}

/// What so many sidecars would answer: each calls three others, with twenty buckets a histogram.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_scrapes(folder: &Path, services: usize) -> Result<Vec<PathBuf>, BenchError> {
    fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    let labels = |reporter: &str, from: usize, to: usize, rest: &str| {
        format!(
            "reporter=\"{reporter}\",source_workload=\"s{from}\",source_workload_namespace=\"shop\",source_version=\"v1\",\
             destination_workload=\"s{to}\",destination_workload_namespace=\"shop\",destination_service_name=\"s{to}\",{rest}"
        )
    };
    let callees = move |from: usize| {
        [from * 2 + 1, from * 2 + 2, from + 7]
            .into_iter()
            .filter(move |to| *to < services)
    };
    let mut files = Vec::new();
    for own in 0..services {
        let mut text = String::new();
        let mut add = |name: &str, labels: &str| {
            // Writing to a string does not fail.
            writeln!(text, "istio_{name}{{{labels}}} 100").ok();
        };
        for to in callees(own) {
            add(
                "requests_total",
                &labels(
                    "source",
                    own,
                    to,
                    "response_code=\"200\",response_flags=\"-\"",
                ),
            );
            for bucket in 0..20 {
                let bucket = format!("le=\"{}\"", 1 << bucket);
                add(
                    "request_duration_milliseconds_bucket",
                    &labels("source", own, to, &bucket),
                );
            }
        }
        for from in (0..services).filter(|from| callees(*from).any(|to| to == own)) {
            let rest = "response_code=\"200\",connection_security_policy=\"mutual_tls\"";
            add("requests_total", &labels("destination", from, own, rest));
        }
        let file = folder.join(format!("{own:03}.txt"));
        fs::write(&file, text).map_err(BenchError::file(&file))?;
        files.push(file);
    }
    Ok(files)
}
