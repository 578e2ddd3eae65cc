//! Where in a resource a plan is, and what it has to say about it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Fault, Finding, PlanError, Rejection, What};
use super::{Environment, Planned};
use crate::live::warming::{Need, Thing};

/// What is collected while one resource is planned.
#[derive(Debug)]
pub struct Room<'a> {
    environment: &'a Environment,
    /// What the survey found, sorted by path.
    surveyed: Vec<Finding>,
    /// What plans found.
    added: RefCell<Vec<Finding>>,
    errors: RefCell<Vec<PlanError>>,
    needs: RefCell<Vec<Need>>,
}

/// A place in a resource. Cheap to make: the path is written only when something is said.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    room: &'a Room<'a>,
    path: Path<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Path<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'static str),
    Item(&'static str, usize),
    Entry(&'static str, &'a str),
}

impl<'a> Room<'a> {
    /// A room for one resource.
    pub fn new(environment: &'a Environment, mut surveyed: Vec<Finding>) -> Self {
        surveyed.sort_by(|left, right| left.path.cmp(&right.path));
        Self {
            environment,
            surveyed,
            added: RefCell::default(),
            errors: RefCell::default(),
            needs: RefCell::default(),
        }
    }

    /// The whole resource.
    pub const fn scope(&'a self) -> Scope<'a> {
        Scope {
            room: self,
            path: Path {
                parent: None,
                step: Step::Root,
            },
        }
    }

    /// The outcome: a plan with its findings if nothing was wrong.
    pub fn finish<P>(self, plan: Option<P>) -> Result<Planned<P>, Rejection> {
        let mut errors = self.errors.into_inner();
        match plan {
            Some(plan) if errors.is_empty() => {
                let mut findings = self.surveyed;
                findings.append(&mut self.added.into_inner());
                Ok(Planned {
                    plan,
                    findings,
                    needs: self.needs.into_inner(),
                })
            }
            _ => {
                if errors.is_empty() {
                    // A plan that gives up says why; should one forget, the resource is refused all the same.
                    errors.push(PlanError {
                        path: String::new(),
                        fault: Fault::Words("cannot be used"),
                    });
                }
                Err(Rejection { errors })
            }
        }
    }
}

impl<'a> Scope<'a> {
    /// A field of this message.
    pub const fn field<'b>(&'b self, name: &'static str) -> Scope<'b>
    where
        'a: 'b,
    {
        self.step(Step::Field(name))
    }

    /// An element of a list of this message.
    pub const fn item<'b>(&'b self, name: &'static str, index: usize) -> Scope<'b>
    where
        'a: 'b,
    {
        self.step(Step::Item(name, index))
    }

    /// An entry of a map of this message.
    pub const fn entry<'b>(&'b self, name: &'static str, key: &'b str) -> Scope<'b>
    where
        'a: 'b,
    {
        self.step(Step::Entry(name, key))
    }

    const fn step<'b>(&'b self, step: Step<'b>) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope {
            room: self.room,
            path: Path {
                parent: Some(&self.path),
                step,
            },
        }
    }

    /// What plans refer to.
    pub const fn environment(&self) -> &'a Environment {
        self.room.environment
    }

    /// Something is wrong here: the resource will be refused.
    pub fn reject(&self, fault: impl Into<Fault>) {
        self.room.errors.borrow_mut().push(PlanError {
            path: self.path.to_string(),
            fault: fault.into(),
        });
    }

    /// Something has to stand here. Where something does that was not decoded (a oneof came out empty), it is not missing: whoever asked for it
    /// has a doubt.
    pub fn missing(&self) {
        let here = self.path.to_string();
        let above = self.path.parent.map(ToString::to_string);
        let undecoded = |finding: &Finding| {
            !matches!(finding.what, What::NotServed(_) | What::Words(_))
                && (finding.path == here || Some(&finding.path) == above.as_ref())
        };
        if !self.room.surveyed.iter().any(undecoded) {
            self.reject(Fault::Missing);
        }
    }

    /// What stands here is not allowed.
    pub fn out_of_range(&self, found: impl fmt::Display, expected: &'static str) {
        self.reject(Fault::OutOfRange {
            found: found.to_string(),
            expected,
        });
    }

    /// Something here is not served, though accepted.
    pub fn note(&self, words: impl Into<String>) {
        self.room.added.borrow_mut().push(Finding {
            path: self.path.to_string(),
            what: What::Words(words.into()),
        });
    }

    /// The same, and it is or may be a guard: the mark to put where traffic has to be refused.
    pub fn refuse(&self, words: impl Into<String>) -> Arc<str> {
        let words = words.into();
        let reason = format!("{}: {words}", self.path);
        self.note(words);
        Arc::from(reason)
    }

    /// The resource serves only when this has come.
    pub fn need(&self, thing: Thing, patience: Option<Duration>) {
        self.room.needs.borrow_mut().push(Need { thing, patience });
    }

    /// The result, or its error as a fault of this place.
    pub fn take<T, E: Into<Fault>>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.reject(error)).ok()
    }

    /// The first thing at this place or below it that was not decoded or is not served: a guard with such a doubt refuses traffic.
    pub fn doubt(&self) -> Option<Arc<str>> {
        if self.room.surveyed.is_empty() {
            return None;
        }
        let path = self.path.to_string();
        let first = self
            .room
            .surveyed
            .partition_point(|finding| finding.path.as_str() < path.as_str());
        self.room.surveyed[first..]
            .iter()
            .take_while(|finding| finding.path.starts_with(&path))
            .find(|finding| {
                matches!(
                    finding.path.as_bytes().get(path.len()),
                    None | Some(b'.' | b'[')
                )
            })
            .map(|finding| Arc::from(finding.to_string()))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if !matches!(parent.step, Step::Root) {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => f.write_str(name),
            Step::Item(name, index) => write!(f, "{name}[{index}]"),
            Step::Entry(name, key) => write!(f, "{name}[\"{key}\"]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str) -> Finding {
        Finding {
            path: path.to_owned(),
            what: What::NotServed("x"),
        }
    }

    #[test]
    fn doubts_belong_to_the_places_above_them() {
        let environment = Environment::default();
        let room = Room::new(
            &environment,
            vec![finding("a[1].b.c"), finding("a[10]"), finding("z")],
        );
        let root = room.scope();
        let (one, two, ten) = (root.item("a", 1), root.item("a", 2), root.item("a", 10));
        assert!(
            root.doubt().is_none(),
            "the whole has an empty path, and asks nobody"
        );
        assert!(one.doubt().is_some() && ten.doubt().is_some() && two.doubt().is_none());
        assert!(one.field("b").doubt().is_some());
        assert!(one.field("b").field("c").doubt().is_some());
        assert!(one.field("bb").doubt().is_none());
        assert!(one.field("d").doubt().is_none());
    }

    #[test]
    fn all_errors_come_at_once_with_their_paths() {
        let environment = Environment::default();
        let room = Room::new(&environment, Vec::new());
        let root = room.scope();
        root.item("a", 1).field("b").missing();
        root.entry("m", "k").out_of_range(7, "below 5");
        let rejection = room.finish(Some(())).unwrap_err();
        assert_eq!(
            rejection.to_string(),
            "a[1].b: required; m[\"k\"]: 7 is not below 5"
        );
    }
}
