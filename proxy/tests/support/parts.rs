//! What the suites that run real peers share: processes, clients and upstreams that see every byte.
//!
//! | module | what it is |
//! |---|---|
//! | [`place`] | a loopback address and a folder of its own for each process |
//! | [`process`] | a proxy that runs: started, waited for, asked, killed |
//! | [`http1`] | a client that sends bytes as they are and reads one response at a time |
//! | [`upstream`] | a scripted HTTP/1 server that keeps what arrived |
//! | [`hpack`], [`http2`], [`upstream2`] | frames as bytes, a client and a scripted server over them |
//! | [`tls`] | certificates, and both sides of TLS |
//! | [`network`] | network namespaces on a bridge, and threads inside them |
//! | [`interception`] | a pod: Istio's iptables rules and a sidecar started as pilot-agent starts it |
//! | [`service`] | a sample service that describes what reached it |
//! | [`python`] | programs of the Python environment as peers |
//! | [`config`] | the JSON of a bootstrap in few words |
//! | [`transcript`] | what one exchange showed, as lines that two proxies can be compared by |

pub mod config;
pub mod hpack;
pub mod http1;
pub mod http2;
pub mod interception;
pub mod network;
pub mod place;
pub mod process;
pub mod python;
pub mod service;
pub mod tls;
pub mod transcript;
pub mod upstream;
pub mod upstream2;

use std::io::Write;
use std::time::{Duration, Instant};

/// The longest that a suite waits for something that a proxy does at once.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Asks again and again, until there is an answer or the time is over.
pub fn poll<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Tells the runner of all suites how many cases of a table ran.
pub fn report_cases(table: &str, ran: usize, all: usize) {
    println!("{table}: {ran} of {all} cases");
    if let Ok(path) = std::env::var("CARBYNE_CASES") {
        let line = format!("{table} {ran} {all}\n");
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("CARBYNE_CASES={path}: {error}"));
    }
}
