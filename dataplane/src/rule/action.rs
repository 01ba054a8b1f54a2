//! What a router does with what a rule matches, in words and in extended communities (RFC 8955 section 7). Pure.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What a router does with what matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Drop.
    Discard,
    /// Let this many bits a second through.
    RateBps(u64),
    /// Let this many packets a second through.
    RatePps(u64),
    /// Let it all through, perhaps somewhere else or marked.
    Pass(Pass),
    /// Drop all that goes to the destination, by a route to nowhere (RFC 7999) in place of a rule.
    Blackhole,
    /// Send all that goes to the destination to a scrubber, by a route in place of a rule.
    Divert,
}

/// What is done with traffic that is let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pass {
    /// Where it goes in place of its destination.
    pub redirect: Option<Redirect>,
    /// The DSCP that it gets.
    pub dscp: Option<u8>,
    /// Bit S of traffic-action: routers sample it.
    pub sample: bool,
    /// Bit T of traffic-action: routers go on with further rules.
    pub terminal: bool,
}

/// Where traffic is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Redirect {
    /// The VRF that imports this route target of a 2-octet AS.
    As2(u16, u32),
    /// The same of an IPv4 address.
    Ipv4(Ipv4Addr, u16),
    /// The same of a 4-octet AS.
    As4(u32, u16),
    /// The next hop.
    Ip(IpAddr),
}

const TRANSITIVE: u8 = 0x80;
const RATE_BYTES: u8 = 0x06;
const TRAFFIC_ACTION: u8 = 0x07;
const REDIRECT: u8 = 0x08;
const MARKING: u8 = 0x09;
const RATE_PACKETS: u8 = 0x0c;
/// Redirect to a next hop: type and subtype, of RFC 7674's successor for IPv4 and for IPv6 (an attribute of its own, RFC 5701).
const REDIRECT_IPV4: [u8; 2] = [0x01, 0x0c];
const REDIRECT_IPV6: [u8; 2] = [0x00, 0x0c];

impl Action {
    /// The extended communities that say it (RFC 8955 section 7), the number of the AS of a rate left at 0. None where no rule
    /// does it, and none for traffic that is only let through.
    pub fn extended_communities(&self) -> Vec<[u8; 8]> {
        let rate = |kind, rate: f32| {
            let [a, b, c, d] = rate.to_be_bytes();
            vec![[TRANSITIVE, kind, 0, 0, a, b, c, d]]
        };
        match *self {
            Action::Discard => rate(RATE_BYTES, 0.0),
            Action::RateBps(bits) => rate(RATE_BYTES, bits as f32 / 8.0),
            Action::RatePps(packets) => rate(RATE_PACKETS, packets as f32),
            Action::Pass(pass) => pass.extended_communities(),
            Action::Blackhole | Action::Divert => Vec::new(),
        }
    }

    /// The IPv6 address specific extended community (RFC 5701) that is a part of it.
    pub fn ipv6_extended_community(&self) -> Option<[u8; 20]> {
        let Action::Pass(Pass { redirect: Some(Redirect::Ip(IpAddr::V6(address))), .. }) = self else { return None };
        let mut community = [0; 20];
        community[..2].copy_from_slice(&REDIRECT_IPV6);
        community[2..18].copy_from_slice(&address.octets());
        Some(community)
    }

    /// Whether it is announced as a route in place of a rule.
    pub fn is_route(&self) -> bool {
        matches!(self, Action::Blackhole | Action::Divert)
    }
}

impl Pass {
    fn extended_communities(&self) -> Vec<[u8; 8]> {
        let redirect = self.redirect.and_then(Redirect::extended_community);
        let bits = u8::from(self.sample) << 1 | u8::from(self.terminal);
        let action = (bits != 0).then_some([TRANSITIVE, TRAFFIC_ACTION, 0, 0, 0, 0, 0, bits]);
        let marking = self.dscp.map(|dscp| [TRANSITIVE, MARKING, 0, 0, 0, 0, 0, dscp]);
        action.into_iter().chain(redirect).chain(marking).collect()
    }
}

impl Redirect {
    fn extended_community(self) -> Option<[u8; 8]> {
        Some(match self {
            Redirect::As2(number, value) => {
                let ([a, b], [c, d, e, f]) = (number.to_be_bytes(), value.to_be_bytes());
                [TRANSITIVE, REDIRECT, a, b, c, d, e, f]
            }
            Redirect::Ipv4(address, value) => {
                let ([a, b, c, d], [e, f]) = (address.octets(), value.to_be_bytes());
                [TRANSITIVE | 0x01, REDIRECT, a, b, c, d, e, f]
            }
            Redirect::As4(number, value) => {
                let ([a, b, c, d], [e, f]) = (number.to_be_bytes(), value.to_be_bytes());
                [TRANSITIVE | 0x02, REDIRECT, a, b, c, d, e, f]
            }
            Redirect::Ip(IpAddr::V4(address)) => {
                let ([kind, subtype], [a, b, c, d]) = (REDIRECT_IPV4, address.octets());
                [kind, subtype, a, b, c, d, 0, 0]
            }
            Redirect::Ip(IpAddr::V6(_)) => return None,
        })
    }
}

/// As in the JSON of a rule: `64512:100`, `192.0.2.1:100`, `4200000000:100` (below 65536 as `64512L:100`), or an address.
impl Display for Redirect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Redirect::As2(number, value) => write!(f, "{number}:{value}"),
            Redirect::Ipv4(address, value) => write!(f, "{address}:{value}"),
            Redirect::As4(number, value) if *number <= u16::MAX.into() => write!(f, "{number}L:{value}"),
            Redirect::As4(number, value) => write!(f, "{number}:{value}"),
            Redirect::Ip(address) => address.fmt(f),
        }
    }
}

impl FromStr for Redirect {
    type Err = ();

    fn from_str(text: &str) -> Result<Redirect, ()> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Redirect::Ip(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Redirect::Ip(address.into()));
        }
        let (who, value) = text.split_once(':').ok_or(())?;
        if let Ok(address) = who.parse() {
            return number(value).map(|value| Redirect::Ipv4(address, value));
        }
        match (who.strip_suffix('L'), number::<u16>(who)) {
            (Some(long), _) => Ok(Redirect::As4(number(long)?, number(value)?)),
            (None, Ok(short)) => Ok(Redirect::As2(short, number(value)?)),
            (None, Err(())) => Ok(Redirect::As4(number(who)?, number(value)?)),
        }
    }
}

/// Digits alone: Rust would take a plus sign too.
fn number<T: FromStr>(text: &str) -> Result<T, ()> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or(())
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Discard => f.write_str("discard"),
            Action::RateBps(rate) => write!(f, "rate-limit {rate} bit/s"),
            Action::RatePps(rate) => write!(f, "rate-limit {rate} packets/s"),
            Action::Pass(pass) => pass.fmt(f),
            Action::Blackhole => f.write_str("blackhole"),
            Action::Divert => f.write_str("divert"),
        }
    }
}

impl Display for Pass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.redirect.map(|to| format!("redirect {to}")).into_iter().collect();
        words.extend(self.dscp.map(|dscp| format!("mark {dscp}")));
        if words.is_empty() {
            words.push("accept".to_owned());
        }
        words.extend(self.sample.then(|| "sample".to_owned()));
        words.extend(self.terminal.then(|| "terminal".to_owned()));
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(to: &str) -> Action {
        Action::Pass(Pass { redirect: Some(to.parse().unwrap()), ..Pass::default() })
    }

    #[test]
    fn actions_are_what_the_rfc_says() {
        let mark = Action::Pass(Pass { dscp: Some(46), sample: true, terminal: true, ..Pass::default() });
        let sampled = |sample, terminal| Action::Pass(Pass { sample, terminal, ..Pass::default() });
        let cases: [(Action, &[[u8; 8]]); 12] = [
            (Action::Discard, &[[0x80, 6, 0, 0, 0, 0, 0, 0]]),
            (Action::RateBps(8_000_000), &[[0x80, 6, 0, 0, 0x49, 0x74, 0x24, 0]]),
            (Action::RatePps(1_000), &[[0x80, 0x0c, 0, 0, 0x44, 0x7a, 0, 0]]),
            (redirect("64512:100000"), &[[0x80, 8, 0xfc, 0, 0, 1, 0x86, 0xa0]]),
            (redirect("192.0.2.1:100"), &[[0x81, 8, 192, 0, 2, 1, 0, 100]]),
            (redirect("4200000000:100"), &[[0x82, 8, 0xfa, 0x56, 0xea, 0, 0, 100]]),
            (redirect("64512L:100"), &[[0x82, 8, 0, 0, 0xfc, 0, 0, 100]]),
            (redirect("192.0.2.9"), &[[1, 0x0c, 192, 0, 2, 9, 0, 0]]),
            (mark, &[[0x80, 7, 0, 0, 0, 0, 0, 3], [0x80, 9, 0, 0, 0, 0, 0, 46]]),
            (sampled(true, false), &[[0x80, 7, 0, 0, 0, 0, 0, 2]]),
            (sampled(false, true), &[[0x80, 7, 0, 0, 0, 0, 0, 1]]),
            (sampled(false, false), &[]),
        ];
        for (action, communities) in cases {
            assert_eq!(action.extended_communities(), communities, "{action}");
            assert_eq!(action.ipv6_extended_community(), None, "{action}");
        }
        let to_v6 = redirect("2001:db8::9");
        assert!(to_v6.extended_communities().is_empty());
        let community = to_v6.ipv6_extended_community().unwrap();
        assert_eq!(community[..6], [0, 0x0c, 0x20, 1, 0x0d, 0xb8]);
        assert_eq!(community[16..], [0, 9, 0, 0]);
    }

    #[test]
    fn where_traffic_is_sent_reads_back_as_it_is_written() {
        let cases = ["0:0", "65535:4294967295", "192.0.2.1:65535", "65536:1", "64512L:7", "192.0.2.1", "2001:db8::1"];
        for text in cases {
            assert_eq!(text.parse::<Redirect>().unwrap().to_string(), text);
        }
        for text in ["", "64512", "64512:", "+1:2", "64512:4294967296", "65536:65536", "192.0.2.1:65536", "x:1"] {
            assert!(text.parse::<Redirect>().is_err(), "{text}");
        }
    }
}
