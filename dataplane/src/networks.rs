//! Longest-prefix match: an address to the protected network that holds it. An immutable snapshot, read by workers.
//!
//! A trie with a first level of 16 bits and then 8 bits a level. The first level is 128 KiB, so that an address that is
//! not ours, whatever it is, costs one read from a table that stays in the cache. Of IPv6 the bits that all networks have in
//! common are compared first, and the levels begin behind them.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use crate::rule::{FlowRule, RuleSet};

/// Which network: its place in the list that the snapshot was made from. In later snapshots it keeps that as long as it is there.
pub type NetworkId = u16;

/// Most networks in one snapshot.
pub const NETWORKS_MAX: usize = 0x7fff;

/// Why a snapshot could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// More than [`NETWORKS_MAX`].
    #[error("{0} networks; {NETWORKS_MAX} are possible")]
    TooMany(usize),
    /// The trie has no room for more levels.
    #[error("these networks need more than {NETWORKS_MAX} pages of the lookup table: use fewer long prefixes")]
    TooDeep,
}

/// Entries: 0 is nothing, 1 to 0x7fff a network's number plus 1, 0x8000 and up a page.
const PAGE: u16 = 0x8000;

#[derive(Debug)]
struct Trie {
    /// What all prefixes begin with, and where in the upper half of an address that is; the levels are of what follows.
    common: u64,
    mask: u64,
    /// Bits; whole octets.
    skip: u8,
    root: Box<[u16; 1 << 16]>,
    pages: Vec<[u16; 256]>,
}

impl Trie {
    /// Of prefixes that all begin with these bits.
    fn new(common: u128, skip: u8) -> Trie {
        let root = vec![0u16; 1 << 16].into_boxed_slice().try_into().unwrap_or_else(|_| Box::new([0; 1 << 16]));
        let mask = !(u64::MAX >> skip);
        Trie { common: (common >> 64) as u64 & mask, mask, skip, root, pages: Vec::new() }
    }

    /// Enters a prefix, its address in the top bits. Shorter prefixes must have been entered before.
    fn insert(&mut self, address: u128, length: u8, value: u16) -> Result<(), Error> {
        let (address, length) = (address << self.skip, length - self.skip);
        let top = (address >> 112) as usize;
        if length <= 16 {
            self.root[top..top + (1 << (16 - length))].fill(value);
            return Ok(());
        }
        let mut page = match self.root[top] {
            entry if entry & PAGE != 0 => entry,
            entry => {
                let page = self.add_page(entry)?;
                self.root[top] = page;
                page
            }
        };
        let mut bits = 16;
        loop {
            let index = usize::from(page & !PAGE);
            let slot = ((address >> (120 - bits)) & 0xff) as usize;
            bits += 8;
            if length <= bits as u8 {
                self.pages[index][slot..slot + (1 << (bits as u8 - length))].fill(value);
                return Ok(());
            }
            page = match self.pages[index][slot] {
                entry if entry & PAGE != 0 => entry,
                entry => {
                    let page = self.add_page(entry)?;
                    self.pages[index][slot] = page;
                    page
                }
            };
        }
    }

    fn add_page(&mut self, inherited: u16) -> Result<u16, Error> {
        if self.pages.len() > NETWORKS_MAX {
            return Err(Error::TooDeep);
        }
        self.pages.push([inherited; 256]);
        Ok(PAGE | (self.pages.len() - 1) as u16)
    }

    /// The entry for an address: a network's number plus 1, or 0.
    #[inline(always)]
    fn find(&self, top: u16, mut byte: impl FnMut() -> u8) -> u16 {
        let mut entry = self.root[usize::from(top)];
        while entry & PAGE != 0 {
            match self.pages.get(usize::from(entry & !PAGE)) {
                Some(page) => entry = page[usize::from(byte())],
                None => return 0,
            }
        }
        entry
    }
}

/// The protected networks, and what of their traffic is not looked at.
#[derive(Debug)]
pub struct Networks {
    v4: Trie,
    v6: Trie,
    places: Vec<Option<IpNet>>,
    ignored: Option<Box<RuleSet>>,
}

impl Networks {
    /// A snapshot of these networks. Where they nest, the longest prefix wins.
    ///
    /// # Errors
    /// [`Error`] when there are too many.
    pub fn new(list: &[IpNet]) -> Result<Networks, Error> {
        Networks::at(list.iter().copied().map(Some).collect())
    }

    /// The snapshot to come after this one. Networks that stay keep their numbers, so that what is counted by number goes on.
    /// The number of one that goes is not given to another at once: some worker may still count by this snapshot.
    ///
    /// # Errors
    /// As [`Networks::new`].
    pub fn successor(&self, list: &[IpNet]) -> Result<Networks, Error> {
        let known: HashSet<IpNet> = self.iter().map(|(_, network)| network).collect();
        let wanted: HashSet<IpNet> = list.iter().copied().collect();
        let stays = |place: &Option<IpNet>| place.filter(|network| wanted.contains(network));
        let mut places: Vec<Option<IpNet>> = self.places.iter().map(stays).collect();
        let mut free = (0..).filter(|&place: &usize| self.places.get(place).is_none_or(Option::is_none));
        for network in list.iter().filter(|network| !known.contains(network)) {
            let place = free.next().unwrap_or(places.len());
            places.resize(places.len().max(place + 1), None);
            places[place] = Some(*network);
        }
        Networks::at(places)
    }

    fn at(places: Vec<Option<IpNet>>) -> Result<Networks, Error> {
        if places.len() > NETWORKS_MAX {
            return Err(Error::TooMany(places.len()));
        }
        let mut order: Vec<(usize, IpNet)> =
            places.iter().enumerate().filter_map(|(place, network)| Some((place, (*network)?))).collect();
        order.sort_by_key(|(_, network)| network.prefix_len());
        let (common, skip) = common_v6(&order);
        let (v4, v6) = (Trie::new(0, 0), Trie::new(common, skip));
        let mut networks = Networks { v4, v6, places, ignored: None };
        for (place, network) in order {
            let value = place as u16 + 1;
            match network {
                IpNet::V4(net) => {
                    let address = u128::from(u32::from(net.network())) << 96;
                    networks.v4.insert(address, net.prefix_len(), value)?;
                }
                IpNet::V6(net) => networks.v6.insert(u128::from(net.network()), net.prefix_len(), value)?,
            }
        }
        Ok(networks)
    }

    /// The same, but packets that any of these rules matches are ignored: the first [`SET_MAX`](crate::rule::SET_MAX) rules.
    pub fn ignoring(self, rules: &[FlowRule]) -> Networks {
        let ignored = (!rules.is_empty()).then(|| Box::new(RuleSet::new(rules.iter())));
        Networks { ignored, ..self }
    }

    /// The rules whose packets are ignored, where there are any.
    #[inline(always)]
    pub fn ignored(&self) -> Option<&RuleSet> {
        self.ignored.as_deref()
    }

    /// The first level of the IPv4 lookup: by the address's upper half. 0: no network holds any address of that half.
    #[inline(always)]
    pub fn root_v4(&self) -> &[u16; 1 << 16] {
        &self.v4.root
    }

    /// Whether a network holds this IPv4 address, whose first level says `entry`.
    #[inline(always)]
    pub fn holds_v4(&self, entry: u16, address: u32) -> bool {
        if entry & PAGE == 0 { entry != 0 } else { self.find_v4(address).is_some() }
    }

    /// The network that holds this IPv4 address.
    #[inline(always)]
    pub fn find_v4(&self, address: u32) -> Option<NetworkId> {
        let mut rest = address << 16;
        let entry = self.v4.find((address >> 16) as u16, || {
            let byte = (rest >> 24) as u8;
            rest <<= 8;
            byte
        });
        entry.checked_sub(1)
    }

    /// The network that holds the IPv6 address of these octets.
    #[inline(always)]
    pub fn find_v6(&self, address: &[u8; 16]) -> Option<NetworkId> {
        let trie = &self.v6;
        let high = u64::from_be_bytes(*address.first_chunk()?);
        if (high ^ trie.common) & trie.mask != 0 {
            return None;
        }
        // Behind the first level; most lookups need no more than that.
        let mut rest = address.iter().skip(usize::from(trie.skip / 8 + 2));
        let entry = trie.find((high << (trie.skip % 64) >> 48) as u16, || rest.next().copied().unwrap_or(0));
        entry.checked_sub(1)
    }

    /// The network that holds this address.
    pub fn find(&self, address: IpAddr) -> Option<NetworkId> {
        match address {
            IpAddr::V4(address) => self.find_v4(address.into()),
            IpAddr::V6(address) => self.find_v6(&address.octets()),
        }
    }

    /// A network by its number; none where no network has it.
    pub fn get(&self, id: NetworkId) -> Option<IpNet> {
        self.places.get(usize::from(id)).copied().flatten()
    }

    /// The networks and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (NetworkId, IpNet)> {
        (0..).zip(&self.places).filter_map(|(id, network)| Some((id, (*network)?)))
    }

    /// One more than the largest number, also of networks that are there no more.
    pub fn places(&self) -> usize {
        self.places.len()
    }
}

/// The bits that all IPv6 networks begin with: an operator's are nearly always parts of few large ones.
fn common_v6(list: &[(usize, IpNet)]) -> (u128, u8) {
    /// The first level reads 16 bits behind them, of the upper half.
    const SKIP_MAX: u32 = 64 - 16;
    let networks = || list.iter().filter_map(|(_, net)| if let IpNet::V6(net) = net { Some(net) } else { None });
    let Some(first) = networks().next().map(|net| u128::from(net.network())) else { return (0, 0) };
    let common = |net: &Ipv6Net| (u128::from(net.network()) ^ first).leading_zeros().min(net.prefix_len().into());
    (first, (networks().map(common).fold(SKIP_MAX, u32::min) & !7) as u8)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{Ipv4Net, Ipv6Net};
    use prefix_trie::PrefixMap;
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let networks = Networks::new(&nets(&[
            "198.18.5.128/25",
            "198.18.0.0/15",
            "198.18.5.0/24",
            "198.18.5.129/32",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "2001:db8:1::1/128",
        ]))
        .expect("seven networks");
        let find = |text: &str| networks.find(text.parse().expect("an address"));
        assert_eq!(find("198.18.0.0"), Some(1));
        assert_eq!(find("198.19.255.255"), Some(1));
        assert_eq!(find("198.20.0.0"), None);
        assert_eq!(find("198.18.5.127"), Some(2));
        assert_eq!(find("198.18.5.128"), Some(0));
        assert_eq!(find("198.18.5.129"), Some(3));
        assert_eq!(find("198.18.6.0"), Some(1));
        assert_eq!(find("2001:db8:2::1"), Some(4));
        assert_eq!(find("2001:db8:1::1"), Some(6));
        assert_eq!(find("2001:db8:1::2"), Some(5));
        assert_eq!(find("2001:db9::"), None);
    }

    #[test]
    fn a_successor_gives_no_number_to_another_network_at_once() {
        let numbers = |networks: &Networks| -> Vec<String> {
            networks.iter().map(|(id, network)| format!("{id} {network}")).collect()
        };
        let first = Networks::new(&nets(&["198.18.0.0/24", "198.18.1.0/24", "2001:db8::/48"])).unwrap();
        let second = first.successor(&nets(&["192.0.2.0/24", "2001:db8::/48", "198.18.0.0/24"])).unwrap();
        assert_eq!(numbers(&second), ["0 198.18.0.0/24", "2 2001:db8::/48", "3 192.0.2.0/24"]);
        assert_eq!((second.places(), second.get(1)), (4, None));
        let find = |networks: &Networks, address: &str| networks.find(address.parse().unwrap());
        assert_eq!(find(&second, "198.18.1.1"), None);
        assert_eq!(find(&second, "2001:db8::1"), Some(2));
        let third = second.successor(&nets(&["198.18.1.0/24", "198.18.2.0/24", "192.0.2.0/24"])).unwrap();
        assert_eq!(numbers(&third), ["1 198.18.1.0/24", "3 192.0.2.0/24", "4 198.18.2.0/24"]);
        assert_eq!(find(&third, "198.18.1.1"), Some(1));
        let empty = third.successor(&[]).unwrap();
        assert_eq!((empty.iter().count(), find(&empty, "192.0.2.1")), (0, None));
    }

    #[test]
    fn nothing_and_everything() {
        let none = Networks::new(&[]).expect("no networks");
        assert_eq!(none.find_v4(0), None);
        let all = Networks::new(&nets(&["0.0.0.0/0", "::/0"])).expect("two networks");
        assert_eq!(all.find_v4(u32::MAX), Some(0));
        assert_eq!(all.find_v6(&[255; 16]), Some(1));
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many steps")]
    fn five_thousand_networks_agree_with_prefix_trie() {
        // Nested and neighbouring ones of every length, by a fixed sequence.
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut oracle4, mut oracle6) = (PrefixMap::<Ipv4Net, u16>::new(), PrefixMap::<Ipv6Net, u16>::new());
        let mut list: Vec<IpNet> = Vec::new();
        while list.len() < 5_000 {
            let id = list.len() as u16;
            let address = 10 << 24 | random() as u32 >> 8;
            let net = Ipv4Net::new(address.into(), 8 + (random() % 25) as u8).expect("length").trunc();
            if id.is_multiple_of(2) && oracle4.get(&net).is_none() {
                oracle4.insert(net, id);
                list.push(net.into());
                continue;
            }
            let address = 0x2001_0db8_u128 << 96 | u128::from(random()) << 32;
            let net = Ipv6Net::new(address.into(), 32 + (random() % 65) as u8).expect("length").trunc();
            if oracle6.get(&net).is_none() {
                oracle6.insert(net, id);
                list.push(net.into());
            }
        }
        let networks = Networks::new(&list).expect("they fit");
        for _ in 0..200_000 {
            let address = 10 << 24 | random() as u32 >> 8;
            let expected = oracle4.get_lpm(&Ipv4Net::from(Ipv4Addr::from(address))).map(|(_, id)| *id);
            assert_eq!(networks.find_v4(address), expected, "{}", Ipv4Addr::from(address));
            let address = 0x2001_0db8_u128 << 96 | u128::from(random()) << 32 | 1;
            let expected = oracle6.get_lpm(&Ipv6Net::from(Ipv6Addr::from(address))).map(|(_, id)| *id);
            assert_eq!(networks.find_v6(&address.to_be_bytes()), expected, "{}", Ipv6Addr::from(address));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_prefix_trie(
            v4 in prop::collection::vec((any::<u32>(), 0u8..=32), 0..40),
            v6 in prop::collection::vec((any::<u128>(), 0u8..=128), 0..40),
            // Addresses near the prefixes find the edges that random ones miss.
            near in prop::collection::vec((any::<prop::sample::Index>(), any::<u16>()), 100),
        ) {
            let mut list: Vec<IpNet> = Vec::new();
            let mut oracle4 = PrefixMap::<Ipv4Net, u16>::new();
            let mut oracle6 = PrefixMap::<Ipv6Net, u16>::new();
            for (address, length) in v4 {
                let net = Ipv4Net::new(address.into(), length).expect("length").trunc();
                if oracle4.get(&net).is_none() {
                    oracle4.insert(net, list.len() as u16);
                    list.push(net.into());
                }
            }
            for (address, length) in v6 {
                let net = Ipv6Net::new(address.into(), length).expect("length").trunc();
                if oracle6.get(&net).is_none() {
                    oracle6.insert(net, list.len() as u16);
                    list.push(net.into());
                }
            }
            let networks = Networks::new(&list).expect("few networks");
            for (index, noise) in near {
                if list.is_empty() { break; }
                match list[index.index(list.len())] {
                    IpNet::V4(net) => {
                        let address = u32::from(net.broadcast()).wrapping_add(u32::from(noise % 3)).wrapping_sub(1);
                        let expected = oracle4.get_lpm(&Ipv4Net::from(Ipv4Addr::from(address))).map(|(_, id)| *id);
                        prop_assert_eq!(networks.find_v4(address), expected);
                    }
                    IpNet::V6(net) => {
                        let address = u128::from(net.broadcast()).wrapping_add(u128::from(noise % 3)).wrapping_sub(1);
                        let expected = oracle6.get_lpm(&Ipv6Net::from(Ipv6Addr::from(address))).map(|(_, id)| *id);
                        prop_assert_eq!(networks.find_v6(&address.to_be_bytes()), expected);
                    }
                }
            }
        }
    }
}
