//! Gateway and sidecars one behind the other: each sidecar has one side of `istio.json`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::BenchError;
use crate::scenario::ADMIN_PORT;

/// The bootstrap of a sidecar that has this listener alone; each has an admin port of its own.
pub(crate) fn sidecar(listener: &str, number: u16) -> Result<String, BenchError> {
    let text = include_str!("../bootstraps/istio.json");
    let mut bootstrap: Value =
        serde_json::from_str(text).map_err(|error| BenchError::file("istio.json")(error.into()))?;
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = json!(ADMIN_PORT + number);
    if let Some(listeners) = bootstrap["static_resources"]["listeners"].as_array_mut() {
        listeners.retain(|found| found["name"] == listener);
    }
    Ok(bootstrap.to_string())
}

/// A folder in that of the run, with the same certificates: what runs at the same time has its own logs.
///
/// # Errors
/// When a file cannot be copied.
pub(crate) fn folder(run: &Path, name: &str) -> Result<PathBuf, BenchError> {
    let folder = run.join(name);
    fs::create_dir_all(&folder).map_err(BenchError::file(&folder))?;
    for entry in fs::read_dir(run).map_err(BenchError::file(run))? {
        let path = entry.map_err(BenchError::file(run))?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if let (Some("pem" | "key"), Some(name)) = (kind, path.file_name()) {
            fs::copy(&path, folder.join(name)).map_err(BenchError::file(&path))?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sidecar_has_one_side() {
        for (listener, number) in [("mesh_client", 0), ("mesh_server", 1)] {
            let bootstrap: Value =
                serde_json::from_str(&sidecar(listener, number).unwrap()).unwrap();
            let listeners = bootstrap["static_resources"]["listeners"].as_array();
            let names: Vec<&Value> = listeners.unwrap().iter().map(|one| &one["name"]).collect();
            assert_eq!(names, [listener]);
        }
    }
}
