//! What must be found after the calls: metrics of every program, and the event of the request that the gateway let in, in its topic
//! where events are shipped.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use carbyne_events::{
    avro,
    event::{self, Topic},
    spool::{Position, Reader, Step, directories},
    verify::find_in_topic,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    LIMIT,
    gateway::Accepted,
    report::{Category, Check},
};
use crate::{
    events::shipping::Shipping,
    fetch::get,
    running::{Kafka, Kind, Member, Running},
    topics::access::Cluster,
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

/// The event of the accepted request is in its topic where events are shipped, else in the spool.
pub(super) async fn events(
    running: &Running,
    accepted: Option<&Accepted>,
    began: SystemTime,
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
    if let Some(shipper) = member(running, Kind::Shipper) {
        category.checks.push(ships(shipper, wait).await);
    }
    let Some(id) = accepted.and_then(|accepted| accepted.request_id.as_deref()) else {
        category.checks.push(Check::warned(
            "the request's event is found",
            "the gateway accepted no request to look for, or gave it no id",
            "see the checks of keys above; the plugin correlation-id with echo_downstream gives ids",
        ));
        return category;
    };
    category.checks.push(match &running.kafka {
        None => in_spool(&events.directory, id, wait).await,
        Some(kafka) => in_topic(kafka, id, began, wait).await,
    });
    category
}

async fn in_spool(directory: &Path, request_id: &str, wait: Duration) -> Check {
    let description = format!("the event of request {request_id} is found in the spool");
    let end = Instant::now() + wait;
    loop {
        match find(directory, request_id) {
            Ok(true) => return Check::passed(description),
            Ok(false) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(false) => {
                return Check::failed(
                    description,
                    format!("not within {} s", wait.as_secs_f64()),
                    "`carbyne events spool` shows what is there; was the gateway started with CARBYNE_EVENTS_DIR?",
                );
            }
            Err(error) => {
                return Check::failed(
                    description,
                    error.to_string(),
                    "may this user read the events directory?",
                );
            }
        }
    }
}

/// Read back from the brokers, as anybody would.
async fn in_topic(kafka: &Kafka, request_id: &str, since: SystemTime, wait: Duration) -> Check {
    let topic = Topic::AuditApiCalls;
    let description = format!(
        "the event of request {request_id} is found in {} at {}",
        topic.name(),
        kafka.bootstrap
    );
    let cluster = Cluster::from(kafka);
    let (bootstrap, words) = (kafka.bootstrap.clone(), request_id.as_bytes().to_vec());
    // Clocks of one machine, and times of events are rounded down.
    let since = since.checked_sub(Duration::from_secs(1)).unwrap_or(since);
    let read = tokio::task::spawn_blocking(move || {
        let properties = cluster.properties().map_err(|finding| finding.message)?;
        find_in_topic(&bootstrap, &properties, topic, since, &words, wait)
            .map_err(|error| error.to_string())
    });
    let error = match read.await {
        Ok(Ok(true)) => return Check::passed(description),
        Ok(Ok(false)) => format!("not within {} s", wait.as_secs_f64()),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    };
    Check::failed(
        description,
        error,
        "nothing is lost: it waits in the spool (`carbyne events spool`) until a broker takes it; `carbyne status` says what it waits for",
    )
}

/// The shipper answers, and nothing keeps it from shipping.
async fn ships(shipper: &Member, wait: Duration) -> Check {
    let description = "events are shipped";
    let end = Instant::now() + wait;
    let Some(address) = shipper.admin else {
        return Check::warned(description, "the shipper has no address", "start it again");
    };
    loop {
        let answer = get(address, "/status", LIMIT).await;
        let shipping = answer.map(|body| serde_json::from_slice::<Shipping>(&body));
        let shipping = match shipping {
            Ok(Ok(shipping)) => shipping,
            Ok(Err(error)) => return Check::failed(description, error.to_string(), STATUS),
            Err(error) => return Check::failed(description, error.to_string(), STATUS),
        };
        if shipping.problems.is_empty() {
            return Check::passed(format!("{description}: {}", shipping.words()));
        }
        if Instant::now() >= end {
            return Check::failed(description, shipping.problems.join("\n"), STATUS);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn member(running: &Running, kind: Kind) -> Option<&Member> {
    running.members.iter().find(|member| member.kind == kind)
}

const STATUS: &str =
    "traffic goes on and events wait in the spool; `carbyne status` and the shipper's log say more";

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
