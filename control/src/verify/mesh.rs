//! Calls between workloads, sent to the callers' own sidecars: what the folder's policies let through is answered, what they deny is
//! denied by name, plaintext at a port that wants mutual TLS gets no answer; and the callees say that what came, came by mutual TLS.

use std::{net::SocketAddr, time::Duration};

use carbyne_mesh::source::Snapshot;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    LIMIT, ask,
    report::{Category, Check},
};
use crate::{
    graph::Graph,
    up::{
        guide::{Call, calls},
        policy,
        workloads::Workload,
    },
};

/// Sends every call whose outcome the policies tell.
pub(super) async fn check(snapshot: &Snapshot, workloads: &[Workload]) -> Category {
    let mut category = Category::new("calls between workloads");
    for call in calls(workloads) {
        let Call {
            caller,
            callee,
            host,
            through,
        } = call;
        let title = format!("{} calls {}", caller.name, callee.name);
        if let Some(operate) = policy::welcome(snapshot, caller, callee) {
            let description = format!("{title}: answered");
            category.checks.push(
                match ask(through, &operate.method, &operate.path, &[("host", host)]).await {
                    Ok(answer) if answer.status().as_u16() < 400 => {
                        Check::passed(format!("{description} {}", answer.status().as_u16()))
                    }
                    Ok(answer) => Check::failed(
                        description,
                        format!(
                            "{} {} was answered {}: {}",
                            operate.method,
                            operate.path,
                            answer.status(),
                            start(answer.body())
                        ),
                        format!(
                            "`carbyne proxy {} why http://{host}{}` says where it ends",
                            caller.name, operate.path
                        ),
                    ),
                    Err(error) => Check::failed(description, error.to_string(), gone(caller)),
                },
            );
        }
        if let Some(refusal) = policy::refusal(snapshot, caller, callee) {
            let operate = &refusal.operate;
            let description = format!(
                "{title}: denied by AuthorizationPolicy {}/{}",
                refusal.namespace, refusal.policy
            );
            category.checks.push(
                match ask(through, &operate.method, &operate.path, &[("host", host)]).await {
                    Ok(answer)
                        if answer.status() == 403
                            && start(answer.body()).contains("RBAC: access denied") =>
                    {
                        Check::passed(description)
                    }
                    Ok(answer) => Check::failed(
                        description,
                        format!(
                            "{} {} was answered {}: {}",
                            operate.method,
                            operate.path,
                            answer.status(),
                            start(answer.body())
                        ),
                        format!(
                            "`carbyne status`: has {}'s sidecar the newest configuration?",
                            callee.name
                        ),
                    ),
                    Err(error) => Check::failed(description, error.to_string(), gone(caller)),
                },
            );
        }
    }
    for workload in workloads {
        for inbound in &workload.inbound {
            if !policy::strict(snapshot, workload, inbound.listen.port()) {
                continue;
            }
            let description = format!("{} takes no plaintext at {}", workload.name, inbound.listen);
            let host = workload.hosts.first().map_or("localhost", String::as_str);
            category.checks.push(match plaintext(inbound.listen, host, LIMIT).await {
                Plaintext::Closed => Check::passed(description),
                Plaintext::Unreachable(error) => Check::failed(description, error.to_string(), gone(workload)),
                Plaintext::Answered(start) => Check::failed(
                    description,
                    format!("it was answered: {start}"),
                    "`carbyne lint`: two PeerAuthentications of one scope? `carbyne status`: is the sidecar in step?",
                ),
                Plaintext::Silent => Check::failed(
                    description,
                    format!("the connection was neither answered nor closed within {} s", LIMIT.as_secs()),
                    format!("is {}'s sidecar stopped, or busy? `carbyne status`", workload.name),
                ),
            });
        }
    }
    if category.checks.is_empty() {
        category.checks.push(Check::warned(
            "workloads call each other",
            "no workload of the folder has an outbound listener towards another",
            "give its Sidecar an egress listener with `bind` and `port`",
        ));
    }
    category
}

/// What went between sidecars meanwhile came by mutual TLS.
pub(super) fn mutual_tls(graph: &Graph) -> Category {
    let mut category = Category::new("mutual TLS");
    let inside = graph.edges.iter().filter(|edge| {
        graph
            .node(&edge.from)
            .is_some_and(|node| node.sidecar == Some(true))
    });
    for edge in inside {
        let description = format!(
            "{} → {} by mutual TLS",
            graph.full_title(&edge.from),
            graph.full_title(&edge.to)
        );
        category.checks.push(match edge.mtls {
            _ if edge.locked() => Check::passed(format!("{description} ({})", edge.count())),
            None => Check::warned(
                description,
                "the callee's sidecar counted nothing: it never arrived, or its metrics are off",
                "`carbyne graph` shows flags; `carbyne status` shows whether the callee's sidecar answers",
            ),
            Some(share) => Check::failed(
                description,
                format!("only {} of it", crate::graph::model::percent(share)),
                "make the callee STRICT, and see that the caller's DestinationRule does not say tls.mode DISABLE",
            ),
        });
    }
    if category.checks.is_empty() {
        category.checks.push(Check::failed(
            "traffic between sidecars is seen",
            "no sidecar counted a request to another one during the checks above",
            "see the failed checks above; is a Telemetry resource without `prometheus` in the folder?",
        ));
    }
    category
}

/// What becomes of a request without TLS.
#[derive(Debug)]
enum Plaintext {
    /// The connection was closed or reset, and not a byte came: as it must be where only TLS is taken.
    Closed,
    /// Nobody is there.
    Unreachable(std::io::Error),
    /// Something came back.
    Answered(String),
    /// Nothing happened in time.
    Silent,
}

async fn plaintext(address: SocketAddr, host: &str, limit: Duration) -> Plaintext {
    let talk = async {
        let mut stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return Plaintext::Unreachable(error),
        };
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        // Closed before it was written: then the next read says so.
        stream.write_all(request.as_bytes()).await.ok();
        let mut first = [0; 120];
        match stream.read(&mut first).await {
            Ok(0) | Err(_) => Plaintext::Closed,
            Ok(length) => Plaintext::Answered(start(&first[..length])),
        }
    };
    let talked = tokio::time::timeout(limit, talk).await;
    talked.unwrap_or(Plaintext::Silent)
}

/// The first words of an answer.
fn start(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(120)]);
    text.trim().replace('\n', " ")
}

fn gone(workload: &Workload) -> String {
    format!(
        "does {}'s sidecar run? `carbyne status`; its log is in the runtime directory",
        workload.name
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_closed_connection_is_a_refusal() {
        let limit = Duration::from_millis(500);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            // Read, so that the close is none by reset: that is the fourth.
            for answer in [Some(""), Some("HTTP/1.1 200 OK\r\n"), None] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 256];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                match answer {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => tokio::time::sleep(limit * 4).await,
                }
            }
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_zero_linger().unwrap();
        });
        let seen = async || plaintext(address, "a", limit).await;
        assert!(matches!(seen().await, Plaintext::Closed));
        let answered = seen().await;
        assert!(
            matches!(&answered, Plaintext::Answered(start) if start == "HTTP/1.1 200 OK"),
            "{answered:?}"
        );
        assert!(matches!(seen().await, Plaintext::Silent));
        let reset = plaintext(address, "a", limit * 10).await;
        assert!(matches!(reset, Plaintext::Closed), "{reset:?}");
        peer.await.unwrap();
        assert!(matches!(seen().await, Plaintext::Unreachable(_)));
    }
}
