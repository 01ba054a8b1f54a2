//! Why a frame is not counted for a host: one number, name and counter for each reason.

/// Why a frame is not counted for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unparsed {
    /// The frame ends within the Ethernet header, its tags, or the LLC header.
    ShortEthernet = 0,
    /// More than [`super::TAGS_MAX`] VLAN tags.
    TooManyTags = 1,
    /// An ethertype that has no reason of its own.
    NotIp = 2,
    /// The frame ends within the IPv4 header or its options.
    ShortIpv4 = 3,
    /// IPv4 with a wrong version or a header of less than 20 bytes.
    BadIpv4 = 4,
    /// The frame ends within the fixed IPv6 header, or before the option that has a jumbogram's length.
    ShortIpv6 = 5,
    /// IPv6 with a wrong version.
    BadIpv6 = 6,
    /// ARP or RARP.
    Arp = 7,
    /// IEEE 802.3 with LLC that carries no ethertype: spanning tree, IS-IS, CDP.
    Llc = 8,
    /// Protocols between neighbours: LLDP, LACP, pause frames, 802.1X, CFM, PTP, loopback.
    LinkControl = 9,
    /// The frame ends within the MPLS labels, or the control word behind them.
    ShortMpls = 10,
    /// More than [`super::LABELS_MAX`] MPLS labels.
    TooManyLabels = 11,
    /// Behind the MPLS labels neither IP nor the beginning of an Ethernet frame with a control word.
    MplsPayload = 12,
    /// A pseudowire within a pseudowire.
    NestedPseudowire = 13,
    /// The frame ends within the PPPoE or PPP header.
    ShortPppoe = 14,
    /// PPPoE with a wrong version, type or code.
    BadPppoe = 15,
    /// PPPoE discovery.
    PppoeDiscovery = 16,
    /// A PPPoE session's control: a PPP protocol other than IPv4 and IPv6, such as LCP.
    PppControl = 17,
    /// An IPv4 total length of less than the header.
    Ipv4Length = 18,
    /// An IPv6 payload length of 0 and hop-by-hop options, but in them no length that only a jumbogram can have.
    JumboLength = 19,
    /// The IP header says more than the frame has, although the frame is too short to have been cut.
    LengthBeyondFrame = 20,
}

impl Unparsed {
    /// How many reasons there are.
    pub const COUNT: usize = 21;
    /// All reasons in the order of their numbers.
    pub const ALL: [Unparsed; Unparsed::COUNT] = [
        Unparsed::ShortEthernet,
        Unparsed::TooManyTags,
        Unparsed::NotIp,
        Unparsed::ShortIpv4,
        Unparsed::BadIpv4,
        Unparsed::ShortIpv6,
        Unparsed::BadIpv6,
        Unparsed::Arp,
        Unparsed::Llc,
        Unparsed::LinkControl,
        Unparsed::ShortMpls,
        Unparsed::TooManyLabels,
        Unparsed::MplsPayload,
        Unparsed::NestedPseudowire,
        Unparsed::ShortPppoe,
        Unparsed::BadPppoe,
        Unparsed::PppoeDiscovery,
        Unparsed::PppControl,
        Unparsed::Ipv4Length,
        Unparsed::JumboLength,
        Unparsed::LengthBeyondFrame,
    ];

    /// The name that status and logs show.
    pub const fn name(self) -> &'static str {
        match self {
            Unparsed::ShortEthernet => "short_ethernet",
            Unparsed::TooManyTags => "too_many_tags",
            Unparsed::NotIp => "not_ip",
            Unparsed::ShortIpv4 => "short_ipv4",
            Unparsed::BadIpv4 => "bad_ipv4",
            Unparsed::ShortIpv6 => "short_ipv6",
            Unparsed::BadIpv6 => "bad_ipv6",
            Unparsed::Arp => "arp",
            Unparsed::Llc => "llc",
            Unparsed::LinkControl => "link_control",
            Unparsed::ShortMpls => "short_mpls",
            Unparsed::TooManyLabels => "too_many_labels",
            Unparsed::MplsPayload => "mpls_payload",
            Unparsed::NestedPseudowire => "nested_pseudowire",
            Unparsed::ShortPppoe => "short_pppoe",
            Unparsed::BadPppoe => "bad_pppoe",
            Unparsed::PppoeDiscovery => "pppoe_discovery",
            Unparsed::PppControl => "ppp_control",
            Unparsed::Ipv4Length => "ipv4_length",
            Unparsed::JumboLength => "jumbo_length",
            Unparsed::LengthBeyondFrame => "length_beyond_frame",
        }
    }
}
