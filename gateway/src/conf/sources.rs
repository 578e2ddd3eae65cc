//! Where what is told comes from: a file, variables, and files that variables name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfError, DEFAULTS};

/// Keys, each with the name under which it was written and its value.
pub(super) type Told = BTreeMap<String, (String, String)>;

/// The files that are looked for where none is named.
const DEFAULT_FILES: [&str; 2] = ["/etc/kong/kong.conf", "/etc/kong.conf"];

/// What a file says; without a name, the first that there is of Kong's default ones.
pub(super) fn file(file: Option<&Path>) -> Result<Told, ConfError> {
    let default = || {
        DEFAULT_FILES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    };
    let path = match file {
        Some(path) if !path.is_file() => return Err(ConfError::NoFile(path.into())),
        Some(path) => path.to_owned(),
        None => match default() {
            Some(path) => path,
            None => return Ok(Told::new()),
        },
    };
    let unreadable = |problem: String| ConfError::Unreadable {
        path: path.clone(),
        problem,
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let lines = lines(&text).map_err(unreadable)?;
    Ok(lines
        .into_iter()
        .map(|(key, value)| (key.clone(), (key, value)))
        .collect())
}

/// What `KONG_*` says. `KONG_X_FILE` names a file with the value of `KONG_X`, as in Kong's image.
pub(super) fn environment(variables: &BTreeMap<String, String>) -> Result<Told, ConfError> {
    let mut told = Told::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix("KONG_") else {
            continue;
        };
        let lower = key.to_ascii_lowercase();
        if let Some(of) = lower.strip_suffix("_file")
            && DEFAULTS.values.contains_key(of)
        {
            let variable = &name[..name.len() - "_FILE".len()];
            let is_set = |variable| variables.get(variable).is_some_and(|text| !text.is_empty());
            if is_set(variable) {
                return Err(ConfError::Refused(format!(
                    "both {variable} and {name} are set (but are exclusive)"
                )));
            }
            let text = std::fs::read_to_string(value).map_err(|error| ConfError::Unreadable {
                path: value.into(),
                problem: error.to_string(),
            })?;
            told.insert(of.to_owned(), (name.clone(), text.trim_end().to_owned()));
        } else if !is_injected(key, value) {
            told.insert(lower, (name.clone(), value.clone()));
        }
    }
    Ok(told)
}

/// `key = value` lines; `#` begins a comment, `\#` is the sign itself.
fn lines(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = uncommented(line);
        if line.is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {} is no `key = value`", number + 1));
        };
        all.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(all)
}

fn uncommented(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    for letter in line.chars() {
        if letter == '#' {
            if !kept.ends_with('\\') {
                break;
            }
            kept.pop();
        }
        kept.push(letter);
    }
    kept.trim().to_owned()
}

/// A value as a line of a file has it.
pub(super) fn escaped(value: &str) -> String {
    value.replace('#', "\\#")
}

/// What Kubernetes sets for a Service called `kong-…`: addresses that nobody meant as settings.
fn is_injected(key: &str, value: &str) -> bool {
    let ends = [
        "_SERVICE_HOST",
        "_SERVICE_PORT",
        "_TCP",
        "_UDP",
        "_TCP_ADDR",
        "_TCP_PORT",
        "_TCP_PROTO",
        "_UDP_ADDR",
    ];
    value.starts_with("tcp://")
        || value.starts_with("udp://")
        || ends.iter().any(|end| key.ends_with(end))
        || key.contains("_SERVICE_PORT_")
        || key.contains("_PORT_") && (key.ends_with("_UDP_PORT") || key.ends_with("_UDP_PROTO"))
}

/// What is said of a key that is not known.
pub(super) fn unknown(written: &str, key: &str) -> String {
    let nearest = DEFAULTS
        .values
        .keys()
        .map(|known| (distance(key, known), known))
        .min();
    match nearest {
        Some((distance, known)) if distance <= 3 => {
            let known = if written.starts_with("KONG_") {
                format!("KONG_{}", known.to_ascii_uppercase())
            } else {
                known.clone()
            };
            format!("{written} is unknown; did you mean {known}?")
        }
        _ if key.starts_with("nginx_") => {
            format!("{written} injects an nginx directive that has no effect here")
        }
        _ => format!("{written} is unknown"),
    }
}

/// How many letters are to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
