//! Ports of every kind that needs no hardware: what is sent is delivered and counted exactly; jumbo frames, links that go down,
//! devices that go away, workers that cannot poll.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use controlplane::attack::Direction;
use ipnet::IpNet;
use proto::v1;
use support::daemon::{Leveed, Setup, cores};
use support::netns::{Netns, veth};
use support::pcap::{self, Counted};
use support::traffic::{Amount, Player};
use support::{Process, unique, wait_until};

const NETWORKS: [&str; 2] = ["198.18.0.0/16", "2001:db8::/48"];
/// Machines may be busy with other things.
const SOON: Duration = Duration::from_secs(30);

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// Frames to and from protected hosts, and of others; what tshark counts in them.
fn write_mix(file: &Path) -> Counted {
    let (near, far) = (at("198.18.0.10:443"), at("203.0.113.5:40000"));
    let (near6, far6) = (at("[2001:db8::10]:31000"), at("[2001:db8:ffff::5]:1024"));
    let frames: Vec<_> = (0..50)
        .flat_map(|size| {
            [
                pcap::udp(far, near, 20 + 20 * size),
                pcap::tcp(near, far, pcap::flags::ACK, 20 * size),
                pcap::udp(far6, near6, 1_300 - 20 * size),
                pcap::icmp(near6.ip(), far6.ip(), 8 + size),
                pcap::udp(far, at("192.0.2.1:9"), 100),
                pcap::ethernet(0x88b5, &[&[0; 60]]),
            ]
        })
        .collect();
    pcap::write(file, &frames);
    pcap::count(file, &networks())
}

fn networks() -> Vec<IpNet> {
    NETWORKS.map(|network| network.parse().unwrap()).to_vec()
}

/// Waits until workers have counted so many packets of all ports, and holds against them what was sent `times` times.
#[track_caller]
fn assert_delivered(leveed: &Leveed, sent: &Counted, times: u64) -> v1::Status {
    let counted = |status: &v1::Status| status.workers.iter().map(|worker| worker.packets).sum::<u64>();
    wait_until(SOON, "all packets", || (counted(&leveed.status()) >= sent.frames.packets * times).then_some(()));
    let (status, kinds) = (leveed.status(), leveed.totals().counted.unwrap());
    let count = |kind: Option<v1::Count>| kind.map(|kind| (kind.packets, kind.bytes)).unwrap();
    let sent_as = |kind: pcap::Count| (kind.packets * times, kind.bytes * times);
    assert_eq!(count(kinds.incoming), sent_as(sent.incoming));
    assert_eq!(count(kinds.outgoing), sent_as(sent.outgoing));
    assert_eq!(count(kinds.other), sent_as(sent.other));
    assert_eq!(count(kinds.unparsed), sent_as(sent.unparsed));
    let of_ports = status.ports.iter().fold((0, 0), |sum, port| (sum.0 + port.packets, sum.1 + port.bytes));
    assert_eq!(of_ports, sent_as(sent.frames), "{:?}", status.ports);
    let of_workers = status.workers.iter().fold((0, 0), |sum, worker| (sum.0 + worker.packets, sum.1 + worker.bytes));
    assert_eq!(of_workers, of_ports);
    assert!(
        status.ports.iter().all(|port| (port.missed, port.errors, port.no_mbuf) == (0, 0, 0)),
        "{:?}",
        status.ports
    );
    status
}

/// IP bytes counted for a host in this direction.
fn ip_bytes(leveed: &Leveed, host: &str, direction: Direction) -> u64 {
    let listed = leveed.hosts(v1::ListHostsRequest { prefix: host.to_owned(), ..v1::ListHostsRequest::default() });
    let counted = match direction {
        Direction::Incoming => listed[0].counted_incoming,
        Direction::Outgoing => listed[0].counted_outgoing,
    };
    let v1::Volumes { whole, fragments } = counted.unwrap();
    let classes = [whole, fragments].map(Option::unwrap);
    let bytes = |classes: v1::Classes| {
        [classes.tcp, classes.tcp_syn, classes.udp, classes.icmp, classes.other]
            .iter()
            .flatten()
            .map(|count| count.bytes)
            .sum::<u64>()
    };
    classes.into_iter().map(bytes).sum()
}

/// `leveed` on `mirror` in a namespace of its own, at the other end of which traffic is played.
struct Tap {
    leveed: Leveed,
    inside: Netns,
    outside: Netns,
}

impl Tap {
    /// Not started yet. `ports` are devices; in each, `IFACE` stands for the interface.
    fn prepare(devices: &[&str]) -> Tap {
        let (inside, outside) = (Netns::silent(), Netns::silent());
        veth((&inside, "mirror"), (&outside, "play"));
        let devices: Vec<String> = devices.iter().map(|device| device.replace("IFACE", "mirror")).collect();
        let core = &cores()[..1];
        let ports: Vec<(&str, &[usize])> = devices.iter().map(|device| (device.as_str(), core)).collect();
        let leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
        Tap { leveed, inside, outside }
    }

    fn start(devices: &[&str]) -> Tap {
        let mut tap = Tap::prepare(devices);
        tap.leveed.start_in(&tap.inside);
        tap
    }

    fn play(&self, file: &Path, rate_pps: u32, packets: u64) {
        assert_eq!(Player::start(&self.outside, "play", file, rate_pps, Amount::Packets(packets)).wait(), packets);
    }

    /// Waits for an event without an attack.
    #[track_caller]
    fn wait_event(&self, events: &support::daemon::Events, kind: &str, words: &str) {
        wait_until(SOON, &format!("{kind}: {words}"), || {
            events.of("").into_iter().find(|event| event.kind == kind && event.text.contains(words))
        });
    }
}

/// Plays a mix into a live port, which delivers and counts all of it. The rate leaves time for whatever else runs here:
/// libpcap has room for some 30 packets.
#[track_caller]
fn assert_live(tap: &Tap) -> v1::Status {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    let sent = write_mix(&file);
    tap.play(&file, 200, sent.frames.packets);
    let status = assert_delivered(&tap.leveed, &sent, 1);
    assert!(status.ports[0].link_up);
    wait_until(SOON, "the kernel's own count", || {
        let port = &tap.leveed.status().ports[0];
        (port.kernel_packets == Some(sent.frames.packets) && port.kernel_dropped == Some(0)).then_some(())
    });
    assert_eq!(tap.leveed.alarms(), [""; 0]);
    status
}

#[test]
fn af_packet() {
    let tap = Tap::start(&["net_af_packet0,iface=IFACE"]);
    assert_eq!(assert_live(&tap).ports[0].driver, "net_af_packet");
}

#[test]
fn pcap_live() {
    let tap = Tap::start(&["net_pcap0,rx_iface_in=IFACE"]);
    assert_eq!(assert_live(&tap).ports[0].driver, "net_pcap");
}

#[test]
fn af_xdp() {
    let mut tap = Tap::prepare(&["net_af_xdp0,iface=IFACE"]);
    let probe =
        tap.inside.command(env!("CARGO_BIN_EXE_leveed")).arg("check").arg(tap.leveed.config()).output().unwrap();
    if !probe.status.success() {
        println!("skipped: no AF_XDP here: {}", String::from_utf8_lossy(&probe.stderr));
        return;
    }
    tap.leveed.start_in(&tap.inside);
    assert_eq!(assert_live(&tap).ports[0].driver, "net_af_xdp");
}

#[test]
fn several_kinds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    let sent = write_mix(&file);
    let from_file = format!("net_pcap0,rx_pcap={}", file.display());
    let tap = Tap::start(&[&from_file, "net_af_packet1,iface=IFACE", "net_ring2"]);
    tap.play(&file, 500, sent.frames.packets);
    let status = assert_delivered(&tap.leveed, &sent, 2);
    let delivered: Vec<_> = status.ports.iter().map(|port| (port.driver.as_str(), port.packets)).collect();
    assert_eq!(delivered, [("net_pcap", sent.frames.packets), ("net_af_packet", sent.frames.packets), ("net_ring", 0)]);
    assert_eq!(status.workers[0].queues, ["net_pcap0/0", "net_af_packet1/0", "net_ring2/0"]);
    assert_eq!(status.ports.iter().map(|port| port.kernel_packets.is_some()).collect::<Vec<_>>(), [false, true, false]);
}

/// Frames that take five mbufs each.
#[test]
fn jumbo_frames() {
    const FRAMES: usize = 500;
    let (near, near6) = (at("198.18.0.10:443"), at("[2001:db8::10]:31000"));
    let frames = [
        pcap::udp(at("203.0.113.5:40000"), near, 9_000 - 28),
        pcap::tcp(at("[2001:db8:ffff::5]:1024"), near6, pcap::flags::ACK, 9_000 - 60),
        // Neighbours of the boundary between one mbuf and two.
        pcap::udp(at("203.0.113.5:40000"), near, 2_048 - 42),
        pcap::udp(at("203.0.113.5:40000"), near, 2_049 - 42),
    ];
    let all: Vec<_> = frames.iter().cycle().take(FRAMES * frames.len()).cloned().collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jumbo.pcap");
    pcap::write(&file, &all);
    let sent = pcap::count(&file, &networks());
    let port =
        format!("[[ports]]\ndevice = \"net_pcap0,rx_pcap={}\"\ncores = [{}]\nmtu = 9000\n", file.display(), cores()[0]);
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, rest: &port, ..Setup::default() });
    leveed.start();

    let status = assert_delivered(&leveed, &sent, 1);
    assert_eq!(status.ports[0].bytes as usize, FRAMES * (9_014 + 9_014 + 2_048 + 2_049), "whole frames");
    let ip = |host, direction| ip_bytes(&leveed, host, direction) as usize;
    assert_eq!(ip("198.18.0.10", Direction::Incoming), FRAMES * (9_000 + 2_034 + 2_035), "whole packets");
    assert_eq!(ip("2001:db8::10", Direction::Incoming), FRAMES * 9_000);
}

/// The kernel's copy of a frame is cut at the size of a slot in the ring. What it says of its length is counted for the host.
#[test]
fn jumbo_frames_cut_by_the_kernel() {
    let tap = Tap::prepare(&["net_af_packet0,iface=IFACE"]);
    tap.inside.run("ip link set mirror mtu 9100");
    tap.outside.run("ip link set play mtu 9100");
    let (mut tap, folder) = (tap, tempfile::tempdir().unwrap());
    tap.leveed.start_in(&tap.inside);
    let file = folder.path().join("jumbo.pcap");
    pcap::write(&file, &[pcap::udp(at("203.0.113.5:40000"), at("198.18.0.10:443"), 9_000 - 28)]);
    tap.play(&file, 200, 100);
    wait_until(SOON, "all packets", || (tap.leveed.status().workers[0].packets == 100).then_some(()));
    assert_eq!(tap.leveed.totals().counted.unwrap().incoming.unwrap().packets, 100);
    assert_eq!(ip_bytes(&tap.leveed, "198.18.0.10", Direction::Incoming), 100 * 9_000);
    let frame_bytes = tap.leveed.status().ports[0].bytes;
    assert!((100 * 1_500..100 * 2_048).contains(&frame_bytes), "{frame_bytes}");
}

#[test]
fn null() {
    let ports: [(&str, &[usize]); 1] = [("net_null0,size=128", &cores()[..1])];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
    leveed.start();
    let worker = || leveed.status().workers.remove(0);
    let before = worker();
    let after = wait_until(SOON, "packets", || Some(worker()).filter(|now| now.packets > before.packets + 100_000));
    // Frames of zeroes.
    let unparsed = after.kinds.unwrap().unparsed.unwrap();
    assert!(unparsed.packets >= before.packets + 100_000);
    // It counts on between one figure and the next: bytes are read after packets.
    assert!(after.bytes >= after.packets * 128, "{} bytes of {} packets", after.bytes, after.packets);
    assert!(leveed.status().ports[0].link_up);
    for percentiles in [&after.cycles_per_packet, &after.burst_packets] {
        assert!(percentiles.len() == 3 && percentiles[0] > 0 && percentiles.is_sorted(), "{percentiles:?}");
    }
    assert_eq!(after.empty_polls, 0, "it always has packets");
    assert_eq!(leveed.alarms(), [""; 0]);
}

/// The one virtual device that says by which key it spreads; it takes ours only by another call than it is set up with.
#[test]
fn a_device_is_made_to_spread_as_asked() {
    let ports: [(&str, &[usize]); 1] = [("net_null0,no-rx=1", &cores()[..2])];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
    leveed.start();
    assert_eq!((leveed.status().ports[0].queues, leveed.alarms()), (2, vec![]));
}

#[test]
fn ring() {
    let ports: [(&str, &[usize]); 1] = [("net_ring0", &cores()[..1])];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
    leveed.start();
    let polls = || leveed.status().workers[0].polls;
    let before = polls();
    wait_until(SOON, "polls", || (polls() > before).then_some(()));
    let status = leveed.status();
    // Nobody puts anything into a ring of ours.
    assert_eq!(
        (status.ports[0].driver.as_str(), status.ports[0].packets, status.ports[0].link_up),
        ("net_ring", 0, true)
    );
    assert_eq!(leveed.alarms(), [""; 0]);
}

/// The other end is DPDK's own testpmd, which sends UDP from 198.18.0.1 to 198.18.0.2, 64 bytes a frame.
#[test]
fn memif() {
    let cores = cores();
    assert!(cores.len() >= 2, "testpmd needs two cores");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memif.sock").display().to_string();
    let device = format!("net_memif0,role=server,socket={socket},socket-abstract=no");
    let ports: [(&str, &[usize]); 1] = [(&device, &cores[..1])];
    let networks = ["198.18.0.2/32"];
    let mut leveed = Leveed::prepare(&Setup { networks: &networks, ports: &ports, ..Setup::default() });
    leveed.start();
    let has_link = || leveed.status().ports[0].link_up;
    assert!(!has_link(), "nobody is at the other end");
    wait_until(SOON, "an alarm", || leveed.alarms().iter().any(|alarm| alarm.contains("no link")).then_some(()));

    // Line by line, so that its log can be read while it runs.
    let mut command = Command::new("stdbuf");
    command
        .args(["-oL", "dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--no-telemetry"])
        .args(["--file-prefix", &unique("levee-peer-"), "-l", &format!("{},{}", cores[0], cores[1])])
        .args(["--vdev", &format!("net_memif1,role=client,socket={socket},socket-abstract=no")])
        .args(["--", "-i", "--forward-mode=txonly", "--total-num-mbufs=4096", "--burst=8"]);
    let (mut testpmd, mut commands) =
        Process::start_with_input("testpmd", &mut command, folder.path().join("testpmd.log"));
    wait_until(SOON, "a link", || has_link().then_some(()));
    commands.write_all(b"start\n").unwrap();
    let delivered = || leveed.status().workers[0].packets;
    wait_until(SOON, "packets", || (delivered() > 10_000).then_some(()));
    commands.write_all(b"stop\nshow port stats 0\n").unwrap();
    let sent = wait_until(SOON, "what was sent", || {
        let log = testpmd.log();
        let (_, stats) = log.split_once("NIC statistics for port 0")?;
        stats.split_once("TX-packets: ")?.1.split_once(char::is_whitespace)?.0.parse::<u64>().ok()
    });
    wait_until(SOON, "all of them", || (delivered() >= sent).then_some(()));

    let (status, kinds) = (leveed.status(), leveed.totals().counted.unwrap());
    assert_eq!((status.ports[0].packets, status.ports[0].bytes), (sent, sent * 64));
    assert_eq!(kinds.incoming, Some(v1::Count { packets: sent, bytes: sent * 64 }));
    assert_eq!(ip_bytes(&leveed, "198.18.0.2", Direction::Incoming), sent * 50);
    testpmd.kill();
    wait_until(SOON, "no link", || (!has_link()).then_some(()));
}

#[test]
fn a_link_goes_down_and_comes_up() {
    let tap = Tap::start(&["net_af_packet0,iface=IFACE"]);
    let (has_link, events) = (|| tap.leveed.status().ports[0].link_up, tap.leveed.watch_events());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    let sent = write_mix(&file);
    for (round, (netns, device)) in (1..).zip([(&tap.outside, "play"), (&tap.inside, "mirror")]) {
        netns.run(&format!("ip link set {device} down"));
        wait_until(SOON, "no link", || (!has_link()).then_some(()));
        assert_eq!(tap.leveed.alarms(), ["port net_af_packet0,iface=mirror: no link"]);
        netns.run(&format!("ip link set {device} up"));
        wait_until(SOON, "a link", || has_link().then_some(()));
        assert_eq!(tap.leveed.alarms(), [""; 0]);
        tap.play(&file, 500, sent.frames.packets);
        assert_delivered(&tap.leveed, &sent, round);
    }
    let told = || -> Vec<String> {
        events.of("").into_iter().filter(|event| event.text.contains("link")).map(|event| event.kind).collect()
    };
    wait_until(SOON, "events", || (told().len() == 4).then_some(()));
    assert_eq!(told(), ["alarm", "recovered", "alarm", "recovered"]);
}

#[test]
fn a_device_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    let sent = write_mix(&file);
    let mut tap = Tap::start(&["net_af_packet0,iface=IFACE", &format!("net_pcap1,rx_pcap={}", file.display())]);
    let events = tap.leveed.watch_events();
    tap.play(&file, 500, sent.frames.packets);
    assert_delivered(&tap.leveed, &sent, 2);
    tap.outside.run("ip link delete play");
    tap.wait_event(&events, "alarm", "the device is gone");
    assert!(tap.leveed.alarms().iter().any(|alarm| alarm.contains("net_af_packet0,iface=mirror: the device is gone")));
    // Another one of that name is not the one that is polled.
    veth((&tap.inside, "mirror"), (&tap.outside, "play"));
    tap.play(&file, 500, sent.frames.packets);
    let status = assert_delivered(&tap.leveed, &sent, 2);
    assert_eq!(status.ports.iter().map(|port| port.link_up).collect::<Vec<_>>(), [false, true]);
    let polls = || tap.leveed.status().workers[0].polls;
    let before = polls();
    wait_until(SOON, "polls", || (polls() > before).then_some(()));
    assert!(tap.leveed.terminate().success());
}

/// What the kernel received while nobody emptied its ring is said to be missing.
#[test]
fn the_kernel_saw_more() {
    const PACKETS: u64 = 30_000;
    let tap = Tap::start(&["net_af_packet0,iface=IFACE,blocksz=4096,framesz=2048,framecnt=64"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mix.pcap");
    write_mix(&file);
    let events = tap.leveed.watch_events();
    tap.leveed.freeze();
    tap.play(&file, 50_000, PACKETS);
    tap.leveed.thaw();
    tap.wait_event(&events, "alarm", "more than were delivered");
    // The first look may have come before what the ring still held was delivered.
    wait_until(SOON, "an alarm with the right number", || {
        let status = tap.leveed.status();
        let alarm = format!("{} more than were delivered", PACKETS - status.ports[0].packets);
        status.alarms.iter().any(|text| text.contains(&alarm)).then_some(())
    });
    let port = tap.leveed.status().ports.remove(0);
    assert_eq!((port.kernel_packets, port.kernel_dropped), (Some(PACKETS), Some(0)));
    assert!(port.packets < 1_000, "{port:?}");
}

/// A process of higher class takes the worker's core, as far as the kernel lets it.
#[test]
fn a_worker_that_cannot_poll() {
    let cores = cores();
    let (ports, core) = ([("net_ring0", &cores[..1])], cores[0].to_string());
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, ..Setup::default() });
    leveed.start();
    let events = leveed.watch_events();
    let told = |kind: &str| {
        let wanted =
            |event: &v1::Event| event.kind == kind && event.text.contains(&format!("worker {core} does not poll"));
        events.of("").iter().find(|event| wanted(event)).map(|event| event.time_ms)
    };
    let mut command = Command::new("timeout");
    command.args(["20", "chrt", "-f", "50", "taskset", "-c", &core, "sh", "-c", "while :; do :; done"]);
    let mut hog = Process::start("hog", &mut command, leveed.path("hog.log"));
    let alarm_ms = wait_until(SOON, "an alarm", || {
        assert!(told("alarm").is_some() || hog.ended().is_none(), "no alarm for all the time: {}", hog.log());
        told("alarm")
    });
    // SIGTERM: timeout takes its child with it.
    hog.signal("TERM");
    hog.wait(SOON);
    let recovered_ms = wait_until(SOON, "its end", || told("recovered"));
    assert!(recovered_ms >= alarm_ms);
    wait_until(SOON, "no alarm", || leveed.status().alarms.is_empty().then_some(()));
    assert!(leveed.log().contains("does not poll"));
}
