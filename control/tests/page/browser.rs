//! A headless Chromium, driven by chromedriver (W3C WebDriver: JSON over HTTP).

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use carbyne_control::fetch::fetch;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// One window. Dropping it closes it.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    runtime: Runtime,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("chromedriver does not run: {error}; install the Debian package chromium-driver, or let `.ci/setup test` do it")
            });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
            runtime,
        };
        crate::running::within(Duration::from_secs(30), || {
            match browser.ask("GET", "/status", &Value::Null) {
                Ok(status) if status["ready"] == true => Ok(()),
                other => Err(format!("chromedriver is not ready: {other:?}")),
            }
        });
        let arguments = [
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let mut arguments: Vec<&str> = arguments.into();
        if rustix::process::geteuid().is_root() {
            // Chromium's sandbox refuses to run as root.
            arguments.push("--no-sandbox");
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let session = browser.must("POST", "/session", &wanted);
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// The size of the window, and what its owner likes better.
    pub(crate) fn emulate(&self, width: u32, scheme: &str) {
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        let mobile = width < 500;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}),
        );
    }

    pub(crate) fn open(&self, url: &str) {
        self.session("/url", &json!({"url": url}));
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.session("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script hands to its last argument.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.session("/execute/async", &json!({"script": script, "args": []}))
    }

    /// What the console said, of whatever weight.
    pub(crate) fn console(&self) -> Value {
        self.session("/se/log", &json!({"type": "browser"}))
    }

    /// A picture of all of the page, in PNG.
    pub(crate) fn screenshot(&self, width: u32) -> Vec<u8> {
        let height = self.run("return document.documentElement.scrollHeight");
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let shot = self.devtools(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true, "clip": clip}),
        );
        base64(shot["data"].as_str().unwrap())
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.session(
            "/goog/cdp/execute",
            &json!({"cmd": command, "params": parameters}),
        )
    }

    fn session(&self, path: &str, body: &Value) -> Value {
        self.must("POST", &format!("{}{path}", self.session), body)
    }

    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path} {body:#}: {error}"))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = fetch(self.address, request, Duration::from_secs(60));
        let answer = self
            .runtime
            .block_on(answer)
            .map_err(|error| error.to_string())?;
        let mut value: Value =
            serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(value["value"].take())
        } else {
            Err(value.to_string())
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session; without an answer there is nothing more to be done.
        self.ask("DELETE", &self.session, &Value::Null).ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(digit)
        .collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let word = chunk
            .iter()
            .chain(std::iter::repeat(&0))
            .take(4)
            .fold(0_u32, |word, digit| word << 6 | u32::from(*digit));
        word.to_be_bytes()[1..chunk.len()].to_vec()
    });
    bytes.collect()
}
