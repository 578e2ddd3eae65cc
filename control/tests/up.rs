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
    time::{Duration, Instant},
};

use running::{Programs, Up, example, real, stand_in};

/// A change must be live this soon; see the last column of what `up` prints.
const LIVE: Duration = Duration::from_secs(1);

#[test]
fn the_printed_lines_show_what_they_promise() {
    let mut up = Up::start(example(1), &real());
    let tries = up.guide();
    assert_eq!(tries.len(), 3, "{tries:#?}");
    let called = tries[0].answers_as_printed();
    assert!(
        called.contains("URI=spiffe://cluster.local/ns/platform/sa/portal"),
        "{called}"
    );
    assert!(!called.contains("key-of-the-shop"), "{called}");
    for one in &tries {
        one.answers_as_printed();
        assert!(!one.shows.is_empty() && one.logs().count() > 0, "{one:#?}");
        for log in one.logs() {
            // Written up to a second later.
            running::within(Duration::from_secs(3), || match running::shell(log).1 {
                line if line.is_empty() => Err(format!("nothing: {log}")),
                _ => Ok(()),
            });
        }
    }
    up.end();
}

#[test]
fn saves_are_live_and_bad_ones_change_nothing() {
    let mut up = Up::start(example(7), &real());
    let tries = up.guide();
    let status = |index: usize| {
        let (_, answer) = running::shell(&tries[index].command);
        answer[answer.len().saturating_sub(3)..].to_owned()
    };
    let live = |index: usize, expected: &str| {
        let saved = Instant::now();
        running::within(LIVE, || match status(index) {
            now if now == expected => Ok(()),
            now => Err(now),
        });
        assert!(saved.elapsed() < LIVE + Duration::from_millis(500));
    };

    // The mesh: portal may call billing now.
    let security = up.folder().join("security.yaml");
    let text = fs::read_to_string(&security).unwrap();
    let opened = text.replace("action: DENY", "action: AUDIT").replace(
        "matchLabels: {app: billing}}\n  action: ALLOW\n  rules:\n  - from: [{source: {principals: [cluster.local/ns/platform/sa/gateway]}}]",
        "matchLabels: {app: billing}}\n  action: ALLOW\n  rules:\n  - from: [{source: {namespaces: [platform]}}]",
    );
    assert_ne!(text, opened, "the example has another policy now");
    fs::write(&security, &opened).unwrap();
    live(2, "200");
    up.expect_error("applied ");
    fs::write(&security, format!("{opened}---\nkind: [")).unwrap();
    place(&up.expect_error("security.yaml:"), "security.yaml:");
    up.expect_error("what was live before stays");
    assert_eq!(status(2), "200");
    fs::write(&security, &opened).unwrap();
    up.expect_error("applied ");

    // The gateway: no key is asked for any more.
    let kong = up.folder().join("kong.yml");
    let text = fs::read_to_string(&kong).unwrap();
    let open = text.replacen(
        "    plugins:\n      - name: key-auth\n        config: {hide_credentials: true}\n",
        "",
        1,
    );
    assert_ne!(text, open, "the example has another gateway now");
    assert_eq!(status(1), "401");
    fs::write(&kong, &open).unwrap();
    live(1, "200");
    up.expect_error("kong.yml in ");
    let bad = open.replace("paths: [/portal]", "pahts: [/portal]");
    fs::write(&kong, &bad).unwrap();
    place(&up.expect_error("kong.yml:"), "kong.yml:");
    up.expect_error("kong.yml is refused as a whole: what was live before stays");
    assert_eq!(status(1), "200");

    // Killed while its file is bad, it comes back with what was live.
    running::kill(up.pid("gateway", "carbyne-gateway start"));
    up.expect_error("the gateway ended (signal: 9");
    up.expect_error("the gateway is ready");
    assert_eq!(status(1), "200");
    fs::write(&kong, &text).unwrap();
    live(1, "401");
    up.end();
}

/// Traffic that does not need what was killed goes on; what was killed is told, started again, and serves.
#[test]
fn whatever_is_killed_comes_back_and_the_rest_goes_on() {
    let mut up = Up::start(example(8), &real());
    let tries = up.guide();
    let front = tries[0].command.clone();
    let other = front.replace("/portal/call/catalogue/items", "/portal/anything");
    let status = |line: &str| {
        let (_, answer) = running::shell(line);
        answer[answer.len().saturating_sub(3)..].to_owned()
    };
    for (workload, program, title, untouched) in [
        (
            "billing",
            "envoy-rev.json",
            "billing's sidecar",
            Some(&front),
        ),
        (
            "billing",
            "sample-service",
            "billing's service",
            Some(&front),
        ),
        (
            "catalogue-v1",
            "envoy-rev.json",
            "catalogue-v1's sidecar",
            Some(&other),
        ),
        (
            "catalogue-v2",
            "sample-service",
            "catalogue-v2's service",
            Some(&other),
        ),
        ("portal", "sample-service", "portal's service", None),
        ("portal", "envoy-rev.json", "portal's sidecar", None),
        ("gateway", "envoy-rev.json", "gateway's sidecar", None),
        ("gateway", "carbyne-gateway start", "the gateway", None),
    ] {
        running::kill(up.pid(workload, program));
        if let Some(line) = untouched {
            assert_eq!(status(line), "200", "{title} was killed");
        }
        up.expect_error(&format!("{title} ended (signal: 9"));
        running::within(Duration::from_secs(10), || match status(&front) {
            now if now == "200" => Ok(()),
            now => Err(format!("{title}: {now}")),
        });
    }
    assert_eq!(status(&tries[2].command), "403");
    up.end();
}

/// The file's name is followed by line and column.
fn place(line: &str, file: &str) {
    let numbers = line.split(file).nth(1).unwrap().split(':').take(2);
    let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
    assert_eq!(numbers.len(), 2, "no line and column: {line}");
}

#[test]
fn a_second_platform_at_the_same_addresses_is_told() {
    let mut first = Up::start(example(2), &stand_in());
    first.guide();
    let (code, said) = running::refused(first.folder(), &stand_in());
    assert_eq!(code, Some(1), "{said}");
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
    assert_eq!(tries.len(), 3, "{tries:#?}");

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
    assert!(up.find("catalogue-v1", "--name stand-in").is_some());
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
        said.starts_with("error: ") && said.contains("sidecars.yaml:10:"),
        "{said}"
    );
    fs::write(&file, text).unwrap();

    let nowhere = Programs {
        proxy: "/nonexistent/proxy".into(),
        ..stand_in()
    };
    let (code, said) = running::refused(folder.path(), &nowhere);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("/nonexistent/proxy") && said.contains("hint: build it"),
        "{said}"
    );

    // A proxy that ends at once is not tried for ever, and its words are shown.
    let broken = Programs {
        proxy: running::script("echo 'bootstrap: no good' >&2; exit 3"),
        ..stand_in()
    };
    let (code, said) = running::refused(folder.path(), &broken);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("does not start (exit status: 3)") && said.contains("    bootstrap: no good"),
        "{said}"
    );

    // The gateway's file is looked at before anything starts.
    let kong = folder.path().join("kong.yml");
    let text = fs::read_to_string(&kong).unwrap();
    fs::write(&kong, text.replace("paths: [/portal]", "paths: portal")).unwrap();
    let (code, said) = running::refused(folder.path(), &real());
    assert_eq!(code, Some(1), "{said}");
    place(&said, "kong.yml:");

    let (code, said) = running::refused("/nonexistent/folder".as_ref(), &stand_in());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nonexistent/folder"), "{said}");
}
