//! A host group: who belongs to it, what its hosts may receive and send, and whether anything is announced for them.
//! Values only.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::rule::Action;
use ipnet::IpNet;
use serde::Deserialize;

use crate::attack::{Direction, Thresholds};
use crate::profile::Profile;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

/// What is done about a target when its rules are as many as are allowed, and what they leave is still over a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastResort {
    /// Nothing but an alarm.
    #[default]
    Nothing,
    /// All that no rule takes is let through at so many bits a second.
    RateLimit {
        /// Bits a second.
        bps: u64,
    },
    /// The target is taken off the net: a route to nowhere.
    Blackhole,
    /// All that goes to the target is sent to a scrubber.
    Divert,
}

impl LastResort {
    /// What is done with all that a target receives or sends, if anything. Routes are for what goes to a host: of what comes from it
    /// a rule takes all in place of a blackhole, and nothing is diverted.
    pub fn action(self, direction: Direction) -> Option<Action> {
        match (self, direction) {
            (LastResort::Nothing, _) | (LastResort::Divert, Direction::Outgoing) => None,
            (LastResort::RateLimit { bps }, _) => Some(Action::RateBps(bps)),
            (LastResort::Blackhole, Direction::Incoming) => Some(Action::Blackhole),
            (LastResort::Blackhole, Direction::Outgoing) => Some(Action::Discard),
            (LastResort::Divert, Direction::Incoming) => Some(Action::Divert),
        }
    }
}

impl fmt::Display for LastResort {
    /// The word of the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastResort::Nothing => f.write_str("nothing"),
            LastResort::RateLimit { .. } => f.write_str("rate_limit"),
            LastResort::Blackhole => f.write_str("blackhole"),
            LastResort::Divert => f.write_str("divert"),
        }
    }
}

/// What is done about traffic over a threshold that nothing tells from the host's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inseparable {
    /// What tells it best is let through at the rate that the host had of it in peace, with a margin.
    #[default]
    RateLimit,
    /// The target is taken off the net: a route to nowhere.
    Blackhole,
    /// Nothing: the record says so.
    Nothing,
}

impl fmt::Display for Inseparable {
    /// The word of the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Inseparable::RateLimit => "rate_limit",
            Inseparable::Blackhole => "blackhole",
            Inseparable::Nothing => "nothing",
        })
    }
}

/// A host group as it is in force: with what it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// The group from which it has what it does not say itself.
    pub inherit: Option<Arc<str>>,
    /// Hosts in these belong to the group, unless a longer prefix of another group holds them. None for the default group.
    pub networks: Vec<IpNet>,
    /// Directions that are held against thresholds.
    pub directions: Vec<Direction>,
    /// Families of hosts that are held against thresholds.
    pub families: Vec<Family>,
    /// Whether attacks are seen, recorded and mined, but nothing is announced.
    pub monitor_only: bool,
    /// What its routers take.
    pub profile: Profile,
    /// What is done about traffic that cannot be told from its hosts' own.
    pub inseparable: Inseparable,
    /// What is done when there are no more rules to be had.
    pub last_resort: LastResort,
    /// What routers do with what a mined rule matches that would discard it.
    pub actions: [Action; 2],
    /// Over these, all that a target receives or sends, the last resort comes at once.
    pub escalation: [Thresholds; 2],
    /// What one host may receive, and what it may send. Nothing is set for a direction that the group does not watch.
    pub thresholds: [Thresholds; 2],
    /// The same for each of its networks as a whole.
    pub network_thresholds: [Thresholds; 2],
    /// The same for all its hosts together.
    pub group_thresholds: [Thresholds; 2],
}

impl Default for Group {
    /// Both directions and families, and no threshold.
    fn default() -> Group {
        Group {
            name: Arc::from(""),
            inherit: None,
            networks: Vec::new(),
            directions: Direction::ALL.to_vec(),
            families: Family::ALL.to_vec(),
            monitor_only: false,
            profile: Profile::default(),
            inseparable: Inseparable::default(),
            last_resort: LastResort::Nothing,
            actions: [Action::Discard; 2],
            escalation: Default::default(),
            thresholds: Default::default(),
            network_thresholds: Default::default(),
            group_thresholds: Default::default(),
        }
    }
}

impl Group {
    /// What is mined and ordered for its hosts: what its routers take, and those of each engine, for every engine has all rules.
    pub fn profile_at<'a>(&self, engines: impl IntoIterator<Item = &'a Profile>) -> Profile {
        engines.into_iter().fold(self.profile.clone(), |profile, engine| profile.and(engine))
    }

    /// What holds for a host of the group; nothing if its family is not watched.
    pub fn thresholds_of(&self, host: IpAddr, direction: Direction) -> Thresholds {
        if self.watches(host) { self.thresholds[direction as usize] } else { Thresholds::default() }
    }

    /// The same for one of its networks.
    pub fn thresholds_of_network(&self, network: IpNet, direction: Direction) -> Thresholds {
        if self.watches(network.addr()) { self.network_thresholds[direction as usize] } else { Thresholds::default() }
    }

    /// The same for all its hosts together, of which this network holds some.
    pub fn thresholds_of_all(&self, network: IpNet, direction: Direction) -> Thresholds {
        if self.watches(network.addr()) { self.group_thresholds[direction as usize] } else { Thresholds::default() }
    }

    /// Whether the family of an address is held against thresholds.
    pub fn watches(&self, address: IpAddr) -> bool {
        self.families.contains(&Family::of(address))
    }

    /// Whether something is held against thresholds that is more than a host.
    pub fn minds_networks(&self) -> bool {
        !self.network_thresholds.iter().chain(&self.group_thresholds).all(Thresholds::is_empty)
    }
}
