//! A running `carbyne up`: its lines, its processes, its end.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// A platform under test. Dropping it ends it.
pub(crate) struct Up {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    said: Vec<String>,
    folder: Option<TempDir>,
    base: Option<TempDir>,
    limit: Duration,
}

impl Up {
    /// Starts it on a folder.
    pub(crate) fn start(folder: TempDir, programs: &Programs) -> Self {
        Self::start_with(folder, programs, &[])
    }

    /// Starts it with further arguments.
    pub(crate) fn start_with(folder: TempDir, programs: &Programs, more: &[&str]) -> Self {
        let base = tempfile::Builder::new()
            .prefix("up")
            .tempdir_in("/tmp")
            .unwrap();
        Self::start_in(folder, base, programs, more)
    }

    fn start_in(folder: TempDir, base: TempDir, programs: &Programs, more: &[&str]) -> Self {
        // A broker has a Java to start, twice.
        let (wait, limit) = if more.contains(&"--with-kafka") {
            ("100", Duration::from_secs(120))
        } else {
            ("25", LIMIT)
        };
        let mut child = Command::new(carbyne())
            .arg("up")
            .arg(folder.path())
            .args(more)
            .args(["--wait", wait, "--page", "127.0.0.1:0", "--proxy"])
            .arg(&programs.proxy)
            .arg("--gateway")
            .arg(&programs.gateway)
            .arg("--base-dir")
            .arg(base.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (
            lines(child.stdout.take().unwrap()),
            lines(child.stderr.take().unwrap()),
        );
        Self {
            child,
            out,
            err,
            said: Vec::new(),
            folder: Some(folder),
            base: Some(base),
            limit,
        }
    }

    /// Starts one where this one, which was killed, left its files.
    pub(crate) fn restart(mut self, programs: &Programs) -> Self {
        let (folder, base) = (self.folder.take().unwrap(), self.base.take().unwrap());
        drop(self);
        Self::start_in(folder, base, programs, &[])
    }

    /// Starts another one on the same folder: exit code and standard error.
    pub(crate) fn again(&self) -> (Option<i32>, String) {
        refused_in(self.folder(), &stand_in(), self.base())
    }

    /// What it tells other programs.
    pub(crate) fn running(&self) -> carbyne_control::running::Running {
        let base = carbyne_control::running::base(self.base());
        let directory = fs::read_dir(base).unwrap().next().unwrap().unwrap().path();
        carbyne_control::running::find(Some(&directory)).unwrap().1
    }

    /// Where run directories are made.
    pub(crate) fn base(&self) -> &Path {
        self.base.as_ref().unwrap().path()
    }

    /// The folder of YAML.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Waits for what is printed when all is ready; gives back what to try.
    pub(crate) fn guide(&mut self) -> Vec<Try> {
        let mut tries: Vec<Try> = Vec::new();
        let mut shows = None;
        for line in self.printed() {
            if let Some(text) = line.strip_prefix("  # ") {
                shows = Some(text.to_owned());
            } else if let Some(shows) = shows.take() {
                tries.push(Try {
                    shows,
                    command: line.trim().to_owned(),
                    more: Vec::new(),
                });
            } else if let (Some(more), Some(open)) = (line.strip_prefix("    "), tries.last_mut()) {
                open.more.push(more.to_owned());
            }
        }
        tries
    }

    /// Waits for what is printed when all is ready; gives it back line by line.
    pub(crate) fn printed(&mut self) -> Vec<String> {
        let mut printed = Vec::new();
        let end = Instant::now() + self.limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.out.recv_timeout(left) else {
                self.said.extend(self.err.try_iter());
                panic!("not ready; it said:\n{}", self.said.join("\n"));
            };
            let last = line.starts_with("Ctrl-C");
            printed.push(line);
            if last {
                return printed;
            }
        }
    }

    /// Waits for a line on standard error that contains this.
    pub(crate) fn expect_error(&mut self, part: &str) -> String {
        let end = Instant::now() + self.limit;
        loop {
            let Ok(line) = self
                .err
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            else {
                panic!(
                    "it did not say `{part}`; it said:\n{}",
                    self.said.join("\n")
                );
            };
            self.said.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The process of a workload whose command line contains this; waits for it.
    pub(crate) fn pid(&self, workload: &str, program: &str) -> i32 {
        let mut found = None;
        within(LIMIT, || {
            found = self.find(workload, program);
            found
                .map(|_| ())
                .ok_or_else(|| format!("{workload} has no {program}"))
        });
        found.unwrap()
    }

    /// The same without waiting.
    pub(crate) fn find(&self, workload: &str, program: &str) -> Option<i32> {
        find_in(self.base(), workload, program)
    }

    /// Every process that runs in the runtime directory: process, folder, command line.
    pub(crate) fn processes(&self) -> Vec<(i32, PathBuf, String)> {
        processes_in(self.base())
    }

    /// Ctrl-C: it ends well and leaves no process and no file.
    pub(crate) fn end(mut self) {
        kill_process(pid(&self.child), Signal::INT).unwrap();
        let mut status = None;
        within(Duration::from_secs(10), || {
            status = self.child.try_wait().unwrap();
            status
                .map(|_| ())
                .ok_or_else(|| "it does not end".to_owned())
        });
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "{:?}",
            self.err.try_iter().collect::<Vec<_>>()
        );
        assert_eq!(self.processes(), []);
        let left: Vec<_> = fs::read_dir(self.base()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// SIGKILL: it has no chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already: then both say so, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The process in a runtime directory of a workload whose command line contains this.
pub(crate) fn find_in(base: &Path, workload: &str, program: &str) -> Option<i32> {
    let of = |(pid, folder, name): &(i32, PathBuf, String)| {
        (folder.ends_with(workload) && name.contains(program)).then_some(*pid)
    };
    processes_in(base).iter().find_map(of)
}

fn processes_in(base: &Path) -> Vec<(i32, PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // Processes come and go while we look.
        let Ok(folder) = fs::read_link(entry.path().join("cwd")) else {
            continue;
        };
        let name = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).replace('\0', " ");
        let state = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let zombie = state
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z'));
        if folder.starts_with(base) && !zombie {
            found.push((pid, folder, name.trim_end().to_owned()));
        }
    }
    found
}

/// One thing to try, as it was printed.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) shows: String,
    pub(crate) command: String,
    /// The answer after `→`, then where to look.
    pub(crate) more: Vec<String>,
}

impl Try {
    /// Runs the line and holds the answer against what was promised.
    pub(crate) fn answers_as_printed(&self) -> String {
        let promised = self.more[0].strip_prefix("→ ").unwrap();
        let (status, words) = promised.split_once(' ').unwrap();
        let (went_well, answer) = shell(&self.command);
        assert!(went_well, "{self:#?}\n{answer}");
        let (body, code) = answer.split_at(answer.len().saturating_sub(3));
        assert_eq!(code, status, "{self:#?}\n{answer}");
        assert!(
            body.contains(words.trim_matches('"')),
            "{self:#?}\n{answer}"
        );
        answer
    }

    /// The commands that show a log's line.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &str> {
        let logs = self
            .more
            .iter()
            .filter_map(|line| line.strip_prefix("log "));
        logs.map(str::trim)
    }
}

/// The programs that `up` starts.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) proxy: PathBuf,
    pub(crate) gateway: PathBuf,
}

/// The program under test.
pub(crate) fn carbyne() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_carbyne"))
}

/// A copy of the example folder on addresses of its own, so that tests (and a running `make up`) do not meet.
pub(crate) fn example(number: u8) -> TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/platform");
    let folder = tempfile::tempdir().unwrap();
    // 127.16.0.0/12, so that two runs of the tests rarely meet either.
    let process = std::process::id();
    let own = format!("127.{}.{}.", 16 + process % 200, number);
    for entry in fs::read_dir(source).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = text.replace("127.0.10.", &own);
        fs::write(folder.path().join(entry.file_name()), text).unwrap();
    }
    folder
}

/// The real programs; without them these tests mean nothing.
pub(crate) fn real() -> Programs {
    let find = |program: &str, variable: &str| {
        let named = env::var_os(variable).map(PathBuf::from);
        let built =
            env::var_os("CARBYNE_BIN_DIR").map(|folder| PathBuf::from(folder).join(program));
        let path = named
            .or(built)
            .unwrap_or_else(|| carbyne().with_file_name(program));
        assert!(
            path.is_file(),
            "{} is missing: build it with `cargo build --bin {program}`, or name another with {variable}",
            path.display()
        );
        path
    };
    Programs {
        proxy: find("carbyne-proxy", "CARBYNE_PROXY"),
        gateway: find("carbyne-gateway", "CARBYNE_GATEWAY"),
    }
}

/// What looks like proxy and gateway to `up`: they say that they are ready, and do nothing else.
pub(crate) fn stand_in() -> Programs {
    static STAND_IN: LazyLock<Programs> = LazyLock::new(|| {
        let path = carbyne().display();
        let service = format!("exec {path} sample-service --name stand-in --listen");
        Programs {
            proxy: script(&format!(
                "admin=$(grep -o 'sidecar~[^~]*' etc/istio/proxy/envoy-rev.json | head -n 1 | cut -d '~' -f 2)\n\
                 {service} \"$admin:15000\""
            )),
            gateway: script(&format!(
                "[ \"$1\" = start ] || exit 0\n{service} \"$(sed -n 's/^status_listen = //p' \"$3\")\""
            )),
        }
    });
    STAND_IN.clone()
}

/// A shell script to run in a proxy's place.
pub(crate) fn script(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("proxy-{}-{number}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Written by another process: a file that this one has open for writing could be inherited by a child that another test
    // starts at that moment, and would then be too busy to be run.
    let mut install = Command::new("install");
    install
        .args(["-m", "755", "/dev/stdin"])
        .arg(&path)
        .stdin(Stdio::piped());
    let mut install = install.spawn().unwrap();
    let mut input = install.stdin.take().unwrap();
    writeln!(input, "#!/bin/sh\n{text}").unwrap();
    drop(input);
    assert!(install.wait().unwrap().success());
    path
}

/// Runs a printed line: whether it went well, and what it wrote.
pub(crate) fn shell(line: &str) -> (bool, String) {
    let output = Command::new("timeout")
        .args(["10", "sh", "-c", line])
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Runs `up` on something that it does not start: exit code and standard error; nothing is left behind.
pub(crate) fn refused(folder: &Path, programs: &Programs) -> (Option<i32>, String) {
    let base = tempfile::Builder::new()
        .prefix("up")
        .tempdir_in("/tmp")
        .unwrap();
    let refused = refused_in(folder, programs, base.path());
    let left: Vec<_> = fs::read_dir(base.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    refused
}

fn refused_in(folder: &Path, programs: &Programs, base: &Path) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command
        .args(["30"])
        .arg(carbyne())
        .arg("up")
        .arg(folder)
        .args(["--page", "127.0.0.1:0", "--proxy"])
        .arg(&programs.proxy)
        .arg("--gateway")
        .arg(&programs.gateway)
        .arg("--base-dir")
        .arg(base);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Asks again until it is so; the last answer is shown if it never is.
pub(crate) fn within(limit: Duration, mut ask: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + limit;
    loop {
        let Err(answer) = ask() else {
            return;
        };
        assert!(Instant::now() < end, "not within {limit:?}: {answer}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a process with SIGKILL.
pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
