//! The way of one request as a proxy would decide it: listener → filter chain → filters → route → cluster → endpoint, and on to the
//! sidecar of that endpoint where it is known. What depends on something that nobody said is called so.
//!
//! | file | what it does |
//! |---|---|
//! | [`walk`] | the steps |
//! | `matching` | Envoy's matchers of texts, fields and addresses |
//! | `rbac` | access rules, by the name of the policy |
//! | `chain` | which filter chain takes a connection |

mod chain;
mod matching;
mod rbac;
pub mod walk;

use std::{fmt, net::SocketAddr};

use serde::Serialize;

use self::walk::{Ask, Direction, End, Walk, walk};
use super::LIMIT;
use crate::{
    admin::{Dump, Proxy, list, text},
    output::{Finding, Outcome, Text, code},
    running::{Kind, Running},
    terminal::{BOLD, DIM, GREEN, RED, YELLOW},
};

/// Arguments of `carbyne proxy NAME why`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What is asked for: http://HOST:PORT/PATH
    pub url: String,
    /// Method
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// Header field, NAME: VALUE
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub headers: Vec<String>,
    /// The request comes in from others; PORT is the workload's own
    #[arg(long)]
    pub inbound: bool,
    /// Who sends an inbound request by mutual TLS, such as cluster.local/ns/shop/sa/portal [default: plaintext, from nobody]
    #[arg(long, value_name = "PRINCIPAL", requires = "inbound")]
    pub from: Option<String>,
}

/// The way through one proxy, or two.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Through which proxies.
    pub walks: Vec<Walk>,
}

/// Walks through a proxy, and through the sidecar of the endpoint that it ends at.
///
/// # Errors
/// When a proxy does not answer, or the URL is none.
pub async fn story(
    proxy: &Proxy,
    running: Option<&Running>,
    arguments: &Arguments,
) -> Result<Story, Finding> {
    let mut ask = Ask::read(arguments)?;
    let first = through(proxy, &ask).await?;
    let mut walks = vec![first];
    let next = walks.first().and_then(|walk| match &walk.end {
        End::Endpoint {
            address,
            mutual_tls,
        } if ask.direction == Direction::Outbound => Some((*address, *mutual_tls)),
        _ => None,
    });
    if let Some((address, mutual_tls)) = next
        && let Some(callee) = running.and_then(|running| behind(running, address))
    {
        ask.direction = Direction::Inbound;
        ask.port = address.port();
        ask.principal = if mutual_tls {
            identity(proxy).await
        } else {
            None
        };
        ask.tls = mutual_tls;
        ask.source = Some(proxy.address.ip());
        walks.push(through(&callee, &ask).await?);
    }
    Ok(Story { walks })
}

async fn through(proxy: &Proxy, ask: &Ask) -> Result<Walk, Finding> {
    let page = proxy.page("/config_dump?include_eds", LIMIT).await?;
    let clusters = proxy.page("/clusters?format=json", LIMIT).await?;
    Ok(walk(&proxy.name, &Dump::read(&page), &clusters, ask))
}

/// The sidecar that takes traffic at an address.
fn behind(running: &Running, address: SocketAddr) -> Option<Proxy> {
    let member = running
        .members
        .iter()
        .find(|member| member.kind == Kind::Sidecar && member.addresses.contains(&address))?;
    Proxy::of(member)
}

/// The name in a proxy's certificate.
async fn identity(proxy: &Proxy) -> Option<String> {
    let page = proxy.page("/certs", LIMIT).await.ok()?;
    let names = list(&page, "/certificates")
        .flat_map(|pair| list(pair, "/cert_chain"))
        .flat_map(|certificate| list(certificate, "/subject_alt_names"));
    names
        .map(|name| text(name, "/uri").to_owned())
        .find(|name| !name.is_empty())
}

impl Story {
    /// It arrives, or not.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.walks.last().map(|walk| &walk.end) {
            Some(End::Endpoint { .. }) => Outcome::Well,
            Some(End::Unknown { .. }) => Outcome::Differs,
            _ => Outcome::Failed,
        }
    }
}

impl Text for Story {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for walk in &self.walks {
            let direction = match walk.direction {
                Direction::Outbound => "out of",
                Direction::Inbound => "into",
            };
            writeln!(out, "{BOLD}{direction} {}{BOLD:#}", walk.proxy)?;
            for step in &walk.steps {
                writeln!(out, "  {:<10} {}", step.at, step.name)?;
                for note in &step.notes {
                    writeln!(out, "  {:<10} {DIM}{note}{DIM:#}", "")?;
                }
            }
            match &walk.end {
                End::Endpoint { address, .. } => {
                    writeln!(out, "  {GREEN}√ goes to {address}{GREEN:#}")?
                }
                End::Answered { status, why } if *status < 400 => {
                    writeln!(out, "  {YELLOW}‼ answered {status} here: {why}{YELLOW:#}")?
                }
                End::Answered { status, why } => {
                    writeln!(out, "  {RED}× answered {status}: {why}{RED:#}")?
                }
                End::Closed { why } => writeln!(out, "  {RED}× closed: {why}{RED:#}")?,
                End::Unknown { why } => {
                    writeln!(out, "  {YELLOW}‼ cannot be told: {why}{YELLOW:#}")?
                }
            }
        }
        Ok(())
    }
}

impl Ask {
    /// What the command line asks.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn read(arguments: &Arguments) -> Result<Self, Finding> {
        let wrong =
            |message: &str| Finding::new(&code::NO_URL, format!("`{}`: {message}", arguments.url));
        let uri: http::Uri = arguments.url.parse().map_err(|_| wrong("this is no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let secure = uri.scheme_str() == Some("https");
        let headers = arguments.headers.iter().filter_map(|field| {
            let (name, value) = field.split_once(':')?;
            Some((name.trim().to_lowercase(), value.trim().to_owned()))
        });
        let principal = arguments
            .from
            .as_ref()
            .map(|from| format!("spiffe://{}", from.trim_start_matches("spiffe://")));
        Ok(Self {
            direction: if arguments.inbound {
                Direction::Inbound
            } else {
                Direction::Outbound
            },
            method: arguments.method.clone(),
            host: authority.host().to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            headers: headers.collect(),
            tls: principal.is_some() || secure,
            principal,
            source: None,
        })
    }
}

#[cfg(test)]
mod tests;
