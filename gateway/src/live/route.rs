//! Routes as they are served: each with its service and its plugins, and how one is found.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use carbyne_engine::http::Request;
use carbyne_engine::runtime::background::drop_each;

use super::chain::Chain;
use crate::plan::route::{PathHandling, Route};
use crate::plan::service::Service;
use crate::plugins::prometheus::series::RouteSeries;
use crate::proxy::arrival::Arrival;
use crate::proxy::upstream::Upstream;
use crate::router::{Captures, Flavor, Http, Lookup, Protocol, Rejected, Router, Rules, uri};

/// A route with everything that its requests need.
#[derive(Debug)]
pub struct LiveRoute {
    pub plan: Arc<Route>,
    pub service: Option<Arc<LiveService>>,
    pub chain: Arc<Chain>,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
    /// What prometheus counts its requests in, once there was one; none where there are too many series.
    pub series: OnceLock<Option<Arc<RouteSeries>>>,
}

/// A service with the way to it.
#[derive(Debug)]
pub struct LiveService {
    pub plan: Arc<Service>,
    pub upstream: Upstream,
    /// The row as JSON, for what writes requests down.
    pub json: Arc<str>,
}

/// Every route, and the router that finds them.
#[derive(Debug, Default)]
pub struct Routes {
    rules: Rules,
    router: Arc<Router<u32>>,
    compiled: Arc<Compiled>,
    all: Slots,
}

/// Routes by their slots, which are the router's numbers.
type Slots = Vec<Option<Arc<LiveRoute>>>;

/// A router that was compiled whole, and what it was compiled of, by slot.
#[derive(Debug, Default)]
pub struct Compiled {
    router: Arc<Router<u32>>,
    plans: Vec<Option<Arc<Route>>>,
}

/// With more slots, what changed is laid over the compiled router first.
const SMALL: usize = 1024;
/// With more changes, the whole is compiled at once.
const MOST_CHANGES: usize = 512;

/// What a request is matched by.
#[derive(Debug)]
pub struct Asked<'a> {
    pub request: &'a Request,
    pub arrival: &'a Arrival,
    pub server_name: Option<&'a str>,
    pub server: Option<SocketAddr>,
}

/// The route that wants a request.
#[derive(Debug)]
pub struct Matched {
    pub route: Arc<LiveRoute>,
    /// The path that the service sees, unescaped.
    pub path: Bytes,
    /// What was taken off the front of the path.
    pub prefix: Option<Bytes>,
    pub captures: Option<Captures>,
}

/// A whole table is let go of in the background, route by route.
impl Drop for Routes {
    fn drop(&mut self) {
        drop_each(self.all.drain(..));
    }
}

impl Routes {
    /// Compiles the router, or takes over that of `before` where the routes are the same. Where a few of many changed
    /// these are laid over what was compiled last, which is a matter of microseconds; then the whole is to be compiled
    /// later ([`Self::changes`]). A route that cannot be matched is left out, and the log says why.
    pub fn new(rules: Rules, all: Slots, before: &Self) -> Self {
        let now = plans(&all);
        if changes(&plans(&before.all), &now).next().is_none() {
            return Self {
                rules,
                router: before.router.clone(),
                compiled: before.compiled.clone(),
                all,
            };
        }
        let few = |changes: usize| now.len() > SMALL && changes <= MOST_CHANGES;
        let (compiled, router, rejected) = if few(changes(&before.compiled.plans(), &now).count()) {
            let (router, rejected) = before.compiled.with(rules, &now);
            (before.compiled.clone(), Arc::new(router), rejected)
        } else {
            let (compiled, rejected) = Compiled::new(rules, &now);
            let compiled = Arc::new(compiled);
            (compiled.clone(), compiled.router.clone(), rejected)
        };
        for rejected in rejected {
            tracing::error!(id = %rejected.id, "{rejected}");
        }
        Self {
            rules,
            router,
            compiled,
            all,
        }
    }

    /// How many routes are others than those that were compiled.
    pub fn changes(&self) -> usize {
        changes(&self.compiled.plans(), &plans(&self.all)).count()
    }

    /// Compiles the whole.
    pub fn compile(&self) -> Compiled {
        Compiled::new(self.rules, &plans(&self.all)).0
    }

    /// The same routes, found by a router that was compiled meanwhile.
    pub fn over(&self, compiled: Compiled) -> Self {
        let now = plans(&self.all);
        let router = match changes(&compiled.plans(), &now).next() {
            None => compiled.router.clone(),
            Some(_) => Arc::new(compiled.with(self.rules, &now).0),
        };
        Self {
            rules: self.rules,
            router,
            compiled: Arc::new(compiled),
            all: self.all.clone(),
        }
    }

    /// The route in a slot.
    pub fn get(&self, slot: usize) -> Option<&Arc<LiveRoute>> {
        self.all.get(slot)?.as_ref()
    }

    /// The route that wants a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<Matched> {
        let request = asked.request;
        let end = request.path_only().len();
        let path = match uri::normalize(&request.path[..end]) {
            Cow::Borrowed(_) => request.path.slice(..end),
            Cow::Owned(path) => path.into(),
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let arrival = asked.arrival;
        let lookup = Lookup {
            protocol: if arrival.secure {
                Protocol::Https
            } else {
                Protocol::Http
            },
            sni: asked.server_name,
            source: SocketAddr::new(arrival.client, arrival.client_port),
            destination: asked.server.unwrap_or(nowhere),
            http: Some(Http {
                method: &request.method,
                host: &request.host,
                port: port_of(&request.authority),
                path: &path,
                query: request.query(),
                headers: &request.headers,
                authority: &request.authority,
            }),
        };
        let found = self.router.find(&lookup)?;
        let route = self.get(*found.payload as usize)?;
        let strips = route.plan.strip_path;
        let prefix = strips
            .then(|| found.path())
            .flatten()
            .map(|prefix| prefix.len());
        let service = route
            .service
            .as_ref()
            .and_then(|service| service.plan.path.as_deref());
        let stripped = uri::stripped(strips, prefix);
        let handling = match self.rules.flavor {
            Flavor::Traditional => route.plan.path_handling,
            Flavor::TraditionalCompatible | Flavor::Expressions => PathHandling::V0,
        };
        let service = service.unwrap_or_default().as_bytes();
        let joined = uri::upstream(service, &path, stripped, handling);
        let upstream = match joined {
            Cow::Borrowed(part) if is_part(&path, part) => path.slice_ref(part),
            joined => Bytes::from(joined.into_owned()),
        };
        Some(Matched {
            route: route.clone(),
            path: upstream,
            prefix: prefix
                .and_then(|prefix| path.get(..prefix).map(|prefix| path.slice_ref(prefix))),
            captures: found.captures(),
        })
    }
}

impl Compiled {
    fn new(rules: Rules, plans: &Plans<'_>) -> (Self, Vec<Rejected>) {
        let numbered = (0..).zip(plans);
        let numbered = numbered.filter_map(|(slot, plan)| Some((&***plan.as_ref()?, slot)));
        let (router, rejected) = Router::build(rules, numbered);
        let compiled = Self {
            router: Arc::new(router),
            plans: plans.iter().map(|plan| plan.cloned()).collect(),
        };
        (compiled, rejected)
    }

    /// The router with what these plans have otherwise laid over it.
    fn with(&self, rules: Rules, now: &Plans<'_>) -> (Router<u32>, Vec<Rejected>) {
        let compiled = self.plans();
        let changes: Vec<_> = changes(&compiled, now).collect();
        let gone = changes
            .iter()
            .filter_map(|(_, gone, _)| gone.map(|plan| &**plan));
        let came = changes.iter();
        let came = came.filter_map(|(slot, _, came)| Some((&**(*came)?, *slot)));
        self.router.with(rules, gone, came)
    }

    fn plans(&self) -> Plans<'_> {
        self.plans.iter().map(Option::as_ref).collect()
    }
}

/// Plans by slot.
type Plans<'a> = Vec<Option<&'a Arc<Route>>>;

fn plans(slots: &Slots) -> Plans<'_> {
    let slots = slots.iter().map(Option::as_ref);
    slots.map(|slot| Some(&slot?.plan)).collect()
}

/// The slots whose plans are not the same, with both.
fn changes<'a>(
    before: &'a Plans<'a>,
    now: &'a Plans<'a>,
) -> impl Iterator<Item = (u32, Option<&'a Arc<Route>>, Option<&'a Arc<Route>>)> {
    let slots = before.len().max(now.len());
    let both = (0_u32..).take(slots).map(|slot| {
        let at = |plans: &Plans<'a>| plans.get(slot as usize).copied().flatten();
        (slot, at(before), at(now))
    });
    both.filter(|(_, before, now)| before.map(Arc::as_ptr) != now.map(Arc::as_ptr))
}

/// Whether these bytes lie in those.
fn is_part(whole: &Bytes, part: &[u8]) -> bool {
    let range = whole.as_ptr_range();
    let part = part.as_ptr_range();
    range.start <= part.start && part.end <= range.end
}

/// The port in an authority.
fn port_of(authority: &[u8]) -> Option<u16> {
    let colon = memchr::memrchr(b':', authority)?;
    std::str::from_utf8(&authority[colon + 1..])
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use http::Method;

    const RULES: Rules = Rules {
        flavor: Flavor::TraditionalCompatible,
        calculation: crate::router::Calculation::Original,
    };

    fn route(number: usize, path: &str) -> Option<Arc<LiveRoute>> {
        let row = format!(
            r#"{{"id":"e8fb37f1-102d-461e-9c51-6608a6bb{number:04}","protocols":["http"],"paths":["{path}"]}}"#
        );
        let row = Value::from_json(row.as_bytes()).unwrap();
        Some(Arc::new(LiveRoute {
            plan: Arc::new(Route::read(row.as_object().unwrap()).unwrap()),
            service: None,
            chain: Arc::default(),
            json: "".into(),
            series: OnceLock::new(),
        }))
    }

    /// The number of the route that a path takes.
    fn taken(routes: &Routes, path: &str) -> Option<usize> {
        let headers = carbyne_engine::http::Headers::new();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let lookup = Lookup {
            protocol: Protocol::Http,
            sni: None,
            source: nowhere,
            destination: nowhere,
            http: Some(Http {
                method: &Method::GET,
                host: b"a",
                port: None,
                path: path.as_bytes(),
                query: None,
                headers: &headers,
                authority: b"a",
            }),
        };
        let found = routes.router.find(&lookup)?;
        let route = routes.get(*found.payload as usize).unwrap();
        Some(route.plan.id[32..].parse().unwrap())
    }

    /// Few changes of a large table are laid over it; compiled, it answers the same, also for what changed meanwhile.
    #[test]
    fn what_changed_is_laid_over_and_compiled_later() {
        let all: Vec<_> = (0..SMALL + 10)
            .map(|number| route(number, &format!("/r{number:04}")))
            .collect();
        let first = Routes::new(RULES, all.clone(), &Routes::default());
        assert_eq!((first.changes(), taken(&first, "/r0007")), (0, Some(7)));
        let same = Routes::new(RULES, all.clone(), &first);
        assert!(Arc::ptr_eq(&same.router, &first.router));

        let mut changed = all.clone();
        changed[7] = None;
        changed[8] = route(8, "/moved");
        changed.push(route(9000, "/r0009/below"));
        let second = Routes::new(RULES, changed.clone(), &first);
        let check = |routes: &Routes| {
            for (path, number) in [
                ("/r0007", None),
                ("/r0008", None),
                ("/moved", Some(8)),
                ("/r0009", Some(9)),
                ("/r0009/below", Some(9000)),
            ] {
                assert_eq!(taken(routes, path), number, "{path}");
            }
        };
        assert_eq!(second.changes(), 3);
        check(&second);

        changed[10] = None;
        let third = Routes::new(RULES, changed.clone(), &second);
        assert_eq!((third.changes(), taken(&third, "/r0010")), (4, None));
        check(&third);
        let adopted = third.over(second.compile());
        assert_eq!((adopted.changes(), taken(&adopted, "/r0010")), (1, None));
        check(&adopted);
        let adopted = adopted.over(adopted.compile());
        assert_eq!((adopted.changes(), taken(&adopted, "/r0010")), (0, None));
        check(&adopted);

        let (few, many) = (Routes::new(RULES, vec![], &first), MOST_CHANGES + 1);
        assert_eq!((few.changes(), taken(&few, "/r0009")), (0, None));
        let gone = [vec![None; many], all[many..].to_vec()].concat();
        let whole = Routes::new(RULES, gone, &first);
        assert_eq!((whole.changes(), taken(&whole, "/r0007")), (0, None));
    }
}
