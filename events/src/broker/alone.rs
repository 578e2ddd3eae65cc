//! One node that somebody else keeps running, at addresses of their choice and with a folder that outlives it: `carbyne up`.

use std::{ffi::OsString, fs, net::SocketAddr, path::Path, process::Command};

use super::{BrokerError, Options, cluster_id, jars, keeper::Keeper, node, probe};

/// Sees that a broker can run here: fetches its jars where they are missing (`say` hears of it first), and looks for Java.
///
/// # Errors
/// When Java or the jars are missing and cannot be had.
pub fn prepare(say: impl FnOnce(&str)) -> Result<(), BrokerError> {
    let mut java = Command::new("java");
    java.arg("-version");
    let output = java.output().map_err(BrokerError::Java)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if let Some(version) = version(&said).filter(|version| *version < OLDEST_JAVA) {
        return Err(BrokerError::OldJava { version });
    }
    jars::fetch(say)?;
    Ok(())
}

/// Makes a node ready in a folder, unless it is, and says by which command line it runs. `addresses` are for clients, for brokers
/// and for the controller.
///
/// # Errors
/// When the jars are missing, or the folder cannot be made ready.
pub fn command(
    options: &Options,
    directory: &Path,
    addresses: [SocketAddr; 3],
) -> Result<Vec<OsString>, BrokerError> {
    let system = |error| BrokerError::System {
        what: format!("cannot make {}", directory.display()),
        error,
    };
    fs::create_dir_all(directory).map_err(system)?;
    // Its properties name the folder, and it may run in another one.
    let directory = directory.canonicalize().map_err(system)?;
    let node = node::alone(options, &directory, jars::locate()?, addresses)?;
    if !node.is_formatted() {
        node::format(std::slice::from_ref(&node), &cluster_id(), &Keeper::start())?;
    }
    Ok(node.line())
}

/// True if a broker answers there, within a few seconds.
#[must_use]
pub fn answers(address: SocketAddr) -> bool {
    probe::answers(address).is_ok()
}

/// The number in `openjdk version "17.0.19" 2026-04-21`; those before 9 are called 1.8 and so on.
fn version(said: &str) -> Option<u32> {
    let number = said.split('"').nth(1)?;
    let number = number.strip_prefix("1.").unwrap_or(number);
    number.split(['.', '-', '+']).next()?.parse().ok()
}

/// What the broker's classes are compiled for.
const OLDEST_JAVA: u32 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java() {
        for (said, expected) in [
            ("openjdk version \"17.0.19\" 2026-04-21", Some(17)),
            ("openjdk version \"21-ea\" 2023-09-19", Some(21)),
            ("java version \"1.8.0_292\"", Some(8)),
            (
                "Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"11.0.2\"",
                Some(11),
            ),
            ("", None),
        ] {
            assert_eq!(version(said), expected, "{said}");
        }
    }
}
