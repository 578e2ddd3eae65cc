//! kong.yml: read by the gateway itself. `carbyne` does not link the gateway (docs/architecture.md); the gateway's `config parse` says
//! every fault of a file on a line of its own, and whoever lints for a gateway gets the answer of that very program.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::output::{Finding, code};

/// Findings of declarative configurations.
#[must_use]
pub fn look(files: &[(PathBuf, String)], gateway: Option<&Path>) -> Vec<Finding> {
    if files.is_empty() {
        return Vec::new();
    }
    let Some(program) = locate(gateway) else {
        let unread = files.iter().map(|(path, _)| {
            Finding::new(
                &code::NOT_CHECKED,
                "carbyne-gateway is not found: the file was not looked at",
            )
            .in_file(path)
        });
        return unread.collect();
    };
    files
        .iter()
        .flat_map(|(path, text)| parse(&program, path, text))
        .collect()
}

fn parse(program: &Path, path: &Path, text: &str) -> Vec<Finding> {
    let not_checked = |error: &dyn std::fmt::Display| {
        vec![
            Finding::new(
                &code::NOT_CHECKED,
                format!("{}: {error}", program.display()),
            )
            .in_file(path),
        ]
    };
    // A copy: what was read is what is checked, standard input too. The ending tells the gateway what it is.
    let ending = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => ".json",
        _ => ".yml",
    };
    let copy = tempfile::Builder::new()
        .prefix("carbyne-lint-")
        .suffix(ending)
        .tempfile();
    let mut copy = match copy {
        Ok(copy) => copy,
        Err(error) => return not_checked(&error),
    };
    if let Err(error) = copy.write_all(text.as_bytes()) {
        return not_checked(&error);
    }
    let output = Command::new(program)
        .args(["config", "parse"])
        .arg(copy.path())
        .output();
    match output {
        Err(error) => not_checked(&error),
        Ok(output) if output.status.success() => Vec::new(),
        Ok(output) => {
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let name = copy.path().display().to_string();
            let findings: Vec<Finding> = said
                .lines()
                .filter_map(|line| fault(line, &name, path))
                .collect();
            if findings.is_empty() {
                let words = said.replace(&name, &path.display().to_string());
                vec![
                    Finding::new(&code::KONG_INVALID, words.trim().replace('\n', " "))
                        .in_file(path),
                ]
            } else {
                findings
            }
        }
    }
}

/// `FILE:LINE:COLUMN: PATH: MESSAGE`.
fn fault(line: &str, name: &str, path: &Path) -> Option<Finding> {
    let rest = line.strip_prefix(name)?.strip_prefix(':')?;
    let mut parts = rest.splitn(3, ':');
    let (line, column) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let rest = parts.next()?.trim_start();
    let (at, message) = rest.split_once(": ").unwrap_or(("", rest));
    let mut finding = Finding::new(&code::KONG_INVALID, message)
        .in_file(path)
        .at(line, column);
    at.clone_into(&mut finding.place.path);
    Some(finding)
}

fn locate(wanted: Option<&Path>) -> Option<PathBuf> {
    if let Some(wanted) = wanted {
        return Some(wanted.to_owned());
    }
    let own = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("carbyne-gateway"))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_lines_become_findings() {
        let path = Path::new("kong.yml");
        let finding = fault(
            "/tmp/x.yml:5:12: services[0].retries: expected an integer",
            "/tmp/x.yml",
            path,
        )
        .unwrap();
        assert!(
            finding.to_string().starts_with(
                "kong.yml:5:12: error CTL-0301: services[0].retries: expected an integer"
            ),
            "{finding}"
        );
        assert!(fault("Error: Failed parsing:", "/tmp/x.yml", path).is_none());
        assert!(fault("/tmp/x.yml:5: x", "/tmp/x.yml", path).is_none());
    }

    #[test]
    fn a_gateway_that_is_not_there_is_told() {
        let files = [(
            PathBuf::from("kong.yml"),
            "_format_version: '3.0'".to_owned(),
        )];
        let findings = look(&files, Some(Path::new("/nonexistent/gateway")));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code.to_string(), "CTL-0302");
    }
}
