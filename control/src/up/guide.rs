//! What is printed once everything runs: where it is, and what to try.

use std::{fmt::Write, net::SocketAddr, path::Path, time::Duration};

use carbyne_mesh::source::Snapshot;

use super::{
    directory::{ACCESS_LOG, PROXY_LOG},
    gateway,
    policy::{self, Operate},
    tries::{See, Try, quoted},
    workloads::{Workload, name_of_host},
};
use crate::terminal::{BOLD, DIM};

/// Where everything is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Folder of configuration.
    pub folder: &'a Path,
    /// Run directory.
    pub run: &'a Path,
    /// Address of the page.
    pub page: Option<SocketAddr>,
    /// Folder of the events, and whether it stays.
    pub events: (&'a Path, bool),
    /// Brokers that they are shipped to.
    pub kafka: Option<&'a str>,
}

/// What is printed once everything runs.
#[must_use]
pub fn guide(
    snapshot: &Snapshot,
    workloads: &[Workload],
    tries: &[Try],
    place: &Place<'_>,
    took: Duration,
) -> String {
    let Place {
        folder,
        run,
        page,
        events: (events, kept),
        kafka,
    } = place;
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        writeln!(out, "{text}").ok();
    };
    let gateways = workloads.iter().filter(|workload| workload.gateway).count();
    let count = workloads.len() - gateways;
    let services = match (count, gateways) {
        (1, 0) => "1 service behind its sidecar".to_owned(),
        (_, 0) => format!("{count} services behind their sidecars"),
        _ => format!("a gateway and {count} services behind their sidecars"),
    };
    line(format_args!(
        "{BOLD}{services}, ready in {:.1} s{BOLD:#}",
        took.as_secs_f64()
    ));
    line(format_args!(""));
    for row in table(snapshot, workloads) {
        line(format_args!("  {row}"));
    }
    line(format_args!(""));
    if let Some(page) = page {
        line(format_args!("  page           http://{page}/"));
    }
    line(format_args!(
        "  configuration  {} (saved files are live within a second)",
        folder.display()
    ));
    line(format_args!(
        "  logs           {}/NAME/{{{ACCESS_LOG},{PROXY_LOG},service.log}}",
        run.display()
    ));
    line(format_args!(
        "  bootstraps     {}/NAME/{}",
        run.display(),
        super::bootstrap::BOOTSTRAP_FILE
    ));
    let end = if *kept {
        "they stay when this ends"
    } else {
        "all of it is removed at the end; --keep FOLDER keeps events"
    };
    line(format_args!(
        "  events         {} ({end})",
        events.display()
    ));
    if let Some(kafka) = kafka {
        line(format_args!(
            "  kafka          {kafka} (topics.yaml says which topics; `carbyne events verify` proves that nothing is missing)"
        ));
    }
    if !tries.is_empty() {
        line(format_args!(""));
        line(format_args!("{BOLD}try{BOLD:#}"));
    }
    for Try {
        shows,
        command,
        answer,
        see,
    } in tries
    {
        line(format_args!("  {DIM}# {shows}{DIM:#}"));
        line(format_args!("  {command}"));
        if let Some(answer) = answer {
            line(format_args!("    {DIM}→ {answer}{DIM:#}"));
        }
        for See { place, what } in see {
            line(format_args!("    {DIM}{place:<6}  {what}{DIM:#}"));
        }
    }
    line(format_args!(""));
    line(format_args!("Ctrl-C stops everything."));
    out
}

/// Columns of equal width, first the heads.
fn table(snapshot: &Snapshot, workloads: &[Workload]) -> Vec<String> {
    let list = |addresses: Vec<String>| {
        if addresses.is_empty() {
            "-".to_owned()
        } else {
            addresses.join(" ")
        }
    };
    let mut rows = vec![
        [
            "service",
            "sidecar in",
            "sidecar out",
            "application",
            "admin",
        ]
        .map(str::to_owned),
    ];
    for workload in workloads {
        let inbound = workload.inbound.iter().map(|inbound| {
            let mode = if policy::strict(snapshot, workload, inbound.listen.port()) {
                " (mTLS)"
            } else {
                ""
            };
            format!("{}{mode}", inbound.listen)
        });
        let mut outbound: Vec<String> = workload
            .outbound
            .iter()
            .map(|outbound| outbound.through.to_string())
            .collect();
        outbound.sort();
        outbound.dedup();
        rows.push([
            workload.name.clone(),
            list(inbound.collect()),
            list(outbound),
            list(if workload.gateway {
                vec![gateway::proxy(workload).to_string()]
            } else {
                let applications = workload.inbound.iter();
                applications
                    .map(|inbound| inbound.application.to_string())
                    .collect()
            }),
            format!("http://{}", workload.admin()),
        ]);
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// What to try, with what it shows: a call over mTLS, a refusal and its log line, plaintext at a port that wants mTLS.
#[must_use]
pub fn tries(snapshot: &Snapshot, workloads: &[Workload], run: &Path) -> Vec<Try> {
    let mut tries = Vec::new();
    let mut open = workloads.iter().flat_map(|workload| {
        workload
            .inbound
            .iter()
            .map(move |inbound| (workload, inbound.listen))
    });
    let door = open.clone().find(|(workload, listen)| {
        !policy::strict(snapshot, workload, listen.port()) && !workload.outbound.is_empty()
    });
    if let Some((workload, listen)) = door {
        let called: Vec<String> = workload
            .callees(workloads)
            .into_iter()
            .map(|callee| callee.name)
            .collect();
        tries.push(Try {
            shows: format!(
                "in at {}'s door, a plaintext port of its sidecar; {} then calls {} through it and shows what each answered",
                workload.name,
                workload.name,
                called.join(" and ")
            ),
            command: format!("curl -s http://{listen}/"),
            ..Try::default()
        });
    }
    if let Some((call, operate)) = calls(workloads)
        .find_map(|call| Some((call, policy::welcome(snapshot, call.caller, call.callee)?)))
    {
        let Call { caller, callee, .. } = call;
        let identity = caller.principal(&snapshot.mesh.trust_domain);
        tries.push(Try {
            shows: format!(
                "{} calls {} through both sidecars, mTLS between them: 200, and x-forwarded-client-cert names spiffe://{identity}",
                caller.name, callee.name
            ),
            command: call.curl("-s", &operate),
            ..Try::default()
        });
    }
    if let Some((call, refusal)) = calls(workloads)
        .find_map(|call| Some((call, policy::refusal(snapshot, call.caller, call.callee)?)))
    {
        let Call { caller, callee, .. } = call;
        tries.push(Try {
            shows: format!(
                "{} calls {}: AuthorizationPolicy {}/{} refuses: RBAC: access denied, 403",
                caller.name, callee.name, refusal.namespace, refusal.policy
            ),
            command: call.curl("-s -w ', %{http_code}\\n'", &refusal.operate),
            ..Try::default()
        });
        if let Some(log) = log_file(snapshot) {
            tries.push(Try {
                shows: format!(
                    "{}'s access log, up to a second later: rbac_access_denied_matched_policy[ns[{}]-policy[{}]-rule[...]]",
                    callee.name, refusal.namespace, refusal.policy
                ),
                command: format!("grep rbac_access_denied {} | tail -n 1", quoted(&run.join(&callee.name).join(log).display().to_string())),
                ..Try::default()
            });
        }
    }
    // The last: most likely not the one that was called above.
    if let Some((workload, listen)) =
        open.rfind(|(workload, listen)| policy::strict(snapshot, workload, listen.port()))
    {
        tries.push(Try {
            shows: format!("plaintext straight at {}'s port, which is STRICT: the connection is closed, curl fails", workload.name),
            command: format!("curl -sS http://{listen}/"),
            ..Try::default()
        });
    }
    tries
}

/// One workload calling another.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) caller: &'a Workload,
    pub(crate) callee: &'a Workload,
    pub(crate) host: &'a str,
    /// The caller's own sidecar.
    pub(crate) through: SocketAddr,
}

impl Call<'_> {
    fn curl(&self, options: &str, operate: &Operate) -> String {
        let method = match operate.method.as_str() {
            "GET" => String::new(),
            other => format!("-X {} ", quoted(other)),
        };
        let url = format!("http://{}{}", self.through, operate.path);
        format!(
            "curl {options} {method}-H {} {}",
            quoted(&format!("Host: {}", self.host)),
            quoted(&url)
        )
    }
}

/// Who can call whom; hosts that several workloads serve are left out, for their answers may differ.
pub(crate) fn calls(workloads: &[Workload]) -> impl Iterator<Item = Call<'_>> {
    workloads.iter().flat_map(move |caller| {
        caller.outbound.iter().filter_map(move |outbound| {
            let name = name_of_host(&outbound.host, workloads);
            let callee = workloads.iter().find(|workload| {
                workload.name == name && workload.hosts.contains(&outbound.host)
            })?;
            (callee.name != caller.name).then_some(Call {
                caller,
                callee,
                host: &outbound.host,
                through: outbound.through,
            })
        })
    })
}

/// The file that access logs go to, in a workload's folder; none if the folder asks for none.
fn log_file(snapshot: &Snapshot) -> Option<&str> {
    match snapshot.mesh.access_log_file.as_str() {
        "" if snapshot.telemetries.is_empty() => None,
        // Istio's `envoy` provider of Telemetry writes there too.
        "" | "/dev/stdout" => Some(ACCESS_LOG),
        "/dev/stderr" => Some(PROXY_LOG),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{testing, workloads};
    use super::*;

    const POLICY: &str = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: not-the-portal, namespace: shop}
spec:
  selector: {matchLabels: {app: billing}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/portal]}}]}]
";

    #[test]
    fn says_where_everything_is_and_what_to_try() {
        let snapshot = testing::snapshot(POLICY);
        let found = workloads::find(&snapshot, false).workloads;
        let run = Path::new("/tmp/run");
        let place = Place {
            folder: Path::new("platform"),
            run,
            page: None,
            events: (Path::new("/tmp/run/events"), false),
            kafka: Some("127.0.10.1:9092"),
        };
        let tries = tries(&snapshot, &found, run);
        let took = Duration::from_millis(1234);
        let text = guide(&snapshot, &found, &tries, &place, took);
        let expected = "\
3 services behind their sidecars, ready in 1.2 s

  service    sidecar in              sidecar out      application      admin
  portal     127.0.10.1:8081 (mTLS)  127.0.10.1:8080  127.0.10.1:9080  http://127.0.10.1:15000
  catalogue  127.0.10.2:8080 (mTLS)  -                127.0.10.2:9080  http://127.0.10.2:15000
  billing    127.0.10.3:8080 (mTLS)  -                127.0.10.3:9080  http://127.0.10.3:15000

  configuration  platform (saved files are live within a second)
  logs           /tmp/run/NAME/{access.log,proxy.log,service.log}
  bootstraps     /tmp/run/NAME/etc/istio/proxy/envoy-rev.json
  events         /tmp/run/events (all of it is removed at the end; --keep FOLDER keeps events)
  kafka          127.0.10.1:9092 (topics.yaml says which topics; `carbyne events verify` proves that nothing is missing)

try
  # portal calls catalogue through both sidecars, mTLS between them: 200, and x-forwarded-client-cert names spiffe://cluster.local/ns/shop/sa/portal
  curl -s -H 'Host: catalogue.shop.svc.cluster.local' http://127.0.10.1:8080/
  # portal calls billing: AuthorizationPolicy shop/not-the-portal refuses: RBAC: access denied, 403
  curl -s -w ', %{http_code}\\n' -H 'Host: billing.shop.svc.cluster.local' http://127.0.10.1:8080/
  # billing's access log, up to a second later: rbac_access_denied_matched_policy[ns[shop]-policy[not-the-portal]-rule[...]]
  grep rbac_access_denied /tmp/run/billing/access.log | tail -n 1
  # plaintext straight at billing's port, which is STRICT: the connection is closed, curl fails
  curl -sS http://127.0.10.3:8080/

Ctrl-C stops everything.
";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn promises_nothing_that_the_folder_does_not_hold() {
        let snapshot = testing::snapshot(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: open, namespace: shop}\nspec: {mtls: {mode: PERMISSIVE}}\n",
        );
        let found = workloads::find(&snapshot, false).workloads;
        let tries = tries(&snapshot, &found, Path::new("/tmp"));
        let commands: Vec<&str> = tries.iter().map(|one| one.command.as_str()).collect();
        // The door, which is open now, and a call; no refusal, no port that wants mTLS.
        assert_eq!(
            commands,
            [
                "curl -s http://127.0.10.1:8081/",
                "curl -s -H 'Host: billing.shop.svc.cluster.local' http://127.0.10.1:8080/"
            ]
        );
    }
}
