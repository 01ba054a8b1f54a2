//! Servers: web, DNS, games, mail.

use super::endpoints::{fetch, look_up};
use super::scene::{Close, Scene};
use crate::packet::{Packet, flag};
use crate::random::Rng;

/// What any server on the Internet sees beside its service: pings, its own look-ups, time, updates, scans.
fn around(scene: &mut Scene<'_>) {
    scene.often(0.6, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let echo = if host.is_ipv6() { (128, 129) } else { (8, 0) };
        scene.put(time, Packet::icmp(client, host, (echo.0, 0), 56));
        scene.put(time + 0.0001, Packet::icmp(host, client, (echo.1, 0), 56));
    });
    scene.often(0.2, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let too_big = if host.is_ipv6() { (2, 0) } else { (3, 4) };
        scene.put(time, Packet::icmp(client, host, too_big, 40));
    });
    scene.often(0.7, look_up);
    scene.often(0.05, |scene, time| {
        let (host, server) = (scene.host(), scene.server());
        scene.ask(time, (host, 123), (server, 123), 48, Some(48));
    });
    scene.often(0.06, fetch);
    scene.often(0.3, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let (port, to) = (scene.port(client), scene.rng.pick(&[22, 23, 3389, 8080, 5900]));
        scene.put(time, Packet::tcp((client, port), (host, to), flag::SYN, 4, 0));
        scene.put(time, Packet::tcp((host, to), (client, port), flag::RST | flag::ACK, 0, 0));
    });
}

/// Bytes of a page's part.
fn object(rng: &mut Rng) -> u32 {
    rng.weighted(&[(3.0, 900), (4.0, 6_000), (3.0, 22_000), (1.0, 90_000)]) + rng.between(0, 3_000) as u32
}

pub(super) fn web(scene: &mut Scene<'_>) {
    scene.often(11.0, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        let to = if scene.rng.chance(0.9) { 443 } else { 80 };
        let mut turns = Vec::new();
        if to == 443 {
            turns.extend([(scene.rng.weighted(&[(2.0, 517), (1.0, 1_780), (1.0, 690)]), 4_200), (80, 250)]);
        }
        for _ in 0..scene.rng.between(1, 7) {
            turns.push((scene.rng.between(150, 1_300) as u32, object(&mut scene.rng)));
        }
        let close = if scene.rng.chance(0.12) { Close::Reset } else { Close::Fin };
        scene.converse(time, (client, port), (host, to), &turns, close);
    });
    scene.often(6.0, quic);
    around(scene);
}

/// A conversation over QUIC: long first packets, then mostly short acknowledgements.
fn quic(scene: &mut Scene<'_>, time: f64) {
    let (client, host) = (scene.client(), scene.host());
    let (from, to) = ((client, scene.port(client)), (host, 443));
    let first = scene.rng.weighted(&[(6.0, 1_250), (2.0, 1_200), (1.0, 1_232), (2.0, 1_357)]);
    let mut now = time;
    for _ in 0..scene.rng.between(1, 2) {
        scene.ask(now, from, to, first, Some(1_200));
        now += 0.0004;
    }
    for _ in 0..scene.rng.between(6, 26) {
        now += scene.rng.exponential(0.02);
        let bytes = match scene.rng.between(0, 19) {
            0..=12 => scene.rng.between16(25, 46),
            13..=17 => scene.rng.between16(47, 420),
            _ => scene.rng.between16(421, 1_250),
        };
        scene.put(now, Packet::udp(from, to, bytes));
        for _ in 0..scene.rng.between(0, 3) {
            scene.put(now + 0.0003, Packet::udp(to, from, 1_250));
        }
    }
}

pub(super) fn dns(scene: &mut Scene<'_>) {
    scene.often(330.0, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let from = if scene.rng.chance(0.01) { 53 } else { scene.rng.between16(1_024, 65_535) };
        let name = scene.rng.bell(33.0, 9.0, 21, 90);
        let question = name + if scene.rng.chance(0.7) { 11 } else { 0 };
        let answer = name + scene.rng.weighted(&[(6.0, 16), (2.0, 90), (1.0, 400), (0.3, 1_100)]);
        scene.ask(time, (client, from), (host, 53), question, Some(answer));
    });
    scene.often(1.5, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        scene.converse(time, (client, port), (host, 53), &[(46, 1_800)], Close::Fin);
    });
    around(scene);
}

pub(super) fn game(scene: &mut Scene<'_>) {
    for _ in 0..16 {
        let (client, host) = (scene.client(), scene.host());
        let (from, to) = ((client, scene.port(client)), (host, 27_015));
        let middle = scene.rng.between(45, 85) as f64;
        scene.stream(from, to, 25.0, move |rng| rng.bell(middle, 14.0, 20, 260));
        scene.stream(to, from, 20.0, move |rng| rng.bell(4.0 * middle, 60.0, 60, 1_200));
    }
    scene.often(6.0, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let from = (client, scene.port(client));
        let question = scene.rng.pick(&[25, 29, 9]);
        scene.ask(time, from, (host, 27_015), question, Some(180));
    });
    scene.often(1.6, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        let turns: Vec<(u32, u32)> =
            (0..25).map(|_| (scene.rng.between(10, 70) as u32, scene.rng.between(20, 2_500) as u32)).collect();
        scene.converse(time, (client, port), (host, 25_565), &turns, Close::Fin);
    });
    around(scene);
}

pub(super) fn mail(scene: &mut Scene<'_>) {
    scene.often(2.2, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        let to = scene.rng.weighted(&[(7.0, 25), (2.0, 587), (1.0, 465)]);
        let body =
            scene.rng.weighted(&[(5.0, 9_000), (4.0, 40_000), (1.0, 400_000)]) + scene.rng.between(0, 9_000) as u32;
        let turns = [(0, 90), (24, 200), (517, 3_800), (80, 60), (40, 30), (36, 30), (6, 40), (body, 60), (6, 30)];
        scene.converse(time, (client, port), (host, to), &turns, Close::Fin);
    });
    scene.often(2.0, |scene, time| {
        let (client, host) = (scene.client(), scene.host());
        let port = scene.port(client);
        let mut turns = vec![(517, 4_000), (60, 120)];
        turns.extend((0..6).map(|_| (scene.rng.between(50, 120) as u32, object(&mut scene.rng))));
        scene.converse(time, (client, port), (host, 993), &turns, Close::Fin);
    });
    scene.often(0.9, |scene, time| {
        let (host, server) = (scene.host(), scene.server());
        let port = scene.port(host);
        let body = scene.rng.between(4_000, 60_000) as u32;
        let turns = [(0, 90), (24, 200), (517, 3_800), (80, 60), (40, 30), (body, 60), (6, 30)];
        scene.converse(time, (host, port), (server, 25), &turns, Close::Fin);
    });
    scene.often(14.0, look_up);
    around(scene);
}
