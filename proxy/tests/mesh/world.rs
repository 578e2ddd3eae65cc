//! A mesh that runs: the network, the control plane, the pods that a test names, and what is outside.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use crate::metrics::{self, Sample};
use crate::plane::{Agent, Plane};
use crate::support::http1::{End, Request, Response, get};
use crate::support::interception::{self, Identity, Pod};
use crate::support::network::{Namespace, Network};
use crate::support::{PATIENCE, poll};

/// Everything of one test.
#[derive(Debug)]
pub struct World {
    pub plane: Plane,
    pods: Vec<Pod>,
    network: Network,
}

/// What one mesh is made of, besides what all have in common.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Names of pods, out of [`pod`].
    pub pods: &'a [&'a str],
    /// Istio YAML.
    pub yaml: &'a str,
    /// Pods whose agent gives no secrets.
    pub without_secrets: &'a [&'a str],
}

impl Default for Scene<'_> {
    fn default() -> Self {
        Self {
            pods: &["caller-1", "echo-1"],
            yaml: "",
            without_secrets: &[],
        }
    }
}

impl World {
    /// Starts everything and waits until all sidecars are ready and have the whole configuration.
    pub fn new(scene: Scene<'_>) -> Self {
        let mut endpoints = String::new();
        for name in scene.pods.iter().filter(|name| name.starts_with("echo")) {
            endpoints += &workload_entry(name);
        }
        let plane = Plane::new(&[
            ("base.yaml", include_str!("base.yaml")),
            ("endpoints.yaml", &endpoints),
            ("scene.yaml", scene.yaml),
        ]);
        let network = Network::new(NODE);
        let pods = scene.pods.iter().map(|name| {
            let mut pod = Pod::new(&network, NODE, pod(name));
            let agent = if scene.without_secrets.contains(name) {
                Agent::WithoutSecrets
            } else {
                Agent::Whole
            };
            plane.serve(&pod, agent);
            pod.start();
            pod
        });
        let mut world = Self {
            pods: pods.collect(),
            plane,
            network,
        };
        for pod in &mut world.pods {
            if scene.without_secrets.contains(&pod.identity.name.as_str()) {
                // Envoy, too, goes on initializing until the secrets of its first listeners come.
                pod.wait_until_unready();
            } else {
                pod.wait_until_ready();
            }
        }
        world.plane.wait_until_settled();
        world
    }

    pub fn pod(&self, name: &str) -> &Pod {
        let found = self.pods.iter().find(|pod| pod.identity.name == name);
        found.unwrap_or_else(|| panic!("{name} is no pod of this scene"))
    }

    pub fn pod_mut(&mut self, name: &str) -> &mut Pod {
        let found = self.pods.iter_mut().find(|pod| pod.identity.name == name);
        found.unwrap_or_else(|| panic!("{name} is no pod of this scene"))
    }

    /// The machine under the pods: no sidecar, no certificate.
    pub fn node(&self) -> &Namespace {
        &self.network.node
    }

    /// A request from a pod, or from the node.
    pub fn exchange(
        &self,
        from: &str,
        to: impl Into<SocketAddr>,
        request: &Request,
    ) -> Result<Response, End> {
        let namespace = match from {
            "node" => self.node(),
            name => &self.pod(name).namespace,
        };
        interception::exchange(namespace, to.into(), request)
    }

    /// The same where an answer must come: its status, and what the service says about the request.
    pub fn ask(&self, from: &str, to: impl Into<SocketAddr>, request: &Request) -> (u16, Value) {
        let response = self
            .exchange(from, to, request)
            .unwrap_or_else(|end| panic!("{from}: {request:?}: {end}"));
        let told = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        (response.status, told)
    }

    /// What a pod tells Prometheus now.
    pub fn samples(&self, pod: &str) -> Vec<Sample> {
        let probe = get("/stats/prometheus").host("prometheus");
        let address = (self.pod(pod).identity.address, 15090);
        let response = self.exchange("node", address, &probe).unwrap();
        metrics::samples(&String::from_utf8_lossy(&response.body))
    }

    /// The sum of a metric over every series with these labels.
    pub fn metric(&self, pod: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.samples(pod).into_iter();
        samples
            .filter(|sample| {
                let has = |(name, value): &(&str, &str)| {
                    sample.labels.get(*name).is_some_and(|found| found == value)
                };
                sample.name == name && labels.iter().all(has)
            })
            .map(|sample| sample.value)
            .sum()
    }

    /// The first line of a pod's access log that this finds, from the start of the log on.
    pub fn log_line(&self, pod: &str, find: impl Fn(&Value) -> bool) -> Value {
        let found = poll(PATIENCE, || {
            let (lines, _) = self.pod(pod).log_lines(0);
            lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| find(line))
        });
        found.unwrap_or_else(|| {
            panic!(
                "no such line in {pod}'s log:\n{}",
                self.pod(pod).log_lines(0).0.join("\n")
            )
        })
    }
}

/// The pods that scenes are made of.
fn pod(name: &str) -> Identity {
    let (namespace, workload, version, last) = match name {
        "caller-1" => ("shop", "caller", "v1", 11),
        "stranger-1" => ("street", "stranger", "v1", 12),
        "echo-1" => ("shop", "echo", "v1", 21),
        "echo-2" => ("shop", "echo", "v2", 22),
        other => panic!("no pod is called {other}"),
    };
    Identity {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        service_account: workload.to_owned(),
        address: Ipv4Addr::new(10, 1, 0, last),
        workload: workload.to_owned(),
        version: version.to_owned(),
    }
}

/// The WorkloadEntry of a pod.
pub fn workload_entry(name: &str) -> String {
    let Identity {
        name,
        namespace,
        service_account,
        address,
        workload,
        version,
    } = pod(name);
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{address: {address}, serviceAccount: {service_account}, \
         labels: {{app: {workload}, version: {version}, security.istio.io/tlsMode: istio}}}}\n---\n"
    )
}

/// The node, on the bridge.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The pod of version 1, where a client goes past its service.
pub const ECHO_1: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 21);
/// The pod of version 2.
pub const ECHO_2: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 22);
/// The pod of the caller.
pub const CALLER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 11);
/// The service `echo`.
pub const ECHO: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
/// The service outside of the mesh.
pub const PLAIN: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 30);
/// Whoever asks.
pub const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Its name.
pub const ECHO_HOST: &str = "echo.shop.svc.cluster.local";
