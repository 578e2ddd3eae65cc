//! `carbyne topics apply`.

use std::{
    fmt,
    io::{BufRead, IsTerminal, Write},
};

use carbyne_events::topics::{ApplyError, Progress};
use serde::Serialize;

use super::{
    access::{Cluster, Declared, Stop},
    plan::{Allowed, Shown},
    show::counted,
};
use crate::{
    output::{Finding, Format, Options, Outcome, Text, code},
    terminal::{self, GREEN},
};

/// Arguments of `carbyne topics apply`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The file.
    #[command(flatten)]
    pub declared: Declared,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// What may be done.
    #[command(flatten)]
    pub allowed: Allowed,
    /// Do it without a question
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Does it.
///
/// # Errors
/// When the file or the cluster cannot be read, nobody agrees, or the cluster does not follow.
pub fn run(arguments: &Arguments, options: &Options) -> Result<Outcome, Stop> {
    let desired = arguments.declared.desired()?;
    let admin = arguments.cluster.admin()?;
    let mut shown = Shown::new(&admin, &desired, &arguments.allowed)?;
    shown.applying = true;
    if shown.plan.is_empty() || shown.summary.refused > 0 {
        options.show(&shown)?;
        return Ok(shown.outcome());
    }
    let for_people = options.format == Format::Text;
    if for_people {
        options.show(&shown)?;
    }
    confirm(arguments, &shown)?;

    let mut done = Done {
        plan: shown,
        done: Vec::new(),
    };
    let mut waiting = terminal::Progress::new();
    let applied =
        done.plan.plan.apply(
            &admin,
            &desired,
            arguments.cluster.limit(),
            |progress| match progress {
                Progress::Done { topic, what } => {
                    if for_people {
                        waiting.clear();
                        terminal::note(&format!("  {topic}: {what}"));
                    }
                    done.done.push(Step { topic, what });
                }
                Progress::Waiting(reason) if for_people => waiting.wait("the cluster", &reason),
                Progress::Waiting(_) => {}
            },
        );
    waiting.clear();
    match applied {
        Ok(()) => {}
        Err(ApplyError::Admin(error)) => return Err(error.into()),
        Err(error) => return Err(Finding::new(&code::NOT_APPLIED, error.to_string()).into()),
    }
    options.show(&done)?;
    Ok(Outcome::Well)
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(flatten)]
    plan: Shown,
    done: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    topic: String,
    what: &'static str,
}

impl Text for Done {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let topics = counted(self.plan.plan.changes.len() as u64, "topic");
        writeln!(
            out,
            "{GREEN}√{GREEN:#} {topics} changed; compared again, nothing is left to change."
        )
    }
}

/// Asks whoever is there: for a yes, and for the name of each topic that goes.
fn confirm(arguments: &Arguments, shown: &Shown) -> Result<(), Finding> {
    if arguments.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Finding::new(
            &code::NOT_CONFIRMED,
            "nothing was changed: nobody is there to say yes",
        ));
    }
    for loss in &shown.losses {
        let messages = counted(loss.messages, "message");
        let question = format!("Delete {} with {messages}? Type its name: ", loss.topic);
        expect(&question, &loss.topic)?;
    }
    expect("Change the cluster so? Type yes: ", "yes")
}

fn expect(question: &str, answer: &str) -> Result<(), Finding> {
    let mut err = std::io::stderr();
    // Nobody can be asked when standard error is gone; then nobody answers either.
    err.write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .ok();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok();
    if line.trim() == answer {
        return Ok(());
    }
    Err(Finding::new(
        &code::NOT_CONFIRMED,
        format!("nothing was changed: the answer was not {answer}"),
    ))
}
