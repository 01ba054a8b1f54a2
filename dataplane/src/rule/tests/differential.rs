//! Our octets read by an independent codec (the crate zettabgp), and its octets read by ours. What is compared is which values
//! pass, at every edge of what either side names: two ways of saying the same are the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use zettabgp::prelude::{
    BgpAddrItem, BgpAddrV4, BgpAddrV6, BgpFlowSpec, BgpFlowSpecItem, BgpTransportMode, FS6, FSCmpMaskOpers,
    FSCmpValOpers, FSItem, FSOperMaskItem, FSOperValItem,
};

use super::*;

/// A prefix as the other codec has it.
trait Prefix: FSItem<Self> + Clone + std::fmt::Debug + PartialEq {
    fn net(&self) -> IpNet;
}

impl Prefix for BgpAddrV4 {
    fn net(&self) -> IpNet {
        IpNet::new(self.addr.into(), self.prefixlen).unwrap()
    }
}

impl Prefix for FS6 {
    fn net(&self) -> IpNet {
        assert_eq!(self.offset, 0);
        IpNet::new(self.ipv6.addr.into(), self.ipv6.prefixlen).unwrap()
    }
}

fn read<P: Prefix>(nlri: &[u8]) -> Vec<BgpFlowSpecItem<P>> {
    let (spec, length) = BgpFlowSpec::<P>::decode_from(BgpTransportMode::IPv4, nlri).expect("it reads our octets");
    assert_eq!(length, nlri.len());
    spec.items
}

fn written<P: Prefix>(items: Vec<BgpFlowSpecItem<P>>) -> Vec<u8> {
    let mut octets = [0; 4096];
    let length = BgpFlowSpec::new(items).encode_to(BgpTransportMode::IPv4, &mut octets).expect("it writes");
    octets[..length].to_vec()
}

/// And binds more tightly than or (RFC 8955 section 4.2.1.1).
fn joined(items: impl IntoIterator<Item = (bool, bool)>) -> bool {
    let (any, group) = items.into_iter().fold((false, false), |(any, group), (and, holds)| match and {
        true => (any, group && holds),
        false => (any || group, holds),
    });
    any || group
}

fn numbers_pass(items: &FSCmpValOpers, value: u32) -> bool {
    joined(items.iter().map(|item| {
        let holds = item.lt_cmp && value < item.value
            || item.gt_cmp && value > item.value
            || item.eq_cmp && value == item.value;
        (item.and_bit, holds)
    }))
}

fn bits_pass(items: &FSCmpMaskOpers, value: u32) -> bool {
    joined(items.iter().map(|item| {
        let found = value & item.value;
        let holds = if item.bit_match { found == item.value } else { found != 0 };
        (item.and_bit, holds != item.bit_not)
    }))
}

enum Items<'a> {
    Numbers(&'a FSCmpValOpers),
    Bits(&'a FSCmpMaskOpers),
}

impl Items<'_> {
    fn pass(&self, value: u32) -> bool {
        match self {
            Items::Numbers(items) => numbers_pass(items, value),
            Items::Bits(items) => bits_pass(items, value),
        }
    }

    /// Every value at which the answer may change: all of them for bitmasks.
    fn edges(&self, component: Component) -> Vec<u32> {
        let largest = component.largest();
        match self {
            Items::Numbers(items) => {
                let around = items.iter().flat_map(|item| [item.value.saturating_sub(1), item.value, item.value + 1]);
                around.chain([0, largest]).filter(|&value| value <= largest).collect()
            }
            Items::Bits(_) => (0..=largest).collect(),
        }
    }
}

fn items<P: Prefix>(item: &BgpFlowSpecItem<P>) -> Option<(Component, Items<'_>)> {
    use BgpFlowSpecItem as Item;
    Some(match item {
        Item::PrefixDst(_) | Item::PrefixSrc(_) => return None,
        Item::Proto(items) => (Component::Protocol, Items::Numbers(items)),
        Item::PortAny(items) => (Component::Port, Items::Numbers(items)),
        Item::PortDst(items) => (Component::DestinationPort, Items::Numbers(items)),
        Item::PortSrc(items) => (Component::SourcePort, Items::Numbers(items)),
        Item::IcmpType(items) => (Component::IcmpType, Items::Numbers(items)),
        Item::IcmpCode(items) => (Component::IcmpCode, Items::Numbers(items)),
        Item::TcpFlags(items) => (Component::TcpFlags, Items::Bits(items)),
        Item::PacketLength(items) => (Component::PacketLength, Items::Numbers(items)),
        Item::Dscp(items) => (Component::Dscp, Items::Numbers(items)),
        Item::Fragment(items) => (Component::Fragment, Items::Bits(items)),
        Item::FlowLabel(items) => (Component::FlowLabel, Items::Numbers(items)),
    })
}

/// Whether the value passes this component of ours.
fn ours_pass(rule: &FlowRule, component: Component, value: u32) -> bool {
    match (rule.ranges(component), rule.bits(component)) {
        (Some(ranges), _) => ranges.allow(Some(value)),
        (_, Some(bits)) => Bits::allow(bits, Some(value as u16)),
        _ => unreachable!("no prefix"),
    }
}

/// That both say the same, component by component, and no component is in one of them alone.
fn assert_same<P: Prefix>(rule: &FlowRule, theirs: &[BgpFlowSpecItem<P>]) -> Result<(), TestCaseError> {
    let mut seen = Vec::new();
    for item in theirs {
        let Some((component, items)) = items(item) else {
            let (component, prefix) = match item {
                BgpFlowSpecItem::PrefixDst(prefix) => (Component::DestinationPrefix, prefix),
                BgpFlowSpecItem::PrefixSrc(prefix) => (Component::SourcePrefix, prefix),
                _ => unreachable!("a prefix"),
            };
            prop_assert_eq!(rule.prefix(component).map(|net| net.trunc()), Some(prefix.net().trunc()));
            seen.push(component);
            continue;
        };
        let own = rule.ranges(component).into_iter().flat_map(Ranges::iter);
        let own = own.flat_map(|(low, high)| [low.saturating_sub(1), low, high, high + 1]);
        let own = own.filter(|&value| value <= component.largest());
        for value in items.edges(component).into_iter().chain(own) {
            prop_assert_eq!(ours_pass(rule, component, value), items.pass(value), "{:?} {}", component, value);
        }
        seen.push(component);
    }
    let named = Component::ALL.into_iter().filter(|&component| {
        let ranges = rule.ranges(component).is_some_and(|ranges| !ranges.is_empty());
        rule.prefix(component).is_some() || ranges || rule.bits(component).is_some_and(|bits| !bits.is_empty())
    });
    prop_assert_eq!(named.collect::<Vec<_>>(), seen);
    Ok(())
}

/// Up to four items of any operators, with values that are in range and near each other.
fn number_items(component: Component) -> impl Strategy<Value = FSCmpValOpers> {
    let value = prop_oneof![0..6_u32, 254..258_u32, 0..=component.largest()];
    let value = value.prop_map(move |value| value.min(component.largest()));
    prop::collection::vec((value, any::<[bool; 4]>()), 1..=4).prop_map(|items| {
        let item = |(index, (value, [and, less, greater, equal])): (usize, (u32, [bool; 4]))| {
            FSOperValItem::new(value, and && index > 0, less, greater, equal)
        };
        FSCmpValOpers::new(items.into_iter().enumerate().map(item).collect())
    })
}

fn mask_items(component: Component) -> impl Strategy<Value = FSCmpMaskOpers> {
    prop::collection::vec((1..=component.largest(), any::<[bool; 3]>()), 1..=3).prop_map(|items| {
        let item = |(index, (value, [and, not, all])): (usize, (u32, [bool; 3]))| {
            FSOperMaskItem::new(value, and && index > 0, not, all)
        };
        FSCmpMaskOpers::new(items.into_iter().enumerate().map(item).collect())
    })
}

fn any_items<P: Prefix + 'static>(prefixes: [P; 2], v6: bool) -> impl Strategy<Value = Vec<BgpFlowSpecItem<P>>> {
    use BgpFlowSpecItem as Item;
    use Component::*;
    let [destination, source] = prefixes;
    let prefixes = any::<bool>().prop_map(move |both| {
        let source = both.then(|| Item::PrefixSrc(source.clone()));
        std::iter::once(Item::PrefixDst(destination.clone())).chain(source).collect::<Vec<_>>()
    });
    fn some<P: Prefix, T: std::fmt::Debug>(
        items: impl Strategy<Value = T>,
        item: fn(T) -> BgpFlowSpecItem<P>,
    ) -> impl Strategy<Value = Option<BgpFlowSpecItem<P>>> {
        prop::option::weighted(0.3, items.prop_map(item))
    }
    let lower = (
        some(number_items(Protocol), Item::Proto),
        some(number_items(Port), Item::PortAny),
        some(number_items(DestinationPort), Item::PortDst),
        some(number_items(SourcePort), Item::PortSrc),
        some(number_items(IcmpType), Item::IcmpType),
        some(number_items(IcmpCode), Item::IcmpCode),
    );
    let upper = (
        some(mask_items(TcpFlags), Item::TcpFlags),
        some(number_items(PacketLength), Item::PacketLength),
        some(number_items(Dscp), Item::Dscp),
        some(mask_items(Fragment), Item::Fragment),
        some(number_items(FlowLabel), Item::FlowLabel),
    );
    (prefixes, lower, upper).prop_map(move |(prefixes, (a, b, c, d, e, f), (g, h, i, j, k))| {
        let k = k.filter(|_| v6);
        prefixes.into_iter().chain([a, b, c, d, e, f, g, h, i, j, k].into_iter().flatten()).collect()
    })
}

fn items_v4() -> impl Strategy<Value = Vec<BgpFlowSpecItem<BgpAddrV4>>> {
    let prefix = || (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| BgpAddrV4::new(Ipv4Addr::from(bits), length));
    (prefix(), prefix()).prop_flat_map(|(one, other)| any_items([one, other], false))
}

fn items_v6() -> impl Strategy<Value = Vec<BgpFlowSpecItem<FS6>>> {
    // The other codec takes 16 octets wherever the length is 121 or more, as it must, and fewer below.
    let prefix = || {
        (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| FS6::new(0, BgpAddrV6::new(Ipv6Addr::from(bits), length)))
    };
    (prefix(), prefix()).prop_flat_map(|(one, other)| any_items([one, other], true))
}

/// Reads what the other codec wrote. Refused may be only what can never match, or unfolds too far.
fn assert_understood<P: Prefix>(family: Family, theirs: Vec<BgpFlowSpecItem<P>>) -> Result<(), TestCaseError> {
    let nlri = written(theirs.clone());
    match decode(family, &nlri) {
        Ok(rule) => assert_same(&rule, &theirs),
        Err(Error::Never(component)) => {
            let (_, items) = theirs.iter().find_map(|item| items(item).filter(|(at, _)| *at == component)).unwrap();
            let passes = items.edges(component).into_iter().find(|&value| items.pass(value));
            prop_assert_eq!(passes, None, "{:?} can match", component);
            Ok(())
        }
        Err(Error::TooComplex(Component::TcpFlags | Component::Fragment)) => Ok(()),
        // Random addresses hardly ever are mapped ones.
        Err(error) => Err(TestCaseError::fail(format!("{error}: {theirs:?}"))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, ..ProptestConfig::default() })]

    #[test]
    fn an_independent_codec_reads_what_we_write((family, rule) in family_and_rule()) {
        let nlri = encode(&rule).unwrap();
        match family {
            Family::V4 => {
                let theirs = read::<BgpAddrV4>(&nlri);
                assert_same(&rule, &theirs)?;
                prop_assert_eq!(written(theirs), nlri, "and writes the same octets");
            }
            Family::V6 => {
                let theirs = read::<FS6>(&nlri);
                assert_same(&rule, &theirs)?;
                prop_assert_eq!(written(theirs), nlri, "and writes the same octets");
            }
        }
    }

    #[test]
    fn we_read_what_an_independent_codec_writes(v4 in items_v4(), v6 in items_v6()) {
        assert_understood(Family::V4, v4)?;
        assert_understood(Family::V6, v6)?;
    }

    /// Only whole prefixes are understood; what has an offset is never taken for one.
    #[test]
    fn an_offset_is_never_overlooked(offset in 1..=127_u8, bits: u128) {
        let prefix = FS6::new(offset, BgpAddrV6::new(Ipv6Addr::from(bits), 128));
        let nlri = written(vec![BgpFlowSpecItem::PrefixDst(prefix)]);
        prop_assert_eq!(decode(Family::V6, &nlri), Err(Error::Offset(offset)));
    }
}
