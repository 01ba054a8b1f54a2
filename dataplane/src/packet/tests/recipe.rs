//! Valid packets of every shape at random, built byte by byte, and what they say.

use proptest::prelude::*;

use super::super::*;

/// What stands between the MAC addresses and the IP header.
#[derive(Clone, Debug)]
pub(super) struct Link {
    tags: Vec<u16>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Ethernet,
    /// LLC and SNAP; the last byte of the OUI.
    Snap(u8),
    /// Labels.
    Mpls(Vec<u32>),
    /// Labels, a control word, and the tags of the inner frame.
    Pseudowire(Vec<u32>, Vec<u16>),
    /// A session, with its protocol field compressed or not.
    Pppoe(u16, bool),
}

fn tags(tags: &[u16]) -> Vec<u8> {
    tags.iter().flat_map(|tag| [(tag >> 8) as u8, *tag as u8, 0xe0, 5]).collect()
}

fn labels(labels: &[u32]) -> Vec<u8> {
    let mut stack: Vec<u8> = labels.iter().flat_map(|label| ((label & 0xf_ffff) << 12 | 0x40).to_be_bytes()).collect();
    let last = stack.len() - 2;
    stack[last] |= 1;
    stack
}

impl Link {
    /// A frame with this IP packet in it.
    pub(super) fn frame(&self, is_v6: bool, ip: &[u8]) -> Vec<u8> {
        let ethertype: &[u8] = if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] };
        let behind = match &self.kind {
            Kind::Ethernet => ethertype.to_vec(),
            Kind::Snap(oui) => {
                let length = (8 + ip.len()).min(1500) as u16;
                [&length.to_be_bytes()[..], &[0xaa, 0xaa, 3, 0, 0, *oui], ethertype].concat()
            }
            Kind::Mpls(stack) => [&[0x88, 0x47][..], &labels(stack)].concat(),
            Kind::Pseudowire(stack, inner) => {
                let control = [0, 0, 1, 2];
                [&[0x88, 0x48][..], &labels(stack), &control, &[6; 12], &tags(inner), ethertype].concat()
            }
            Kind::Pppoe(session, compressed) => {
                let protocol: &[u8] = match (is_v6, compressed) {
                    (false, false) => &[0, 0x21],
                    (false, true) => &[0x21],
                    (true, false) => &[0, 0x57],
                    (true, true) => &[0x57],
                };
                let length = (protocol.len() + ip.len()) as u16;
                let header = [&[0x88, 0x64, 0x11, 0][..], &session.to_be_bytes(), &length.to_be_bytes()];
                [&header.concat()[..], protocol].concat()
            }
        };
        [&[2; 12][..], &tags(&self.tags), &behind, ip].concat()
    }
}

pub(super) fn link() -> impl Strategy<Value = Link> {
    let tags = |most| prop::collection::vec(prop::sample::select(vec![0x8100, 0x88a8, 0x9100]), 0..=most);
    let labels = || prop::collection::vec(any::<u32>(), 1..=LABELS_MAX);
    let kind = prop_oneof![
        4 => Just(Kind::Ethernet),
        1 => prop::sample::select(vec![0, 0xf8]).prop_map(Kind::Snap),
        1 => labels().prop_map(Kind::Mpls),
        1 => (labels(), tags(TAGS_MAX)).prop_map(|(labels, tags)| Kind::Pseudowire(labels, tags)),
        1 => any::<(u16, bool)>().prop_map(|(session, compressed)| Kind::Pppoe(session, compressed)),
    ];
    (tags(TAGS_MAX), kind).prop_map(|(tags, kind)| Link { tags, kind })
}

#[derive(Clone, Debug)]
enum Transport {
    Udp(u16, u16),
    Tcp(u16, u16, u16),
    Icmp(u8, u8),
    Raw(u8),
}

/// Offset in units of eight bytes, and whether more follow.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    offset: u16,
    more: bool,
}

impl Fragment {
    fn bits(self) -> u8 {
        match (self.offset, self.more) {
            (0, false) => 0,
            (0, true) => fragment::FIRST,
            (_, true) => fragment::IS,
            (_, false) => fragment::IS | fragment::LAST,
        }
    }
}

#[derive(Clone, Debug)]
enum Ip {
    V4 { options: usize, dont: bool, fragment: Fragment },
    V6 { flow_label: u32, chain: Vec<Extension>, jumbo: Option<u32> },
}

/// An extension header.
#[derive(Clone, Copy, Debug)]
enum Extension {
    /// One of the common format: its protocol, and its length field.
    Common(u8, u8),
    /// AH, with so many words of check value.
    Ah(u8),
    Fragment(Fragment),
}

impl Extension {
    fn protocol(self) -> u8 {
        match self {
            Extension::Common(protocol, _) => protocol,
            Extension::Ah(_) => 51,
            Extension::Fragment(_) => 44,
        }
    }

    fn header(self, next: u8) -> Vec<u8> {
        match self {
            Extension::Common(_, length) => {
                let mut header = vec![0; (usize::from(length) + 1) * 8];
                // One option of padding (RFC 8200 section 4.2).
                let padding = header.len() as u8 - 4;
                header[..4].copy_from_slice(&[next, length, 1, padding]);
                header
            }
            Extension::Ah(words) => {
                let mut header = vec![0; 12 + 4 * usize::from(words)];
                header[..2].copy_from_slice(&[next, words + 1]);
                header
            }
            Extension::Fragment(Fragment { offset, more }) => {
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 7]
            }
        }
    }
}

/// An IP packet, and what is before and behind it in the frame.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) link: Link,
    ip: Ip,
    addresses: (u128, u128),
    dscp_and_ecn: u8,
    ttl: u8,
    transport: Transport,
    payload: Vec<u8>,
    padding: usize,
}

impl Recipe {
    pub(super) fn is_v6(&self) -> bool {
        matches!(self.ip, Ip::V6 { .. })
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Udp(..) => 17,
            Transport::Tcp(..) => 6,
            Transport::Icmp(..) => {
                if self.is_v6() {
                    58
                } else {
                    1
                }
            }
            Transport::Raw(protocol) => protocol,
        }
    }

    fn upper(&self) -> Vec<u8> {
        let mut upper = match self.transport {
            Transport::Udp(source, destination) => {
                let length = 8 + self.payload.len() as u16;
                [source, destination, length, 0].map(u16::to_be_bytes).concat()
            }
            Transport::Tcp(source, destination, flags) => {
                let mut header = [source, destination, 0, 1, 0, 2, 5 << 12 | flags].map(u16::to_be_bytes).concat();
                header.resize(20, 0);
                header
            }
            Transport::Icmp(kind, code) => vec![kind, code, 0, 0, 0, 0, 0, 0],
            Transport::Raw(_) => Vec::new(),
        };
        upper.extend(&self.payload);
        upper
    }

    /// The IP packet.
    pub(super) fn packet(&self) -> Vec<u8> {
        match &self.ip {
            &Ip::V4 { options, dont, fragment: Fragment { offset, more } } => {
                let upper = self.upper();
                let length = (20 + 4 * options + upper.len()) as u16;
                let field = u16::from(dont) << 14 | u16::from(more) << 13 | offset;
                let mut packet = vec![0x45 + options as u8, self.dscp_and_ecn];
                packet.extend([length, 7, field].map(u16::to_be_bytes).concat());
                packet.extend([self.ttl, self.protocol(), 0, 0]);
                packet.extend((self.addresses.0 as u32).to_be_bytes());
                packet.extend((self.addresses.1 as u32).to_be_bytes());
                packet.extend(vec![1; 4 * options]);
                [packet, upper].concat()
            }
            Ip::V6 { flow_label, chain, jumbo } => {
                let mut payload = self.upper();
                let mut next = self.protocol();
                for extension in chain.iter().rev() {
                    payload = [extension.header(next), payload].concat();
                    next = extension.protocol();
                }
                let mut length = payload.len() as u16;
                if let Some(jumbo) = jumbo {
                    let option = [&[next, 0, 0xc2, 4][..], &jumbo.to_be_bytes()].concat();
                    payload = [option, payload].concat();
                    (next, length) = (0, 0);
                }
                let word = 6 << 28 | u32::from(self.dscp_and_ecn) << 20 | flow_label;
                let mut packet = word.to_be_bytes().to_vec();
                packet.extend(length.to_be_bytes());
                packet.extend([next, self.ttl]);
                packet.extend(self.addresses.0.to_be_bytes());
                packet.extend(self.addresses.1.to_be_bytes());
                [packet, payload].concat()
            }
        }
    }

    /// The whole frame.
    pub(super) fn build(&self) -> Vec<u8> {
        self.link.frame(self.is_v6(), &[self.packet(), vec![0xee; self.padding]].concat())
    }

    /// What was built, in our words.
    pub(super) fn headers(&self) -> Headers {
        let (source, destination) = self.addresses;
        let length = self.packet().len() as u32;
        let (addresses, fragment, ip_length, label, protocol) = match &self.ip {
            Ip::V4 { dont, fragment, .. } => {
                let bits = fragment.bits() | if *dont { fragment::DONT } else { 0 };
                let addresses = Addresses::V4 { source: source as u32, destination: destination as u32 };
                (addresses, bits, length, 0, self.protocol())
            }
            Ip::V6 { flow_label, chain, jumbo } => {
                let at = chain.iter().position(|extension| matches!(extension, Extension::Fragment(_)));
                let bits = at.map_or(0, |at| match chain[at] {
                    Extension::Fragment(fragment) => fragment.bits(),
                    _ => 0,
                });
                // A later fragment ends the chain.
                let behind = at.filter(|_| bits & fragment::IS != 0).and_then(|at| chain.get(at + 1));
                let protocol = behind.map_or(self.protocol(), |extension| extension.protocol());
                let ip_length = jumbo.map_or(length, |jumbo| jumbo.saturating_add(40));
                (Addresses::V6 { source, destination }, bits, ip_length, *flow_label, protocol)
            }
        };
        let is_first = fragment & fragment::IS == 0;
        let class = match self.transport {
            _ if protocol != self.protocol() => Class::Other,
            Transport::Udp(..) => Class::Udp,
            Transport::Tcp(_, _, flags) if is_first && flags & 0x12 == 0x02 => Class::TcpSyn,
            Transport::Tcp(..) => Class::Tcp,
            Transport::Icmp(..) => Class::Icmp,
            Transport::Raw(_) => Class::Other,
        };
        let upper = match self.transport {
            _ if !is_first => Upper::None,
            Transport::Udp(source, destination) => Upper::Ports { source, destination },
            Transport::Tcp(source, destination, flags) => Upper::Tcp { source, destination, flags },
            Transport::Icmp(kind, code) => Upper::Icmp { kind, code },
            Transport::Raw(_) => Upper::None,
        };
        let (dscp, ttl) = (self.dscp_and_ecn >> 2, self.ttl);
        Headers { addresses, protocol, class, fragment, dscp, ttl, ip_length, flow_label: label, upper }
    }
}

fn fragment() -> impl Strategy<Value = Fragment> {
    (prop_oneof![Just(0_u16), 0_u16..1 << 13], any::<bool>()).prop_map(|(offset, more)| Fragment { offset, more })
}

/// Extension headers in any order, one fragment header among them at most.
fn chain() -> impl Strategy<Value = Vec<Extension>> {
    let common = (prop::sample::select(vec![0_u8, 43, 60, 135, 139, 140]), 0_u8..3);
    let extension = prop_oneof![
        4 => common.prop_map(|(protocol, length)| Extension::Common(protocol, length)),
        1 => (1_u8..6).prop_map(Extension::Ah),
        1 => fragment().prop_map(Extension::Fragment),
    ];
    prop::collection::vec(extension, 0..EXTENSIONS_MAX).prop_map(|mut chain| {
        let mut fragments = 0;
        chain.retain(|extension| {
            fragments += usize::from(matches!(extension, Extension::Fragment(_)));
            !matches!(extension, Extension::Fragment(_)) || fragments == 1
        });
        chain
    })
}

fn ip() -> impl Strategy<Value = Ip> {
    let v4 = (0..=10_usize, any::<bool>(), fragment());
    let jumbo = prop_oneof![4 => Just(None), 1 => (0x1_0000..=u32::MAX).prop_map(Some)];
    prop_oneof![
        v4.prop_map(|(options, dont, fragment)| Ip::V4 { options, dont, fragment }),
        (0_u32..1 << 20, chain(), jumbo).prop_map(|(flow_label, chain, jumbo)| Ip::V6 { flow_label, chain, jumbo }),
    ]
}

prop_compose! {
    pub(super) fn recipe()(
        link in link(),
        ip in ip(),
        addresses in any::<(u128, u128)>(),
        (dscp_and_ecn, ttl) in any::<(u8, u8)>(),
        transport in prop_oneof![
            any::<(u16, u16)>().prop_map(|(source, destination)| Transport::Udp(source, destination)),
            (any::<u16>(), any::<u16>(), 0_u16..1 << 9)
                .prop_map(|(source, destination, flags)| Transport::Tcp(source, destination, flags)),
            any::<(u8, u8)>().prop_map(|(kind, code)| Transport::Icmp(kind, code)),
            prop::sample::select(vec![50, 89, 253]).prop_map(Transport::Raw),
        ],
        payload in prop::collection::vec(any::<u8>(), 0..64),
        padding in prop_oneof![Just(0), 0..20_usize],
    ) -> Recipe {
        Recipe { link, ip, addresses, dscp_and_ecn, ttl, transport, payload, padding }
    }
}

/// A tunnel around a packet: its kind and the family of its outer header.
#[derive(Clone, Debug)]
pub(super) enum Wrap {
    /// Which of checksum, key and sequence number are there.
    Gre(bool, u8),
    /// GRE with an Ethernet frame in it, or VXLAN.
    Frame(bool, Tunnel, Link),
    /// IP in IP.
    Ip(bool),
    /// The flags E, S and PN, and the lengths of extension headers.
    GtpU(bool, u8, Vec<u8>),
}

impl Wrap {
    /// The packet within this tunnel, and the family of the outer header.
    pub(super) fn around(&self, is_v6: bool, packet: &[u8]) -> (bool, Vec<u8>) {
        let ethertype: &[u8] = if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] };
        let (outer_v6, protocol, payload) = match self {
            Wrap::Gre(outer_v6, flags) => {
                let options = vec![9; 4 * (flags & 0xb0).count_ones() as usize];
                (*outer_v6, 47, [&[flags & 0xb0, 0], ethertype, &options, packet].concat())
            }
            Wrap::Frame(outer_v6, Tunnel::Vxlan, link) => {
                let header = [8, 0, 0, 0, 1, 2, 3, 0];
                (*outer_v6, 17, [&udp(4789), &header[..], &link.frame(is_v6, packet)].concat())
            }
            Wrap::Frame(outer_v6, _, link) => {
                let header = [0x20, 0, 0x65, 0x58, 1, 2, 3, 4];
                (*outer_v6, 47, [&header[..], &link.frame(is_v6, packet)].concat())
            }
            Wrap::Ip(outer_v6) => (*outer_v6, if is_v6 { 41 } else { 4 }, packet.to_vec()),
            Wrap::GtpU(outer_v6, flags, extensions) => {
                let mut header = vec![0x30 | flags, 255, 0, 0, 1, 2, 3, 4];
                if flags & 7 != 0 {
                    header.extend([0, 1, 2, 0]);
                }
                for length in extensions.iter().filter(|_| flags & 4 != 0) {
                    *header.last_mut().unwrap() = 0x85;
                    header.extend([*length].iter().chain(&vec![0; 4 * usize::from(*length) - 1]));
                }
                (*outer_v6, 17, [&udp(2152), &header[..], packet].concat())
            }
        };
        let outer = Recipe {
            link: Link { tags: Vec::new(), kind: Kind::Ethernet },
            ip: if outer_v6 {
                Ip::V6 { flow_label: 0, chain: vec![Extension::Common(60, 0)], jumbo: None }
            } else {
                Ip::V4 { options: 1, dont: false, fragment: Fragment { offset: 0, more: false } }
            },
            addresses: (1, 2),
            dscp_and_ecn: 0,
            ttl: 64,
            transport: Transport::Raw(protocol),
            payload,
            padding: 0,
        };
        (outer_v6, outer.packet())
    }
}

/// A UDP header with this destination port.
fn udp(port: u16) -> Vec<u8> {
    [30_000, port, 0, 0].map(u16::to_be_bytes).concat()
}

pub(super) fn wraps() -> impl Strategy<Value = Vec<Wrap>> {
    let framed = prop::sample::select(vec![Tunnel::Vxlan, Tunnel::Gre]);
    let wrap = prop_oneof![
        any::<(bool, u8)>().prop_map(|(v6, flags)| Wrap::Gre(v6, flags)),
        (any::<bool>(), framed, link()).prop_map(|(v6, tunnel, link)| Wrap::Frame(v6, tunnel, link)),
        any::<bool>().prop_map(Wrap::Ip),
        (any::<bool>(), 0_u8..8, prop::collection::vec(1_u8..4, 0..8))
            .prop_map(|(v6, flags, extensions)| Wrap::GtpU(v6, flags, extensions)),
    ];
    prop::collection::vec(wrap, 1..=TUNNELS_MAX)
}
