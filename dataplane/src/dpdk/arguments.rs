//! The parts of a device's string, such as "net_af_packet0,iface=span0". Text only.

/// The device without its arguments.
pub fn name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// The arguments, each its key and its value; a value with '=' in it stays whole.
pub fn arguments(device: &str) -> impl Iterator<Item = (&str, &str)> {
    device.split(',').skip(1).filter_map(|argument| argument.split_once('='))
}

/// Whether this argument names an interface of the kernel that packets are received from.
pub fn names_interface(key: &str) -> bool {
    matches!(key, "iface" | "rx_iface" | "rx_iface_in")
}

/// The first interface of the kernel that the device receives from.
pub fn interface(device: &str) -> Option<&str> {
    // A PCI device or a ring has no interface; a pipe of one of these names is none, either.
    let from_kernel = ["net_af_packet", "net_af_xdp", "net_pcap"].iter().any(|driver| device.starts_with(driver));
    arguments(device).find(|(key, _)| from_kernel && names_interface(key)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_name_and_arguments() {
        assert_eq!(name("0000:03:00.0"), "0000:03:00.0");
        assert_eq!(name("net_pcap0,rx_pcap=a.pcap,rx_pcap=b.pcap"), "net_pcap0");
        let both: Vec<_> = arguments("net_pcap0,rx_pcap=a=b.pcap,odd,infinite_rx=1").collect();
        assert_eq!(both, [("rx_pcap", "a=b.pcap"), ("infinite_rx", "1")]);
    }

    #[test]
    fn the_interface_is_where_packets_come_from() {
        for device in [
            "net_af_packet0,qpairs=1,iface=span0",
            "net_af_xdp1,iface=span0,start_queue=0",
            "net_pcap0,rx_iface=span0,tx_iface=other",
            "net_pcap0,rx_iface_in=span0",
        ] {
            assert_eq!(interface(device), Some("span0"), "{device}");
        }
        for device in ["net_null0", "net_pcap0,rx_pcap=a.pcap", "net_pcap0,tx_iface=span0", "net_tap0,iface=span0"] {
            assert_eq!(interface(device), None, "{device}");
        }
    }
}
