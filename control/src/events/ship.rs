//! `carbyne events ship`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use carbyne_events::{
    envelope::Form,
    metrics,
    ship::{Problem, Settings, ShipStatus, Shipper, Watch},
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Folder, shipping::Shipping};
use crate::{
    duration,
    output::{Finding, Format, Options, Outcome, Verdict, code},
    runtime, terminal,
    topics::access::Cluster,
};

/// Arguments of `carbyne events ship`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Whose spools.
    #[command(flatten)]
    pub folder: Folder,
    /// The cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// How values are written
    #[arg(long, value_enum, default_value_t)]
    pub form: ValueForm,
    /// Serve Prometheus' metrics here, and at /status what `carbyne status` asks for
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// How long to go on with what is not shipped when told to stop, such as 5s [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub grace: Option<Duration>,
    /// End when all is shipped that lies there and that no other shipper has
    #[arg(long)]
    pub once: bool,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum ValueForm {
    /// JSON
    #[default]
    Json,
    /// Avro's single-object encoding
    Avro,
}

impl ValueForm {
    /// As it is written on a command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avro",
        }
    }
}

/// Ships until it is told to stop.
///
/// # Errors
/// When it cannot begin.
pub fn run(arguments: &Arguments, options: &Options) -> Verdict {
    let root = arguments.folder.path(arguments.cluster.run.as_deref())?;
    let mut settings = Settings::new(arguments.cluster.address()?);
    settings.client = arguments.cluster.properties()?;
    settings.form = match arguments.form {
        ValueForm::Json => Form::Json,
        ValueForm::Avro => Form::Avro,
    };
    let failed =
        |error: &dyn std::fmt::Display| Finding::new(&code::SHIPPER_FAILED, error.to_string());
    let shipper = Shipper::start(&root, settings).map_err(|error| failed(&error))?;
    if let Some(address) = arguments.metrics {
        serve(address, shipper.watch()).map_err(|error| failed(&format!("{address}: {error}")))?;
    }
    runtime::run(follow(&shipper, &root, arguments))??;
    let status = shipper.stop();
    match options.format {
        // Among the other things that it said meanwhile.
        Format::Text => {
            let acknowledged: u64 = status.acknowledged.iter().sum();
            terminal::note(&format!("{acknowledged} events acknowledged"));
        }
        _ => options.show(&Shipping::from(&status))?,
    }
    Ok(if status.problems.is_empty() {
        Outcome::Well
    } else {
        Outcome::Differs
    })
}

/// Says what keeps events from being shipped, and what no longer does, until a signal or the end.
async fn follow(shipper: &Shipper, root: &Path, arguments: &Arguments) -> Result<(), Finding> {
    let failed = |error: std::io::Error| Finding::new(&code::SYSTEM, error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    terminal::note(&format!("shipping {}", root.display()));
    let mut told: Vec<Problem> = Vec::new();
    let mut idle = 0;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        let status = shipper.status();
        for problem in status
            .problems
            .iter()
            .filter(|problem| !told.contains(problem))
        {
            terminal::warning(&problem.to_string());
        }
        if status.problems.is_empty() && !told.is_empty() {
            terminal::note("events are shipped again");
        }
        told = status.problems;
        // Not at the first: a process that is just ending may still put something there.
        idle = if status.is_idle { idle + 1 } else { 0 };
        if arguments.once && idle >= 3 {
            break;
        }
    }
    if let Some(grace) = arguments.grace {
        // What is still owed then, the next one ships.
        shipper.drain(grace);
    }
    Ok(())
}

/// Answers one request a connection: for Prometheus and `carbyne`.
fn serve(address: SocketAddr, shipper: Watch) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who does not listen gets nothing.
                answer(stream, &shipper.status()).ok();
            }
        })?;
    Ok(())
}

fn answer(mut stream: TcpStream, status: &ShipStatus) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = [0; 4096];
    let length = stream.read(&mut head)?;
    let head = &head[..length];
    let (status, kind, body) = if head.starts_with(b"GET /metrics ") {
        let mut text = String::new();
        metrics::write_shipper(status, &mut text);
        ("200 OK", "text/plain; version=0.0.4", text)
    } else if head.starts_with(b"GET /status ") {
        let json = serde_json::to_string(&Shipping::from(status))?;
        ("200 OK", "application/json", json)
    } else {
        ("404 Not Found", "text/plain", String::new())
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

const LOOK: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;
    use crate::{Arguments as Line, Verb, events};

    /// The command lines under deploy/examples/shipper are ones that this program takes, and mean one folder.
    #[test]
    fn the_examples_command_lines_are_ours() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/shipper");
        let unit = std::fs::read_to_string(folder.join("carbyne-ship.service")).unwrap();
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let unit = read(line.unwrap().split(' ').map(str::to_owned));
        let state = "/var/lib/carbyne/events";
        assert_eq!(unit.folder.folder.as_deref(), Some(Path::new(state)));

        let manifest = std::fs::read_to_string(folder.join("gateway.yaml")).unwrap();
        let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
        let pod = &manifest["spec"]["template"]["spec"];
        let shipper = &pod["initContainers"][0];
        let words = ["command", "args"].into_iter().flat_map(|part| {
            let words = shipper[part].as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap().to_owned())
        });
        let ships = read(words);
        assert_eq!(ships.folder.folder.as_deref(), Some(Path::new(state)));
        let grace = ships.grace.unwrap().as_secs();
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > 2 * grace);
        assert_eq!(
            Some(u64::from(ships.metrics.unwrap().port())),
            shipper["ports"][0]["containerPort"].as_u64()
        );
        // What the gateway spools to is what the shipper reads, on one volume.
        let gateway = &pod["containers"][0];
        let told = gateway["env"].as_array().unwrap().iter();
        let mut told = told.filter(|variable| variable["name"] == "CARBYNE_EVENTS_DIR");
        assert_eq!(told.next().unwrap()["value"], state);
        for container in [shipper, gateway] {
            let mounts = container["volumeMounts"].as_array().unwrap();
            let events = mounts.iter().find(|mount| mount["name"] == "events");
            assert_eq!(events.unwrap()["mountPath"], state);
        }
    }

    fn read(words: impl Iterator<Item = String>) -> Arguments {
        let line = Line::try_parse_from(words).unwrap();
        match line.verb {
            Verb::Events(events::Arguments {
                verb: events::Verb::Ship(arguments),
            }) => arguments,
            other => panic!("{other:?} ships nothing"),
        }
    }
}
