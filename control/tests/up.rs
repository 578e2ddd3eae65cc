//! `carbyne up` as people run it: the example folder, real processes, the printed lines, saves, deaths, Ctrl-C.
//!
//! The tests of the mesh itself start the real `carbyne-proxy` (`CARBYNE_PROXY`, else the folder `CARBYNE_BIN_DIR`, else beside
//! `carbyne`). What is about processes and files alone starts a stand-in that only says that it is ready.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "up/running.rs"]
mod running;

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use running::{Up, carbyne, example, real_proxy, stand_in};

/// A change must be live this soon; see the last column of what `up` prints.
const LIVE: Duration = Duration::from_secs(1);

#[test]
fn the_printed_lines_show_what_they_promise() {
    let mut up = Up::start(example(1), &real_proxy());
    let tries = up.guide();
    assert_eq!(tries.len(), 5, "{tries:#?}");
    let run = |index: usize| running::shell(&tries[index].1);

    let door: serde_json::Value =
        serde_json::from_str(&run(0).1).unwrap_or_else(|error| panic!("{error}: {:?}", run(0)));
    assert_eq!(door["service"], "portal");
    assert_eq!(door["calls"]["catalogue"]["status"], 200, "{door:#}");
    assert_eq!(door["calls"]["billing"]["status"], 403, "{door:#}");

    let called: serde_json::Value =
        serde_json::from_str(&run(1).1).unwrap_or_else(|error| panic!("{error}: {:?}", run(1)));
    assert_eq!(called["service"], "catalogue");
    let certificate = called["headers"]["x-forwarded-client-cert"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        certificate.contains("URI=spiffe://cluster.local/ns/platform/sa/portal"),
        "{called:#}"
    );

    assert_eq!(run(2), (true, "RBAC: access denied, 403".to_owned()));
    running::within(Duration::from_secs(3), || {
        let (_, line) = run(3);
        let named = line.contains(
            "rbac_access_denied_matched_policy[ns[platform]-policy[billing-not-portal]-rule[0]]",
        );
        if named { Ok(()) } else { Err(line) }
    });
    let (answered, said) = run(4);
    assert!(!answered, "plaintext at a STRICT port was answered: {said}");

    // A save is live within a second: portal may call billing now, catalogue may not.
    let security = up.folder().join("security.yaml");
    let text = fs::read_to_string(&security).unwrap();
    let opened = text.replace("action: DENY", "action: AUDIT").replace(
        "principals: [cluster.local/ns/platform/sa/catalogue]",
        "principals: [cluster.local/ns/platform/sa/portal]",
    );
    assert_ne!(text, opened, "the example has another policy now");
    fs::write(&security, &opened).unwrap();
    let saved = Instant::now();
    running::within(LIVE, || {
        let (_, answer) = run(2);
        if answer.ends_with("200") {
            Ok(())
        } else {
            Err(answer)
        }
    });
    assert!(saved.elapsed() < LIVE + Duration::from_millis(500));
    up.expect_error("applied ");

    // A bad save is refused with its place; what was live stays.
    fs::write(&security, format!("{opened}---\nkind: [")).unwrap();
    let line = up.expect_error("security.yaml:");
    let place = line.split("security.yaml:").nth(1).unwrap();
    let numbers: Vec<u32> = place
        .split(':')
        .take(2)
        .map_while(|number| number.parse().ok())
        .collect();
    assert_eq!(numbers.len(), 2, "no line and column: {line}");
    up.expect_error("what was live before stays");
    assert!(run(2).1.ends_with("200"));
    fs::write(&security, &opened).unwrap();
    up.expect_error("applied ");

    // A sidecar that dies is told, started again, and serves.
    let pid = up.pid("billing", "envoy-rev.json");
    running::kill(pid);
    up.expect_error("billing's sidecar ended (signal: 9");
    up.expect_error("billing's sidecar is ready");
    assert!(run(2).1.ends_with("200"));
    up.end();
}

#[test]
fn a_second_platform_at_the_same_addresses_is_told() {
    let mut first = Up::start(example(2), &stand_in());
    first.guide();
    let base = tempfile::tempdir().unwrap();
    let second = Command::new(carbyne())
        .arg("up")
        .arg(first.folder())
        .arg("--proxy")
        .arg(stand_in())
        .arg("--base-dir")
        .arg(base.path())
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: in use: ") && said.contains("\n  hint: another `carbyne up`"),
        "{said}"
    );
    first.end();
}

#[test]
fn a_second_platform_on_the_same_folder_is_told_and_a_killed_one_taken_over() {
    let mut first = Up::start(example(6), &stand_in());
    first.guide();
    let known = first.running();
    assert!(known.members.iter().all(|member| member.pid.is_some()));
    let (code, said) = first.again();
    assert_eq!(code, Some(1), "{said}");
    let runs = format!(
        "runs already: process {}, run directory ",
        known.control.pid
    );
    assert!(
        said.contains(&runs) && said.contains("hint: use that one"),
        "{said}"
    );

    // The process numbers that are told are those of now.
    let pid = first.pid("portal", "--name portal");
    running::kill(pid);
    running::within(Duration::from_secs(10), || {
        let now = first.find("portal", "--name portal");
        let members = first.running().members;
        let told = members
            .iter()
            .any(|member| member.pid.map(i64::from) == now.map(i64::from));
        if told && now.is_some() && now != Some(pid) {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
    first.kill();
    let mut second = first.restart(&stand_in());
    second.expect_error("was left over from one that was killed: taken over");
    second.guide();
    second.end();
}

#[test]
fn saves_deaths_and_interrupts_without_a_mesh() {
    let mut up = Up::start(example(3), &stand_in());
    let tries = up.guide();
    assert_eq!(tries.len(), 5, "{tries:#?}");

    // The services do not depend on their sidecars: portal's can be asked itself.
    let pid = up.pid("portal", "--name portal");
    running::kill(pid);
    up.expect_error("portal's service ended (signal: 9");
    let pid = up.pid("billing", "--name stand-in");
    running::kill(pid);
    up.expect_error("billing's sidecar ended (signal: 9");
    up.expect_error("billing's sidecar is ready");
    assert_ne!(up.pid("billing", "--name stand-in"), pid);

    let routes = up.folder().join("routes.yaml");
    let text = fs::read_to_string(&routes).unwrap();
    fs::write(&routes, text.replace("timeout: 5s", "timeout: soon")).unwrap();
    let line = up.expect_error("routes.yaml:");
    assert!(
        line.contains("error: ") && line.contains("timeout"),
        "{line}"
    );
    up.expect_error("what was live before stays");
    fs::write(&routes, text.replace("timeout: 5s", "timeout: 4s")).unwrap();
    let line = up.expect_error("applied ");
    let words: Vec<&str> = line.split(' ').collect();
    assert!(
        matches!(words.as_slice(), ["applied", count, "resources", "in", time, "ms"]
        if count.parse::<u32>().is_ok_and(|count| count > 5) && time.parse::<u32>().is_ok_and(|time| time < 1000)),
        "{line}"
    );

    // A workload that is taken away ends, and only it.
    let services = up.folder().join("services.yaml");
    let text = fs::read_to_string(&services).unwrap();
    let without: Vec<&str> = text
        .split("---\n")
        .filter(|document| !document.contains("metadata: {name: billing"))
        .collect();
    fs::write(&services, without.join("---\n")).unwrap();
    running::within(Duration::from_secs(5), || {
        match up.find("billing", "--name stand-in") {
            Some(pid) => Err(format!("{pid} still runs")),
            None => Ok(()),
        }
    });
    assert!(up.find("catalogue", "--name stand-in").is_some());
    fs::write(&services, text).unwrap();
    up.expect_error("billing's sidecar is ready");
    up.end();
}

#[test]
fn a_killed_platform_takes_its_processes_with_it() {
    let mut up = Up::start(example(4), &stand_in());
    up.guide();
    assert!(up.processes().len() >= 6);
    up.kill();
    running::within(Duration::from_secs(5), || {
        let left = up.processes();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn what_cannot_start_says_why() {
    let folder = example(5);
    let file = folder.path().join("sidecars.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replacen("captureMode: NONE", "captureMode: SOME", 1),
    )
    .unwrap();
    let (code, said) = running::refused(folder.path(), &stand_in());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("error: ") && said.contains("sidecars.yaml:9:"),
        "{said}"
    );
    fs::write(&file, text).unwrap();

    let (code, said) = running::refused(folder.path(), "/nonexistent/proxy".as_ref());
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("/nonexistent/proxy") && said.contains("hint: build it"),
        "{said}"
    );

    // A proxy that ends at once is not tried for ever, and its words are shown.
    let (code, said) = running::refused(
        folder.path(),
        &running::script("echo 'bootstrap: no good' >&2; exit 3"),
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("does not start (exit status: 3)") && said.contains("    bootstrap: no good"),
        "{said}"
    );

    let (code, said) = running::refused("/nonexistent/folder".as_ref(), &stand_in());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nonexistent/folder"), "{said}");
}
