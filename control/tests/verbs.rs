//! The verbs as people run them, against a real platform: `carbyne up` with real sidecars and the real gateway.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "up/running.rs"]
#[expect(dead_code, reason = "shared with tests/up.rs, which uses the rest")]
mod running;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use running::{Up, carbyne, example, real, within};

/// Exit code and standard output of a verb that finds the platform by the folder of temporary files.
fn verb(base: &Path, line: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("timeout")
        .arg("60")
        .arg(carbyne())
        .args(line)
        .env("TMPDIR", base)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn json(base: &Path, line: &[&str]) -> (Option<i32>, Value) {
    let mut line = line.to_vec();
    line.extend(["-o", "json"]);
    let (code, text) = verb(base, &line);
    let value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"));
    (code, value)
}

/// Every check of `verify`: category, description, result.
fn checks(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let categories = report["categories"].as_array().unwrap();
    let all = categories.iter().flat_map(|category| {
        category["checks"].as_array().unwrap().iter().map(|check| {
            (
                text(&category["categoryName"]),
                text(&check["description"]),
                text(&check["result"]),
            )
        })
    });
    all.collect()
}

#[test]
fn a_running_platform_is_looked_at_from_all_sides() {
    let mut up = Up::start(example(11), &real());
    up.guide();
    let base = up.base().to_owned();

    // Functional checks: every one must pass.
    let (_, report) = json(&base, &["verify", "--wait", "3s"]);
    let checked = checks(&report);
    let failed: Vec<_> = checked
        .iter()
        .filter(|(_, _, result)| result != "success")
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for (category, least) in [
        ("programs", 10),
        ("keys at the gateway", 3),
        ("calls between workloads", 6),
        ("mutual TLS", 4),
        ("traces", 3),
        ("metrics", 6),
        ("events", 1),
    ] {
        let count = checked.iter().filter(|(own, ..)| own == category).count();
        assert!(count >= least, "{category}: {count} of {checked:#?}");
    }
    for part in [
        "refuses a wrong key: 401",
        "accepts shop's key: 200",
        "denied by AuthorizationPolicy platform/billing-not-portal",
        "billing takes no plaintext",
        "gateway's sidecar sent its span of trace",
        "portal's sidecar sent its span of trace",
        "catalogue's sidecar sent its span of trace",
    ] {
        assert!(
            checked
                .iter()
                .any(|(_, description, _)| description.contains(part)),
            "{part} in {checked:#?}"
        );
    }

    // What the checks sent is in the graph, by mutual TLS.
    let (code, graph) = json(&base, &["graph"]);
    assert_eq!(code, Some(0), "{graph:#}");
    let edges = graph["edges"].as_array().unwrap();
    let edge = |from: &str, to: &str| {
        edges
            .iter()
            .find(|edge| edge["from"] == from && edge["to"] == to)
    };
    let denied = edge("platform/portal", "platform/billing").unwrap_or_else(|| panic!("{graph:#}"));
    assert_eq!(
        (denied["refused"].as_f64(), denied["mtls"].as_f64()),
        (Some(1.0), Some(1.0)),
        "{denied:#}"
    );
    assert_eq!(
        edge("platform/gateway", "platform/portal").unwrap()["mtls"],
        1.0
    );
    for (format, part) in [
        ("svg", "<svg "),
        ("mermaid", "flowchart LR"),
        ("dot", "digraph"),
        ("text", "platform/portal"),
    ] {
        let (code, text) = verb(&base, &["graph", "-o", format]);
        assert!(code == Some(0) && text.contains(part), "{format}: {text}");
    }
    assert_eq!(verb(&base, &["status", "-o", "svg"]).0, Some(1));

    let (code, status) = json(&base, &["status"]);
    assert_eq!(code, Some(0), "{status:#}");
    let programs = status["programs"].as_array().unwrap();
    assert!(programs.len() >= 10, "{status:#}");
    for program in programs
        .iter()
        .filter(|program| program["kind"] == "sidecar")
    {
        assert_eq!(program["state"], "ready", "{program:#}");
        // What the control plane says of it: nothing refused, everything acknowledged, and when.
        let types = program["sync"]["types"].as_array().unwrap();
        let acknowledged =
            |kind: &Value| kind["state"] != "synced" || kind["acknowledged"].is_u64();
        assert!(
            types.len() >= 2 && types.iter().all(acknowledged),
            "{program:#}"
        );
        let left = program["certificate"].as_u64().unwrap();
        assert!((3600..=86_400).contains(&left), "{program:#}");
    }

    // Why: the two hops of a call that arrives, and of one that is denied by name.
    let (code, text) = verb(
        &base,
        &["proxy", "portal", "why", "http://catalogue:8081/items"],
    );
    assert!(
        code == Some(0) && text.contains("into catalogue-v1"),
        "{text}"
    );
    let (code, text) = verb(&base, &["proxy", "portal", "why", "http://billing:8082/"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("× answered 403: RBAC: access denied; policy ns[platform]-policy[billing-not-portal]-rule[0] denies it"), "{text}");
    for view in ["listeners", "routes", "clusters", "endpoints", "certs"] {
        let (code, rows) = json(&base, &["proxy", "portal", view]);
        assert!(
            code == Some(0) && !rows.as_array().unwrap().is_empty(),
            "{view}: {rows:#}"
        );
    }
    assert_eq!(verb(&base, &["proxy", "nobody", "routes"]).0, Some(1));

    // The bundle holds everything and no key.
    let file = base.join("bundle.tgz");
    let (code, bundle) = json(&base, &["doctor", &file.display().to_string()]);
    assert!(matches!(code, Some(0 | 2)), "{bundle:#}");
    let parts = bundle["parts"].as_array().unwrap();
    for part in [
        "status.json",
        "graph.json",
        "folder/kong.yml",
        "programs/portal-sidecar/config_dump.json",
        "programs/gateway-gateway/metrics.txt",
    ] {
        assert!(
            parts.iter().any(|name| name == part),
            "{part} in {bundle:#}"
        );
    }
    let unpacked = Command::new("tar").arg("xzOf").arg(&file).output().unwrap();
    assert!(unpacked.status.success());
    fs::remove_file(&file).unwrap();
    let text = String::from_utf8_lossy(&unpacked.stdout);
    assert!(
        text.contains("billing-not-portal") && !text.contains("key-of-the-"),
        "a key is in the bundle"
    );

    // A sidecar that hangs is named, by status and by verify, with what to do; the rest goes on.
    let pid = Pid::from_raw(up.pid("billing", "envoy-rev.json")).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let (code, status) = json(&base, &["status"]);
    let (verified, report) = json(&base, &["verify", "--wait", "1s"]);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!((code, verified), (Some(1), Some(1)));
    let findings = status["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding["object"] == "billing's sidecar" && finding["fix"] != ""),
        "{status:#}"
    );
    let checked = checks(&report);
    let result = |part: &str| {
        checked
            .iter()
            .find(|(_, description, _)| description.contains(part))
            .map(|(_, _, result)| result.as_str())
    };
    assert_eq!(
        result("billing's sidecar runs"),
        Some("error"),
        "{checked:#?}"
    );
    for part in [
        "refuses a wrong key",
        "catalogue-v1's sidecar answers metrics",
    ] {
        assert_eq!(result(part), Some("success"), "{part} in {checked:#?}");
    }
    within(Duration::from_secs(10), || match verb(&base, &["status"]) {
        (Some(0), _) => Ok(()),
        (code, text) => Err(format!("{code:?}: {text}")),
    });
    up.end();
    let (code, text) = json(&base, &["status"]);
    assert_eq!(
        (code, text["findings"][0]["code"].as_str()),
        (Some(1), Some("CTL-0105")),
        "{text:#}"
    );
}

/// A program that is killed again as often as it comes back.
struct Killed {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Killed {
    fn start(base: &Path, workload: &'static str, program: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (base, ended) = (base.to_owned(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let pid = running::find_in(&base, workload, program).and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    // Gone meanwhile: as well.
                    kill_process(pid, Signal::KILL).ok();
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One of each kind of process, killed whenever it comes back: `verify` names it and says what to do, what does not need it still
/// passes, and when it may live again everything does.
#[test]
fn whatever_is_killed_is_named() {
    let mut up = Up::start(example(13), &real());
    up.guide();
    let base = up.base().to_owned();
    let (key, no_key) = ("accepts shop's key: 200", "refuses a wrong key: 401");
    let denied = "gateway calls portal: answered 200";
    for (workload, program, title, goes_on) in [
        (
            "billing",
            "envoy-rev.json",
            "billing's sidecar",
            &[key, no_key, denied][..],
        ),
        (
            "billing",
            "sample-service",
            "billing's service",
            &[key, no_key, denied],
        ),
        (
            "catalogue-v1",
            "envoy-rev.json",
            "catalogue-v1's sidecar",
            &[key, no_key, denied],
        ),
        ("portal", "sample-service", "portal's service", &[no_key]),
        ("gateway", "envoy-rev.json", "gateway's sidecar", &[no_key]),
        ("gateway", "carbyne-gateway start", "the gateway", &[denied]),
    ] {
        let killed = Killed::start(&base, workload, program);
        // It may be asked in the moment in which it lives.
        within(Duration::from_secs(60), || {
            let (code, report) = json(&base, &["verify", "--wait", "1s"]);
            let categories = report["categories"].as_array().unwrap();
            let all: Vec<&Value> = categories
                .iter()
                .flat_map(|category| category["checks"].as_array().unwrap())
                .collect();
            let find = |part: &str| {
                all.iter()
                    .find(|check| check["description"].as_str().unwrap().contains(part))
            };
            let runs = find(&format!("{title} runs")).unwrap();
            if runs["result"] != "error" {
                return Err(format!("{title} is not named: {runs}"));
            }
            assert_eq!(code, Some(1), "{title}");
            for check in all.iter().filter(|check| check["result"] != "success") {
                let fix = check["hint"].as_str().unwrap_or_default();
                assert!(!fix.is_empty(), "{title}: no fix: {check}");
            }
            for part in goes_on {
                let check = find(part).unwrap_or_else(|| panic!("{title}: {part}: {all:#?}"));
                assert_eq!(check["result"], "success", "{title}: {check}");
            }
            Ok(())
        });
        drop(killed);
        within(Duration::from_secs(60), || {
            match json(&base, &["verify", "--wait", "1s"]) {
                (Some(0), _) => Ok(()),
                (_, report) => {
                    let checked = checks(&report);
                    let bad = checked.iter().filter(|(.., result)| result != "success");
                    Err(format!("{title}: {:#?}", bad.collect::<Vec<_>>()))
                }
            }
        });
    }
    up.end();
}

/// Exit codes: 0 nothing, 2 warnings, 1 errors; kong.yml by the real gateway.
#[test]
fn lint_reads_a_folder_as_it_would_be_run() {
    let programs = real();
    let folder = example(12);
    let gateway = programs.gateway.display().to_string();
    let path = folder.path().display().to_string();
    let lint = || json(folder.path(), &["lint", &path, "--gateway", &gateway]);
    let (code, findings) = lint();
    assert_eq!(
        (code, findings["findings"].as_array().map(Vec::len)),
        (Some(0), Some(0)),
        "{findings:#}"
    );

    let routes = folder.path().join("routes.yaml");
    let text = fs::read_to_string(&routes).unwrap();
    fs::write(&routes, text.replace("retries:", "retires:")).unwrap();
    let (code, findings) = lint();
    assert_eq!(
        (code, findings["findings"][0]["code"].as_str()),
        (Some(2), Some("CTL-0205")),
        "{findings:#}"
    );

    let kong = folder.path().join("kong.yml");
    let text = fs::read_to_string(&kong).unwrap();
    fs::write(
        &kong,
        text.replacen("paths: [/portal]", "paths: 7, metods: [GET]", 1),
    )
    .unwrap();
    let (code, findings) = lint();
    assert_eq!(code, Some(1), "{findings:#}");
    let refused = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == "CTL-0301");
    let places: Vec<(bool, bool)> = refused
        .map(|finding| {
            (
                finding["line"].as_u64() > Some(1),
                finding["column"].as_u64() > Some(1),
            )
        })
        .collect();
    assert_eq!(places, [(true, true), (true, true)], "{findings:#}");
}
