//! Events of a real gateway: every request that was answered is told exactly once, whatever ends the process; refusals are told
//! together; no secret is told at all; and what happens when there is no room.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/gateway.rs"]
mod gateway;

/// A gateway without the client says who has one: what it was told to do it cannot.
#[cfg(not(feature = "kafka"))]
#[test]
fn without_the_kafka_client_it_does_not_start_to_ship() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events").display().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_carbyne-gateway"));
    command
        .arg("start")
        .env_clear()
        .env("KONG_PREFIX", folder.path().join("prefix"))
        .env("KONG_DATABASE", "off")
        .env("CARBYNE_EVENTS_DIR", &events)
        .env("CARBYNE_EVENTS_KAFKA", "kafka:9092");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let instead = format!(
        "unset it, and run `carbyne events ship {events} --bootstrap kafka:9092` beside it"
    );
    assert!(said.contains(&instead), "{said}");
}

#[path = "events/administration.rs"]
mod administration;
#[path = "events/full.rs"]
mod full;
#[path = "events/killed.rs"]
mod killed;
#[path = "events/requests.rs"]
mod requests;
#[path = "events/secrets.rs"]
mod secrets;
#[path = "events/spool.rs"]
mod spool;
