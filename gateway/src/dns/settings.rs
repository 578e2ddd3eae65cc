//! What kong.conf, resolv.conf and the hosts file say about names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::Kind;
use crate::conf::{Conf, ConfError};

/// How names are resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Asked in turn until one answers.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for one server.
    pub timeout: Duration,
    /// How often to ask.
    pub attempts: usize,
    /// Begin with another server each time.
    pub rotate: bool,
    pub search: Vec<String>,
    /// Names with fewer dots are looked for in the search list first.
    pub ndots: usize,
    pub order: Vec<Type>,
    /// Addresses that need no server, by name in lower case.
    pub hosts: HashMap<String, Vec<IpAddr>>,
    /// In place of the times to live that servers tell.
    pub valid_ttl: Option<Duration>,
    /// How long an answer that is over serves while there is no new one.
    pub stale_ttl: Duration,
    pub not_found_ttl: Duration,
    pub error_ttl: Duration,
    /// So many answers are kept.
    pub cache_size: usize,
}

/// A type to ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    Kind(Kind),
    /// The one that answered last.
    Last,
}

impl Settings {
    /// What kong.conf says, completed from the files that it names and from resolv.conf.
    pub fn read(conf: &Conf) -> Result<Self, ConfError> {
        Self::read_with(conf, Path::new("/etc/resolv.conf"))
    }

    fn read_with(conf: &Conf, resolv_conf: &Path) -> Result<Self, ConfError> {
        let invalid = |key: &str, value: &str, problem: &str| ConfError::Invalid {
            key: key.to_owned(),
            value: value.to_owned(),
            problem: problem.to_owned(),
        };
        let seconds = |key: &str| match conf.get(key) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(Some)
                .ok_or_else(|| invalid(key, text, "is no number of seconds")),
        };
        let text = |key: &str, path: Option<&Path>| {
            let path = path.or_else(|| conf.get(key).map(Path::new));
            path.map(|path| {
                std::fs::read_to_string(path).unwrap_or_else(|error| {
                    tracing::warn!(path = %path.display(), %error, "not read: names are resolved without it");
                    String::new()
                })
            })
        };
        let mut settings = Self {
            hosts: hosts(&text("dns_hostsfile", None).unwrap_or_default()),
            valid_ttl: seconds("dns_valid_ttl")?,
            stale_ttl: seconds("dns_stale_ttl")?.unwrap_or(Duration::from_secs(3600)),
            not_found_ttl: seconds("dns_not_found_ttl")?.unwrap_or(Duration::from_secs(30)),
            error_ttl: seconds("dns_error_ttl")?.unwrap_or(Duration::from_secs(1)),
            ..Self::default()
        };
        settings.take_resolv_conf(&text("", Some(resolv_conf)).unwrap_or_default());
        if let Some(list) = conf.get("dns_resolver") {
            let servers: Option<Vec<_>> = words(list).map(server).collect();
            settings.servers =
                servers.ok_or_else(|| invalid("dns_resolver", list, "is no list of addresses"))?;
        }
        if let Some(list) = conf.get("dns_order") {
            settings.order = order(list).ok_or_else(|| {
                invalid("dns_order", list, "is no list of LAST, SRV, A, AAAA, CNAME")
            })?;
        }
        if let Some(size) = conf.get("dns_cache_size") {
            settings.cache_size = size
                .parse()
                .ok()
                .filter(|size| *size > 0)
                .ok_or_else(|| invalid("dns_cache_size", size, "is no number of answers"))?;
        }
        if settings.servers.is_empty() {
            tracing::warn!("no name server is known: names resolve from the hosts file alone");
        }
        Ok(settings)
    }

    fn take_resolv_conf(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => self.servers.extend(words.next().and_then(server)),
                Some("search") => self.search = words.map(domain).collect(),
                Some("domain") => self.search = words.take(1).map(domain).collect(),
                Some("options") => words.for_each(|word| self.take_option(word)),
                _ => {}
            }
        }
        self.search.retain(|domain| !domain.is_empty());
        // More than the C library looks at.
        self.servers.truncate(MOST_SERVERS);
    }

    fn take_option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        let number = value.parse().ok();
        match (name, number) {
            ("attempts", Some(number @ 1..=5)) => self.attempts = number,
            ("ndots", Some(number @ 0..=15)) => self.ndots = number,
            ("rotate", _) => self.rotate = true,
            ("timeout", Some(number @ 1..=30)) => {
                self.timeout = Duration::from_secs(number as u64);
            }
            _ => {}
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            attempts: 5,
            rotate: false,
            search: Vec::new(),
            ndots: 1,
            order: vec![Type::Last, Type::Kind(Kind::Srv), Type::Kind(Kind::A)],
            hosts: hosts(""),
            valid_ttl: None,
            stale_ttl: Duration::from_secs(3600),
            not_found_ttl: Duration::from_secs(30),
            error_ttl: Duration::from_secs(1),
            cache_size: 10_000,
        }
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

fn domain(text: &str) -> String {
    text.trim_matches('.').to_ascii_lowercase()
}

/// An address with or without a port.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(server) = text.parse() {
        return Some(server);
    }
    let address = text.trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(address.parse().ok()?, 53))
}

/// Aliases are followed whenever an answer holds one: `CNAME` asks for nothing of its own.
fn order(list: &str) -> Option<Vec<Type>> {
    let mut order = Vec::new();
    for word in words(list) {
        match word.to_ascii_uppercase().as_str() {
            "LAST" => order.push(Type::Last),
            "SRV" => order.push(Type::Kind(Kind::Srv)),
            "A" => order.push(Type::Kind(Kind::A)),
            "AAAA" => order.push(Type::Kind(Kind::Aaaa)),
            "CNAME" => {}
            _ => return None,
        }
    }
    (!order.is_empty()).then_some(order)
}

fn hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let known = hosts.entry(name.to_ascii_lowercase()).or_default();
            // The first of each family counts.
            if known
                .iter()
                .all(|known| known.is_ipv4() != address.is_ipv4())
            {
                known.push(address);
            }
        }
    }
    hosts
        .entry("localhost".to_owned())
        .or_insert_with(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    hosts
}

const MOST_SERVERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Conf::load(Some(file.path()), std::iter::empty()).unwrap().0
    }

    fn read(text: &str, resolv_conf: &str) -> Result<Settings, ConfError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), resolv_conf).unwrap();
        Settings::read_with(&conf(text), file.path())
    }

    #[test]
    fn resolv_conf_is_the_default() {
        let settings = read(
            "",
            "# made by hand\nnameserver 10.0.0.10\nnameserver fd00::10 # second\n\
             search default.svc.cluster.local svc.cluster.local .\noptions ndots:5 timeout:1 attempts:3 rotate edns0\n",
        )
        .unwrap();
        let servers: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.10:53", "[fd00::10]:53"]);
        assert_eq!(
            settings.search,
            ["default.svc.cluster.local", "svc.cluster.local"]
        );
        assert_eq!(
            (settings.ndots, settings.attempts, settings.rotate),
            (5, 3, true)
        );
        assert_eq!(settings.timeout, Duration::from_secs(1));
        assert_eq!(settings.order, Settings::default().order);
        assert_eq!(settings.stale_ttl, Duration::from_secs(3600));
    }

    #[test]
    fn kong_conf_goes_before_it() {
        let settings = read(
            "dns_resolver = 127.0.0.1:5353, [::1]:54, 9.9.9.9\ndns_order = A,aaaa\ndns_valid_ttl = 7\n\
             dns_stale_ttl = 4.5\ndns_not_found_ttl = 0\ndns_error_ttl = 2\ndns_cache_size = 5\n",
            "nameserver 10.0.0.10\n",
        )
        .unwrap();
        let servers: Vec<_> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:5353", "[::1]:54", "9.9.9.9:53"]);
        assert_eq!(
            settings.order,
            [Type::Kind(Kind::A), Type::Kind(Kind::Aaaa)]
        );
        assert_eq!(settings.valid_ttl, Some(Duration::from_secs(7)));
        assert_eq!(settings.stale_ttl, Duration::from_millis(4500));
        assert_eq!(settings.not_found_ttl, Duration::ZERO);
        assert_eq!(
            (settings.error_ttl, settings.cache_size),
            (Duration::from_secs(2), 5)
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (line, key) in [
            ("dns_resolver = example.com", "dns_resolver"),
            ("dns_order = A,MX", "dns_order"),
            ("dns_stale_ttl = soon", "dns_stale_ttl"),
            ("dns_cache_size = 0", "dns_cache_size"),
        ] {
            let error = read(line, "").unwrap_err().to_string();
            assert!(error.starts_with(key), "{line}: {error}");
        }
    }

    #[test]
    fn hosts_have_the_first_address_of_each_family() {
        let hosts = hosts("127.0.1.1 Box box.lan # comment\n127.0.1.2 box\n::2 box\nbad line\n");
        let addresses =
            |name: &str| -> Vec<String> { hosts[name].iter().map(ToString::to_string).collect() };
        assert_eq!(addresses("box"), ["127.0.1.1", "::2"]);
        assert_eq!(addresses("box.lan"), ["127.0.1.1"]);
        assert_eq!(addresses("localhost"), ["127.0.0.1", "::1"]);
    }
}
