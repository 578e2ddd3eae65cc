//! Envoy's response flags (docs: "Access logging", `%RESPONSE_FLAGS%`).

use carbyne_engine::forward::{Event, Events};

/// One flag, in the order of Envoy's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// `LH`: the health check of this node failed.
    FailedLocalHealthCheck,
    /// `UH`: no host may be used.
    NoHealthyUpstream,
    /// `UT`: the host took too long.
    UpstreamRequestTimeout,
    /// `LR`: reset from this side.
    LocalReset,
    /// `UR`: the host reset the stream.
    UpstreamRemoteReset,
    /// `UF`: no connection to the host.
    UpstreamConnectionFailure,
    /// `UC`: the host closed the connection.
    UpstreamConnectionTermination,
    /// `UO`: a circuit breaker is open.
    UpstreamOverflow,
    /// `NR`: no route or no filter chain.
    NoRouteFound,
    /// `DI`: delayed on purpose.
    DelayInjected,
    /// `FI`: aborted on purpose.
    FaultInjected,
    /// `RL`: over a rate limit.
    RateLimited,
    /// `UAEX`: an external service said no.
    UnauthorizedExternalService,
    /// `RLSE`: the rate limit service failed.
    RateLimitServiceError,
    /// `DC`: the client closed the connection.
    DownstreamConnectionTermination,
    /// `URX`: tries were used up.
    UpstreamRetryLimitExceeded,
    /// `SI`: nothing moved.
    StreamIdleTimeout,
    /// `IH`: a field of Envoy's own had an invalid value.
    InvalidEnvoyRequestHeaders,
    /// `DPE`: the client broke the protocol.
    DownstreamProtocolError,
    /// `UMSDR`: the stream to the host reached its longest duration.
    UpstreamMaxStreamDurationReached,
    /// `RFCF`: served from a cache.
    ResponseFromCacheFilter,
    /// `NFCF`: a filter's configuration did not come in time.
    NoFilterConfigFound,
    /// `DT`: the longest duration was reached.
    DurationTimeout,
    /// `UPE`: the host broke the protocol.
    UpstreamProtocolError,
    /// `NC`: the cluster does not exist.
    NoClusterFound,
    /// `OM`: the proxy is overloaded.
    OverloadManager,
    /// `DF`: a name could not be resolved.
    DnsResolutionFailed,
    /// `DO`: dropped as the endpoint assignment says.
    DropOverload,
    /// `DR`: the client reset the stream.
    DownstreamRemoteReset,
    /// `UDO`: all load is dropped as the endpoint assignment says.
    UnconditionalDropOverload,
}

/// A set of flags in the order in which they were raised, as Envoy prints them: five bits a flag, its number
/// and one, the first in the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u64);

impl Flag {
    /// Every flag, in order.
    pub const ALL: [Self; 30] = {
        [
            Self::FailedLocalHealthCheck,
            Self::NoHealthyUpstream,
            Self::UpstreamRequestTimeout,
            Self::LocalReset,
            Self::UpstreamRemoteReset,
            Self::UpstreamConnectionFailure,
            Self::UpstreamConnectionTermination,
            Self::UpstreamOverflow,
            Self::NoRouteFound,
            Self::DelayInjected,
            Self::FaultInjected,
            Self::RateLimited,
            Self::UnauthorizedExternalService,
            Self::RateLimitServiceError,
            Self::DownstreamConnectionTermination,
            Self::UpstreamRetryLimitExceeded,
            Self::StreamIdleTimeout,
            Self::InvalidEnvoyRequestHeaders,
            Self::DownstreamProtocolError,
            Self::UpstreamMaxStreamDurationReached,
            Self::ResponseFromCacheFilter,
            Self::NoFilterConfigFound,
            Self::DurationTimeout,
            Self::UpstreamProtocolError,
            Self::NoClusterFound,
            Self::OverloadManager,
            Self::DnsResolutionFailed,
            Self::DropOverload,
            Self::DownstreamRemoteReset,
            Self::UnconditionalDropOverload,
        ]
    };

    /// As in `%RESPONSE_FLAGS%`.
    pub const fn short(self) -> &'static str {
        NAMES[self as usize].0
    }

    /// As in `%RESPONSE_FLAGS_LONG%`.
    pub const fn long(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// Its bit in [`Flags::bits`].
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// The flag of a short name.
    pub fn parse(short: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.short() == short)
    }
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// What the engine noted, in Envoy's words.
    pub fn of(events: Events) -> Self {
        let mut flags = Self::NONE;
        for event in events.iter() {
            if let Some((_, flag)) = FLAGS.iter().find(|(known, _)| *known == event) {
                flags.insert(*flag);
            }
        }
        flags
    }

    /// Only this one.
    pub const fn only(flag: Flag) -> Self {
        Self(flag as u64 + 1)
    }

    /// Adds one behind the others, unless it is in it. There is room for twelve: fewer can meet.
    pub fn insert(&mut self, flag: Flag) {
        let used = u64::BITS - self.0.leading_zeros();
        let shift = used.next_multiple_of(FLAG_BITS);
        if !self.contains(flag) && shift + FLAG_BITS <= u64::BITS {
            self.0 |= (flag as u64 + 1) << shift;
        }
    }

    /// Whether it is in it.
    pub fn contains(self, flag: Flag) -> bool {
        self.iter().any(|other| other == flag)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as a number, as metadata and CEL's `response.flags` see it.
    pub fn bits(self) -> u32 {
        self.iter().fold(0, |bits, flag| bits | flag.bit())
    }

    fn iter(self) -> impl Iterator<Item = Flag> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let number = usize::try_from(rest & FLAG_MASK).ok()?.checked_sub(1)?;
            rest >>= FLAG_BITS;
            Flag::ALL.get(number).copied()
        })
    }

    /// Short names with commas between them, `-` if there is none.
    pub fn write_short(self, out: &mut Vec<u8>) {
        self.write(out, Flag::short);
    }

    /// Long names with commas between them, `-` if there is none.
    pub fn write_long(self, out: &mut Vec<u8>) {
        self.write(out, Flag::long);
    }

    fn write(self, out: &mut Vec<u8>, name: fn(Flag) -> &'static str) {
        if self.is_empty() {
            out.push(b'-');
            return;
        }
        let start = out.len();
        for flag in self.iter() {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(name(flag).as_bytes());
        }
    }
}

const FLAG_BITS: u32 = 5;
const FLAG_MASK: u64 = (1 << FLAG_BITS) - 1;

/// What the log calls an event.
const FLAGS: [(Event, Flag); 20] = [
    (Event::ClientGone, Flag::DownstreamConnectionTermination),
    (Event::ClientProtocol, Flag::DownstreamProtocolError),
    (Event::ConnectFailed, Flag::UpstreamConnectionFailure),
    (Event::DelayInjected, Flag::DelayInjected),
    (Event::DurationExceeded, Flag::DurationTimeout),
    (Event::FaultInjected, Flag::FaultInjected),
    (Event::LocalReset, Flag::LocalReset),
    (Event::RateLimited, Flag::RateLimited),
    (Event::NoCluster, Flag::NoClusterFound),
    (Event::NoHealthyHost, Flag::NoHealthyUpstream),
    (Event::NoRoute, Flag::NoRouteFound),
    (Event::Overflow, Flag::UpstreamOverflow),
    (Event::RequestTimeout, Flag::UpstreamRequestTimeout),
    (Event::RetryLimit, Flag::UpstreamRetryLimitExceeded),
    (Event::StreamIdle, Flag::StreamIdleTimeout),
    (Event::Unauthorized, Flag::UnauthorizedExternalService),
    (Event::UpstreamProtocol, Flag::UpstreamProtocolError),
    (Event::UpstreamReset, Flag::UpstreamRemoteReset),
    (Event::UpstreamClosed, Flag::UpstreamConnectionTermination),
    (Event::Overload, Flag::OverloadManager),
];

const NAMES: [(&str, &str); 30] = [
    ("LH", "FailedLocalHealthCheck"),
    ("UH", "NoHealthyUpstream"),
    ("UT", "UpstreamRequestTimeout"),
    ("LR", "LocalReset"),
    ("UR", "UpstreamRemoteReset"),
    ("UF", "UpstreamConnectionFailure"),
    ("UC", "UpstreamConnectionTermination"),
    ("UO", "UpstreamOverflow"),
    ("NR", "NoRouteFound"),
    ("DI", "DelayInjected"),
    ("FI", "FaultInjected"),
    ("RL", "RateLimited"),
    ("UAEX", "UnauthorizedExternalService"),
    ("RLSE", "RateLimitServiceError"),
    ("DC", "DownstreamConnectionTermination"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("SI", "StreamIdleTimeout"),
    ("IH", "InvalidEnvoyRequestHeaders"),
    ("DPE", "DownstreamProtocolError"),
    ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ("RFCF", "ResponseFromCacheFilter"),
    ("NFCF", "NoFilterConfigFound"),
    ("DT", "DurationTimeout"),
    ("UPE", "UpstreamProtocolError"),
    ("NC", "NoClusterFound"),
    ("OM", "OverloadManagerTerminated"),
    ("DF", "DnsResolutionFailed"),
    ("DO", "DropOverload"),
    ("DR", "DownstreamRemoteReset"),
    ("UDO", "UnconditionalDropOverload"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_order() {
        for (index, flag) in Flag::ALL.into_iter().enumerate() {
            assert_eq!(flag as usize, index);
            assert_eq!(Flag::parse(flag.short()), Some(flag));
        }
        assert_eq!(Flag::parse("XX"), None);
        let both = Flags::of({
            let mut events = Events::default();
            events.insert(Event::NoCluster);
            events.insert(Event::ClientGone);
            events
        });
        assert_eq!(both.bits(), 1 << 24 | 1 << 14);
    }

    #[test]
    fn several_are_printed_as_they_were_raised() {
        let mut events = Events::default();
        let cases: &[(Option<Event>, &str, &str)] = &[
            (None, "-", "-"),
            (Some(Event::RetryLimit), "URX", "UpstreamRetryLimitExceeded"),
            (
                Some(Event::ConnectFailed),
                "URX,UF",
                "UpstreamRetryLimitExceeded,UpstreamConnectionFailure",
            ),
        ];
        for (event, short, long) in cases {
            if let Some(event) = event {
                events.insert(*event);
            }
            let flags = Flags::of(events);
            let mut out = Vec::new();
            flags.write_short(&mut out);
            assert_eq!(out, short.as_bytes());
            out.clear();
            flags.write_long(&mut out);
            assert_eq!(out, long.as_bytes());
        }
    }
}
