//! What others are told of an attack: values as they wait on disk, and which call of a script is due when. Pure.

use std::net::IpAddr;

use dataplane::packet::{Addresses, Headers, Upper};
use serde::{Deserialize, Serialize};

use crate::attack::Rates;
use crate::detector::EventKind;
use crate::record::AttackRecord;

/// One event of an attack, with all that any layout needs of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub kind: EventKind,
    /// When, wall-clock milliseconds.
    pub time_ms: i64,
    /// One line for people.
    #[serde(default)]
    pub text: String,
    /// The attack as it stands after it.
    pub record: AttackRecord,
    /// What its target receives and sends.
    #[serde(default)]
    pub traffic: Traffic,
    /// Packets of its capture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets: Vec<PacketLine>,
}

/// Rates of a target, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// At the moment.
    pub now: BothWays,
    /// The mean since the attack was detected.
    pub mean: BothWays,
}

/// Rates towards a target, and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BothWays {
    /// Towards it.
    pub incoming: Rates,
    /// From it.
    pub outgoing: Rates,
}

/// A captured packet, as far as reports show it. Keys are short: an outbox may hold very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketLine {
    /// When it came, microseconds since 1970 UTC.
    #[serde(rename = "t", default)]
    pub time_us: i64,
    /// From.
    #[serde(rename = "s")]
    pub source: IpAddr,
    /// To.
    #[serde(rename = "d")]
    pub destination: IpAddr,
    /// Source and destination port; 0 where there are none.
    #[serde(rename = "o", default)]
    pub ports: (u16, u16),
    /// IP protocol.
    #[serde(rename = "p", default)]
    pub protocol: u8,
    /// TCP flags; 0 in all else.
    #[serde(rename = "f", default)]
    pub flags: u16,
    /// Whether it is a fragment, first or later.
    #[serde(rename = "g", default)]
    pub is_fragment: bool,
    /// Bytes of the whole frame, as FastNetMon counts them.
    #[serde(rename = "l", default)]
    pub length: u32,
    /// Of these, bytes of the IP packet.
    #[serde(rename = "i", default)]
    pub ip_length: u32,
    /// TTL or hop limit.
    #[serde(rename = "h", default)]
    pub ttl: u8,
    /// It stands for so many packets.
    #[serde(rename = "n", default = "one")]
    pub one_in: u32,
}

fn one() -> u32 {
    1
}

impl PacketLine {
    /// Of a packet that came in a frame of `frame_len` bytes, at that time, and stands for `one_in` packets.
    pub fn new(time_us: i64, headers: &Headers, frame_len: u32, one_in: u32) -> PacketLine {
        let (source, destination) = match headers.addresses {
            Addresses::V4 { source, destination } => (IpAddr::V4(source.into()), IpAddr::V4(destination.into())),
            Addresses::V6 { source, destination } => (IpAddr::V6(source.into()), IpAddr::V6(destination.into())),
        };
        let (ports, flags) = match headers.upper {
            Upper::Tcp { source, destination, flags } => ((source, destination), flags),
            Upper::Ports { source, destination } => ((source, destination), 0),
            Upper::Icmp { .. } | Upper::None => ((0, 0), 0),
        };
        PacketLine {
            time_us,
            source,
            destination,
            ports,
            protocol: headers.protocol,
            flags,
            is_fragment: headers.is_fragment(),
            length: frame_len,
            ip_length: headers.ip_length,
            ttl: headers.ttl,
            one_in,
        }
    }
}

/// What a script is called with, and gets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Layout {
    /// Of FastNetMon up to 1.2.5.
    #[serde(rename = "1.2.4")]
    Classic,
    /// Of FastNetMon since 1.2.6.
    #[serde(rename = "1.2.6")]
    Newer,
    /// JSON, as the Advanced edition has it.
    #[serde(rename = "advanced")]
    Advanced,
}

/// What a script is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// An attack began.
    Ban,
    /// Its sample is there.
    AttackDetails,
    /// It ended.
    Unban,
    /// Rules are wanted.
    PartialBlock,
    /// They are not any more.
    PartialUnblock,
}

impl Say {
    /// The word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Say::Ban => "ban",
            Say::AttackDetails => "attack_details",
            Say::Unban => "unban",
            Say::PartialBlock => "partial_block",
            Say::PartialUnblock => "partial_unblock",
        }
    }
}

/// Calls that are due after an event of this kind, in their order. `record` is the attack as it stands after the event, whose
/// journal ends with it.
///
/// Each ban is followed by one unban, and the next ban of an attack comes only then.
/// - 1.2.4: a ban when the attack begins, or comes back; `attack_details` with the first capture after it.
/// - 1.2.6 and JSON: the ban waits for that capture, since it carries everything. An attack that a person asked for, or whose rules
///   come back, does not wait. One that ends before its capture was full has its ban just before the unban.
/// - JSON: `partial_block` when rules are wanted, `partial_unblock` when they are not any more.
///
/// Nothing is due of a rule by hand, which bans nobody, nor of an attack on what is whitelisted.
pub fn due(layout: Layout, kind: EventKind, record: &AttackRecord) -> &'static [Say] {
    if record.is_order || record.whitelisted.is_some() {
        return &[];
    }
    let so_far = Phase::before(kind, record);
    match layout {
        Layout::Classic => due_at_once(kind, &so_far),
        Layout::Newer => due_with_sample(kind, &so_far, record),
        Layout::Advanced => match (due_with_sample(kind, &so_far, record), rules_due(kind, record)) {
            ([], Some(rules)) => rules,
            ([Say::Ban], Some([Say::PartialBlock])) => &[Say::Ban, Say::PartialBlock],
            ([Say::Unban], Some([Say::PartialUnblock])) => &[Say::PartialUnblock, Say::Unban],
            (calls, _) => calls,
        },
    }
}

fn due_at_once(kind: EventKind, so_far: &Phase) -> &'static [Say] {
    match kind {
        EventKind::Detected | EventKind::Mitigating if !so_far.is_open() => &[Say::Ban],
        EventKind::Captured if so_far.captured == 0 => &[Say::AttackDetails],
        EventKind::Ending | EventKind::FalsePositive => &[Say::Unban],
        _ => &[],
    }
}

fn due_with_sample(kind: EventKind, so_far: &Phase, record: &AttackRecord) -> &'static [Say] {
    let is_by_hand = record.crossing.is_none();
    let is_told = so_far.captured > 0 || so_far.mitigating > 0 || so_far.detected > if is_by_hand { 0 } else { 1 };
    match kind {
        // A second detection is a person's: a ban of what was detected before.
        EventKind::Detected if !is_told && (is_by_hand || so_far.is_open()) => &[Say::Ban],
        EventKind::Captured | EventKind::Mitigating if !is_told => &[Say::Ban],
        EventKind::Ending | EventKind::FalsePositive if is_told => &[Say::Unban],
        EventKind::Ending => &[Say::Ban, Say::Unban],
        _ => &[],
    }
}

fn rules_due(kind: EventKind, record: &AttackRecord) -> Option<&'static [Say]> {
    let mut before = record.journal.iter().rev().skip(1);
    match kind {
        EventKind::Mitigating => Some(&[Say::PartialBlock]),
        // Those that are wanted together have one call.
        EventKind::RuleWanted => {
            let now = record.journal.last()?.time_ms;
            let is_same = |kind: &str| kind == "mitigating" || kind == "rule_wanted";
            before
                .next()
                .is_none_or(|entry| entry.time_ms != now || !is_same(&entry.kind))
                .then_some(&[Say::PartialBlock])
        }
        // At the end all are withdrawn, and the end says so.
        EventKind::RuleWithdrawn if record.state.is_under_way() => Some(&[Say::PartialUnblock]),
        EventKind::Ending => {
            record.rules.iter().any(|rule| rule.withdrawn_ms == record.ending_ms).then_some(&[Say::PartialUnblock])
        }
        _ => None,
    }
}

/// What an attack had been through since it began, or came back.
#[derive(Debug, Default)]
struct Phase {
    detected: usize,
    captured: usize,
    mitigating: usize,
}

impl Phase {
    /// Before the event that its journal ends with.
    fn before(kind: EventKind, record: &AttackRecord) -> Phase {
        let mut phase = Phase::default();
        let mut entries = record.journal.iter().rev().peekable();
        entries.next_if(|entry| entry.kind == kind.as_str());
        for entry in entries {
            match entry.kind.as_str() {
                "detected" => phase.detected += 1,
                "captured" => phase.captured += 1,
                "mitigating" => phase.mitigating += 1,
                "ending" => break,
                _ => (),
            }
        }
        phase
    }

    fn is_open(&self) -> bool {
        self.detected + self.captured + self.mitigating > 0
    }
}
