//! Large numbers in the whole daemon: five thousand networks, hundreds of thousands of hosts of both families, each counted
//! exactly; then attacks on the next new ones. The same where the tables have room for few: every packet is accounted for,
//! and the attacks are seen all the same. The traffic is a generated file, delivered once by `net_pcap`.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dataplane::stats::Lost;
use proto::v1;
use support::daemon::{Leveed, Setup, cores};
use support::{pcap, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// All of 198.18.0.0/15 but the last, which is the victim.
const IPV4_HOSTS: u32 = (1 << 17) - 1;
const IPV6_HOSTS: u32 = 300_000;
const HOSTS: u64 = IPV4_HOSTS as u64 + IPV6_HOSTS as u64;
/// Packets to each victim: so many that the mean over a second is over the threshold, however slowly the file is read.
const ATTACK: u64 = 200_000;
const THRESHOLDS: &str = "[groups.default.incoming]\nudp_pps = 5000\n";
/// /26 networks within the /15, and /48 networks within the /33.
const NETWORKS: [u32; 2] = [2000, 2998];
const IP_AND_UDP: [u64; 2] = [28, 48];

fn ipv4(index: u32) -> IpAddr {
    Ipv4Addr::from(0xc612_0000 + index).into()
}

/// A hundred in each of 3000 /48s: nearly all of these are networks of their own.
fn ipv6(index: u32) -> IpAddr {
    Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(index % 3000) << 80 | u128::from(index) << 8 | 1).into()
}

fn victims() -> [IpAddr; 2] {
    [ipv4(IPV4_HOSTS), ipv6(IPV6_HOSTS)]
}

fn networks() -> Vec<String> {
    let mut networks = vec!["198.18.0.0/15".to_owned(), "2001:db8::/33".to_owned()];
    networks.extend((0..NETWORKS[0]).map(|index| format!("{}/26", ipv4(index * 64))));
    networks.extend((0..NETWORKS[1]).map(|index| format!("2001:db8:{index:x}::/48")));
    networks
}

/// Bytes of payload of the packet to a host of this number: they differ, so that a count in the wrong place shows.
fn payload(index: u32) -> usize {
    (index % 7) as usize
}

fn packet(host: IpAddr, payload: usize) -> Vec<u8> {
    let source = if host.is_ipv4() { "203.0.113.9" } else { "2001:db8:ffff::9" };
    pcap::udp(SocketAddr::new(source.parse().unwrap(), 53), SocketAddr::new(host, 4444), payload)
}

/// One packet to each host, then the attacks. Gives the bytes of all frames.
fn write(file: &Path) -> u64 {
    let hosts =
        (0..IPV4_HOSTS).map(|index| (ipv4(index), index)).chain((0..IPV6_HOSTS).map(|index| (ipv6(index), index)));
    let mut frames: Vec<Vec<u8>> = hosts.map(|(host, index)| packet(host, payload(index))).collect();
    for victim in victims() {
        frames.extend(std::iter::repeat_n(packet(victim, 4), ATTACK as usize));
    }
    pcap::write(file, &frames);
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// Runs `leveed` over the file with these tables, until it has seen everything. Asserts what holds with any tables.
fn run(tables: &str) -> Leveed {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.pcap");
    let bytes = write(&file);
    let networks = networks();
    assert_eq!(networks.len(), 5000);
    let networks: Vec<&str> = networks.iter().map(String::as_str).collect();
    let device = format!("net_pcap0,rx_pcap={}", file.display());
    let ports: [(&str, &[usize]); 1] = [(&device, &cores()[..1])];
    let rest = format!("{tables}{THRESHOLDS}");
    let mut leveed = Leveed::prepare(&Setup { networks: &networks, ports: &ports, rest: &rest, ..Setup::default() });
    leveed.start();
    let packets = HOSTS + 2 * ATTACK;
    wait_until(SOON, "all packets", || (worker(&leveed).packets >= packets).then_some(()));
    let kinds = leveed.totals().counted.expect("counts");
    assert_eq!(kinds.incoming, Some(v1::Count { packets, bytes }), "{kinds:?}");
    assert_eq!((worker(&leveed).packets, worker(&leveed).bytes), (packets, bytes));
    let port = &leveed.status().ports[0];
    assert_eq!((port.packets, port.missed, port.errors, port.no_mbuf), (packets, 0, 0, 0));
    let attacked = || -> BTreeSet<IpAddr> {
        let target = |attack: v1::Attack| attack.target.split('/').next().unwrap().parse().unwrap();
        leveed.attacks().into_iter().map(target).collect()
    };
    wait_until(SOON, "both attacks", || (attacked().len() >= 2).then_some(()));
    assert_eq!(attacked(), BTreeSet::from(victims()), "nobody else");
    leveed
}

fn worker(leveed: &Leveed) -> v1::Worker {
    leveed.status().workers.remove(0)
}

fn lost(worker: &v1::Worker, lost: Lost) -> u64 {
    worker.lost.iter().find(|reason| reason.name == lost.name()).map_or(0, |reason| reason.packets)
}

/// What was counted for each of these hosts: UDP packets to it, and their bytes. Nothing else was.
fn counted(leveed: &Leveed, hosts: &[IpAddr]) -> Vec<(u64, u64)> {
    leveed.block_on(async {
        let mut api = leveed.connect().await;
        let mut counted = Vec::new();
        for host in hosts {
            let request = v1::ListHostsRequest { prefix: host.to_string(), ..Default::default() };
            let listed = api.list_hosts(request).await.expect("a host").into_inner().hosts.remove(0);
            let volumes = listed.counted_incoming.expect("it kept its counters");
            let udp = volumes.whole.as_ref().and_then(|whole| whole.udp).expect("a class");
            let only = v1::Classes { udp: Some(udp), ..of_nothing() };
            assert_eq!(volumes, v1::Volumes { whole: Some(only), fragments: Some(of_nothing()) }, "{host}");
            let nothing = v1::Volumes { whole: Some(of_nothing()), fragments: Some(of_nothing()) };
            assert_eq!(listed.counted_outgoing, Some(nothing), "{host}");
            counted.push((udp.packets, udp.bytes));
        }
        counted
    })
}

fn of_nothing() -> v1::Classes {
    let zero = Some(v1::Count::default());
    v1::Classes { tcp: zero, tcp_syn: zero, udp: zero, icmp: zero, other: zero }
}

#[test]
fn hosts_by_the_hundred_thousand_are_each_counted_exactly() {
    let leveed = run("[tables]\nipv6_hosts = 524288\n");
    let worker = worker(&leveed);
    assert!(worker.lost.is_empty(), "{:?}", worker.lost);
    assert_eq!((worker.ipv4_blocks_used, worker.ipv6_hosts), (512, IPV6_HOSTS + 1));
    // Whole networks: the first, some within, the last ones of their own, and what lies in the wide ones alone.
    let ipv4_networks = [0, 1, 77, 1024, NETWORKS[0] - 1, NETWORKS[0], (IPV4_HOSTS >> 6) - 1];
    let in_ipv4 = ipv4_networks.into_iter().flat_map(|network| (0..64).map(move |host| network * 64 + host));
    let in_ipv6 = [0, 77, NETWORKS[1] - 1, NETWORKS[1]]
        .into_iter()
        .flat_map(|network| (0..IPV6_HOSTS / 3000).map(move |host| network + host * 3000));
    for (family, indices, address) in
        [(0, in_ipv4.collect::<Vec<u32>>(), ipv4 as fn(u32) -> IpAddr), (1, in_ipv6.collect(), ipv6)]
    {
        let hosts: Vec<IpAddr> = indices.iter().map(|&index| address(index)).collect();
        let expected = indices.iter().map(|&index| (1, IP_AND_UDP[family] + payload(index) as u64));
        assert_eq!(counted(&leveed, &hosts), expected.collect::<Vec<_>>());
    }
    let expected = IP_AND_UDP.map(|headers| (ATTACK, ATTACK * (headers + 4)));
    assert_eq!(counted(&leveed, &victims()), expected);
}

#[test]
fn tables_that_are_too_small_account_for_every_packet_and_hide_no_attack() {
    const BLOCKS: u32 = 64;
    let leveed = run(&format!("[tables]\nipv4_blocks = {BLOCKS}\nipv6_hosts = 4096\n"));
    let worker = worker(&leveed);
    assert_eq!(worker.ipv4_blocks_used, BLOCKS);
    // Who has a block was counted there.
    let hosts: Vec<IpAddr> = (0..500).map(ipv4).collect();
    let expected: Vec<(u64, u64)> = (0..500).map(|index| (1, IP_AND_UDP[0] + payload(index) as u64)).collect();
    assert_eq!(counted(&leveed, &hosts), expected);
    // Every other packet of a host without a slot got a free one, another host's, or none; a victim's until it was let in.
    let late: Vec<u64> = counted(&leveed, &victims()).into_iter().map(|(packets, _)| ATTACK - packets).collect();
    assert!(late.iter().all(|&packets| packets < 1000), "{late:?} packets before the victims had a slot");
    let ipv4_without_block = u64::from(IPV4_HOSTS - BLOCKS * 256);
    let asked = ipv4_without_block + u64::from(IPV6_HOSTS) + 2 + late.iter().sum::<u64>();
    let (evicted, none) = (lost(&worker, Lost::HostEvicted), lost(&worker, Lost::NoSlot));
    assert_eq!(u64::from(worker.ipv6_hosts) + evicted + none, asked, "{:?}", worker.lost);
    assert_eq!(lost(&worker, Lost::NoBlock), ipv4_without_block + 1 + late[0]);
    assert!(evicted > 300_000 && u64::from(worker.ipv6_hosts) <= 4096 / 4 * 7, "{worker:?}");
    assert_eq!(worker.lost.len() as u64, 2 + u64::from(none > 0), "nothing else: {:?}", worker.lost);
}
