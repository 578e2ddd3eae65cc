//! `carbyne completions`: what a shell reads to complete command lines.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    output::{Outcome, Verdict},
    terminal,
};

/// Arguments of `carbyne completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Shell to complete for: `source <(carbyne completions bash)`
    #[arg(value_enum)]
    pub shell: Kind,
}

/// Shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

/// Prints the script.
///
/// # Errors
/// Never.
pub fn run(arguments: &Arguments) -> Verdict {
    terminal::print(&script(arguments.shell));
    Ok(Outcome::Well)
}

fn script(shell: Kind) -> String {
    let shell = match shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    let mut command = crate::Arguments::command();
    clap_complete::generate(shell, &mut command, "carbyne", &mut script);
    // The generators write text.
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_shell_gets_a_script_with_the_verbs() {
        for shell in [Kind::Bash, Kind::Zsh, Kind::Fish] {
            let script = script(shell);
            for word in ["explain", "completions"] {
                assert!(script.contains(word), "{shell:?} misses {word}");
            }
        }
    }

    /// bash is on every machine that runs these tests: it must complete a verb with what we print.
    #[test]
    fn bash_completes_a_verb() {
        let line = format!(
            "{}\nCOMP_WORDS=(carbyne expl); COMP_CWORD=1; _carbyne carbyne expl carbyne; echo \"${{COMPREPLY[@]}}\"",
            script(Kind::Bash)
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &line])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "explain");
    }
}
