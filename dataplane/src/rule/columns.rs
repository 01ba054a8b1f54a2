//! [`Columns`]: the fields of up to [`LANES`] packets, an array for each field, so that rules ask once for all of them. Pure.

use super::SET_MAX;
use super::lanes::LANES;
use crate::packet::{Addresses, Headers, PlainUpper, Upper, UpperKind};

/// Narrow columns: traits, see there.
pub(super) const TRAITS: usize = 0;
/// Source port; or ICMP type and code.
pub(super) const FIRST: usize = 1;
/// Destination port.
pub(super) const SECOND: usize = 2;
/// As component 10 has it.
pub(super) const LENGTH: usize = 3;
/// TCP flags; above them anything.
pub(super) const FLAGS: usize = 4;
const NARROW: usize = 5;

/// Wide columns: the four words of an IPv6 source, or the one of an IPv4 source.
pub(super) const SOURCE: usize = 0;
/// The same of the destination.
pub(super) const DESTINATION: usize = 4;
/// Flow label; above it the DSCP.
pub(super) const LABEL: usize = 8;
const WIDE: usize = 9;
/// Where the DSCP begins.
pub(super) const DSCP_AT: u32 = 20;

/// Traits are what most rules ask together: one condition for all of that. Protocol, from here on the bits of
/// [`crate::packet::fragment`],
pub(super) const FRAGMENT_AT: u32 = 8;
/// from here on [`UpperKind`], and at last the family.
const UPPER_AT: u32 = 12;

/// Traits, one by one.
pub(super) mod traits {
    use super::{UPPER_AT, UpperKind};

    /// There are ports.
    pub(in super::super) const PORTS: u32 = (UpperKind::Ports as u32) << UPPER_AT;
    /// There are TCP flags; so there are ports.
    pub(in super::super) const FLAGS: u32 = (UpperKind::Tcp as u32) << UPPER_AT;
    /// There are ICMP type and code.
    pub(in super::super) const ICMP: u32 = (UpperKind::Icmp as u32) << UPPER_AT;
    /// It is IPv6.
    pub(in super::super) const V6: u32 = 1 << 15;
}

/// The fields of up to [`LANES`] packets. What stands in a lane that nobody put a packet in is anything.
#[derive(Clone, Debug)]
pub struct Columns {
    narrow: [[u16; LANES]; NARROW],
    /// Only where some rule asks.
    wide: [[u32; LANES]; WIDE],
    /// What came out, by rule: see [`super::RuleSet::matching`].
    pub(super) matched: [u64; SET_MAX],
}

impl Default for Columns {
    fn default() -> Columns {
        Columns { narrow: [[0; LANES]; NARROW], wide: [[0; LANES]; WIDE], matched: [0; SET_MAX] }
    }
}

impl Columns {
    #[inline(always)]
    pub(super) fn narrow(&self, column: usize) -> Option<&[u16; LANES]> {
        self.narrow.get(column)
    }

    #[inline(always)]
    pub(super) fn wide(&self, column: usize) -> Option<&[u32; LANES]> {
        self.wide.get(column)
    }

    /// IP lengths, as component 10 has them: of a longer packet 65,535.
    #[inline(always)]
    pub fn lengths(&self) -> &[u16; LANES] {
        &self.narrow[LENGTH]
    }

    /// The lanes that a rule matches, of those that were asked for last. It must be one that matches any.
    #[inline(always)]
    pub fn matched(&self, rule: usize) -> u64 {
        self.matched[rule % SET_MAX]
    }

    /// Puts a plain packet into a lane; into the wide columns only where these are asked for.
    #[inline(always)]
    pub fn put_plain(&mut self, lane: usize, upper: &PlainUpper, wide: bool) {
        let packet = &upper.packet;
        // One by one: each is stored before the next is read.
        let lane = lane % LANES;
        self.narrow[FIRST][lane] = upper.first();
        self.narrow[SECOND][lane] = upper.second();
        self.narrow[FLAGS][lane] = upper.flags();
        self.narrow[LENGTH][lane] = packet.ip_length();
        self.narrow[TRAITS][lane] = traits_of(packet.protocol(), packet.fragment(), upper.kind());
        if wide {
            self.put_wide(lane, [packet.source(), 0, 0, 0], [packet.destination(), 0, 0, 0], packet.dscp(), 0);
        }
    }

    /// The same of any packet.
    pub fn put(&mut self, lane: usize, headers: &Headers) {
        let (kind, [first, second, flags]) = words(headers.upper);
        let (source, destination, family) = match headers.addresses {
            Addresses::V4 { source, destination } => ([source, 0, 0, 0], [destination, 0, 0, 0], 0),
            Addresses::V6 { source, destination } => (words_of(source), words_of(destination), traits::V6 as u16),
        };
        let traits = traits_of(headers.protocol, headers.fragment, kind) | family;
        let lane = lane % LANES;
        let values = [traits, first, second, super::length(headers.ip_length), flags];
        self.narrow.iter_mut().zip(values).for_each(|(column, value)| column[lane] = value);
        self.put_wide(lane, source, destination, headers.dscp, headers.flow_label);
    }

    #[inline(always)]
    fn put_wide(&mut self, lane: usize, source: [u32; 4], destination: [u32; 4], dscp: u8, label: u32) {
        for word in 0..4 {
            self.wide[SOURCE + word][lane] = source[word];
            self.wide[DESTINATION + word][lane] = destination[word];
        }
        self.wide[LABEL][lane] = u32::from(dscp) << DSCP_AT | label;
    }
}

/// The words of an IPv6 address, in their order.
pub(super) fn words_of(address: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|at| (address >> at) as u32)
}

#[inline(always)]
fn traits_of(protocol: u8, fragment: u8, kind: UpperKind) -> u16 {
    u16::from(protocol) | u16::from(fragment) << FRAGMENT_AT | (kind as u16) << UPPER_AT
}

/// Ports, or type and code; then flags.
#[inline(always)]
fn words(upper: Upper) -> (UpperKind, [u16; 3]) {
    match upper {
        Upper::None => (UpperKind::None, [0; 3]),
        Upper::Ports { source, destination } => (UpperKind::Ports, [source, destination, 0]),
        Upper::Tcp { source, destination, flags } => (UpperKind::Tcp, [source, destination, flags]),
        Upper::Icmp { kind, code } => (UpperKind::Icmp, [u16::from_be_bytes([kind, code]), 0, 0]),
    }
}
