//! Named cases of one mesh: all of them run, and all that fail are told at the end.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::support::http1::Request;
use crate::support::report_cases;
use crate::world::{ECHO, World};

/// A table while it runs.
#[derive(Debug)]
pub struct Cases {
    table: &'static str,
    only: Option<String>,
    ran: usize,
    all: usize,
    failures: Vec<String>,
}

/// One request and what comes of it.
#[derive(Debug)]
pub struct Row<'a> {
    pub name: &'static str,
    /// A pod, or the node.
    pub from: &'static str,
    pub to: (Ipv4Addr, u16),
    pub request: Request,
    /// `Err` where there is no response at all.
    pub status: Result<u16, ()>,
    /// What the service says of the request: pointers into its description, and the text there.
    pub tells: &'a [(&'static str, &'static str)],
    /// What it does not have.
    pub lacks: &'a [&'static str],
    /// Text that the response has in its body.
    pub body: Option<&'static str>,
    /// Fields of the response.
    pub answers: &'a [(&'static str, &'static str)],
    /// Whose access log has a line about it, with these fields; an empty one is not known.
    pub log: Option<(&'static str, Vec<(&'static str, String)>)>,
}

impl Cases {
    pub fn new(table: &'static str) -> Self {
        Self {
            table,
            only: std::env::var("CARBYNE_CASE").ok(),
            ran: 0,
            all: 0,
            failures: Vec::new(),
        }
    }

    /// Runs one case; a panic in it is its failure.
    pub fn check(&mut self, name: &str, case: impl FnOnce() -> Result<(), String>) {
        self.all += 1;
        if self.only.as_ref().is_some_and(|only| !name.contains(only)) {
            return;
        }
        self.ran += 1;
        let outcome = catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "panicked".to_owned()))
        });
        if let Err(reason) = outcome {
            self.failures.push(format!("{name}: {reason}"));
        }
    }

    /// Sends a row's request and looks at everything that the row says.
    pub fn row(&mut self, world: &World, row: &Row<'_>) {
        self.check(row.name, || row.run(world));
    }

    /// Fails with everything that failed.
    pub fn finish(self) {
        report_cases(self.table, self.ran, self.all);
        assert!(
            self.failures.is_empty(),
            "{} of {} cases of {} failed:\n{}",
            self.failures.len(),
            self.ran,
            self.table,
            self.failures.join("\n")
        );
    }
}

impl<'a> Row<'a> {
    /// A request of `caller-1` to the service `echo`, which answers it with 200.
    pub const fn new(name: &'static str, request: Request) -> Self {
        Self {
            name,
            from: "caller-1",
            to: (ECHO, 80),
            request,
            status: Ok(200),
            tells: &[],
            lacks: &[],
            body: None,
            answers: &[],
            log: None,
        }
    }

    pub const fn from(mut self, from: &'static str) -> Self {
        self.from = from;
        self
    }

    pub const fn to(mut self, address: Ipv4Addr, port: u16) -> Self {
        self.to = (address, port);
        self
    }

    pub const fn status(mut self, status: u16) -> Self {
        self.status = Ok(status);
        self
    }

    /// There is no response at all.
    pub const fn refused(mut self) -> Self {
        self.status = Err(());
        self
    }

    pub const fn tells(mut self, tells: &'a [(&'static str, &'static str)]) -> Self {
        self.tells = tells;
        self
    }

    pub const fn lacks(mut self, lacks: &'a [&'static str]) -> Self {
        self.lacks = lacks;
        self
    }

    pub const fn body(mut self, text: &'static str) -> Self {
        self.body = Some(text);
        self
    }

    pub const fn answers(mut self, fields: &'a [(&'static str, &'static str)]) -> Self {
        self.answers = fields;
        self
    }

    pub fn log(mut self, pod: &'static str, fields: &[(&'static str, &str)]) -> Self {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        self.log = Some((pod, fields.collect()));
        self
    }

    fn run(&self, world: &World) -> Result<(), String> {
        // Finds the line in the log again.
        let request = self.request.clone().header("user-agent", self.name);
        let to = SocketAddr::from(self.to);
        let response = match (world.exchange(self.from, to, &request), self.status) {
            (Err(_), Err(())) => None,
            (Ok(response), Ok(status)) if response.status == status => Some(response),
            (other, wanted) => return Err(format!("wanted {wanted:?}, got {other:?}")),
        };
        let response = response.unwrap_or_default();
        let text = String::from_utf8_lossy(&response.body);
        if let Some(wanted) = self.body {
            ensure(text.contains(wanted), || {
                format!("wanted {wanted:?} in {text:?}")
            })?;
        }
        for (name, wanted) in self.answers {
            ensure(response.header(name) == Some(wanted), || {
                format!("wanted {name}: {wanted} in {response:?}")
            })?;
        }
        let told = serde_json::from_str(&text).unwrap_or(Value::Null);
        for (pointer, wanted) in self.tells {
            let found = told.pointer(pointer).and_then(Value::as_str);
            equal(pointer, found, Some(wanted), &told)?;
        }
        for pointer in self.lacks {
            equal(
                pointer,
                told.pointer(pointer).and_then(Value::as_str),
                None,
                &told,
            )?;
        }
        if let Some((pod, fields)) = &self.log {
            let line = world.log_line(pod, |line| line["user_agent"] == self.name);
            for (field, wanted) in fields {
                let found = match &line[field] {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                };
                let wanted = (!wanted.is_empty()).then_some(wanted.as_str());
                equal(field, found.as_deref(), wanted, &line)?;
            }
        }
        Ok(())
    }
}

fn equal(what: &str, found: Option<&str>, wanted: Option<&str>, all: &Value) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what} is {found:?}, wanted {wanted:?}, in {all}"))
}

/// An error of these words where it is not so.
pub fn ensure(so: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(words()) }
}
