//! The words that meter, detector, miner, mitigation and store share: direction, target, volumes, thresholds. Values
//! only; no clock, no I/O.

use std::fmt;
use std::net::IpAddr;

use dataplane::packet::{Addresses, Class, Headers};
use dataplane::rule::FlowRule;
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The time as rooms without a clock are told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps: what durations are measured by.
    pub mono_ms: u64,
    /// Milliseconds since 1970 UTC: what people read and what outlives a restart.
    pub wall_ms: i64,
}

/// Seen from the protected network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards a protected host.
    Incoming,
    /// From a protected host.
    Outgoing,
}

impl Direction {
    /// Both.
    pub const ALL: [Direction; 2] = [Direction::Incoming, Direction::Outgoing];

    /// The end of a packet that is ours, if it goes this way.
    pub fn near(self, packet: &Headers) -> IpAddr {
        ends(packet)[usize::from(self == Direction::Incoming)]
    }

    /// The other end.
    pub fn far(self, packet: &Headers) -> IpAddr {
        ends(packet)[usize::from(self == Direction::Outgoing)]
    }

    /// A rule with this as the prefix of our end, or with none.
    pub fn with_near(self, rule: &FlowRule, prefix: Option<IpNet>) -> FlowRule {
        let mut rule = rule.clone();
        match self {
            Direction::Incoming => rule.destination = prefix,
            Direction::Outgoing => rule.source = prefix,
        }
        rule
    }
}

/// Source and destination.
fn ends(packet: &Headers) -> [IpAddr; 2] {
    match packet.addresses {
        Addresses::V4 { source, destination } => [IpAddr::V4(source.into()), IpAddr::V4(destination.into())],
        Addresses::V6 { source, destination } => [IpAddr::V6(source.into()), IpAddr::V6(destination.into())],
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Incoming => "incoming",
            Direction::Outgoing => "outgoing",
        })
    }
}

/// What an attack is against: a prefix and a direction. Rules for incoming attacks have the prefix as destination, for
/// outgoing ones as source, and are never wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The attacked (or attacking) host or network.
    pub prefix: IpNet,
    /// Which way the traffic goes.
    pub direction: Direction,
}

impl fmt::Display for Target {
    /// "198.18.0.1 incoming".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", name(self.prefix), self.direction)
    }
}

impl Target {
    /// Whether it is a wider prefix around another target, in the same direction.
    pub fn is_around(&self, other: &Target) -> bool {
        self.direction == other.direction && self.prefix != other.prefix && self.prefix.contains(&other.prefix)
    }

    /// All that it receives, or sends.
    pub fn all(&self) -> FlowRule {
        self.direction.with_near(&FlowRule::default(), Some(self.prefix))
    }

    /// How many bits of an address its prefix leaves open.
    pub fn width(&self) -> u8 {
        self.prefix.max_prefix_len() - self.prefix.prefix_len()
    }
}

/// The host that an address counts for: the address alone, or the prefix of so many bits around an IPv6 address.
pub fn host(address: IpAddr, ipv6_prefix_length: u8) -> IpNet {
    match address {
        IpAddr::V4(_) => address.into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, ipv6_prefix_length).trunc().into(),
    }
}

/// A prefix in words for people; the length is left out for a single address.
pub fn name(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() { prefix.addr().to_string() } else { prefix.to_string() }
}

/// Packets and bytes of one target and direction by class; index 0 whole packets, 1 fragments. Either totals since some
/// point, or what came within a tick. Bytes are IP total lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// Packets, `[fragment][class]`.
    pub packets: [[u64; Class::COUNT]; 2],
    /// Bytes, `[fragment][class]`.
    pub bytes: [[u64; Class::COUNT]; 2],
    /// Flows a second times the milliseconds that they were seen for: an estimate, only where flows are counted.
    #[serde(default)]
    pub flow_ms: u64,
}

impl Volumes {
    fn sum(table: &[[u64; Class::COUNT]; 2], classes: &[Class]) -> u64 {
        classes.iter().map(|&class| table[0][class as usize] + table[1][class as usize]).sum()
    }

    /// The figure that a metric looks at: packets, or bits, of its classes; or flows.
    pub fn of(&self, metric: Metric) -> f64 {
        let (packets, bits) = match metric.kind {
            Kind::Total | Kind::Flows => {
                (Self::sum(&self.packets, &Class::ALL), Self::sum(&self.bytes, &Class::ALL) * 8)
            }
            Kind::Tcp => self.classes(&[Class::Tcp, Class::TcpSyn]),
            Kind::TcpSyn => self.classes(&[Class::TcpSyn]),
            Kind::Udp => self.classes(&[Class::Udp]),
            Kind::Icmp => self.classes(&[Class::Icmp]),
            Kind::Fragments => (self.packets[1].iter().sum(), self.bytes[1].iter().sum::<u64>() * 8),
        };
        match metric.unit {
            Unit::Pps => packets as f64,
            Unit::Bps => bits as f64,
            Unit::Fps => self.flow_ms as f64 / 1000.0,
        }
    }

    /// What kind of traffic this is, by packets or bits: the first of these that is more than half of it.
    pub fn kind(&self, unit: Unit) -> Kind {
        let unit = if unit == Unit::Bps { Unit::Bps } else { Unit::Pps };
        let half = self.of(Metric { kind: Kind::Total, unit }) / 2.0;
        let kinds = [Kind::TcpSyn, Kind::Icmp, Kind::Fragments, Kind::Udp, Kind::Tcp];
        kinds.into_iter().find(|&kind| self.of(Metric { kind, unit }) > half).unwrap_or(Kind::Total)
    }

    fn classes(&self, classes: &[Class]) -> (u64, u64) {
        (Self::sum(&self.packets, classes), Self::sum(&self.bytes, classes) * 8)
    }

    /// Packets and bytes of all classes.
    pub fn total(&self) -> (u64, u64) {
        (Self::sum(&self.packets, &Class::ALL), Self::sum(&self.bytes, &Class::ALL))
    }

    /// So many flows a second for `seconds`.
    pub fn set_flows(&mut self, rate: f64, seconds: f64) {
        self.flow_ms = (rate * seconds * 1000.0).round() as u64;
    }

    /// As a part of `all`: a sketch of flows knows no rules, so the part has as large a share of the flows as of the packets.
    pub fn with_flows_of(mut self, all: &Volumes) -> Volumes {
        let share = self.total().0 as f64 / all.total().0.max(1) as f64;
        self.flow_ms = (all.flow_ms as f64 * share.min(1.0)).round() as u64;
        self
    }

    /// Adds `other` to this.
    pub fn add(&mut self, other: &Volumes) {
        self.each(other, |a, b| a + b);
    }

    /// What is left without `other`; never below 0.
    pub fn less(mut self, other: &Volumes) -> Volumes {
        self.each(other, u64::saturating_sub);
        self
    }

    fn each(&mut self, other: &Volumes, f: impl Fn(u64, u64) -> u64) {
        self.flow_ms = f(self.flow_ms, other.flow_ms);
        for fragment in 0..2 {
            for class in 0..Class::COUNT {
                self.packets[fragment][class] = f(self.packets[fragment][class], other.packets[fragment][class]);
                self.bytes[fragment][class] = f(self.bytes[fragment][class], other.bytes[fragment][class]);
            }
        }
    }
}

/// Packets and bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Packets a second.
    pub pps: f64,
    /// Bits a second.
    pub bps: f64,
}

/// Rates of one target and direction, for each kind that a threshold may be on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Everything.
    pub total: Rate,
    /// TCP with SYNs and fragments.
    pub tcp: Rate,
    /// TCP with SYN and without ACK.
    pub tcp_syn: Rate,
    /// UDP with fragments.
    pub udp: Rate,
    /// ICMP and ICMPv6 with fragments.
    pub icmp: Rate,
    /// Fragments of any protocol.
    pub fragments: Rate,
    /// Flows a second: an estimate, only where flows are counted.
    #[serde(default)]
    pub flows: f64,
}

impl Rates {
    /// The rates of what came within `seconds`.
    pub fn of(volumes: &Volumes, seconds: f64) -> Rates {
        let rate = |kind| Rate {
            pps: volumes.of(Metric { kind, unit: Unit::Pps }) / seconds,
            bps: volumes.of(Metric { kind, unit: Unit::Bps }) / seconds,
        };
        Rates {
            total: rate(Kind::Total),
            tcp: rate(Kind::Tcp),
            tcp_syn: rate(Kind::TcpSyn),
            udp: rate(Kind::Udp),
            icmp: rate(Kind::Icmp),
            fragments: rate(Kind::Fragments),
            flows: volumes.of(Metric::FLOWS) / seconds,
        }
    }

    /// The figure that a metric looks at.
    pub fn by(&self, metric: Metric) -> f64 {
        let rate = match metric.kind {
            Kind::Flows => return self.flows,
            Kind::Total => self.total,
            Kind::Tcp => self.tcp,
            Kind::TcpSyn => self.tcp_syn,
            Kind::Udp => self.udp,
            Kind::Icmp => self.icmp,
            Kind::Fragments => self.fragments,
        };
        if metric.unit == Unit::Bps { rate.bps } else { rate.pps }
    }

    /// The higher of both, figure by figure.
    pub fn max(&self, other: &Rates) -> Rates {
        self.with(other, f64::max)
    }

    /// So much of the way from this to `other`, 0 to 1, figure by figure.
    pub fn towards(&self, other: &Rates, share: f64) -> Rates {
        self.with(other, |a, b| a + (b - a) * share)
    }

    fn with(&self, other: &Rates, f: impl Fn(f64, f64) -> f64) -> Rates {
        let both = |a: Rate, b: Rate| Rate { pps: f(a.pps, b.pps), bps: f(a.bps, b.bps) };
        Rates {
            total: both(self.total, other.total),
            tcp: both(self.tcp, other.tcp),
            tcp_syn: both(self.tcp_syn, other.tcp_syn),
            udp: both(self.udp, other.udp),
            icmp: both(self.icmp, other.icmp),
            fragments: both(self.fragments, other.fragments),
            flows: f(self.flows, other.flows),
        }
    }
}

/// Which traffic a threshold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything.
    Total,
    /// TCP with SYNs and fragments.
    Tcp,
    /// TCP with SYN and without ACK.
    TcpSyn,
    /// UDP with fragments.
    Udp,
    /// ICMP and ICMPv6 with fragments.
    Icmp,
    /// Fragments of any protocol.
    Fragments,
    /// Everything, by its flows.
    Flows,
}

impl Kind {
    /// Whether a packet is of this traffic.
    pub fn includes(self, headers: &Headers) -> bool {
        match self {
            Kind::Total | Kind::Flows => true,
            Kind::Tcp => matches!(headers.class, Class::Tcp | Class::TcpSyn),
            Kind::TcpSyn => headers.class == Class::TcpSyn,
            Kind::Udp => headers.class == Class::Udp,
            Kind::Icmp => headers.class == Class::Icmp,
            Kind::Fragments => headers.is_fragment(),
        }
    }
}

/// Packets, bits or flows a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Packets a second.
    Pps,
    /// Bits a second.
    Bps,
    /// Flows a second.
    Fps,
}

/// What a threshold is on: "udp_pps".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Metric {
    /// Which traffic.
    pub kind: Kind,
    /// Which unit.
    pub unit: Unit,
}

impl Metric {
    /// Every metric, the most telling first: where several are crossed at once, the attack is named after the first one
    /// of those that are exceeded most.
    pub const ALL: [Metric; 13] = {
        const fn m(kind: Kind, unit: Unit) -> Metric {
            Metric { kind, unit }
        }
        [
            m(Kind::TcpSyn, Unit::Pps),
            m(Kind::TcpSyn, Unit::Bps),
            m(Kind::Icmp, Unit::Pps),
            m(Kind::Icmp, Unit::Bps),
            m(Kind::Fragments, Unit::Pps),
            m(Kind::Fragments, Unit::Bps),
            m(Kind::Udp, Unit::Pps),
            m(Kind::Udp, Unit::Bps),
            m(Kind::Tcp, Unit::Pps),
            m(Kind::Tcp, Unit::Bps),
            Metric::FLOWS,
            m(Kind::Total, Unit::Pps),
            m(Kind::Total, Unit::Bps),
        ]
    };

    /// Flows a second.
    pub const FLOWS: Metric = Metric { kind: Kind::Flows, unit: Unit::Fps };

    /// This metric's place in [`Metric::ALL`].
    pub fn index(self) -> usize {
        Metric::ALL.iter().position(|&metric| metric == self).unwrap_or(0)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Total => "total",
            Kind::Tcp => "tcp",
            Kind::TcpSyn => "tcp_syn",
            Kind::Udp => "udp",
            Kind::Icmp => "icmp",
            Kind::Fragments => "fragments",
            Kind::Flows => "flows",
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        let unit = match self.unit {
            Unit::Pps => "pps",
            Unit::Bps => "bps",
            Unit::Fps => "per_second",
        };
        write!(f, "{kind}_{unit}")
    }
}

/// Thresholds of a host group for one direction: packets, bits or flows a second; one that is not set is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds([Option<u64>; Metric::ALL.len()]);

impl Thresholds {
    /// Sets the threshold of a metric.
    pub fn set(&mut self, metric: Metric, value: u64) {
        self.put(metric, Some(value));
    }

    /// Sets the threshold of a metric, or takes it away.
    pub fn put(&mut self, metric: Metric, value: Option<u64>) {
        self.0[metric.index()] = value;
    }

    /// The threshold of a metric.
    pub fn get(&self, metric: Metric) -> Option<u64> {
        self.0[metric.index()]
    }

    /// The lowest threshold in a unit.
    pub fn lowest(&self, unit: Unit) -> Option<u64> {
        Metric::ALL.into_iter().filter(|metric| metric.unit == unit).filter_map(|metric| self.get(metric)).min()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The thresholds that `volumes`, seen over `seconds`, are above: each with its value and the rate measured.
    pub fn exceeded(&self, volumes: &Volumes, seconds: f64) -> impl Iterator<Item = (Metric, u64, f64)> {
        let set = Metric::ALL.into_iter().zip(self.0).filter_map(|(metric, value)| value.map(|value| (metric, value)));
        set.map(move |(metric, value)| (metric, value, volumes.of(metric) / seconds))
            .filter(|&(_, value, rate)| rate > value as f64)
    }

    /// Of those, the one exceeded by the largest factor.
    pub fn worst(&self, volumes: &Volumes, seconds: f64) -> Option<(Metric, u64, f64)> {
        let factor = |(_, value, rate): (Metric, u64, f64)| rate / value as f64;
        self.exceeded(volumes, seconds).reduce(|worst, other| if factor(other) > factor(worst) { other } else { worst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_volumes_agree_on_every_metric() {
        let mut volumes = Volumes { flow_ms: 9_000, ..Volumes::default() };
        for (place, count) in volumes.packets.as_flattened_mut().iter_mut().enumerate() {
            *count = 1 << place;
        }
        volumes.bytes = volumes.packets.map(|counts| counts.map(|count| count * 700));
        let rates = Rates::of(&volumes, 2.0);
        for metric in Metric::ALL {
            assert_eq!(rates.by(metric), volumes.of(metric) / 2.0, "{metric}");
        }
    }

    #[test]
    fn what_is_more_than_half_of_the_traffic_says_of_what_kind_it_is() {
        let of = |classes: &[(Class, usize, u64)]| {
            let mut volumes = Volumes::default();
            for &(class, fragment, packets) in classes {
                volumes.packets[fragment][class as usize] = packets;
                volumes.bytes[fragment][class as usize] = packets * if class == Class::Icmp { 1_000 } else { 100 };
            }
            (volumes.kind(Unit::Pps), volumes.kind(Unit::Bps))
        };
        assert_eq!(of(&[(Class::TcpSyn, 0, 60), (Class::Tcp, 0, 40)]), (Kind::TcpSyn, Kind::TcpSyn));
        assert_eq!(of(&[(Class::TcpSyn, 0, 40), (Class::Tcp, 0, 60)]), (Kind::Tcp, Kind::Tcp));
        assert_eq!(of(&[(Class::Udp, 0, 60), (Class::Icmp, 0, 40)]), (Kind::Udp, Kind::Icmp));
        assert_eq!(of(&[(Class::Udp, 1, 60), (Class::Udp, 0, 40)]), (Kind::Fragments, Kind::Fragments));
        assert_eq!(of(&[(Class::Udp, 0, 50), (Class::Tcp, 0, 50)]), (Kind::Total, Kind::Total));
        assert_eq!(of(&[(Class::Other, 0, 90), (Class::Tcp, 0, 10)]), (Kind::Total, Kind::Total));
        assert_eq!(of(&[]), (Kind::Total, Kind::Total));
    }

    #[test]
    fn a_host_is_an_address_or_an_ipv6_prefix_and_is_named_so() {
        let named = |text: &str, length| name(host(text.parse().unwrap(), length));
        assert_eq!(named("198.18.0.1", 64), "198.18.0.1");
        assert_eq!(named("2001:db8:1:2:3::4", 128), "2001:db8:1:2:3::4");
        assert_eq!(named("2001:db8:1:2:3::4", 64), "2001:db8:1:2::/64");
        assert_eq!(named("2001:db8:1:2ff:3::4", 56), "2001:db8:1:200::/56");
        let target = Target { prefix: host("2001:db8::4".parse().unwrap(), 32), direction: Direction::Outgoing };
        assert_eq!(target.to_string(), "2001:db8::/32 outgoing");
    }
}
