//! `carbyne lint`: what is wrong in configuration, before anything runs it: Istio YAML, kong.yml, topics.yaml. Nothing is asked of a
//! cluster; so what may well be there and only is not in the files is a warning, and an error is what is refused or cannot work.
//!
//! | file | what it does |
//! |---|---|
//! | [`files`] | which files, and of which kind |
//! | [`istio`] | the mesh's own reader, its findings with codes |
//! | [`across`] | what several resources say together |
//! | [`policy`] | the same of security policies |
//! | [`kong`] | the gateway's own reader |
//! | [`topics`] | the reader of `carbyne topics` |

pub mod across;
pub mod files;
pub mod istio;
pub mod kong;
pub mod policy;
pub mod topics;

use std::path::PathBuf;

use self::files::{Files, gather};
use crate::output::{Findings, Format, Options, Verdict};
use crate::terminal;

/// Arguments of `carbyne lint`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Files and folders; `-` is standard input
    #[arg(default_value = ".", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The gateway that reads kong.yml [default: carbyne-gateway beside this program, else on the PATH]
    #[arg(long, value_name = "FILE")]
    pub gateway: Option<PathBuf>,
    /// Leave out findings of these codes
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub allow: Vec<String>,
}

/// Looks at files.
///
/// # Errors
/// When a path cannot be read at all.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let files = gather(&arguments.paths)?;
    let count = files.count();
    let mut findings = look(files, arguments.gateway.as_deref());
    if !arguments.allow.is_empty() {
        let allowed = |code: &str| {
            arguments
                .allow
                .iter()
                .any(|allow| allow.eq_ignore_ascii_case(code))
        };
        let kept = findings
            .findings
            .into_iter()
            .filter(|finding| !allowed(&finding.code.to_string()));
        findings = Findings::from(kept.collect::<Vec<_>>());
    }
    options.show(&findings)?;
    if options.format == Format::Text && findings.findings.is_empty() {
        terminal::print(&format!("{count}: nothing to find fault with\n"));
    }
    Ok(findings.outcome())
}

/// All findings of files.
#[must_use]
pub fn look(files: Files, gateway: Option<&std::path::Path>) -> Findings {
    let mut findings = files.findings;
    findings.extend(istio::look(&files.istio));
    findings.extend(kong::look(&files.kong, gateway));
    findings.extend(topics::look(&files.topics));
    Findings::from(findings)
}

#[cfg(test)]
mod tests;
