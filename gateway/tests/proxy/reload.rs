//! Configuration that changes while traffic flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::gateway::{Gateway, Upstream, get};

fn yaml(upstream: &Upstream, version: usize) -> String {
    format!(
        r#"
_format_version: "3.0"
services:
- name: s
  url: "{}/{version}"
  routes: [{{name: r, paths: [/r]}}]
- name: steady
  url: "{}/steady"
  routes: [{{name: steady, paths: [/steady]}}]
"#,
        upstream.url(),
        upstream.url()
    )
}

/// Reloads come while clients send: no request is lost, and the newest configuration is in force at the end.
#[test]
fn reloads_lose_nothing() {
    let upstream = Upstream::start();
    let gateway = Arc::new(Gateway::declarative(&yaml(&upstream, 0)));
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (gateway, stop, sent) = (gateway.clone(), stop.clone(), sent.clone());
            std::thread::spawn(move || {
                let mut client = gateway.client();
                while !stop.load(Ordering::Relaxed) {
                    let target = if number % 2 == 0 { "/r" } else { "/steady" };
                    let answer = client.send(&get(target));
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in 1..=20 {
        let before = sent.load(Ordering::Relaxed);
        gateway.reload(&yaml(&upstream, version));
        let wanted = format!("GET /{version}");
        let began = std::time::Instant::now();
        while !upstream.seen().iter().any(|seen| seen.asked() == wanted) {
            assert!(
                began.elapsed().as_secs() < 30,
                "version {version} does not come"
            );
            std::thread::yield_now();
        }
        while sent.load(Ordering::Relaxed) < before + 8 {
            std::thread::yield_now();
        }
    }
    // A bad file changes nothing.
    gateway.reload("_format_version: \"3.0\"\nservices: [{url: 1}]");
    while !gateway.log().contains("stays as it was")
        && !gateway.log().contains("was in effect stays")
    {
        std::thread::yield_now();
    }
    upstream.seen();
    gateway.send(&get("/r"));
    assert!(upstream.seen().iter().any(|seen| seen.asked() == "GET /20"));
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every request was answered");
    }
}

/// What the Admin API stores is served; what it deletes is not.
#[test]
fn writes_go_live() {
    let upstream = Upstream::start();
    let gateway = Gateway::embedded();
    assert_eq!(gateway.send(&get("/a")).status(), 404);
    let url = upstream.url();
    gateway.administer("PUT", "/services/s", &format!(r#"{{"url":"{url}"}}"#));
    gateway.administer("PUT", "/services/s/routes/a", r#"{"paths":["/a"]}"#);
    gateway.until(&get("/a"), |answer| answer.status() == 200);
    gateway.administer("PATCH", "/services/s", r#"{"path":"/base"}"#);
    upstream.seen();
    gateway.until(&get("/a/x"), |_| {
        upstream
            .seen()
            .iter()
            .any(|seen| seen.asked() == "GET /base/x")
    });
    gateway.administer(
        "POST",
        "/routes/a/plugins",
        r#"{"name":"request-termination","config":{"status_code":418}}"#,
    );
    gateway.until(&get("/a"), |answer| answer.status() == 418);
    gateway.administer("PATCH", "/services/s", r#"{"enabled":false}"#);
    gateway.until(&get("/a"), |answer| answer.status() == 404);
    gateway.administer("PATCH", "/services/s", r#"{"enabled":true}"#);
    gateway.until(&get("/a"), |answer| answer.status() == 418);
    gateway.administer("DELETE", "/routes/a", "");
    gateway.until(&get("/a"), |answer| answer.status() == 404);
}

/// SIGQUIT lets what was begun come to its end; the next process serves what was stored.
#[test]
fn a_graceful_end_answers_what_was_asked() {
    let (go, wait) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (told, asked) = (go.clone(), wait.clone());
    let upstream = Upstream::answering(move |_| {
        asked.store(true, Ordering::Release);
        while !told.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        crate::gateway::reply(200, &[], "late")
    });
    let gateway = Gateway::declarative(&yaml(&upstream, 0));
    let mut client = gateway.client();
    client.write(b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n");
    while !wait.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    let address = gateway.proxy[0];
    gateway.signal("QUIT");
    // It no longer listens, and the request goes on.
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    go.store(true, Ordering::Release);
    let answer = client.read(false).expect("the answer comes");
    assert_eq!(answer.text(), "late");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(gateway.wait().success());
}
