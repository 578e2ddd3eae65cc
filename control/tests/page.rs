//! The page of `carbyne up` in a real Chromium: what it shows of the calls that `up` prints, wide and narrow, light and dark.
//!
//! `CARBYNE_SCREENSHOTS=FOLDER` keeps pictures of it: those of `docs/images` are made so.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, all of it; the configuration allows this only inside the test functions themselves"
)]

#[path = "page/browser.rs"]
mod browser;
#[path = "up/running.rs"]
#[expect(dead_code, reason = "shared with the other suite, which uses the rest")]
mod running;

use std::{env, fs, net::SocketAddr, path::PathBuf, time::Duration};

use browser::Browser;
use bytes::Bytes;
use carbyne_control::fetch::fetch;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use running::{Up, example, real, stand_in};
use serde_json::{Value, json};

/// Longer than the page ever takes, on a busy machine, too.
const SHOWN: Duration = Duration::from_secs(20);

#[test]
fn shows_the_calls_that_were_tried() {
    let mut up = Up::start(example(1), &real());
    let tries = up.guide();
    let address = up.running().control.page.unwrap();
    let page = format!("http://{address}/");
    for one in &tries {
        one.answers_as_printed();
    }
    // Sidecars count, and events reach the spool, a moment after the answer: a page that is opened before that moves when they come.
    all_is_told(address);
    let browser = Browser::start();
    for (width, scheme) in [
        (1280, "light"),
        (1280, "dark"),
        (360, "dark"),
        (360, "light"),
    ] {
        let place = format!("{width} {scheme}");
        browser.emulate(width, scheme);
        browser.open(&page);
        running::within(SHOWN, || {
            let health = browser.run("return document.getElementById('health').textContent");
            if health == "All 10 programs are ready" {
                Ok(())
            } else {
                Err(format!("{place}: {health}"))
            }
        });
        // One version of catalogue was called, by chance the one or the other.
        let expected = |version: &str| {
            json!([
                ["clients → gateway v1", "3", "67 %", "plain"],
                ["gateway v1 → portal v1", "2", "50 %", "mTLS"],
                ["portal v1 → billing v1", "1", "100 %", "mTLS"],
                [format!("portal v1 → catalogue {version}"), "1", "–", "mTLS"],
            ])
        };
        running::within(SHOWN, || {
            let edges = browser.run(EDGES);
            if edges == expected("v1") || edges == expected("v2") {
                Ok(())
            } else {
                Err(format!("{place}: {edges:#}"))
            }
        });
        assert_eq!(
            browser.run("return document.querySelectorAll('#picture svg .lock').length"),
            3,
            "{place}: padlocks"
        );
        assert_eq!(
            browser.run(NODES),
            json!([
                "billing v1",
                "catalogue v1",
                "catalogue v2",
                "clients",
                "gateway v1",
                "portal v1"
            ]),
            "{place}: nodes"
        );
        assert_eq!(
            browser.run("return [...document.querySelectorAll('#tries .command code')].map((code) => code.textContent)"),
            Value::from(tries.iter().map(|one| one.command.clone()).collect::<Vec<_>>()),
            "{place}"
        );
        assert_eq!(
            browser.run(ROUTES),
            json!([
                [
                    "GET /billing",
                    [
                        "acl",
                        "correlation-id",
                        "key-auth",
                        "prometheus",
                        "rate-limiting"
                    ]
                ],
                [
                    "/portal",
                    ["correlation-id", "key-auth", "prometheus", "rate-limiting"]
                ],
            ]),
            "{place}"
        );
        events_are_shown(&browser, &place);
        assert_eq!(
            browser.run("return document.documentElement.scrollWidth <= innerWidth"),
            true,
            "{place}: the page is wider than its window"
        );
        assert_eq!(
            browser.run(CONTRAST),
            json!([]),
            "{place}: too little contrast"
        );
        assert_eq!(browser.run(LABELS), json!([]), "{place}: without a name");
        // What it shows may change in the very seconds that are looked at (rates are of the last minute); what moves by itself
        // does so each time.
        let moved: Vec<Value> = (0..3)
            .map(|_| {
                browser.open(&page);
                browser.run_async(SHIFTS)
            })
            .take_while(|moved| *moved != json!([]))
            .collect();
        assert!(moved.len() < 3, "{place}: the layout jumps: {moved:#?}");
        if let Some(folder) = env::var_os("CARBYNE_SCREENSHOTS").map(PathBuf::from) {
            let name = format!("page-{width}-{scheme}.png");
            fs::write(folder.join(name), browser.screenshot(width)).unwrap();
        }
    }

    // What happens while somebody looks comes by itself.
    tries[1].answers_as_printed();
    running::within(SHOWN, || {
        let calls = shown(&browser, "audit-api-calls");
        if calls.len() == 4 {
            Ok(())
        } else {
            Err(format!("{calls:#?}"))
        }
    });
    assert_eq!(browser.console(), json!([]));
    up.end();
}

/// Waits until the state tells of everything that came of the three calls.
fn all_is_told(address: SocketAddr) {
    running::within(SHOWN, || {
        let state = state(address);
        let edges = state["graph"]["edges"].as_array().unwrap();
        let requests: f64 = edges
            .iter()
            .filter_map(|edge| edge["requests"].as_f64())
            .sum();
        let locked = edges.iter().filter(|edge| edge["locked"] == true).count();
        let last = state["events"]["last"].as_array().unwrap();
        let of = |topic: &str| last.iter().filter(|event| event["topic"] == topic).count();
        let events = (of("audit-api-calls"), of("security-events"));
        // Three sidecars took part in the first call, three in the last.
        let spans = state["traces"]["traces"].as_u64();
        if (edges.len(), locked, requests, events) == (4, 3, 7.0, (3, 2))
            && spans.is_some_and(|spans| spans >= 2)
        {
            Ok(())
        } else {
            Err(format!(
                "{locked} locked, {events:?}, {spans:?} traces, {edges:#?}"
            ))
        }
    });
}

fn state(address: SocketAddr) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let request = Request::get("/state").header("host", address.to_string());
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = runtime.block_on(fetch(address, request, SHOWN)).unwrap();
    serde_json::from_slice(answer.body()).unwrap()
}

/// The events of the three calls: each by the gateway, and who was refused what by whom.
fn events_are_shown(browser: &Browser, place: &str) {
    let mut calls = shown(browser, "audit-api-calls");
    calls.sort();
    // The words before the time that it took.
    let calls: Vec<&str> = calls
        .iter()
        .map(|line| line.rsplit_once(" in ").unwrap().0)
        .collect();
    assert_eq!(
        calls,
        [
            "GET /portal → 200 by shop",
            "GET /portal → 401",
            "GET /portal → 403 by shop",
        ],
        "{place}"
    );
    let mut refusals = shown(browser, "security-events");
    refusals.sort();
    assert_eq!(
        refusals,
        [
            "authentication_missing key-auth 401",
            "policy_denied ns[platform]-policy[billing-not-portal]-rule[0] platform/portal → platform/billing 403",
        ],
        "{place}"
    );
    let all = browser.run("return document.getElementById('events').textContent");
    assert!(
        !all.as_str().unwrap().contains("key-of-the-"),
        "{place}: {all}"
    );
}

/// What the lines of a topic's events say.
fn shown(browser: &Browser, topic: &str) -> Vec<String> {
    let lines: Vec<(String, String)> = serde_json::from_value(browser.run(EVENTS)).unwrap();
    let own = lines.into_iter().filter(|(of, _)| of == topic);
    own.map(|(_, words)| words).collect()
}

/// What is killed, and what is refused, is seen at once; the page comes back when `up` does.
#[test]
fn follows_what_happens() {
    let mut up = Up::start(example(2), &stand_in());
    up.guide();
    let page = format!("http://{}/", up.running().control.page.unwrap());
    let browser = Browser::start();
    browser.open(&page);
    let told = |part: &str| {
        running::within(SHOWN, || {
            let notices = browser.run("return document.getElementById('notices').textContent");
            match notices.as_str() {
                Some(text) if text.contains(part) => Ok(()),
                _ => Err(format!("{part}: {notices}")),
            }
        });
    };
    told("ready in");
    running::kill(up.pid("billing", "--name billing"));
    told("billing's service ended (signal: 9");
    let routes = up.folder().join("routes.yaml");
    let text = fs::read_to_string(&routes).unwrap();
    fs::write(&routes, text.replace("timeout: 5s", "timeout: <b>soon</b>")).unwrap();
    told("routes.yaml:");
    told("<b>soon</b>");
    fs::write(&routes, text).unwrap();
    told("applied ");
    up.end();
    running::within(SHOWN, || {
        let health = browser.run("return document.getElementById('health').textContent");
        match health.as_str() {
            Some(text) if text.starts_with("Not connected") => Ok(()),
            _ => Err(health.to_string()),
        }
    });
}

/// Only for browsers that were sent here by this name, and only to look.
#[test]
fn is_for_this_machine_to_look_at() {
    let mut up = Up::start(example(3), &stand_in());
    up.guide();
    let address = up.running().control.page.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let own = address.to_string();
    let localhost = format!("LOCALHOST:{}", address.port());
    let other_port = format!("127.0.0.1:{}", address.port().wrapping_add(1));
    for (method, path, host, expected) in [
        (Method::GET, "/", own.as_str(), 200),
        (Method::GET, "/state", localhost.as_str(), 200),
        (Method::HEAD, "/page.js", own.as_str(), 200),
        (Method::GET, "/proxies", own.as_str(), 200),
        (Method::GET, "/state", "evil.example", 421),
        (Method::GET, "/state", "evil.example:15080", 421),
        (Method::GET, "/state", other_port.as_str(), 421),
        (Method::GET, "/live", "127.0.0.1.evil.example", 421),
        (Method::POST, "/state", own.as_str(), 405),
        (Method::OPTIONS, "/state", own.as_str(), 405),
        (Method::DELETE, "/", own.as_str(), 405),
        (Method::GET, "/../Cargo.toml", own.as_str(), 404),
        (Method::GET, "/page", own.as_str(), 404),
    ] {
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header("host", host)
            .header("origin", "http://evil.example")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = runtime.block_on(fetch(address, request, SHOWN)).unwrap();
        let what = format!("{method} {path} of {host}");
        assert_eq!(
            answer.status(),
            StatusCode::from_u16(expected).unwrap(),
            "{what}"
        );
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("access-control-allow-origin"), None, "{what}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{what}");
        let policy = header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    // What the state tells holds no key of a consumer but those that the folder itself says are to be tried.
    let mut state = String::new();
    running::within(SHOWN, || {
        let request = Request::get("/state").header("host", own.as_str());
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = runtime.block_on(fetch(address, request, SHOWN)).unwrap();
        state = String::from_utf8_lossy(answer.body()).into_owned();
        if state.contains("key-of-the-shop") {
            Ok(())
        } else {
            Err(state.clone())
        }
    });
    assert!(!state.contains("key-of-the-accountant"), "{state}");
    up.end();
}

/// Of each row: who calls whom, requests, refused, mTLS.
const EDGES: &str = "return [...document.querySelectorAll('#edges tr:not(.empty)')].map((row) => \
    [0, 1, 4, 6].map((column) => row.cells[column].textContent))";
const NODES: &str = "return [...document.querySelectorAll('#picture svg .node .name')].map((name) => name.textContent).sort()";
/// Of each event: its topic, and what it says.
const EVENTS: &str = "return [...document.querySelectorAll('#events > li summary .line')].map((line) => \
    [line.children[1].textContent, line.children[2].textContent])";
const ROUTES: &str = "return [...document.querySelectorAll('#routes > li')].map((row) => \
    [row.querySelector('.name')?.textContent, [...row.querySelectorAll('.badge')].map((badge) => badge.textContent)])";
/// Texts whose colour is too near to what is behind them (WCAG 2.2, 1.4.3: 4.5 to 1).
const CONTRAST: &str = r"
    const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (colour) => {
      const [r, g, b] = colour.slice(0, 3).map((part) => part / 255).map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
      }
      return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll('body *:not(svg *)')) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
      if (!own || element.closest('.unseen, .skip, noscript, thead')) continue;
      const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
      const ratio = (one + 0.05) / (other + 0.05);
      if (ratio < 4.5) found.push(`${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 20)}: ${ratio.toFixed(2)}`);
    }
    return found";
/// What a screen reader would find no name for, and ids that are there twice.
const LABELS: &str = "
    const named = (element) => element.getAttribute('aria-label') || element.textContent.trim() ||
      (element.getAttribute('aria-labelledby') && document.getElementById(element.getAttribute('aria-labelledby'))?.textContent.trim());
    const nameless = [...document.querySelectorAll('section, button, a, [role], [tabindex], table')].filter((element) => !named(element));
    const sections = [...document.querySelectorAll('section')].filter((section) => !document.getElementById(section.getAttribute('aria-labelledby')));
    const pictures = [...document.querySelectorAll('img:not([alt])')];
    const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
    const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
    return [...nameless, ...sections, ...pictures].map((element) => element.outerHTML.slice(0, 80)).concat(twice)";
/// What has moved, and how far, while the page was filled and followed the state (web.dev: cumulative layout shift).
const SHIFTS: &str = "
    const done = arguments[arguments.length - 1];
    const moved = [];
    const name = ({ node, previousRect, currentRect }) => `${node?.nodeName} ${node?.id ?? ''} ${node?.className ?? ''} ${previousRect.y} to ${currentRect.y}`;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => moved.push([entry.value, ...entry.sources.map(name)]))).observe({ type: 'layout-shift', buffered: true });
    const following = new EventSource('/live');
    let states = 0;
    following.onmessage = () => { if (++states === 2) { following.close(); requestAnimationFrame(() => setTimeout(() => done(moved))); } };
    setTimeout(() => { following.close(); done(moved); }, 3000)";
