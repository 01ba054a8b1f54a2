//! What services' traffic is made of: conversations over TCP, datagrams to and fro, things that happen at random.

use std::net::IpAddr;

use crate::packet::{Packet, flag, habit};
use crate::random::Rng;
use crate::world::World;

/// Conversations begin this long before the traffic that is kept, seconds: so some are under way when it starts.
const WARM_UP: f64 = 8.0;

/// An address and a port.
pub(super) type End = (IpAddr, u16);

/// Traffic of some seconds, being written.
pub(super) struct Scene<'a> {
    /// Who is there.
    pub(super) world: &'a World,
    /// Draws.
    pub(super) rng: Rng,
    until: f64,
    packets: Vec<Packet>,
}

/// How a conversation over TCP ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Both sides close.
    Fin,
    /// The client aborts.
    Reset,
}

impl Scene<'_> {
    /// Nothing yet.
    pub(super) fn new(world: &World, rng: Rng, seconds: f64) -> Scene<'_> {
        Scene { world, rng, until: seconds, packets: Vec::new() }
    }

    /// All packets in order of time.
    pub(super) fn finish(mut self) -> Vec<Packet> {
        self.packets.sort_by_key(|packet| packet.time_us);
        self.packets
    }

    /// Something that happens so often a second, at random; at the time that it is told.
    pub(super) fn often(&mut self, per_second: f64, happen: fn(&mut Self, f64)) {
        let mut time = -WARM_UP + self.rng.exponential(1.0 / per_second);
        while time < self.until {
            happen(self, time);
            time += self.rng.exponential(1.0 / per_second);
        }
    }

    /// A packet, if it falls into what is kept.
    pub(super) fn put(&mut self, time: f64, packet: Packet) {
        if (0.0..self.until).contains(&time) {
            self.packets.push(packet.at((time * 1e6) as u64));
        }
    }

    /// One of the hosts.
    pub(super) fn host(&mut self) -> IpAddr {
        self.rng.pick(&self.world.hosts)
    }

    /// One of the clients, as likely as it is busy.
    pub(super) fn client(&mut self) -> IpAddr {
        self.world.clients.pick(&mut self.rng)
    }

    /// One of the servers that the host uses.
    pub(super) fn server(&mut self) -> IpAddr {
        self.world.servers.pick(&mut self.rng)
    }

    /// A port that a system gives a client.
    pub(super) fn port(&mut self, of: IpAddr) -> u16 {
        if habit(of, 7).is_multiple_of(3) {
            self.rng.between16(1_024, 65_535)
        } else {
            self.rng.between16(32_768, 60_999)
        }
    }

    /// A datagram and perhaps its answer a moment later.
    pub(super) fn ask(&mut self, time: f64, from: End, to: End, question: u16, answer: Option<u16>) {
        self.put(time, Packet::udp(from, to, question));
        let Some(answer) = answer else { return };
        let later = time + self.round_trip(from.0, to.0);
        for packet in Packet::udp(to, from, answer).fragments(1500) {
            self.put(later, packet);
        }
    }

    /// Datagrams at an even pace with some jitter, all through.
    pub(super) fn stream(&mut self, from: End, to: End, per_second: f64, payload: impl Fn(&mut Rng) -> u16) {
        let mut time = self.rng.unit() / per_second;
        while time < self.until {
            let bytes = payload(&mut self.rng);
            self.put(time, Packet::udp(from, to, bytes));
            time += (0.6 + 0.8 * self.rng.unit()) / per_second;
        }
    }

    /// A conversation over TCP: in each turn the client sends so many bytes, and the server answers with so many.
    pub(super) fn converse(&mut self, time: f64, client: End, server: End, turns: &[(u32, u32)], close: Close) {
        let (syn_options, options) = match habit(client.0, 8) % 10 {
            0..=4 => (20, 12),
            5..=7 => (12, 0),
            _ => (24, 12),
        };
        let trip = self.round_trip(client.0, server.0);
        let half = trip / 2.0;
        let mut now = time;
        self.put(now, Packet::tcp(client, server, flag::SYN, syn_options, 0));
        self.put(now + half, Packet::tcp(server, client, flag::SYN | flag::ACK, if options == 0 { 12 } else { 20 }, 0));
        now += trip;
        self.put(now, Packet::tcp(client, server, flag::ACK, options, 0));
        for &(request, response) in turns {
            now = self.send(now, client, server, request, options, trip);
            now = self.send(now, server, client, response, options, trip);
            now += self.rng.exponential(0.15);
        }
        if close == Close::Reset {
            self.put(now, Packet::tcp(client, server, flag::RST | flag::ACK, 0, 0));
            return;
        }
        self.put(now, Packet::tcp(client, server, flag::FIN | flag::ACK, options, 0));
        self.put(now + half, Packet::tcp(server, client, flag::FIN | flag::ACK, options, 0));
        self.put(now + trip, Packet::tcp(client, server, flag::ACK, options, 0));
    }

    /// Bytes one way, and acknowledgements for every second segment. Says when all is there.
    fn send(&mut self, time: f64, from: End, to: End, bytes: u32, options: u8, trip: f64) -> f64 {
        let segment = 1500 - u32::from(self.world.ip_header()) - 20 - u32::from(options);
        let count = bytes.div_ceil(segment);
        let mut now = time;
        for place in 0..count {
            let payload = segment.min(bytes - place * segment) as u16;
            let is_last = place + 1 == count;
            let push = if is_last { flag::PSH } else { 0 };
            self.put(now, Packet::tcp(from, to, flag::ACK | push, options, payload));
            if place % 2 == 1 || is_last {
                self.put(now + trip / 2.0, Packet::tcp(to, from, flag::ACK, options, 0));
            }
            now += if place % 10 == 9 { trip } else { 0.0002 + self.rng.exponential(0.0003) };
        }
        now + trip / 2.0
    }

    fn round_trip(&mut self, one: IpAddr, other: IpAddr) -> f64 {
        let base = 0.004 + (habit(one, 9) ^ habit(other, 9)) as f64 / u64::MAX as f64 * 0.09;
        base + self.rng.exponential(0.002)
    }
}
