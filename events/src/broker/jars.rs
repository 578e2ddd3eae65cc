//! Where the broker's jars are, and how they get there.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum JarsError {
    /// Nobody fetched them yet.
    #[error("Kafka {version} is not at {folder}: `.ci/setup kafka` fetches it (Maven, Java 17)")]
    Missing {
        /// Which.
        version: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is no place for them.
    #[error("neither CARBYNE_CACHE nor HOME is set: there is no place for Kafka's jars")]
    NoPlace,
    /// A file or folder cannot be made.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Maven is missing.
    #[error("cannot run mvn: {0}; install maven")]
    NoMaven(io::Error),
    /// Maven could not get them.
    #[error("Maven could not fetch Kafka {version}:\n{said}")]
    Fetch {
        /// Which.
        version: &'static str,
        /// What it said.
        said: String,
    },
}

/// The folder of the jars: `$CARBYNE_KAFKA`, else in the cache of this project's downloads.
///
/// # Errors
/// When they are not there.
pub fn locate() -> Result<PathBuf, JarsError> {
    if let Some(folder) = env::var_os("CARBYNE_KAFKA") {
        return whole(folder.into());
    }
    whole(place()?)
}

/// Fetches the jars with Maven where they are missing; `say` hears of it first. Returns their folder.
///
/// # Errors
/// When Maven is missing or cannot get them.
pub fn fetch(say: impl FnOnce(&str)) -> Result<PathBuf, JarsError> {
    match locate() {
        Err(JarsError::Missing { version, folder }) if env::var_os("CARBYNE_KAFKA").is_none() => {
            say(&format!(
                "will fetch Kafka {version} from Maven Central into {}",
                folder.display()
            ));
            download(&folder)?;
            Ok(folder)
        }
        other => other,
    }
}

/// The version of the broker.
pub const VERSION: &str = "4.4.0";

fn download(folder: &Path) -> Result<(), JarsError> {
    // A folder of its own until it is whole, so that a broken download is none.
    let part = folder.with_extension(format!("part-{}", std::process::id()));
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| JarsError::File { path, error }
    };
    fs::create_dir_all(&part).map_err(file(&part))?;
    let pom = part.join("pom.xml");
    fs::write(&pom, POM).map_err(file(&pom))?;
    let outcome = Command::new("mvn")
        .args([
            "-B",
            "-q",
            "-C",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-f",
        ])
        .arg(&pom)
        .arg(format!("-DoutputDirectory={}", part.display()))
        .stdin(Stdio::null())
        .output();
    let fetched = match outcome {
        Err(error) => Err(JarsError::NoMaven(error)),
        Ok(output) if output.status.success() => match fs::rename(&part, folder) {
            // Somebody else was quicker.
            Err(_) if folder.is_dir() => Ok(()),
            renamed => renamed.map_err(file(folder)),
        },
        Ok(output) => Err(JarsError::Fetch {
            version: VERSION,
            said: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        }),
    };
    // After a success there is nothing left of it.
    fs::remove_dir_all(&part).ok();
    fetched
}

fn place() -> Result<PathBuf, JarsError> {
    let cache = env::var_os("CARBYNE_CACHE")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache/carbyne")));
    let cache = cache.ok_or(JarsError::NoPlace)?;
    Ok(cache.join(format!("kafka-{VERSION}")))
}

fn whole(folder: PathBuf) -> Result<PathBuf, JarsError> {
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(JarsError::Missing {
            version: VERSION,
            folder,
        })
    }
}

const POM: &str = include_str!("../../kafka/pom.xml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_maven_fetches() {
        assert!(POM.contains(&format!("<kafka.version>{VERSION}</kafka.version>")));
    }

    #[test]
    fn missing_jars_say_how_to_get_them() {
        let error = whole("/nonexistent/kafka".into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Kafka 4.4.0 is not at /nonexistent/kafka: `.ci/setup kafka` fetches it (Maven, Java 17)"
        );
    }
}
