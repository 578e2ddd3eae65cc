//! The life of a platform: start, wait until it is ready, watch the folder, report what happens, stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use carbyne_mesh::source::Snapshot;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    Arguments, UpError,
    count::count,
    directory::{Directory, PROXY_LOG},
    free,
    guide::guide,
    locate,
    plane::{Plane, ReloadError},
    platform::Platform,
    process::{Event, Part, Program, What, tail},
    ready::ready,
    report,
    workloads::{self, Found},
};
use crate::{
    running::{self, Control, Running},
    terminal::{self, Progress},
};

/// Runs the platform until a signal ends it.
///
/// # Errors
/// When it cannot start or leaves something behind.
pub async fn run(arguments: &Arguments) -> Result<(), UpError> {
    let started = Instant::now();
    let (saved, saves) = mpsc::unbounded_channel();
    // Before the first look, so that no save falls between the two. What is no folder is refused by that look.
    let watch = || {
        carbyne_mesh::watch::watch(&arguments.folder, move || {
            // Nobody waits for saves any more at the very end.
            saved.send(Instant::now()).ok();
        })
    };
    let watch = arguments.folder.is_dir().then(watch).transpose()?;
    let plane = Plane::new(&arguments.folder)?;
    let snapshot = plane.snapshot();
    let found = workloads::find(&snapshot);
    if found.workloads.is_empty() {
        return Err(UpError::NoWorkloads(arguments.folder.clone()));
    }
    let proxy = locate(arguments.proxy.as_deref())?;
    // Before the addresses: a second one on the same folder is told of the first, not of what that has taken.
    let directory = Directory::new(&arguments.folder, arguments.base_dir.as_deref())?;
    if directory.is_taken_over() {
        terminal::note(&format!(
            "{} was left over from one that was killed: taken over",
            directory.path().display()
        ));
    }
    let listens = found
        .workloads
        .iter()
        .flat_map(workloads::Workload::listens);
    let mut signals = match free(listens).and_then(|()| Signals::new()) {
        Ok(signals) => signals,
        Err(error) => {
            directory.remove()?;
            return Err(error);
        }
    };
    let (events, happened) = mpsc::unbounded_channel();
    let mut life = Life {
        folder: arguments.folder.clone(),
        started,
        limit: Duration::from_secs(arguments.wait),
        platform: Platform::new(directory, plane, proxy, events),
        snapshot,
        found,
        happened,
        saves,
        waiting: JoinSet::new(),
        waiters: BTreeMap::new(),
        pending: BTreeSet::new(),
        announced: false,
        early_ends: BTreeMap::new(),
        warned: BTreeSet::new(),
        refused: BTreeSet::new(),
        progress: Progress::new(),
    };
    let lived = life.live(&mut signals).await;
    drop(watch);
    life.progress.clear();
    if lived.is_ok() {
        terminal::note("stopping");
    }
    let stopped = life.platform.stop().await;
    lived?;
    Ok(stopped?)
}

struct Life {
    folder: PathBuf,
    started: Instant,
    limit: Duration,
    platform: Platform,
    snapshot: Arc<Snapshot>,
    found: Found,
    happened: mpsc::UnboundedReceiver<Event>,
    saves: mpsc::UnboundedReceiver<Instant>,
    /// One task for each sidecar that is not ready; it ends with the sidecar's workload.
    waiting: JoinSet<String>,
    waiters: BTreeMap<String, AbortHandle>,
    /// Workloads whose sidecar is not ready.
    pending: BTreeSet<String>,
    /// The guide was printed.
    announced: bool,
    /// Sidecars that ended before the guide was printed, and how often.
    early_ends: BTreeMap<String, u32>,
    warned: BTreeSet<String>,
    refused: BTreeSet<String>,
    progress: Progress,
}

impl Life {
    /// Lives until a signal.
    async fn live(&mut self, signals: &mut Signals) -> Result<(), UpError> {
        self.warn();
        self.pending = self
            .platform
            .adjust(&self.snapshot, &self.found.workloads)
            .await?;
        self.publish();
        let deadline = self.started + self.limit;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                Some(event) = self.happened.recv() => self.happened(event)?,
                Some(ready) = self.waiting.join_next() => {
                    // An aborted task waited for a sidecar that ended.
                    if let Ok(name) = ready {
                        self.ready(&name);
                    }
                }
                () = tokio::time::sleep_until(deadline), if !self.announced => return Err(self.late()),
                Some(began) = self.saves.recv(), if self.announced => self.reload(began).await,
            }
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), UpError> {
        let Event { program, what } = event;
        self.publish();
        if program.part == Part::Sidecar {
            match &what {
                What::Started { .. } => self.wait_for(&program.workload),
                What::Ended { .. } | What::Failed { .. } => self.give_up_on(&program.workload),
            }
        }
        let (how, pause) = match &what {
            What::Started { .. } => return Ok(()),
            What::Ended { status, pause } => (status.to_string(), pause),
            What::Failed { error, pause } => (error.to_string(), pause),
        };
        if !self.announced {
            let ends = self.early_ends.entry(program.title()).or_default();
            *ends += 1;
            if *ends >= EARLY_ENDS {
                return Err(UpError::NotStarting {
                    title: program.title(),
                    status: how,
                    log: tail(&program.stderr, LOG_LINES),
                });
            }
        }
        self.progress.clear();
        terminal::warning(&ended(&program, &how, *pause));
        Ok(())
    }

    /// Tells others what runs now.
    fn publish(&self) {
        let running = Running {
            version: running::VERSION,
            folder: std::path::absolute(&self.folder).unwrap_or_else(|_| self.folder.clone()),
            control: Control {
                pid: std::process::id(),
                page: None,
            },
            members: self.platform.members(),
            events: Some(running::Events {
                directory: self.platform.directory().events(),
            }),
            kafka: None,
        };
        if let Err(error) = self.platform.directory().publish(&running) {
            terminal::warning(&error.to_string());
        }
    }

    fn wait_for(&mut self, name: &str) {
        self.give_up_on(name);
        self.pending.insert(name.to_owned());
        if let Some(workload) = self.platform.workload(name) {
            let (name, admin) = (name.to_owned(), workload.admin());
            let waiter = self.waiting.spawn(async move {
                ready(admin).await;
                name
            });
            self.waiters.insert(workload.name.clone(), waiter);
        }
    }

    fn give_up_on(&mut self, name: &str) {
        if let Some(waiter) = self.waiters.remove(name) {
            waiter.abort();
        }
    }

    fn ready(&mut self, name: &str) {
        self.waiters.remove(name);
        if !self.pending.remove(name) {
            return;
        }
        let step = format!("{name}'s sidecar is ready");
        if self.announced {
            terminal::note(&step);
            return;
        }
        let all = self.found.workloads.len();
        let waiting: Vec<&str> = self.pending.iter().map(String::as_str).collect();
        let summary = format!(
            "{} of {all} sidecars are ready; waiting for {}",
            all - waiting.len(),
            waiting.join(", ")
        );
        self.progress.step(&summary, &step);
        if self.pending.is_empty() {
            self.progress.clear();
            self.announced = true;
            let took = self.started.elapsed();
            terminal::print(&guide(
                &self.snapshot,
                &self.found.workloads,
                &self.folder,
                self.platform.path(),
                took,
            ));
            self.show_refusals();
        }
    }

    fn late(&self) -> UpError {
        let names: Vec<&str> = self.pending.iter().map(String::as_str).collect();
        let logs = names.iter().map(|name| {
            let log = self.platform.path().join(name).join(PROXY_LOG);
            format!("  {name}'s log ends with\n{}", tail(&log, LOG_LINES))
        });
        UpError::NotReady {
            seconds: self.limit.as_secs(),
            logs: logs.collect(),
            names: names.join(", "),
        }
    }

    /// Makes a saved folder live; a bad one is refused and changes nothing.
    async fn reload(&mut self, began: Instant) {
        // Saves of before this reading are in it.
        while self.saves.try_recv().is_ok() {}
        match self.platform.plane().reload().await {
            Ok(()) => {}
            Err(error) => {
                match error {
                    ReloadError::Configuration(errors) => report(&errors),
                    ReloadError::Read(error) => terminal::error(&error.to_string(), None),
                }
                terminal::note(&refused(&self.folder));
                return;
            }
        }
        let snapshot = self.platform.plane().snapshot();
        let found = workloads::find(&snapshot);
        (self.snapshot, self.found) = (snapshot, found);
        self.warn();
        match self
            .platform
            .adjust(&self.snapshot, &self.found.workloads)
            .await
        {
            Ok(started) => self.pending.extend(started),
            Err(error) => terminal::error(&error.to_string(), None),
        }
        let gone: Vec<String> = self
            .waiters
            .keys()
            .filter(|name| self.platform.workload(name).is_none())
            .cloned()
            .collect();
        for name in gone {
            self.give_up_on(&name);
            self.pending.remove(&name);
        }
        self.publish();
        self.platform.plane().settled(SETTLE).await;
        let resources = count(&self.snapshot);
        terminal::note(&format!(
            "applied {resources} resources in {} ms",
            began.elapsed().as_millis()
        ));
        self.show_refusals();
    }

    /// Says what is new among warnings.
    fn warn(&mut self) {
        let warnings = self
            .snapshot
            .warnings
            .iter()
            .map(ToString::to_string)
            .chain(self.found.left_out.iter().cloned());
        let warnings: BTreeSet<String> = warnings.collect();
        for warning in warnings.difference(&self.warned) {
            terminal::warning(warning);
        }
        if self.found.workloads.is_empty() {
            let error = UpError::NoWorkloads(self.folder.clone());
            terminal::warning(&format!("{error}: nothing runs until it does"));
        }
        self.warned = warnings;
    }

    /// Says what sidecars refuse since we last looked.
    fn show_refusals(&mut self) {
        let refusals = self.platform.plane().refusals();
        for refusal in refusals.difference(&self.refused) {
            terminal::error(
                refusal,
                Some("this sidecar goes on with what it had before"),
            );
        }
        self.refused = refusals;
    }
}

fn ended(program: &Program, how: &str, pause: Duration) -> String {
    let log = tail(&program.stderr, LOG_LINES);
    let said = if log.is_empty() {
        String::new()
    } else {
        format!("; its log ends with\n{}", log.trim_end())
    };
    format!(
        "{} ended ({how}), it is started again in {} ms{said}",
        program.title(),
        pause.as_millis()
    )
}

fn refused(folder: &Path) -> String {
    format!(
        "{} is refused as a whole: what was live before stays",
        folder.display()
    )
}

/// The signals that end a program in good order.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self, UpError> {
        let listen = |kind| {
            signal(kind).map_err(|error| UpError::System {
                what: "cannot listen for signals",
                error,
            })
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// A program that ends this often before it was ever ready has a fault that time does not heal.
const EARLY_ENDS: u32 = 3;
const LOG_LINES: usize = 5;
/// How long a change may take to be answered by all sidecars before it is called applied anyway.
const SETTLE: Duration = Duration::from_secs(1);
