//! Hosts that use others: a host with a resolver, a VPN gateway, a home, a telephone server.

use super::scene::{Close, Scene};
use crate::packet::{Packet, protocol};

/// The host asks a resolver. Answers are mostly short; a few are signed and long.
pub(super) fn look_up(scene: &mut Scene<'_>, time: f64) {
    let host = scene.host();
    let resolver = scene.rng.pick(&scene.world.resolvers);
    let port = scene.rng.between16(1_024, 65_535);
    let question = scene.rng.bell(40.0, 8.0, 28, 90);
    let more: u16 = scene.rng.weighted(&[(50.0, 16), (30.0, 44), (15.0, 110), (6.0, 300), (0.5, 820)]);
    let answer = question + more + scene.rng.between16(0, 40);
    scene.ask(time, (host, port), (resolver, 53), question, Some(answer));
}

/// The host fetches something over HTTPS.
pub(super) fn fetch(scene: &mut Scene<'_>, time: f64) {
    let (host, server) = (scene.host(), scene.server());
    let port = scene.port(host);
    let bytes = scene.rng.weighted(&[(5.0, 3_000), (3.0, 25_000), (1.0, 150_000)]) + scene.rng.between(0, 4_000) as u32;
    let turns = [(517, 4_300), (90, 250), (scene.rng.between(200, 900) as u32, bytes)];
    scene.converse(time, (host, port), (server, 443), &turns, Close::Fin);
}

pub(super) fn resolver_user(scene: &mut Scene<'_>) {
    scene.often(140.0, look_up);
    scene.often(5.0, fetch);
    scene.often(0.1, |scene, time| {
        let (host, server) = (scene.host(), scene.server());
        scene.ask(time, (host, 123), (server, 123), 48, Some(48));
    });
    scene.often(0.4, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        let turns: Vec<(u32, u32)> = (0..30).map(|_| (36, scene.rng.between(36, 700) as u32)).collect();
        scene.converse(time, (client, port), (host, 22), &turns, Close::Fin);
    });
}

/// Sizes of packets inside a tunnel.
fn inner(rng: &mut crate::random::Rng) -> u16 {
    match rng.between(0, 9) {
        0..=3 => rng.between16(40, 90),
        4..=6 => rng.between16(91, 1_200),
        _ => rng.between16(1_330, 1_370),
    }
}

pub(super) fn vpn(scene: &mut Scene<'_>) {
    for _ in 0..6 {
        let (peer, host) = (scene.client(), scene.host());
        let port = if scene.rng.chance(0.5) { 4_500 } else { scene.port(peer) };
        let (from, to) = ((peer, port), (host, 4_500));
        scene.stream(from, to, 25.0, |rng| 32 + inner(rng) / 16 * 16);
        scene.stream(to, from, 25.0, |rng| 32 + inner(rng) / 16 * 16);
    }
    for _ in 0..8 {
        let (peer, host) = (scene.client(), scene.host());
        let (from, to) = ((peer, scene.port(peer)), (host, 51_820));
        scene.stream(from, to, 14.0, |rng| 32 + inner(rng).div_ceil(16) * 16);
        scene.stream(to, from, 14.0, |rng| 32 + inner(rng).div_ceil(16) * 16);
        scene.stream(from, to, 0.2, |_| 148);
    }
    scene.often(0.5, |scene, time| {
        let (peer, host) = (scene.client(), scene.host());
        let bytes = scene.rng.between16(100, 600);
        scene.ask(time, (peer, 500), (host, 500), bytes, Some(bytes));
    });
    for (per_second, which) in [(70.0, protocol::ESP), (50.0, protocol::ESP), (22.0, protocol::GRE)] {
        tunnel(scene, per_second, which);
    }
    scene.often(0.7, look_up);
}

/// A tunnel between sites, straight over IP: now and then a packet is too long and fragmented.
fn tunnel(scene: &mut Scene<'_>, per_second: f64, which: u8) {
    let (peer, host) = (scene.client(), scene.host());
    let mut time = 0.0;
    for _ in 0..(per_second * 120.0) as u32 {
        time += scene.rng.exponential(1.0 / per_second);
        let ends = if scene.rng.chance(0.5) { (peer, host) } else { (host, peer) };
        let bytes = 36 + inner(&mut scene.rng) / 4 * 4 + if scene.rng.chance(0.02) { 130 } else { 0 };
        for packet in Packet::raw(ends.0, ends.1, which, bytes).fragments(1500) {
            scene.put(time, packet);
        }
    }
}

pub(super) fn home(scene: &mut Scene<'_>) {
    scene.often(2.5, fetch);
    let (host, video, game) = (scene.host(), scene.server(), scene.server());
    let port = scene.port(host);
    scene.stream((video, 443), (host, port), 90.0, |rng| rng.weighted(&[(8.0, 1_250), (1.0, 1_200), (1.0, 90)]));
    scene.stream((host, port), (video, 443), 30.0, |rng| rng.between16(25, 60));
    scene.stream((game, 27_015), (host, 27_005), 32.0, |rng| rng.bell(190.0, 60.0, 30, 1_200));
    scene.stream((host, 27_005), (game, 27_015), 30.0, |rng| rng.bell(60.0, 12.0, 20, 200));
    scene.often(3.0, look_up);
    scene.often(0.05, |scene, time| {
        let (host, server) = (scene.host(), scene.server());
        scene.ask(time, (host, 123), (server, 123), 48, Some(48));
    });
    for _ in 0..10 {
        let (peer, host) = (scene.client(), scene.host());
        let from = (peer, scene.port(peer));
        scene.stream(from, (host, 51_413), 5.0, |rng| rng.weighted(&[(4.0, 20), (1.0, 130), (4.0, 1_402)]));
        scene.stream((host, 51_413), from, 5.0, |rng| rng.weighted(&[(6.0, 20), (1.0, 130)]));
    }
}

pub(super) fn voip(scene: &mut Scene<'_>) {
    for call in 0..9_u16 {
        let (peer, host) = (scene.client(), scene.host());
        let (from, to) = ((peer, scene.rng.between16(5_000, 32_000) * 2), (host, 10_000 + 200 * call));
        let bytes = scene.rng.weighted(&[(6.0, 172), (3.0, 32)]);
        scene.stream(from, to, 50.0, move |_| bytes);
        scene.stream(to, from, 50.0, move |_| bytes);
        scene.stream((peer, from.1 + 1), (host, to.1 + 1), 0.2, |rng| rng.between16(60, 140));
    }
    scene.often(6.0, |scene, time| {
        let (peer, host) = (scene.client(), scene.host());
        let question = scene.rng.between16(320, 1_250);
        scene.ask(time, (peer, 5_060), (host, 5_060), question, Some(scene_answer(question)));
    });
    scene.often(0.7, look_up);
}

/// SIP answers repeat most of the question.
fn scene_answer(question: u16) -> u16 {
    question - 60
}
