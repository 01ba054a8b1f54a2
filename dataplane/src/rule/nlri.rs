//! A rule as BGP carries it (RFC 8955 section 4, RFC 8956 section 3). [`encode`] refuses what makes routers reset their
//! session, since one bad rule costs a router all its mitigations.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Bits, Component, Family, FlowRule, Ranges};

/// Most items in one component that every known router takes: a number is one, a range two, a bitmask alternative one for what is
/// set and one for what is clear. FRR resets its session over this.
pub const ITEMS_MAX: usize = 5;
/// Longest rule in bytes behind the length octet. Some speakers misread what is longer.
pub const LENGTH_MAX: usize = 238;
/// Most alternatives that a received bitmask component may unfold to.
const ALTERNATIVES_MAX: usize = 64;

/// What is wrong with a rule, or with the bytes of one.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the rule has no component, which would match all traffic: give at least a destination or a source prefix")]
    Empty,
    #[error("nothing in the rule says IPv4 or IPv6: give a destination or a source prefix")]
    NoFamily,
    #[error("{0} and {1} are of different families: make two rules")]
    MixedFamilies(IpNet, IpNet),
    #[error("{0} is IPv4 mapped into IPv6: write it as an IPv4 prefix")]
    Mapped(IpNet),
    #[error("flow_labels are a thing of IPv6: leave them out of an IPv4 rule")]
    FlowLabelInIpv4,
    #[error("dont-fragment is a thing of IPv4: leave it out of an IPv6 rule")]
    DontFragmentInIpv6,
    #[error("{} takes at most {max} and has {value:#x} ({value})", component.name(), max = component.largest())]
    OutOfRange { component: Component, value: u64 },
    #[error("an alternative of {} names no bit, which is always true: name one, or leave the component out", .0.name())]
    NoBits(Component),
    #[error("an alternative of {} wants the same bit set and clear: take one of the two out", .0.name())]
    Contradiction(Component),
    #[error("{} has {items} items and routers take {most} (a range is 2): split the rule", component.name())]
    TooManyItems { component: Component, items: usize, most: usize },
    #[error("the rule takes {0} bytes and routers take {LENGTH_MAX}: split it")]
    TooLong(usize),
    #[error("the bytes end within the rule")]
    Short,
    #[error("the length says {says} bytes and {are} follow")]
    Length { says: usize, are: usize },
    #[error("component type {0} is unknown in this family")]
    Unknown(u8),
    #[error("component type {0} stands behind one that is not smaller")]
    Order(u8),
    #[error("a prefix of {0} bits is too long for its family")]
    PrefixLength(u8),
    #[error("an IPv6 prefix with offset {0}: only whole prefixes, offset 0, are understood")]
    Offset(u8),
    #[error("the first item of {} is joined by and to nothing", .0.name())]
    AndFirst(Component),
    #[error("{} can never match", .0.name())]
    Never(Component),
    #[error("{} unfolds to more than {ALTERNATIVES_MAX} alternatives", .0.name())]
    TooComplex(Component),
}

/// Operator bits (RFC 8955 sections 4.2.1.1 and 4.2.1.2).
mod operator {
    pub(super) const END: u8 = 0x80;
    pub(super) const AND: u8 = 0x40;
    pub(super) const LESS: u8 = 0x04;
    pub(super) const GREATER: u8 = 0x02;
    pub(super) const EQUAL: u8 = 0x01;
    pub(super) const NOT: u8 = 0x02;
    pub(super) const MATCH: u8 = 0x01;
}

const DONT_FRAGMENT: u16 = crate::packet::fragment::DONT as u16;

/// The rule, length octet first, if every known router takes it. Bits of a prefix behind its length are dropped.
pub fn encode(rule: &FlowRule) -> Result<Vec<u8>, Error> {
    encode_within(rule, ITEMS_MAX)
}

/// As [`encode`], for routers that take so many items in one component.
pub fn encode_within(rule: &FlowRule, items_max: usize) -> Result<Vec<u8>, Error> {
    let family = check_prefixes(rule)?;
    let mut nlri = vec![0];
    for component in Component::ALL {
        if let Some(prefix) = rule.prefix(component) {
            nlri.push(component as u8);
            put_prefix(&mut nlri, prefix);
        } else if let Some(ranges) = rule.ranges(component) {
            put_items(&mut nlri, component, &number_items(component, ranges)?, items_max)?;
        } else if let Some(alternatives) = rule.bits(component) {
            put_items(&mut nlri, component, &bit_items(component, family, alternatives)?, items_max)?;
        }
    }
    let length = nlri.len() - 1;
    if length > LENGTH_MAX {
        return Err(Error::TooLong(length));
    }
    nlri[0] = length as u8;
    Ok(nlri)
}

fn check_prefixes(rule: &FlowRule) -> Result<Family, Error> {
    if *rule == FlowRule::default() {
        return Err(Error::Empty);
    }
    let family = rule.family().ok_or(Error::NoFamily)?;
    if let (Some(destination), Some(source)) = (rule.destination, rule.source)
        && matches!(destination, IpNet::V4(_)) != matches!(source, IpNet::V4(_))
    {
        return Err(Error::MixedFamilies(destination, source));
    }
    for prefix in [rule.destination, rule.source].into_iter().flatten() {
        if let IpNet::V6(net) = prefix
            && net.prefix_len() >= 96
            && net.addr().to_ipv4_mapped().is_some()
        {
            return Err(Error::Mapped(prefix));
        }
    }
    if family == Family::V4 && !rule.flow_labels.is_empty() {
        return Err(Error::FlowLabelInIpv4);
    }
    Ok(family)
}

fn put_prefix(nlri: &mut Vec<u8>, prefix: IpNet) {
    let octets = usize::from(prefix.prefix_len().div_ceil(8));
    nlri.push(prefix.prefix_len());
    match prefix.trunc() {
        IpNet::V4(net) => nlri.extend(&net.addr().octets()[..octets]),
        IpNet::V6(net) => {
            nlri.push(0);
            nlri.extend(&net.addr().octets()[..octets]);
        }
    }
}

/// Operator bits but for end and length, and value.
type Item = (u8, u32);

fn number_items(component: Component, ranges: &Ranges) -> Result<Vec<Item>, Error> {
    use operator::*;
    let mut items = Vec::with_capacity(ranges.items());
    for (low, high) in ranges.iter() {
        if high > component.largest() {
            return Err(Error::OutOfRange { component, value: u64::from(high) });
        }
        match low == high {
            true => items.push((EQUAL, low)),
            false => items.extend([(GREATER | EQUAL, low), (AND | LESS | EQUAL, high)]),
        }
    }
    Ok(items)
}

/// Alternatives of one set bit each become one item that asks for any of them.
fn bit_items(component: Component, family: Family, alternatives: &[Bits]) -> Result<Vec<Item>, Error> {
    use operator::*;
    let mut any_of = 0;
    let mut others = Vec::new();
    for &bits in alternatives {
        let named = bits.set | bits.clear;
        match named {
            0 => return Err(Error::NoBits(component)),
            _ if bits.set & bits.clear != 0 => return Err(Error::Contradiction(component)),
            _ if u32::from(named) & !component.largest() != 0 => {
                return Err(Error::OutOfRange { component, value: u64::from(named) });
            }
            _ if component == Component::Fragment && family == Family::V6 && named & DONT_FRAGMENT != 0 => {
                return Err(Error::DontFragmentInIpv6);
            }
            _ if bits.clear == 0 && bits.set.is_power_of_two() => any_of |= bits.set,
            _ => others.push(bits),
        }
    }
    others.sort_unstable();
    others.dedup();
    let mut items = Vec::new();
    if any_of != 0 {
        items.push((0, u32::from(any_of)));
    }
    for Bits { set, clear } in others {
        if set != 0 {
            items.push((MATCH, u32::from(set)));
        }
        if clear != 0 {
            let and = if set != 0 { AND } else { 0 };
            items.push((and | NOT, u32::from(clear)));
        }
    }
    Ok(items)
}

fn put_items(nlri: &mut Vec<u8>, component: Component, items: &[Item], most: usize) -> Result<(), Error> {
    if items.len() > most {
        return Err(Error::TooManyItems { component, items: items.len(), most });
    }
    let Some(last) = items.len().checked_sub(1) else { return Ok(()) };
    nlri.push(component as u8);
    for (index, &(bits, value)) in items.iter().enumerate() {
        let octets = value.to_be_bytes();
        // 1, 2 or 4 octets, whichever is the first to hold the value.
        let (length_code, skip) = match value {
            0..=0xff => (0, 3),
            0x100..=0xffff => (1, 2),
            _ => (2, 0),
        };
        let end = if index == last { operator::END } else { 0 };
        nlri.push(end | bits | length_code << 4);
        nlri.extend(&octets[skip..]);
    }
    Ok(())
}

/// The rule that the bytes say, length first. What is right by the RFC but over a router's limits is understood.
pub fn decode(family: Family, nlri: &[u8]) -> Result<FlowRule, Error> {
    let mut input = Input(nlri);
    let first = input.octet()?;
    // Two octets of length where the first is f0 or above (RFC 8955 section 4.1).
    let says =
        if first < 0xf0 { usize::from(first) } else { usize::from(first & 0x0f) << 8 | input.number(1)? as usize };
    if says != input.0.len() {
        return Err(Error::Length { says, are: input.0.len() });
    }
    let mut rule = FlowRule::default();
    let mut previous = 0;
    while !input.0.is_empty() {
        let kind = input.octet()?;
        if kind <= previous {
            return Err(Error::Order(kind));
        }
        previous = kind;
        let component = Component::ALL.into_iter().find(|&component| component as u8 == kind);
        match component.ok_or(Error::Unknown(kind))? {
            Component::FlowLabel if family == Family::V4 => return Err(Error::Unknown(kind)),
            Component::DestinationPrefix => rule.destination = Some(input.prefix(family)?),
            Component::SourcePrefix => rule.source = Some(input.prefix(family)?),
            Component::TcpFlags => rule.tcp_flags = input.bits(Component::TcpFlags)?,
            Component::Fragment => rule.fragments = input.bits(Component::Fragment)?,
            component => {
                let ranges = input.ranges(component)?;
                if let Some(place) = rule.ranges_mut(component) {
                    *place = ranges;
                }
            }
        }
    }
    match check_prefixes(&rule)? == family {
        true => Ok(rule),
        false => Err(Error::NoFamily),
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn octet(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    /// A big-endian number of up to 8 octets.
    fn number(&mut self, octets: usize) -> Result<u64, Error> {
        Ok(self.take(octets)?.iter().fold(0, |number, &octet| number << 8 | u64::from(octet)))
    }

    fn prefix(&mut self, family: Family) -> Result<IpNet, Error> {
        let length = self.octet()?;
        if family == Family::V6 {
            let offset = self.octet()?;
            if offset != 0 {
                return Err(Error::Offset(offset));
            }
        }
        let octets = self.take(usize::from(length.div_ceil(8)))?;
        fn filled<const N: usize>(octets: &[u8]) -> [u8; N] {
            std::array::from_fn(|at| octets.get(at).copied().unwrap_or(0))
        }
        let prefix = match family {
            Family::V4 => Ipv4Net::new(filled(octets).into(), length).map(IpNet::V4),
            Family::V6 => Ipv6Net::new(filled::<16>(octets).into(), length).map(IpNet::V6),
        };
        prefix.map(|prefix| prefix.trunc()).map_err(|_| Error::PrefixLength(length))
    }

    /// The items of a component: operator and value, by groups whose members are joined by and.
    fn groups(&mut self, component: Component) -> Result<Vec<Vec<(u8, u64)>>, Error> {
        let mut groups: Vec<Vec<(u8, u64)>> = Vec::new();
        loop {
            let bits = self.octet()?;
            let value = self.number(1 << (bits >> 4 & 3))?;
            match (bits & operator::AND != 0, groups.last_mut()) {
                (false, _) => groups.push(vec![(bits, value)]),
                (true, Some(group)) => group.push((bits, value)),
                (true, None) => return Err(Error::AndFirst(component)),
            }
            if bits & operator::END != 0 {
                return Ok(groups);
            }
        }
    }

    fn ranges(&mut self, component: Component) -> Result<Ranges, Error> {
        let mut all = Vec::new();
        for group in self.groups(component)? {
            let mut ranges = vec![(0, component.largest())];
            for (bits, value) in group {
                let wanted = compared(bits, value, component.largest());
                ranges = intersection(&ranges, &wanted);
            }
            all.extend(ranges);
        }
        if all.is_empty() { Err(Error::Never(component)) } else { Ok(all.into_iter().collect()) }
    }

    fn bits(&mut self, component: Component) -> Result<Vec<Bits>, Error> {
        let mut all = Vec::new();
        for group in self.groups(component)? {
            let mut alternatives = vec![Bits { set: 0, clear: 0 }];
            for (operator, value) in group {
                let wanted = tested(component, operator, value)?;
                alternatives = product(&alternatives, &wanted);
                if alternatives.len() > ALTERNATIVES_MAX {
                    return Err(Error::TooComplex(component));
                }
            }
            all.extend(alternatives);
            all.sort_unstable();
            all.dedup();
            if all.len() > ALTERNATIVES_MAX {
                return Err(Error::TooComplex(component));
            }
        }
        if all.is_empty() { Err(Error::Never(component)) } else { Ok(all) }
    }
}

/// The numbers from 0 to `max` that the operator accepts.
fn compared(bits: u8, value: u64, max: u32) -> Vec<(u32, u32)> {
    let mut ranges = Vec::with_capacity(3);
    let fits = u32::try_from(value).ok().filter(|&value| value <= max);
    if bits & operator::LESS != 0 && value > 0 {
        ranges.push((0, fits.map_or(max, |value| value - 1)));
    }
    if let Some(value) = fits {
        if bits & operator::EQUAL != 0 {
            ranges.push((value, value));
        }
        if bits & operator::GREATER != 0 && value < max {
            ranges.push((value + 1, max));
        }
    }
    ranges
}

fn intersection(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let pairs = a.iter().flat_map(|&a| b.iter().map(move |&b| (a.0.max(b.0), a.1.min(b.1))));
    let ranges: Ranges = pairs.filter(|(low, high)| low <= high).collect();
    ranges.iter().collect()
}

/// The alternatives that a bitmask operator accepts.
fn tested(component: Component, operator: u8, value: u64) -> Result<Vec<Bits>, Error> {
    let bits = u16::try_from(value).ok().filter(|&bits| u32::from(bits) & !component.largest() == 0);
    let bits = bits.ok_or(Error::OutOfRange { component, value })?;
    let each = (0..16).map(|at| bits & 1 << at).filter(|&bit| bit != 0);
    Ok(match (bits, operator & operator::NOT != 0, operator & operator::MATCH != 0) {
        (0, ..) => return Err(Error::NoBits(component)),
        (_, false, true) => vec![Bits { set: bits, clear: 0 }],
        (_, true, false) => vec![Bits { set: 0, clear: bits }],
        (_, false, false) => each.map(|set| Bits { set, clear: 0 }).collect(),
        (_, true, true) => each.map(|clear| Bits { set: 0, clear }).collect(),
    })
}

/// Both one of `a` and one of `b`; without what contradicts itself.
fn product(a: &[Bits], b: &[Bits]) -> Vec<Bits> {
    let pairs = a.iter().flat_map(|a| b.iter().map(|b| Bits { set: a.set | b.set, clear: a.clear | b.clear }));
    let mut all: Vec<Bits> = pairs.filter(|bits| bits.set & bits.clear == 0).collect();
    all.sort_unstable();
    all.dedup();
    all
}
