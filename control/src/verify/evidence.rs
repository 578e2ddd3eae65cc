//! What must be found after the calls: metrics of every program, and the event of the request that the gateway let in.

use std::{path::Path, time::Duration};

use carbyne_events::{
    avro,
    event::{self, Topic},
    spool::{Position, Reader, Step, directories},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    LIMIT,
    gateway::Accepted,
    report::{Category, Check},
};
use crate::{
    fetch::get,
    running::{Kind, Running},
};

/// Every sidecar and the gateway answer the page that Prometheus reads, with their own metrics on it.
pub(super) async fn metrics(running: &Running) -> Category {
    let mut category = Category::new("metrics");
    for member in &running.members {
        let (path, expected) = match member.kind {
            Kind::Sidecar => ("/stats/prometheus", "istio_"),
            Kind::Gateway => ("/metrics", "kong_"),
            Kind::Service | Kind::Shipper | Kind::Broker => continue,
        };
        let Some(address) = member.metrics else {
            continue;
        };
        let description = if member.kind == Kind::Sidecar {
            format!("{}'s sidecar answers metrics", member.name)
        } else {
            "the gateway answers metrics".to_owned()
        };
        category.checks.push(match get(address, path, LIMIT).await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body);
                let series = text
                    .lines()
                    .filter(|line| line.starts_with(expected))
                    .count();
                if series > 0 {
                    Check::passed(format!("{description}: {series} series of {expected}*"))
                } else if member.kind == Kind::Sidecar {
                    Check::warned(
                        description,
                        "no istio_* series: it has seen no request",
                        "send it one; if it stays so, see the folder's Telemetry resources",
                    )
                } else {
                    Check::failed(
                        description,
                        "no kong_* series",
                        "add the plugin prometheus to kong.yml",
                    )
                }
            }
            Err(error) => Check::failed(
                description,
                error.to_string(),
                "does it run? `carbyne status`",
            ),
        });
    }
    category
}

/// The spool holds the event of the accepted request.
pub(super) async fn events(
    running: &Running,
    accepted: Option<&Accepted>,
    wait: Duration,
) -> Category {
    let mut category = Category::new("events");
    let Some(events) = &running.events else {
        category.checks.push(Check::warned(
            "events are spooled",
            "the platform runs without an events directory",
            "start it with this version of `carbyne up`",
        ));
        return category;
    };
    let Some(id) = accepted.and_then(|accepted| accepted.request_id.as_deref()) else {
        category.checks.push(Check::warned(
            "the request's event is found",
            "the gateway accepted no request to look for, or gave it no id",
            "see the checks of keys above; the plugin correlation-id with echo_downstream gives ids",
        ));
        return category;
    };
    let description = format!("the event of request {id} is found in the spool");
    let end = Instant::now() + wait;
    category.checks.push(loop {
        match find(&events.directory, id) {
            Ok(true) => break Check::passed(description),
            Ok(false) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(false) if running.kafka.is_some() => {
                break Check::warned(
                    description,
                    "it is not in the spool any more",
                    "it may be shipped already: `carbyne events verify` reads the topics",
                );
            }
            Ok(false) => {
                break Check::failed(
                    description,
                    format!("not within {} s", wait.as_secs_f64()),
                    "`carbyne events spool` shows what is there; was the gateway started with CARBYNE_EVENTS_DIR?",
                );
            }
            Err(error) => {
                break Check::failed(description, error.to_string(), "may this user read the events directory?");
            }
        }
    });
    category
}

/// True when an audit event of API calls is about the request of this id.
fn find(root: &Path, id: &str) -> std::io::Result<bool> {
    for directory in directories(root)? {
        let mut reader = Reader::new(&directory, Position::default());
        loop {
            match reader.step()? {
                Step::End => break,
                Step::Damage(_) => {}
                Step::Block(block) => {
                    let found = block.records().any(|record| {
                        event::Kind::from_number(record.kind)
                            .filter(|kind| kind.topic() == Topic::AuditApiCalls)
                            .and_then(|kind| request_id(kind, record.body))
                            .is_some_and(|found| found == id)
                    });
                    if found {
                        return Ok(true);
                    }
                }
            }
        }
    }
    Ok(false)
}

/// Whom an event says it is about.
fn request_id(kind: event::Kind, body: &[u8]) -> Option<String> {
    let mut text = String::new();
    avro::to_json(kind.schema()?, body, &mut text).ok()?;
    let event: Value = serde_json::from_str(&text).ok()?;
    event.get("request_id")?.as_str().map(ToOwned::to_owned)
}
