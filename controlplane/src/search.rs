//! Which attacks a client asks for: by id, host, time and kind, page by page. Values only: the control thread holds them
//! against what it has at hand, the store makes a query of them.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::attack::Metric;
use crate::record::AttackRecord;

/// The kind of an attack that a person asked for.
pub const BY_HAND: &str = "by_hand";

/// A place in the list of attacks, which has the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the attack was detected, wall-clock milliseconds.
    pub detected_ms: i64,
    /// Its id.
    pub id: Uuid,
}

impl From<&AttackRecord> for Place {
    fn from(record: &AttackRecord) -> Place {
        Place { detected_ms: record.detected_ms, id: record.id }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.detected_ms, self.id)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let parse = |(time, id): (&str, &str)| Some(Place { detected_ms: time.parse().ok()?, id: id.parse().ok()? });
        let wrong = || format!("\"{text}\" is no page: take it as the listing before gave it");
        text.split_once(':').and_then(parse).ok_or_else(wrong)
    }
}

/// What is asked for. Nothing set: every attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Without those that are over.
    pub alive_only: bool,
    /// What the id begins with.
    pub id: String,
    /// The target is in it, or it is in the target.
    pub host: Option<IpNet>,
    /// Not over before this time.
    pub since_ms: Option<i64>,
    /// Detected before this time.
    pub until_ms: Option<i64>,
    /// One of these kinds, by [`AttackRecord::kind`].
    pub kinds: Vec<String>,
    /// Behind this place in the list.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: usize,
}

/// Whether an id begins so, in lower case.
pub fn begins(id: Uuid, text: &str) -> bool {
    id.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]).starts_with(text)
}

impl Search {
    /// Whether an attack is what is asked for.
    pub fn matches(&self, record: &AttackRecord) -> bool {
        let target = record.target.prefix;
        (!self.alive_only || record.state.is_alive())
            && begins(record.id, &self.id)
            && self.host.is_none_or(|host| host.contains(&target) || target.contains(&host))
            && self.since_ms.is_none_or(|since_ms| record.ended_ms.is_none_or(|ended_ms| ended_ms >= since_ms))
            && self.until_ms.is_none_or(|until_ms| record.detected_ms < until_ms)
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind()))
            && self.after.is_none_or(|after| Place::from(record) < after)
    }
}

/// The kinds that a word stands for: a metric ("udp_pps"), all of its traffic ("udp"), or "by_hand".
///
/// # Errors
/// The words that are known, if this one is not.
pub fn kinds(word: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = Metric::ALL.iter().map(ToString::to_string).collect();
    let traffic =
        |name: &str| name.trim_end_matches("_pps").trim_end_matches("_bps").trim_end_matches("_per_second").to_owned();
    let found: Vec<String> = match word {
        BY_HAND => vec![BY_HAND.to_owned()],
        _ => names.iter().filter(|name| *name == word || traffic(name) == word).cloned().collect(),
    };
    if found.is_empty() {
        let mut known: Vec<String> = names.iter().map(|name| traffic(name)).collect();
        known.dedup();
        return Err(format!(
            "\"{word}\" is no kind of attack: write {}, {BY_HAND}, or a metric such as udp_pps",
            known.join(", ")
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::State;
    use crate::record::samples::attack;

    #[test]
    fn each_thing_asked_for_narrows_the_search() {
        let mut record = attack("198.18.0.7/32", State::Ended);
        (record.detected_ms, record.ended_ms) = (1_000, Some(2_000));
        let kind = record.kind();
        let matches = |search: Search| search.matches(&record);
        assert!(matches(Search::default()));
        assert!(!matches(Search { alive_only: true, ..Search::default() }));
        let host = |text: &str| matches(Search { host: Some(text.parse().unwrap()), ..Search::default() });
        assert!(host("198.18.0.7/32") && host("198.18.0.0/24") && !host("198.18.0.8/32") && !host("2001:db8::/32"));
        let since = |since_ms| matches(Search { since_ms: Some(since_ms), ..Search::default() });
        assert!(since(0) && since(2_000) && !since(2_001));
        let until = |until_ms| matches(Search { until_ms: Some(until_ms), ..Search::default() });
        assert!(until(1_001) && !until(1_000));
        let one_of = |kinds: &[&str]| {
            matches(Search { kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(), ..Search::default() })
        };
        assert!(one_of(&[BY_HAND, &kind]) && !one_of(&[BY_HAND]));
        let id = |text: &str| matches(Search { id: text.to_owned(), ..Search::default() });
        assert!(id(&record.id.to_string()[..9]) && !id("ffffffff"));
        let after =
            |detected_ms| matches(Search { after: Some(Place { detected_ms, id: record.id }), ..Search::default() });
        assert!(after(1_001) && !after(1_000), "the attack of that place was on the page before");
        let network = attack("198.18.0.0/24", State::Mitigating);
        let search = Search { host: Some("198.18.0.7/32".parse().unwrap()), ..Search::default() };
        assert!(search.matches(&network), "the host is attacked with its network");
        assert!(Search { since_ms: Some(i64::MAX), ..Search::default() }.matches(&network), "it goes on");
    }

    #[test]
    fn words_for_kinds() {
        assert_eq!(kinds("udp").unwrap(), ["udp_pps", "udp_bps"]);
        assert_eq!(kinds("tcp_syn").unwrap(), ["tcp_syn_pps", "tcp_syn_bps"]);
        assert_eq!(kinds("flows").unwrap(), ["flows_per_second"]);
        assert_eq!(kinds("icmp_bps").unwrap(), ["icmp_bps"]);
        assert_eq!(kinds(BY_HAND).unwrap(), [BY_HAND]);
        for wrong in ["", "sctp", "udp_", "UDP"] {
            let error = kinds(wrong).unwrap_err();
            assert!(error.contains("tcp_syn, icmp, fragments, udp, tcp, flows, total, by_hand"), "{error}");
        }
    }

    #[test]
    fn a_place_reads_back() {
        let place = Place { detected_ms: 1_795_000_000_000, id: Uuid::now_v7() };
        assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        assert!("".parse::<Place>().is_err() && "5:5".parse::<Place>().is_err());
    }
}
