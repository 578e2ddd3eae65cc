//! What `pilot-agent istio-iptables` does to a pod (REDIRECT mode), and the sidecar that it is done for.

use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::http1::{Connection, End, Request, Response};
use super::network::{Namespace, Network};
use super::place::Place;
use super::process::{Process, Program};
use super::{PATIENCE, poll};

/// Who a pod is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    pub address: Ipv4Addr,
    /// Name of the workload, and the application's label `app`.
    pub workload: String,
    pub version: String,
}

/// A pod: a host whose TCP goes through its sidecar.
#[derive(Debug)]
pub struct Pod {
    pub identity: Identity,
    pub namespace: Namespace,
    place: Option<Place>,
    sidecar: Option<Process>,
}

impl Identity {
    pub fn node_id(&self) -> String {
        let Self {
            name,
            namespace,
            address,
            ..
        } = self;
        format!("sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local")
    }

    pub fn spiffe(&self) -> String {
        format!(
            "spiffe://cluster.local/ns/{}/sa/{}",
            self.namespace, self.service_account
        )
    }
}

impl Pod {
    /// The host with its rules, and the folder of its sidecar; the sidecar itself does not run yet.
    pub fn new(network: &Network, gateway: Ipv4Addr, identity: Identity) -> Self {
        let bootstrap = bootstrap(&identity);
        Self::with_bootstrap(network, gateway, identity, &bootstrap)
    }

    /// The same with a bootstrap of one's own.
    pub fn with_bootstrap(
        network: &Network,
        gateway: Ipv4Addr,
        identity: Identity,
        bootstrap: &Value,
    ) -> Self {
        let namespace = network.host(&identity.name, identity.address, gateway);
        namespace.run("iptables-restore", &["--noflush"], RULES);
        let place = Place::new();
        let folder = place.folder();
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        for path in [BOOTSTRAP, XDS_SOCKET, SDS_SOCKET] {
            std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        }
        // The proxy opens /dev/stdout anew for its access log, as somebody who may not write root's files.
        for file in ["stdout", "stderr"] {
            File::create(folder.join(file)).unwrap();
            own(&folder.join(file));
        }
        let bootstrap = serde_json::to_string_pretty(bootstrap).unwrap();
        std::fs::write(folder.join(BOOTSTRAP), bootstrap).unwrap();
        Self {
            identity,
            namespace,
            place: Some(place),
            sidecar: None,
        }
    }

    /// A gateway has no rules, and its ports may be those of services (`net.ipv4.ip_unprivileged_port_start`, as Kubernetes sets it).
    pub fn becomes_a_gateway(&self) {
        self.namespace.run("iptables", &["-t", "nat", "-F"], "");
        let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        let command = format!("echo 0 > {path}");
        self.namespace.run("sh", &["-c", &command], "");
    }

    /// Where the sidecar looks for a socket of its agent.
    pub fn socket(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    /// Lets the sidecar's user connect to the sockets that are there.
    pub fn own_sockets(&self) {
        for socket in [XDS_SOCKET, SDS_SOCKET] {
            let path = self.socket(socket);
            if path.exists() {
                own(&path);
            }
        }
    }

    /// Starts the sidecar as pilot-agent starts Envoy.
    pub fn start(&mut self) {
        self.start_as(Program::Carbyne);
    }

    /// The same with this program in its place.
    pub fn start_as(&mut self, program: Program) {
        self.own_sockets();
        let program = program
            .path()
            .unwrap_or_else(|sentence| panic!("{sentence}"));
        // Opened by root and run as the sidecar's user, who may not look into a build folder in root's home.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 9<\"$0\"; exec setpriv --reuid 1337 --regid 1337 --clear-groups /proc/self/fd/9 \"$@\""])
            .arg(program);
        command.args([
            "-c",
            BOOTSTRAP,
            "--drain-time-s",
            "45",
            "--drain-strategy",
            "immediate",
            "--local-address-ip-version",
            "v4",
            "--file-flush-interval-msec",
            "10",
            "--disable-hot-restart",
            "--allow-unknown-static-fields",
            "-l",
            "warning",
            "--skip-deprecated-logs",
            "--concurrency",
            "1",
        ]);
        let place = self.place.take().expect("a sidecar is started once");
        let name = format!("{}'s sidecar", self.identity.name);
        let process = self
            .namespace
            .inside(|| Process::start(&name, command, place));
        self.sidecar = Some(process);
    }

    /// Waits until the sidecar says that it is ready, where a kubelet would ask it.
    pub fn wait_until_ready(&mut self) {
        self.wait_until("200 at /healthz/ready", |pod| {
            let probe = super::http1::get("/healthz/ready").host("probe");
            let response = pod.exchange((Ipv4Addr::LOCALHOST, 15021).into(), &probe);
            response
                .is_ok_and(|response| response.status == 200)
                .then_some(())
        });
    }

    /// Waits until the sidecar answers where a kubelet would ask it, and says that it is not ready.
    pub fn wait_until_unready(&mut self) {
        self.wait_until("503 at /healthz/ready", |pod| {
            let probe = super::http1::get("/healthz/ready").host("probe");
            let response = pod.exchange((Ipv4Addr::LOCALHOST, 15021).into(), &probe);
            response
                .is_ok_and(|response| response.status == 503)
                .then_some(())
        });
    }

    /// Waits for something that the sidecar does; its output is shown where it does not.
    pub fn wait_until<T>(&mut self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        poll(PATIENCE, || {
            assert!(
                self.sidecar.as_mut().is_some_and(Process::is_running),
                "{}'s sidecar ended",
                self.identity.name
            );
            ask(self)
        })
        .unwrap_or_else(|| panic!("{}: waited for {what}", self.identity.name))
    }

    /// Status and body of a request to the admin port.
    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        let request = super::http1::request(method, path).host("admin");
        let response = self
            .exchange((Ipv4Addr::LOCALHOST, 15000).into(), &request)
            .unwrap_or_else(|end| panic!("{}: admin {path}: {end}", self.identity.name));
        (
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
        )
    }

    /// A connection that an application of this pod opens.
    pub fn connect(&self, address: SocketAddr) -> std::io::Result<Connection> {
        self.namespace.inside(|| Connection::open(address))
    }

    /// One request on a connection of its own.
    pub fn exchange(&self, address: SocketAddr, request: &Request) -> Result<Response, End> {
        exchange(&self.namespace, address, request)
    }

    /// The lines of the access log behind an offset, and the offset behind them.
    pub fn log_lines(&self, offset: u64) -> (Vec<String>, u64) {
        self.sidecar
            .as_ref()
            .expect("it was started")
            .log_lines("stdout", offset)
    }

    /// Connections to a port of this pod that are open, one a line.
    pub fn connections(&self, port: u16) -> Vec<String> {
        let filter = format!("sport = :{port}");
        let arguments = ["-Htn", "state", "established", &filter];
        let output = self
            .namespace
            .inside(|| Command::new("ss").args(arguments).output())
            .unwrap_or_else(|error| panic!("ss (Debian package iproute2): {error}"));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn process_id(&self) -> u32 {
        self.sidecar.as_ref().expect("it was started").process_id()
    }

    /// Ends the sidecar, as a kubelet that has waited long enough.
    pub fn kill(&mut self) {
        self.sidecar = None;
    }

    fn folder(&self) -> &Path {
        match (&self.place, &self.sidecar) {
            (Some(place), _) => place.folder(),
            (None, Some(sidecar)) => sidecar.place.folder(),
            (None, None) => panic!("{}'s sidecar is gone", self.identity.name),
        }
    }
}

/// One request on a connection of its own, from a host that need not be a pod.
pub fn exchange(from: &Namespace, address: SocketAddr, request: &Request) -> Result<Response, End> {
    let mut connection = from
        .inside(|| Connection::open(address))
        .map_err(|error| End::Broken(format!("connect to {address}: {error}")))?;
    connection.send(&request.clone().header("connection", "close").bytes());
    connection.response(request.method == "HEAD")
}

fn own(path: &Path) {
    chown(path, Some(PROXY_USER), Some(PROXY_USER)).unwrap();
}

/// The bootstrap in the form that pilot-agent gives it. There is no agent on 15020: readiness is the proxy's own `/ready`.
pub fn bootstrap(identity: &Identity) -> Value {
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    let admin = json!({"socket_address": {"address": "127.0.0.1", "port_value": 15000}});
    let cluster = |name: &str, address: &Value| {
        json!({
            "name": name,
            "alt_stat_name": format!("{name};"),
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "ROUND_ROBIN",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
        })
    };
    let grpc = |name: &str, path: &str| {
        let mut cluster = cluster(name, &json!({"pipe": {"path": format!("./{path}")}}));
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
        cluster
    };
    let listener = |port: u16, route: Value| {
        json!({
            "name": format!("0.0.0.0_{port}"),
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
            "ignore_global_conn_limit": true,
            "bypass_overload_manager": true,
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "codec_type": "AUTO",
                    "stat_prefix": format!("port{port}"),
                    "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                    }],
                },
            }]}],
        })
    };
    json!({
        "node": {
            "id": identity.node_id(),
            "cluster": format!("{}.{}", identity.workload, identity.namespace),
            "locality": {},
            "metadata": {
                "APP_CONTAINERS": identity.workload,
                "CLUSTER_ID": "Kubernetes",
                "ENVOY_PROMETHEUS_PORT": 15090,
                "ENVOY_STATUS_PORT": 15021,
                "INSTANCE_IPS": identity.address.to_string(),
                "INTERCEPTION_MODE": "REDIRECT",
                "ISTIO_VERSION": "1.29.2",
                "LABELS": {
                    "app": identity.workload,
                    "version": identity.version,
                    "security.istio.io/tlsMode": "istio",
                    "service.istio.io/canonical-name": identity.workload,
                    "service.istio.io/canonical-revision": identity.version,
                },
                "MESH_ID": "cluster.local",
                "METADATA_DISCOVERY": "false",
                "NAME": identity.name,
                "NAMESPACE": identity.namespace,
                "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{}/deployments/{}", identity.namespace, identity.workload),
                "PROXY_CONFIG": {"concurrency": 1, "drainDuration": "45s", "statNameLength": 189, "terminationDrainDuration": "5s"},
                "SERVICE_ACCOUNT": identity.service_account,
                "WORKLOAD_IDENTITY_SOCKET_FILE": "socket",
                "WORKLOAD_NAME": identity.workload,
            },
        },
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "stats_config": {
            "use_all_default_tags": false,
            "stats_tags": [
                {"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"},
                {"tag_name": "authz_enforce_result", "regex": "rbac(\\.(allowed|denied))"},
            ],
            "stats_matcher": {"inclusion_list": {"patterns": [
                {"prefix": "reporter="}, {"prefix": "cluster_manager"}, {"prefix": "listener_manager"}, {"prefix": "server"},
                {"prefix": "cluster.xds-grpc"}, {"prefix": "component"}, {"prefix": "istio"},
                {"suffix": "rbac.allowed"}, {"suffix": "rbac.denied"}, {"suffix": "shadow_allowed"}, {"suffix": "shadow_denied"},
                {"suffix": "upstream_cx_active"},
            ]}},
        },
        "admin": {
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null"},
            }],
            "address": admin,
        },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": true,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {
            "clusters": [
                cluster("prometheus_stats", &admin),
                cluster("agent", &admin),
                grpc("sds-grpc", SDS_SOCKET),
                grpc("xds-grpc", XDS_SOCKET),
            ],
            "listeners": [
                listener(15090, json!({"match": {"prefix": "/stats/prometheus"}, "route": {"cluster": "prometheus_stats"}})),
                listener(15021, json!({"match": {"prefix": "/healthz/ready"}, "route": {"cluster": "agent", "prefix_rewrite": "/ready"}})),
            ],
        },
    })
}

/// The rules of `istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020`.
const RULES: &str = "\
*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
";
/// User and group of a sidecar: the rules let its own traffic pass.
const PROXY_USER: u32 = 1337;
const BOOTSTRAP: &str = "etc/istio/proxy/envoy-rev.json";
/// Where the sidecar finds ADS.
pub const XDS_SOCKET: &str = "etc/istio/proxy/XDS";
/// Where the sidecar finds SDS.
pub const SDS_SOCKET: &str = "var/run/secrets/workload-spiffe-uds/socket";
