//! What kong.conf says about proxying, read once.

use std::net::IpAddr;
use std::time::Duration;

use carbyne_engine::tls::{TlsParameters, Trust, Version};
use http::HeaderName;

use crate::conf::Conf;
use crate::router::Rules;

/// How the node proxies.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Fields that responses get.
    pub headers: HeaderSwitches,
    /// Whether services are told the request's id.
    pub request_id_upstream: bool,
    trusted: Vec<Network>,
    pub real_ip: RealIp,
    /// Walks back through several addresses to the first that is not trusted.
    real_ip_recursive: bool,
    /// What the names of variables begin with that references name.
    pub vault_prefix: Option<Box<str>>,
    port_maps: Vec<(u16, u16)>,
    pub templates: Templates,
    /// The form of errors of clients that accept anything.
    pub error_default_type: Box<str>,
    /// Whether `Kong-Debug: 1` is answered with the route's and service's names.
    pub debug_header: bool,
    /// Bodies above this are refused; 0 is no limit.
    pub client_max_body_size: u64,
    /// The time between two pieces of a request's body (nginx: `client_body_timeout`).
    pub client_body_timeout: Duration,
    pub keepalive: Keepalive,
    /// Whether hosts' certificates are verified where a service does not say.
    pub upstream_tls_verify: bool,
    /// How routes are matched.
    pub rules: Rules,
    trusted_certificates: Option<Box<str>>,
    /// Versions of TLS for clients.
    pub tls: TlsParameters,
}

/// Which fields responses get, by the `headers` key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HeaderSwitches {
    pub server: bool,
    pub via: bool,
    pub proxy_latency: bool,
    pub response_latency: bool,
    pub upstream_latency: bool,
    pub upstream_status: bool,
    pub request_id: bool,
}

/// Where trusted proxies tell who the client is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RealIp {
    Header(HeaderName),
    ProxyProtocol,
}

/// Bodies of errors in place of Kong's, with `%s` for the text and then the request's id.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    pub html: Option<Box<str>>,
    pub json: Option<Box<str>>,
    pub plain: Option<Box<str>>,
    pub xml: Option<Box<str>>,
}

/// Connections to hosts that wait for the next request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// At most so many a host and worker; 0 keeps none.
    pub pool_size: usize,
    pub max_requests: Option<u64>,
    pub idle_timeout: Option<Duration>,
}

/// A network: addresses that begin alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// What a setting that is not understood is told as.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key}: {value:?} {problem}")]
pub struct SettingsError {
    pub key: &'static str,
    pub value: String,
    pub problem: &'static str,
}

/// nginx's default.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bodies that plugins read whole, where `client_max_body_size` sets no limit.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

impl Settings {
    /// Reads them; everything wrong at once.
    pub fn read(conf: &Conf) -> Result<Self, Vec<SettingsError>> {
        let mut errors = Vec::new();
        let mut wrong = |key, value: &str, problem| {
            errors.push(SettingsError {
                key,
                value: value.to_owned(),
                problem,
            });
        };
        let words = |key| {
            let text = conf.get(key).unwrap_or_default();
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
        };
        let mut headers = HeaderSwitches::default();
        for word in words("headers") {
            if !headers.switch_on(word) {
                wrong("headers", word, "is no header that is sent");
            }
        }
        let mut trusted = Vec::new();
        for word in words("trusted_ips") {
            match (word, Network::parse(word)) {
                ("unix:", _) => {}
                (_, Some(network)) => trusted.push(network),
                _ => wrong("trusted_ips", word, "is no address and no network"),
            }
        }
        // Either key may have been told; the injected directive is the closer one.
        let told = |key, default| conf.get(key).filter(|value| *value != default);
        let either =
            |injected, own, default| told(injected, default).or_else(|| told(own, default));
        let named = either("nginx_proxy_real_ip_header", "real_ip_header", "X-Real-IP");
        let real_ip = match named.unwrap_or("X-Real-IP") {
            "proxy_protocol" => RealIp::ProxyProtocol,
            name => RealIp::Header(name.to_ascii_lowercase().parse().unwrap_or_else(|_| {
                wrong("real_ip_header", name, "is no header");
                HeaderName::from_static("x-real-ip")
            })),
        };
        let recursive = either("nginx_proxy_real_ip_recursive", "real_ip_recursive", "off");
        let mut port_maps = Vec::new();
        for word in words("port_maps") {
            let pair = word
                .split_once(':')
                .map(|(from, to)| (from.parse(), to.parse()));
            match pair {
                Some((Ok(from), Ok(to))) => port_maps.push((to, from)),
                _ => wrong("port_maps", word, "is no pair of ports"),
            }
        }
        let mut number = |key: &'static str, default: u64| {
            let Some(text) = conf.get(key) else {
                return default;
            };
            text.parse().unwrap_or_else(|_| {
                wrong(key, text, "is no number");
                default
            })
        };
        let keepalive = Keepalive {
            pool_size: usize::try_from(number("upstream_keepalive_pool_size", 512))
                .unwrap_or(usize::MAX),
            max_requests: Some(number("upstream_keepalive_max_requests", 10_000))
                .filter(|most| *most > 0),
            idle_timeout: Some(Duration::from_secs(number(
                "upstream_keepalive_idle_timeout",
                60,
            )))
            .filter(|time| !time.is_zero()),
        };
        let client_max_body_size = conf.client_max_body_size().unwrap_or(0);
        let mut tls = TlsParameters::default();
        let versions = conf.get("ssl_protocols").unwrap_or("TLSv1.2 TLSv1.3");
        let has = |version| versions.split_whitespace().any(|word| word == version);
        match (has("TLSv1.2"), has("TLSv1.3")) {
            (true, true) => {}
            (true, false) => tls.maximum = Version::Tls12,
            (false, true) => tls.minimum = Version::Tls13,
            (false, false) => wrong(
                "ssl_protocols",
                versions,
                "names neither TLSv1.2 nor TLSv1.3",
            ),
        }
        let template = |key: &str| {
            let path = conf.get(key)?;
            std::fs::read_to_string(path)
                .ok()
                .map(String::into_boxed_str)
        };
        let settings = Self {
            headers,
            request_id_upstream: words("headers_upstream")
                .any(|word| word.eq_ignore_ascii_case("x-kong-request-id")),
            trusted,
            real_ip,
            real_ip_recursive: recursive == Some("on"),
            vault_prefix: conf.get("vault_env_prefix").map(Box::from),
            port_maps,
            templates: Templates {
                html: template("error_template_html"),
                json: template("error_template_json"),
                plain: template("error_template_plain"),
                xml: template("error_template_xml"),
            },
            error_default_type: conf
                .get("error_default_type")
                .unwrap_or("text/plain")
                .into(),
            debug_header: conf.get("allow_debug_header") == Some("on"),
            client_max_body_size,
            client_body_timeout: conf.client_body_timeout().unwrap_or(BODY_TIMEOUT),
            keepalive,
            rules: conf.router(),
            trusted_certificates: conf.get("lua_ssl_trusted_certificate").map(Box::from),
            tls,
            upstream_tls_verify: conf.get("nginx_proxy_proxy_ssl_verify") == Some("on"),
        };
        if errors.is_empty() {
            Ok(settings)
        } else {
            Err(errors)
        }
    }

    /// Whether a peer may tell where requests come from.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// The client's address in what a trusted proxy tells.
    pub fn told_by(&self, value: &str) -> Option<IpAddr> {
        let mut last = None;
        for part in value.rsplit(',').map(str::trim) {
            let Some(address) = address_of(part) else {
                break;
            };
            last = Some(address);
            if !self.real_ip_recursive || !self.trusts(address) {
                break;
            }
        }
        last
    }

    /// Authorities that services' hosts may come from where a service names none: those of the system, or of files.
    pub fn trusted_certificates(&self) -> Option<Trust> {
        const SYSTEM: [&str; 3] = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
        ];
        let mut pem = Vec::new();
        for path in self
            .trusted_certificates
            .as_deref()
            .unwrap_or("system")
            .split(',')
        {
            match path.trim() {
                "system" => {
                    let system = SYSTEM.iter().find_map(|path| std::fs::read(path).ok());
                    pem.extend(system.unwrap_or_default());
                }
                path => match std::fs::read(path) {
                    Ok(bytes) => pem.extend(bytes),
                    Err(error) => tracing::error!(path, %error, "lua_ssl_trusted_certificate"),
                },
            }
            pem.push(b'\n');
        }
        Trust::from_pem(&pem, None).ok()
    }

    /// The port that clients know a port as.
    pub fn mapped_port(&self, port: u16) -> u16 {
        let mapped = self.port_maps.iter().find(|(inside, _)| *inside == port);
        mapped.map_or(port, |(_, outside)| *outside)
    }

    /// The largest body that a plugin may read whole.
    pub fn body_limit(&self) -> usize {
        match usize::try_from(self.client_max_body_size) {
            Ok(0) => BODY_LIMIT,
            Ok(limit) => limit,
            Err(_) => BODY_LIMIT,
        }
    }
}

impl HeaderSwitches {
    fn switch_on(&mut self, word: &str) -> bool {
        match word.to_ascii_lowercase().as_str() {
            "off" => *self = Self::default(),
            "server_tokens" => (self.server, self.via) = (true, true),
            "latency_tokens" => {
                self.proxy_latency = true;
                self.response_latency = true;
                self.upstream_latency = true;
            }
            "server" => self.server = true,
            "via" => self.via = true,
            "x-kong-proxy-latency" => self.proxy_latency = true,
            "x-kong-response-latency" => self.response_latency = true,
            "x-kong-upstream-latency" => self.upstream_latency = true,
            "x-kong-upstream-status" => self.upstream_status = true,
            "x-kong-request-id" => self.request_id = true,
            // Of the Admin API, which says it always.
            "x-kong-admin-latency" => {}
            _ => return false,
        }
        true
    }
}

impl Network {
    /// Reads `10.0.0.0/8` or `::1`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(longest);
        (length <= longest).then_some(Self { address, length })
    }

    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.length);
                let cut =
                    |address: std::net::Ipv4Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                cut(own) == cut(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.length);
                let cut =
                    |address: std::net::Ipv6Addr| address.to_bits().checked_shr(shift).unwrap_or(0);
                cut(own) == cut(other)
            }
            _ => false,
        }
    }
}

/// An address with or without a port.
fn address_of(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().ok();
    let socket = || {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
    };
    let bare = || text.trim_matches(['[', ']']).parse().ok();
    ip.or_else(socket).or_else(bare).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("fe80::/10", "febf::1", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                holds,
                "{network:?} {address}"
            );
        }
        assert_eq!(Network::parse("10.0.0.0/33"), None);
    }
}
