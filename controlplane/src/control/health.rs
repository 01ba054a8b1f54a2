//! Looks after ports and workers: links, devices that go away, packets that the kernel saw and nobody else, workers that
//! poll no more. Says once what went wrong and once that it is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use dataplane::Dataplane;
use dataplane::dpdk::{self, Port};

use crate::detector::EventKind;
use crate::interface::{Counters, Interface, State};

/// Ports and workers are looked at this often. With [`SILENT_MAX`], a worker that stops is reported within a second.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// A worker polls some million times a second; one that did not for so long is stopped, or its core is taken.
const SILENT_MAX: Duration = Duration::from_millis(500);
/// The kernel may have seen so many packets more than were delivered: they lie in its ring.
const KERNEL_AHEAD_MAX: u64 = 4096;
/// The driver that hands over copies of what the kernel receives, so that the kernel's count says what is missing.
const COPYING_DRIVER: &str = "net_af_packet";

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// The worker on this core does not poll.
    Silent(usize),
    /// The port with this place has no link.
    NoLink(usize),
    /// Its device is there no more.
    Gone(usize),
    /// The kernel received more than was delivered.
    Behind(usize),
}

/// A port at one look.
#[derive(Clone, Debug)]
struct Sight {
    device: String,
    state: State,
    delivered: u64,
    /// Where the kernel's count can be held against what was delivered.
    kernel: Option<Counters>,
}

/// What is known of ports and workers.
#[derive(Debug)]
pub(super) struct Health {
    interfaces: Vec<Option<Interface>>,
    troubles: BTreeMap<Trouble, String>,
    next_look: Instant,
}

impl Health {
    /// Counts the kernel's packets from now on.
    pub(super) fn new(dataplane: &Dataplane) -> Health {
        let open = |port: &Port| port.interface().map(|name| Interface::open(Path::new("/sys"), name));
        Health {
            interfaces: dataplane.ports().iter().map(open).collect(),
            troubles: BTreeMap::new(),
            next_look: Instant::now(),
        }
    }

    /// Looks, when it is time to. What is new, and what is over: each to be told once.
    pub(super) fn look(&mut self, dataplane: &Dataplane) -> Vec<(EventKind, String)> {
        let now = Instant::now();
        if now < self.next_look {
            return Vec::new();
        }
        let stood_still = now > self.next_look + SILENT_MAX;
        self.next_look = now + LOOK_PERIOD;
        // Where the whole process stood still, its workers get their turn first.
        if stood_still {
            return Vec::new();
        }
        let ports: Vec<Sight> = dataplane.ports().iter().zip(&mut self.interfaces).map(sight).collect();
        let (now, hz) = (dpdk::tsc(), dpdk::tsc_hz().max(1));
        let silent = dataplane.workers().map(|(shared, _)| {
            let cycles = shared.stats.silent_cycles(now);
            (shared.core, Duration::from_secs_f64(cycles as f64 / hz as f64))
        });
        self.take(troubles(&ports, silent))
    }

    /// Takes these as what is wrong now.
    fn take(&mut self, now: BTreeMap<Trouble, String>) -> Vec<(EventKind, String)> {
        let before = std::mem::replace(&mut self.troubles, now);
        let new = self.troubles.iter().filter(|(trouble, _)| !before.contains_key(trouble));
        let over = before.iter().filter(|(trouble, _)| !self.troubles.contains_key(trouble));
        let mut told: Vec<_> = new.map(|(_, text)| (EventKind::Alarm, text.clone())).collect();
        told.extend(over.map(|(_, text)| (EventKind::Recovered, format!("no more: {text}"))));
        told
    }

    /// What is wrong as of the last look, in words.
    pub(super) fn alarms(&self) -> impl Iterator<Item = &String> {
        self.troubles.values()
    }

    /// Whether the port with this place has a link, as far as is known besides what its driver says.
    pub(super) fn has_link(&self, port: usize) -> bool {
        ![Trouble::NoLink(port), Trouble::Gone(port)].iter().any(|trouble| self.troubles.contains_key(trouble))
    }

    /// What the kernel counted on the interface of a port.
    pub(super) fn kernel(&self, port: usize) -> Option<Counters> {
        self.interfaces[port].as_ref().map(Interface::counted)
    }
}

fn sight((port, interface): (&Port, &mut Option<Interface>)) -> Sight {
    let by_driver = match (port.is_gone(), port.link().up) {
        (true, _) => State::Gone,
        (false, true) => State::Up,
        (false, false) => State::Down,
    };
    // Drivers that lean on the kernel take its links for up whatever comes.
    let by_kernel = interface.as_mut().map_or(State::Up, Interface::look);
    Sight {
        device: port.device().to_owned(),
        state: if by_driver == State::Up { by_kernel } else { by_driver },
        delivered: port.stats().packets,
        kernel: interface.as_ref().filter(|_| port.driver() == COPYING_DRIVER).map(Interface::counted),
    }
}

/// What is wrong with these ports, and these workers: each its core, and for how long it has not polled.
fn troubles(ports: &[Sight], silent: impl Iterator<Item = (usize, Duration)>) -> BTreeMap<Trouble, String> {
    let mut troubles = BTreeMap::new();
    for (core, time) in silent.filter(|(_, time)| *time > SILENT_MAX) {
        let text = format!(
            "worker {core} does not poll, for {:.1} s by now: something else may have its core",
            time.as_secs_f64()
        );
        troubles.insert(Trouble::Silent(core), text);
    }
    for (place, port) in ports.iter().enumerate() {
        match port.state {
            State::Up => {}
            State::Down => {
                troubles.insert(Trouble::NoLink(place), format!("port {}: no link", port.device));
            }
            State::Gone => {
                let text = format!("port {}: the device is gone; restart leveed once it is back", port.device);
                troubles.insert(Trouble::Gone(place), text);
            }
        }
        let Some(kernel) = port.kernel else { continue };
        let missing = kernel.packets.saturating_sub(port.delivered);
        if missing > KERNEL_AHEAD_MAX.max(kernel.packets / 100) {
            let text = format!(
                "port {}: the kernel received {} packets, {missing} more than were delivered: more queues, or a device without the kernel",
                port.device, kernel.packets
            );
            troubles.insert(Trouble::Behind(place), text);
        }
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Sight = Sight { device: String::new(), state: State::Up, delivered: 0, kernel: None };

    fn keys(ports: &[Sight], silent_ms: &[(usize, u64)]) -> Vec<Trouble> {
        let silent = silent_ms.iter().map(|&(core, millis)| (core, Duration::from_millis(millis)));
        troubles(ports, silent).into_keys().collect()
    }

    #[test]
    fn a_worker_is_silent_after_half_a_second() {
        assert_eq!(keys(&[], &[(0, 0), (1, 500)]), []);
        assert_eq!(keys(&[], &[(0, 3), (1, 501), (7, 60_000)]), [Trouble::Silent(1), Trouble::Silent(7)]);
        let stats = dataplane::stats::Stats::default();
        stats.seen_alive.set(1_000);
        assert_eq!((stats.silent_cycles(1_700), stats.silent_cycles(900)), (700, 0), "clocks of cores differ a little");
    }

    #[test]
    fn a_port_needs_a_link_and_a_device() {
        let ports = [UP, Sight { state: State::Down, ..UP }, Sight { state: State::Gone, ..UP }];
        assert_eq!(keys(&ports, &[]), [Trouble::NoLink(1), Trouble::Gone(2)]);
    }

    #[test]
    fn the_kernel_may_be_a_little_ahead() {
        let port = |packets, delivered| {
            let kernel = Some(Counters { packets, dropped: 0 });
            keys(&[Sight { kernel, delivered, ..UP }], &[])
        };
        assert_eq!(port(5_000, 5_000), []);
        assert_eq!(port(5_000, 9_000), [], "what this machine sends is delivered, too");
        assert_eq!(port(4_096, 0), [], "still in the ring");
        assert_eq!(port(4_097, 0), [Trouble::Behind(0)]);
        assert_eq!(port(10_000_000, 9_900_000), [], "one in a hundred");
        assert_eq!(port(10_000_000, 9_899_999), [Trouble::Behind(0)]);
    }

    #[test]
    fn trouble_is_told_once_and_its_end_too() {
        let mut health = Health { interfaces: Vec::new(), troubles: BTreeMap::new(), next_look: Instant::now() };
        let silent = |text: &str| BTreeMap::from([(Trouble::Silent(1), text.to_owned())]);
        assert_eq!(health.take(silent("for 0.6 s")), [(EventKind::Alarm, "for 0.6 s".to_owned())]);
        assert_eq!(health.take(silent("for 0.8 s")), []);
        assert_eq!(health.alarms().collect::<Vec<_>>(), ["for 0.8 s"], "the alarm is up to date");
        assert_eq!(health.take(BTreeMap::new()), [(EventKind::Recovered, "no more: for 0.8 s".to_owned())]);
        assert_eq!(health.alarms().count(), 0);
    }
}
