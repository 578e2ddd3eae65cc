//! Random interleavings of configuration changes, pushes, deliveries, slow applying and broken streams.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::{Ads, Interest, Protocol, Rejected, ResourceType, Update};
use super::istiod::{Istiod, World};
use super::machine;

/// What the proxy around a machine does: applies, refuses numbers divisible by five, and wants the endpoints
/// of its clusters and the routes of its listeners.
struct Proxy {
    machine: Ads,
    live: BTreeMap<(ResourceType, Arc<str>), u64>,
    wanted: BTreeMap<ResourceType, BTreeSet<Arc<str>>>,
    applying: Option<Update>,
    now: Duration,
}

/// The control plane's end, and the messages on their way to it and from it.
type Stream = (Istiod, VecDeque<Vec<u8>>, VecDeque<Vec<u8>>);

/// One run: proxy, control plane and what is on its way between them.
struct Run {
    random: fastrand::Rng,
    protocol: Protocol,
    proxy: Proxy,
    world: World,
    version: u64,
    stream: Option<Stream>,
}

#[test]
fn both_protocols_converge_whatever_happens() {
    let (first, count) = seeds();
    for seed in first..first + count {
        for protocol in [Protocol::Sotw, Protocol::Delta] {
            println!("seed {seed} {protocol:?}");
            Run::new(protocol, seed).run();
        }
    }
}

/// A slice that differs from run to run; `CARBYNE_SEED` repeats one, `FULL=1` runs all.
fn seeds() -> (u64, u64) {
    if let Some(seed) = std::env::var("CARBYNE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return (seed, 1);
    }
    if std::env::var_os("FULL").is_some() {
        return (0, 5_000);
    }
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    (since.as_secs() % 1_000_000, 150)
}

impl Run {
    fn new(protocol: Protocol, seed: u64) -> Self {
        let mut proxy = Proxy {
            machine: machine(protocol),
            live: BTreeMap::new(),
            wanted: BTreeMap::new(),
            applying: None,
            now: Duration::ZERO,
        };
        proxy.machine.want(ResourceType::Cluster, Interest::All);
        proxy.machine.want(ResourceType::Listener, Interest::All);
        Self {
            random: fastrand::Rng::with_seed(seed),
            protocol,
            proxy,
            world: World::new(),
            version: 1,
            stream: None,
        }
    }

    fn run(mut self) {
        for _ in 0..200 {
            self.step();
            self.proxy.flush(&mut self.stream);
        }
        // The control plane comes back, repairs half of what was refused, and says everything once more.
        let bad: Vec<_> = self
            .world
            .iter()
            .filter(|(_, number)| *number % 5 == 0)
            .map(|(key, _)| key.clone())
            .collect();
        for key in bad {
            if self.random.bool() {
                self.world.insert(key, 7);
            }
        }
        if self.stream.is_none() {
            self.connect();
        }
        self.version += 1;
        for _ in 0..2 {
            for resource_type in ResourceType::ALL {
                self.push(resource_type);
                self.settle();
            }
        }
        self.judge();
    }

    fn step(&mut self) {
        match self.random.u8(0..14) {
            0..=2 => {
                let resource_type = ResourceType::ALL[self.random.usize(0..4)];
                let key = (resource_type, format!("name{}", self.random.u8(0..5)));
                if self.random.u8(0..4) == 0 {
                    self.world.remove(&key);
                } else {
                    self.world.insert(key, self.random.u64(1..40));
                }
            }
            3 | 4 => {
                self.version += 1;
                let resource_type = ResourceType::ALL[self.random.usize(0..4)];
                self.push(resource_type);
            }
            5 => {
                if self.stream.is_none() {
                    self.connect();
                } else if self.random.u8(0..3) == 0 {
                    // Whatever was on its way is lost.
                    self.stream = None;
                    self.proxy.machine.disconnected();
                }
            }
            6 => {
                let resource_type = ResourceType::ALL[self.random.usize(0..4)];
                if let Some((istiod, ..)) = &mut self.stream {
                    istiod.always_respond(resource_type);
                }
            }
            7 if self.proxy.applying.is_none() => self.proxy.flicker(&mut self.random),
            8 => self.proxy.now += Duration::from_secs(self.random.u64(0..5)),
            9 | 10 => self.serve(),
            _ => {
                self.proxy.finish_applying();
                self.proxy.flush(&mut self.stream);
                self.deliver();
            }
        }
    }

    fn connect(&mut self) {
        let istiod = Istiod::new(self.protocol, self.version);
        self.stream = Some((istiod, VecDeque::new(), VecDeque::new()));
        self.proxy.machine.connected(self.proxy.now);
        self.proxy.flush(&mut self.stream);
    }

    fn push(&mut self, resource_type: ResourceType) {
        if let Some((istiod, _, to_proxy)) = &mut self.stream {
            to_proxy.extend(istiod.push(resource_type, &self.world, self.version));
        }
    }

    fn serve(&mut self) {
        if let Some((istiod, to_istiod, to_proxy)) = &mut self.stream
            && let Some(request) = to_istiod.pop_front()
        {
            to_proxy.extend(istiod.request(&request, &self.world));
        }
    }

    fn deliver(&mut self) {
        if let Some((_, _, to_proxy)) = &mut self.stream
            && self.proxy.applying.is_none()
            && let Some(response) = to_proxy.pop_front()
        {
            self.proxy.applying = self
                .proxy
                .machine
                .receive(&response, SystemTime::UNIX_EPOCH)
                .unwrap();
        }
    }

    fn settle(&mut self) {
        self.proxy.now += Duration::from_secs(20);
        for _ in 0..10_000 {
            self.proxy.finish_applying();
            self.proxy.flush(&mut self.stream);
            self.serve();
            self.deliver();
            if let Some((_, to_istiod, to_proxy)) = &self.stream
                && to_istiod.is_empty()
                && to_proxy.is_empty()
                && self.proxy.applying.is_none()
            {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn judge(&self) {
        let (istiod, ..) = self.stream.as_ref().unwrap();
        for resource_type in [ResourceType::Cluster, ResourceType::Listener] {
            assert!(
                istiod.watches.contains_key(&resource_type),
                "{resource_type:?} is not asked for"
            );
        }
        for (resource_type, watch) in &istiod.watches {
            let answered = [&watch.nonce_acked, &watch.nonce_refused];
            assert!(
                answered.contains(&&watch.nonce_sent),
                "{resource_type:?} is STALE: {watch:?}"
            );
        }
        for ((resource_type, name), number) in &self.world {
            let wanted = resource_type.is_full_state()
                || self
                    .proxy
                    .wanted
                    .get(resource_type)
                    .is_some_and(|names| names.contains(&**name));
            let live = self.proxy.live.get(&(*resource_type, Arc::from(&**name)));
            if wanted && number % 5 != 0 {
                assert_eq!(live, Some(number), "{resource_type:?} {name}");
            }
        }
        for (resource_type, name) in self.proxy.live.keys() {
            let exists = self.world.contains_key(&(*resource_type, name.to_string()));
            assert!(
                exists || !resource_type.is_full_state(),
                "{resource_type:?} {name} is gone and lives"
            );
        }
        for resource_type in ResourceType::ALL {
            let held: Vec<_> = self
                .proxy
                .machine
                .resources(resource_type)
                .map(|resource| &resource.name)
                .collect();
            let live: Vec<_> = self
                .proxy
                .live
                .keys()
                .filter(|key| key.0 == resource_type)
                .map(|key| &key.1)
                .collect();
            assert_eq!(held, live, "{resource_type:?}");
        }
    }
}

impl Proxy {
    fn flush(&mut self, stream: &mut Option<Stream>) {
        while let Some(request) = self.machine.next_request(self.now) {
            if let Some((_, to_istiod, _)) = stream {
                to_istiod.push_back(request);
            }
        }
    }

    fn finish_applying(&mut self) {
        let Some(update) = self.applying.take() else {
            return;
        };
        let resource_type = update.resource_type;
        let rejected = self.apply(&update);
        self.machine
            .applied(update, rejected, SystemTime::UNIX_EPOCH);
        let depends = match resource_type {
            ResourceType::Cluster => ResourceType::Endpoint,
            ResourceType::Listener => ResourceType::Route,
            _ => return,
        };
        let names = self
            .live
            .keys()
            .filter(|key| key.0 == resource_type)
            .map(|key| key.1.clone())
            .collect();
        self.want(depends, names);
    }

    fn apply(&mut self, update: &Update) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for resource in &update.upserts {
            let number = u64::from(*resource.bytes.last().unwrap());
            let key = (update.resource_type, resource.name.clone());
            if number % 5 == 0 {
                let reason = "divisible by five".to_owned();
                rejected.push(Rejected {
                    name: key.1,
                    reason,
                });
                continue;
            }
            assert_ne!(
                self.live.get(&key),
                Some(&number),
                "{key:?}: equal bytes are applied again"
            );
            self.live.insert(key, number);
        }
        for name in &update.removed {
            self.live.remove(&(update.resource_type, name.clone()));
        }
        rejected
    }

    /// Something stops wanting names and wants them again, at any time.
    fn flicker(&mut self, random: &mut fastrand::Rng) {
        let resource_type = [ResourceType::Endpoint, ResourceType::Route][random.usize(0..2)];
        let names = self.wanted.get(&resource_type).cloned().unwrap_or_default();
        let fewer = names.iter().filter(|_| random.bool()).cloned().collect();
        self.want(resource_type, fewer);
        if random.bool() {
            self.want(resource_type, names);
        }
    }

    fn want(&mut self, resource_type: ResourceType, names: BTreeSet<Arc<str>>) {
        self.live
            .retain(|(other, name), _| *other != resource_type || names.contains(name));
        self.wanted.insert(resource_type, names.clone());
        if let Some(held) = self.machine.want(resource_type, Interest::Names(names)) {
            let rejected = self.apply(&held);
            self.machine.applied(held, rejected, SystemTime::UNIX_EPOCH);
        }
    }
}
