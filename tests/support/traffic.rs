//! Live traffic for tests: captures turned to a protected host, and played into an interface of a namespace, paced and
//! bounded. `net_pcap` has no time; attacks and their ends need it.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::netns::Netns;
use super::pcap;

/// The victim in all captures of `tests/data`.
const CAPTURED_VICTIM: Ipv4Addr = Ipv4Addr::new(10, 10, 10, 10);

/// A victim for live tests. Its octets add up to the same as the captured one's, so every checksum stays right.
pub(crate) const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 1);

/// A file of `tests/data`.
pub(crate) fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

/// Writes a capture of `tests/data` to `to` with another victim: the IPv4 destination, nothing else. (tcprewrite 4.4.3 would count
/// Ethernet's padding into the IP length.) Checksums stay as they were: right for [`VICTIM`].
pub(crate) fn retarget(capture: &Path, victim: Ipv4Addr, to: &Path) {
    const ETHERTYPE: Range<usize> = 12..14;
    const DESTINATION: Range<usize> = 30..34;
    let mut frames = pcap::read(capture);
    for frame in &mut frames {
        if frame[ETHERTYPE] == [0x08, 0x00] && frame[DESTINATION] == CAPTURED_VICTIM.octets() {
            frame[DESTINATION].copy_from_slice(&victim.octets());
        }
    }
    pcap::write(to, &frames);
}

/// How much is played. The file is looped until then.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Packets(u64),
    Seconds(u32),
}

/// A running tcpreplay. Ends with its amount, with [`Player::stop`], or when dropped.
pub(crate) struct Player {
    child: Child,
}

impl Player {
    /// Plays `file` into `interface` of `namespace`, `rate_pps` packets a second.
    pub(crate) fn start(namespace: &Netns, interface: &str, file: &Path, rate_pps: u32, amount: Amount) -> Player {
        let amount = match amount {
            Amount::Packets(packets) => format!("--limit={packets}"),
            Amount::Seconds(seconds) => format!("--duration={seconds}"),
        };
        // The child is the player itself. The nano timer sleeps, the default one spins.
        let child = namespace
            .command("tcpreplay")
            .args(["--preload-pcap", "--loop=0", "--timer=nano"])
            .args([format!("--intf1={interface}"), format!("--pps={rate_pps}"), amount])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip runs (scripts/setup.sh installs it)");
        Player { child }
    }

    /// Whether it still plays.
    pub(crate) fn is_playing(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the amount; returns the number of packets sent.
    pub(crate) fn wait(mut self) -> u64 {
        use std::io::Read;
        let (mut report, mut errors) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "tcpreplay: {status}: {errors}");
        let number = |label: &str| -> u64 {
            let (_, rest) = report.split_once(label).unwrap_or_else(|| panic!("no {label} in {report}"));
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(number("Failed packets:"), 0, "{report}");
        number("Successful packets:")
    }

    /// Stops now.
    pub(crate) fn stop(self) {}
}

impl Drop for Player {
    fn drop(&mut self) {
        // Both fail only where the player has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
