//! The life of a platform: start, wait until it is ready, watch the folder, report what happens, stop. What is saved
//! meanwhile is in [`reload`], what is about Kafka in [`shipping`].

mod reload;
mod shipping;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
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

use self::shipping::Shipping;
use super::{
    Arguments, GATEWAY, PROXY, UpError,
    board::{Board, Level, State},
    directory::Directory,
    free,
    gateway::{self, Gateway},
    guide::{self, guide},
    kafka::Kafka,
    locate,
    page::{observe::observe, serve::Page},
    plane::Plane,
    platform::{Platform, PlatformError},
    process::{Event, Program, What, tail},
    ready::ready,
    topics::Topics,
    tries::{self, Try},
    workloads::{self, Found},
};
use crate::{
    running::{self, Control, Kind, Running},
    terminal::{self, Progress},
    traces::{self, receive::Receiver, ring::Traces},
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
    let gateway = open_gateway(arguments).await?;
    let found = workloads::find(&snapshot, gateway.is_some());
    if found.workloads.is_empty() {
        return Err(UpError::NoWorkloads(arguments.folder.clone()));
    }
    if let Some(gateway) = &gateway
        && !found.workloads.iter().any(|workload| workload.gateway)
    {
        return Err(UpError::NoGatewayWorkload(gateway.file().to_owned()));
    }
    let topics = Topics::open(&arguments.folder)?;
    let kafka = Kafka::choose(arguments, &found.workloads)?;
    // Fetching a broker may have taken minutes.
    let started = if kafka.is_some() {
        Instant::now()
    } else {
        started
    };
    let proxy = locate(
        PROXY,
        arguments
            .proxy
            .clone()
            .or_else(|| std::env::var_os("CARBYNE_PROXY").map(PathBuf::from)),
    )?;
    // Before the addresses: a second one on the same folder is told of the first, not of what that has taken.
    let directory = Directory::new(
        &arguments.folder,
        arguments.base_dir.as_deref(),
        arguments.keep.as_deref(),
    )?;
    if directory.is_taken_over() {
        terminal::note(&format!(
            "{} was left over from one that was killed: taken over",
            directory.path().display()
        ));
    }
    let listens = found
        .workloads
        .iter()
        .flat_map(workloads::Workload::listens)
        .chain(kafka.iter().flat_map(Kafka::listens))
        .chain([arguments.page]);
    let board = Board::default();
    let traces = Traces::default();
    let prepare = async {
        free(listens)?;
        let view = observe(board.clone(), plane.clone(), traces.clone());
        let page = Page::serve(arguments.page, view).await;
        let page = page.map_err(|error| UpError::Listen {
            address: arguments.page,
            error,
        })?;
        Ok((page, Signals::new()?))
    };
    let (page, mut signals) = match prepare.await {
        Ok(prepared) => prepared,
        Err(error) => {
            directory.remove()?;
            return Err(error);
        }
    };
    let (events, happened) = mpsc::unbounded_channel();
    let own = kafka.as_ref().is_some_and(Kafka::is_own);
    let wait = if own { WAIT_WITH_KAFKA } else { WAIT };
    let mut life = Life {
        folder: arguments.folder.clone(),
        started,
        limit: arguments.wait.map_or(wait, Duration::from_secs),
        platform: Platform::new(directory, plane, proxy, events),
        gateway,
        topics,
        kafka,
        board,
        page,
        receiver: Receiver::new(traces),
        snapshot,
        found,
        happened,
        saves,
        shipping: Shipping::default(),
        waiting: JoinSet::new(),
        waiters: BTreeMap::new(),
        pending: BTreeMap::new(),
        announced: false,
        early_ends: BTreeMap::new(),
        warned: BTreeSet::new(),
        refused: BTreeSet::new(),
        bad: false,
        progress: Progress::new(),
    };
    let lived = life.live(&mut signals).await;
    drop(watch);
    life.progress.clear();
    if lived.is_ok() {
        terminal::note("stopping");
    }
    let ships = life.kafka.is_some();
    let directory = life.platform.stop().await;
    if ships && !directory.is_kept() {
        shipping::warn_of_owed(&directory.events());
    }
    let removed = directory.remove();
    lived?;
    Ok(removed?)
}

struct Life {
    folder: PathBuf,
    started: Instant,
    limit: Duration,
    platform: Platform,
    gateway: Option<Gateway>,
    topics: Topics,
    kafka: Option<Kafka>,
    board: Board,
    page: Page,
    receiver: Receiver,
    snapshot: Arc<Snapshot>,
    found: Found,
    happened: mpsc::UnboundedReceiver<Event>,
    saves: mpsc::UnboundedReceiver<Instant>,
    shipping: Shipping,
    /// One task for each program that is not ready; it ends with the program.
    waiting: JoinSet<String>,
    waiters: BTreeMap<String, AbortHandle>,
    /// Programs that are not ready, by title.
    pending: BTreeMap<String, Arc<Program>>,
    /// The guide was printed.
    announced: bool,
    /// Programs that ended before the guide was printed, and how often.
    early_ends: BTreeMap<String, u32>,
    warned: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// The mesh's files were found bad when they were last read.
    bad: bool,
    progress: Progress,
}

impl Life {
    /// Lives until a signal.
    async fn live(&mut self, signals: &mut Signals) -> Result<(), UpError> {
        self.warn();
        self.adjust().await?;
        self.start_broker();
        self.publish();
        let deadline = self.started + self.limit;
        loop {
            let again = self.shipping.again();
            tokio::select! {
                biased;
                () = signals.next() => return Ok(()),
                Some(event) = self.happened.recv() => self.happened(event)?,
                Some(ready) = self.waiting.join_next() => {
                    // An aborted task waited for a program that ended.
                    if let Ok(name) = ready {
                        self.ready(&name);
                    }
                }
                Some(answer) = self.shipping.answered() => self.applied(answer),
                () = tokio::time::sleep_until(deadline), if !self.announced => return Err(self.late()),
                () = tokio::time::sleep_until(again.unwrap_or(deadline)), if again.is_some() => self.apply_topics(None),
                Some(began) = self.saves.recv(), if self.announced => self.reload(began).await,
            }
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), UpError> {
        let Event { program, what } = event;
        match &what {
            What::Started { .. } => {
                self.board.became(&program.title(), State::Starting, None);
                self.wait_for(&program);
            }
            What::Ended { .. } | What::Failed { .. } => self.give_up_on(&program.title()),
        }
        self.publish();
        let (how, pause) = match &what {
            What::Started { .. } => return Ok(()),
            What::Ended { status, pause } => (status.to_string(), pause),
            What::Failed { error, pause } => (error.to_string(), pause),
        };
        self.board.became(&program.title(), State::Down, Some(&how));
        self.note(Level::Warning, format!("{} ended ({how})", program.title()));
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
                page: Some(self.page.address()),
            },
            members: self.platform.members(self.kafka.as_ref()),
            events: Some(running::Events {
                directory: self.platform.directory().events(),
            }),
            kafka: self.kafka.as_ref().map(|kafka| kafka.told().clone()),
        };
        if let Err(error) = self.platform.directory().publish(&running) {
            terminal::warning(&error.to_string());
        }
        let run = self.platform.path().to_owned();
        self.board.tell(|told| {
            told.folder = running.folder;
            told.run = run;
            told.members = running.members;
            told.events = running
                .events
                .map(|events| events.directory)
                .unwrap_or_default();
            told.kafka = running.kafka;
        });
    }

    /// Tells the page of something that is said here.
    fn note(&self, level: Level, text: impl Into<String>) {
        self.board.note(level, text);
    }

    /// Makes what runs match what is live.
    async fn adjust(&mut self) -> Result<(), PlatformError> {
        let collectors = traces::addresses(&self.snapshot);
        for (address, error) in self.receiver.adjust(&collectors).await {
            terminal::warning(&format!("spans are not received at {address}: {error}"));
        }
        let workloads = &self.found.workloads;
        let gateway = self.gateway.as_ref();
        let started = self
            .platform
            .adjust(&self.snapshot, workloads, gateway)
            .await?;
        let started = started
            .into_iter()
            .map(|program| (program.title(), program));
        self.pending.extend(started);
        Ok(())
    }

    fn wait_for(&mut self, program: &Arc<Program>) {
        let title = program.title();
        self.give_up_on(&title);
        let Some(probe) = program.probe else {
            self.board.became(&title, State::Ready, None);
            return;
        };
        self.pending.insert(title.clone(), Arc::clone(program));
        let told = title.clone();
        let waiter = self.waiting.spawn(async move {
            ready(probe).await;
            told
        });
        self.waiters.insert(title, waiter);
    }

    fn give_up_on(&mut self, title: &str) {
        if let Some(waiter) = self.waiters.remove(title) {
            waiter.abort();
        }
    }

    fn ready(&mut self, title: &str) {
        self.waiters.remove(title);
        let Some(program) = self.pending.remove(title) else {
            return;
        };
        if program.kind == Kind::Broker {
            self.apply_topics(None);
        }
        let step = format!("{title} is ready");
        self.board.became(title, State::Ready, None);
        if self.announced {
            self.note(Level::Good, step.clone());
            terminal::note(&step);
            return;
        }
        self.progress.step(&self.summary(), &step);
        if self.pending.is_empty() && !self.shipper_is_due() {
            self.progress.clear();
            self.announced = true;
            let tries = self.tries();
            self.board.tell(|told| {
                told.ready = true;
                told.tries.clone_from(&tries);
            });
            self.note(
                Level::Good,
                format!("ready in {:.1} s", self.started.elapsed().as_secs_f64()),
            );
            let directory = self.platform.directory();
            let place = guide::Place {
                folder: &self.folder,
                run: self.platform.path(),
                page: Some(self.page.address()),
                events: (&directory.events(), directory.is_kept()),
                kafka: self
                    .kafka
                    .as_ref()
                    .map(|kafka| kafka.told().bootstrap.as_str()),
            };
            let took = self.started.elapsed();
            let workloads = &self.found.workloads;
            terminal::print(&guide(&self.snapshot, workloads, &tries, &place, took));
            self.show_refusals();
        }
    }

    /// What the folder says is to be tried, else what its policies promise.
    fn tries(&self) -> Vec<Try> {
        let run = self.platform.path();
        let told = self
            .gateway
            .as_ref()
            .map_or_else(Vec::new, |gateway| tries::read(gateway.text(), run));
        if told.is_empty() {
            guide::tries(&self.snapshot, &self.found.workloads, run)
        } else {
            told
        }
    }

    /// How far it is, and what it waits for.
    fn summary(&self) -> String {
        let all = self.platform.probed() + usize::from(self.shipper_is_due());
        let waiting = self.waited_for();
        format!(
            "{} of {all} are ready; waiting for {}",
            all.saturating_sub(waiting.len()),
            waiting.join(", ")
        )
    }

    fn waited_for(&self) -> Vec<&str> {
        let programs = self.pending.keys().map(String::as_str);
        // Its broker comes first.
        let topics = self.shipper_is_due() && self.shipping.is_asking();
        programs.chain(topics.then_some("the topics")).collect()
    }

    fn late(&self) -> UpError {
        let titles = self.waited_for();
        let logs = self.pending.iter().map(|(title, program)| {
            let log = tail(&program.stderr, LOG_LINES);
            format!("  the log of {title} ends with\n{log}")
        });
        UpError::NotReady {
            seconds: self.limit.as_secs(),
            logs: logs.collect(),
            names: titles.join(", "),
        }
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
            self.note(Level::Bad, refusal.clone());
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

fn refused(what: &str) -> String {
    format!("{what} is refused as a whole: what was live before stays")
}

/// The gateway of a folder that has a kong.yml.
async fn open_gateway(arguments: &Arguments) -> Result<Option<Gateway>, UpError> {
    let wanted = gateway::FILES
        .iter()
        .any(|name| arguments.folder.join(name).is_file());
    if !wanted {
        return Ok(None);
    }
    let named = arguments.gateway.clone();
    let named = named.or_else(|| std::env::var_os("CARBYNE_GATEWAY").map(PathBuf::from));
    let program = locate(GATEWAY, named)?;
    Ok(Gateway::open(program, &arguments.folder).await?)
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
/// In which all must be ready.
const WAIT: Duration = Duration::from_secs(10);
/// The same where a Kafka starts, too, and has its storage formatted before.
const WAIT_WITH_KAFKA: Duration = Duration::from_secs(60);
