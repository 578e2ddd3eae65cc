//! Ranges of IP addresses.

use std::fmt;
use std::net::IpAddr;

/// An address with the number of its leading bits that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// A few ranges, any of which may hold an address.
#[derive(Clone, Debug, Default)]
pub struct CidrSet {
    ranges: Box<[Cidr]>,
}

impl Cidr {
    /// A range; bits behind the prefix are cleared. `None` where the prefix is longer than the address.
    pub fn new(address: IpAddr, length: u32) -> Option<Self> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = u8::try_from(length)
            .ok()
            .filter(|length| *length <= width)?;
        Some(Self {
            address: mask(address, length),
            length,
        })
    }

    /// Its first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of bits that matter.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether it holds an address; an IPv4 address written as IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && mask(address, self.length) == self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl CidrSet {
    /// Whether one of the ranges holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<Cidr> for CidrSet {
    fn from_iter<T: IntoIterator<Item = Cidr>>(ranges: T) -> Self {
        Self {
            ranges: ranges.into_iter().collect(),
        }
    }
}

/// The address with every bit behind the first `length` cleared.
pub fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::MAX
                .checked_shl(32_u32.saturating_sub(u32::from(length)))
                .unwrap_or(0);
            IpAddr::V4((u32::from(address) & bits).into())
        }
        IpAddr::V6(address) => {
            let bits = u128::MAX
                .checked_shl(128_u32.saturating_sub(u32::from(length)))
                .unwrap_or(0);
            IpAddr::V6((u128::from(address) & bits).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cases: &[(&str, u32, &str, bool)] = &[
            ("10.0.0.0", 8, "10.1.2.3", true),
            ("10.0.0.0", 8, "11.1.2.3", false),
            ("10.1.2.3", 8, "10.9.9.9", true),
            ("0.0.0.0", 0, "1.2.3.4", true),
            ("0.0.0.0", 0, "::1", false),
            ("1.2.3.4", 32, "1.2.3.4", true),
            ("1.2.3.4", 32, "::ffff:1.2.3.4", true),
            ("2001:db8::", 32, "2001:db8:1::1", true),
            ("::", 0, "::1", true),
            ("::1", 128, "::1", true),
            ("::1", 128, "::2", false),
        ];
        for (network, length, address, expected) in cases {
            let range = Cidr::new(network.parse().unwrap(), *length).unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                *expected,
                "{range} {address}"
            );
        }
        assert_eq!(Cidr::new("1.2.3.4".parse().unwrap(), 33), None);
    }
}
