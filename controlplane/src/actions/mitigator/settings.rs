//! What a configuration says about a MITIGATOR, and how its API calls things in either of its two generations. Values only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::attack::{Direction, Kind};

/// Everything about one MITIGATOR cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `https://HOST` or `https://HOST:PORT` of each node, tried in this order.
    pub addresses: Vec<String>,
    /// Whom to log in as.
    pub user: String,
    /// Where the password is.
    pub password: PasswordSource,
    /// Certificates that are trusted instead of the system's: of an authority, or of the MITIGATOR itself.
    pub ca_file: Option<PathBuf>,
    /// Whether any certificate will do, and plain HTTP too.
    pub insecure: bool,
    /// How long a connection, and the log-in, may take.
    pub connect_timeout: Duration,
    /// How long any other call may take.
    pub timeout: Duration,
    /// Longest pause before what failed is tried again.
    pub back_off_max: Duration,
    /// All switches that were set are looked at this often.
    pub check_period: Duration,
    /// Which names its API has; none: its version says so.
    pub family: Option<Family>,
    /// Names that are different here: ours, and what the API is told.
    pub rename: BTreeMap<String, String>,
    /// Where in the API things are.
    pub paths: Paths,
    /// The header that carries the token.
    pub token_header: String,
    /// Which policy protects whom.
    pub policies: Vec<(IpNet, u64)>,
    /// Whether MITIGATOR is asked for the policy of a target that is in none of `policies`.
    pub by_inbound_packet: bool,
    /// The policy of everybody else; none: nothing is done for them.
    pub default_policy: Option<u64>,
    /// What is switched on against which attack. The first that fits holds.
    pub countermeasures: Vec<Countermeasures>,
}

/// Where the password is. It is read anew for each log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// In this file.
    File(PathBuf),
    /// In systemd's credential of this name.
    Credential(String),
}

/// The two generations of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Up to v20.06.
    UpTo2006,
    /// From v20.08.
    From2008,
}

impl Family {
    /// The words of the configuration.
    pub const WORDS: [(&'static str, Option<Family>); 3] =
        [("auto", None), ("v20.06", Some(Family::UpTo2006)), ("v20.08", Some(Family::From2008))];

    /// By what `backend/version` says, such as "v21.04".
    pub fn of_version(version: &str) -> Option<Family> {
        let mut numbers = version.trim().trim_start_matches(['v', 'V']).split(['.', '-', ' ']);
        let mut number = || numbers.next()?.parse::<u32>().ok();
        let version = (number()?, number()?);
        Some(if version >= (20, 8) { Family::From2008 } else { Family::UpTo2006 })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::UpTo2006 => "names up to v20.06",
            Family::From2008 => "names from v20.08",
        })
    }
}

/// Our name, that up to v20.06, and that from v20.08.
const NAMES: [(&str, &str, &str); 10] = [
    (PROTECTION, "toggle", "toggle"),
    (GENERAL, "router", "router"),
    ("tcp", "tcpFloodProt", "tcp"),
    ("sorb", "sourceLimiter", "sorb"),
    ("tbl", "tempBlacklist", "tbl"),
    ("http", "httpFloodProt", "http"),
    ("lim", "rateLimiter", "lim"),
    ("bl", "blacklist", "bl"),
    ("wl", "whitelist", "wl"),
    ("itls", "tlsFloodProt", "itls"),
];

/// What we call the protection of a policy.
pub const PROTECTION: &str = "protection";
/// What we call the general protection.
pub const GENERAL: &str = "general";

impl Settings {
    /// What the API calls a switch. One that is not listed is called as we call it.
    pub fn name(&self, switch: &str, family: Family) -> String {
        if let Some(name) = self.rename.get(switch) {
            return name.clone();
        }
        let known = NAMES.iter().find(|(ours, ..)| *ours == switch);
        match (known, family) {
            (Some((_, old, _)), Family::UpTo2006) => (*old).to_owned(),
            (Some((.., new)), Family::From2008) => (*new).to_owned(),
            (None, _) => switch.to_owned(),
        }
    }

    /// Where autodetection has its switch.
    pub fn autodetection(&self, family: Family) -> &str {
        match (&*self.paths.autodetection, family) {
            ("", Family::UpTo2006) => "autodetect/switch",
            ("", Family::From2008) => "system/autodetect/switch",
            (path, _) => path,
        }
    }

    /// Whether it is the same cluster: what one of them switched, the other can put back.
    pub fn is_same_cluster(&self, other: &Settings) -> bool {
        self.addresses.iter().any(|address| other.addresses.contains(address))
    }
}

/// Where in the API things are. `{name}` is a switch's name, `{policy}` a policy's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Before all others.
    pub base: String,
    /// Log-in.
    pub login: String,
    /// Whether the token is good.
    pub ping: String,
    /// The version.
    pub version: String,
    /// A switch.
    pub switch: String,
    /// All policies.
    pub policies: String,
    /// Whether a policy only looks on.
    pub monitor_mode: String,
    /// The policy of a packet.
    pub by_inbound_packet: String,
    /// Autodetection; empty: where its version has it.
    pub autodetection: String,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            base: "/api/v4".into(),
            login: "users/session".into(),
            ping: "backend/ping".into(),
            version: "backend/version".into(),
            switch: "{name}/switch".into(),
            policies: "policies/policies".into(),
            monitor_mode: "policies/monitor_mode/{policy}".into(),
            by_inbound_packet: "policies/by_inbound_packet".into(),
            autodetection: String::new(),
        }
    }
}

impl Paths {
    /// Each with its key.
    pub fn all(&self) -> [(&'static str, &String); 9] {
        [
            ("base", &self.base),
            ("login", &self.login),
            ("ping", &self.ping),
            ("version", &self.version),
            ("switch", &self.switch),
            ("policies", &self.policies),
            ("monitor_mode", &self.monitor_mode),
            ("by_inbound_packet", &self.by_inbound_packet),
            ("autodetection", &self.autodetection),
        ]
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut String> {
        Some(match key {
            "base" => &mut self.base,
            "login" => &mut self.login,
            "ping" => &mut self.ping,
            "version" => &mut self.version,
            "switch" => &mut self.switch,
            "policies" => &mut self.policies,
            "monitor_mode" => &mut self.monitor_mode,
            "by_inbound_packet" => &mut self.by_inbound_packet,
            "autodetection" => &mut self.autodetection,
            _ => return None,
        })
    }
}

/// What attacks are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// SYN flood.
    TcpSyn,
    /// Other TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Fragments.
    Fragments,
    /// A threshold on everything was crossed, and none of the others is more than half of it.
    Other,
    /// A person banned the host.
    ByHand,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 7] =
        [Class::TcpSyn, Class::Tcp, Class::Udp, Class::Icmp, Class::Fragments, Class::Other, Class::ByHand];

    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Class::TcpSyn => "tcp_syn",
            Class::Tcp => "tcp",
            Class::Udp => "udp",
            Class::Icmp => "icmp",
            Class::Fragments => "fragments",
            Class::Other => "other",
            Class::ByHand => "by_hand",
        }
    }
}

impl From<Kind> for Class {
    fn from(kind: Kind) -> Class {
        match kind {
            Kind::TcpSyn => Class::TcpSyn,
            Kind::Tcp => Class::Tcp,
            Kind::Udp => Class::Udp,
            Kind::Icmp => Class::Icmp,
            Kind::Fragments => Class::Fragments,
            Kind::Total | Kind::Flows => Class::Other,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is switched on, beside the policy's protection, against attacks of these kinds. An empty list is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countermeasures {
    /// Of these classes.
    pub classes: Vec<Class>,
    /// In these directions.
    pub directions: Vec<Direction>,
    /// On hosts of these groups.
    pub groups: Vec<String>,
    /// Switches by our names, in this order. None: the protection alone.
    pub switches: Vec<String>,
}

impl Countermeasures {
    /// What FastNetMon's script for MITIGATOR does: TCP against TCP, ACL against ICMP, SORB against all else, of what comes in.
    pub fn defaults() -> Vec<Countermeasures> {
        let against = |classes: &[Class], switch: &str| Countermeasures {
            classes: classes.to_vec(),
            directions: vec![Direction::Incoming],
            groups: Vec::new(),
            switches: vec![switch.to_owned()],
        };
        vec![against(&[Class::TcpSyn, Class::Tcp], "tcp"), against(&[Class::Icmp], "acl"), against(&[], "sorb")]
    }

    /// Whether it is for such an attack.
    pub fn fits(&self, class: Class, direction: Direction, group: &str) -> bool {
        let all_or = |is_empty: bool, has: bool| is_empty || has;
        all_or(self.classes.is_empty(), self.classes.contains(&class))
            && all_or(self.directions.is_empty(), self.directions.contains(&direction))
            && all_or(self.groups.is_empty(), self.groups.iter().any(|name| name == group))
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Settings for the tests of several rooms.

    use super::*;

    /// Policy 1 for all, whatever there is by default.
    pub(crate) fn settings(addresses: &[&str]) -> Settings {
        Settings {
            addresses: addresses.iter().map(|&address| address.to_owned()).collect(),
            user: "levee".into(),
            password: PasswordSource::File("/nonexistent".into()),
            ca_file: None,
            insecure: false,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(30),
            back_off_max: Duration::from_secs(10),
            check_period: Duration::from_secs(10),
            family: None,
            rename: BTreeMap::new(),
            paths: Paths::default(),
            token_header: "X-Auth-Token".into(),
            policies: Vec::new(),
            by_inbound_packet: false,
            default_policy: Some(1),
            countermeasures: Countermeasures::defaults(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_says_which_names_hold() {
        let old = ["v19.05", "v20.06", "20.06.1", "v20.07"];
        let new = ["v20.08", "v21.04", "v25.12", "21.04", " v21.04-rc1"];
        assert!(old.iter().all(|version| Family::of_version(version) == Some(Family::UpTo2006)));
        assert!(new.iter().all(|version| Family::of_version(version) == Some(Family::From2008)));
        assert!(["", "v", "latest", "v20", "v20.x"].iter().all(|version| Family::of_version(version).is_none()));
    }

    #[test]
    fn names_of_both_generations_and_of_ones_own() {
        let mut settings = samples::settings(&[]);
        let names = |settings: &Settings, family| {
            [PROTECTION, GENERAL, "tcp", "acl", "sorb", "http", "game"]
                .map(|name| settings.name(name, family))
                .join(" ")
        };
        assert_eq!(
            names(&settings, Family::UpTo2006),
            "toggle router tcpFloodProt acl sourceLimiter httpFloodProt game"
        );
        assert_eq!(names(&settings, Family::From2008), "toggle router tcp acl sorb http game");
        settings.rename = [("tcp".to_owned(), "tcp2".to_owned()), ("game".to_owned(), "g".to_owned())].into();
        assert_eq!(names(&settings, Family::UpTo2006), "toggle router tcp2 acl sourceLimiter httpFloodProt g");
    }

    #[test]
    fn the_default_map_is_the_script_s() {
        let map = Countermeasures::defaults();
        let of = |class| {
            let fits = map.iter().find(|rule| rule.fits(class, Direction::Incoming, "web"));
            fits.map(|rule| rule.switches.join(" ")).unwrap_or_default()
        };
        assert_eq!(Class::ALL.map(of), ["tcp", "tcp", "sorb", "acl", "sorb", "sorb", "sorb"]);
        assert!(!map.iter().any(|rule| rule.fits(Class::Udp, Direction::Outgoing, "web")));
    }
}
