//! Whatever a sample holds, mining it ends within a bound of work. And what the baseline is good for, taken by itself.

use super::super::*;
use super::{HOST, HOST6, incoming, mine_with, noise, peace, random_port, sample, tcp, udp, words};
use dataplane::packet::{Addresses, Class, Upper};
use proptest::prelude::*;

/// What mining may look at: the last search begins below [`STEPS_MOST`], and one looks at no more than its nodes times what a table holds.
const BOUND: usize = STEPS_MOST + 80_000;

/// How numbers come about: all the same, some, one each, in a row, or each twice as far as the one before.
#[derive(Clone, Copy, Debug)]
enum Style {
    One,
    Some(u32),
    Any,
    Row,
    Doubling,
}

impl Style {
    fn draw(self, seed: usize, salt: usize) -> u32 {
        let any = noise(seed.wrapping_mul(31).wrapping_add(salt));
        match self {
            Style::One => 7,
            Style::Some(count) => noise((any % count) as usize + salt),
            Style::Any => any,
            Style::Row => seed as u32,
            Style::Doubling => 1u32.rotate_left(any % 32),
        }
    }
}

/// A sample or baseline whose every number has a style.
#[derive(Clone, Copy, Debug)]
struct Strange {
    far: Style,
    protocol: Style,
    ports: Style,
    length: Style,
    marks: Style,
    v6: bool,
}

impl Strange {
    fn packet(&self, seed: usize) -> Headers {
        let far = self.far.draw(seed, 1);
        let protocol = match self.protocol {
            Style::One => 17,
            style => style.draw(seed, 2) as u8,
        };
        let (source, destination) = (self.ports.draw(seed, 3) as u16, self.ports.draw(seed, 4) as u16);
        let marks = self.marks.draw(seed, 5);
        Headers {
            addresses: match self.v6 {
                false => Addresses::V4 { source: far, destination: HOST },
                true => Addresses::V6 { source: u128::from(far) << (marks % 96), destination: HOST6 },
            },
            protocol,
            class: Class::Other,
            fragment: (marks >> 3) as u8 & if self.v6 { 0b1110 } else { 0b1111 },
            dscp: (marks % 64) as u8,
            ttl: 64,
            ip_length: self.length.draw(seed, 6) % 70_000,
            flow_label: marks & 0xf_ffff,
            upper: match protocol % 4 {
                0 => Upper::Icmp { kind: source as u8, code: destination as u8 },
                1 => Upper::Ports { source, destination },
                2 => Upper::Tcp { source, destination, flags: marks as u16 & 0x1ff },
                _ => Upper::None,
            },
        }
    }
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![
        Just(Style::One),
        (2..60_u32).prop_map(Style::Some),
        Just(Style::Any),
        Just(Style::Row),
        Just(Style::Doubling)
    ]
}

prop_compose! {
    fn strange()(far in style(), protocol in style(), ports in style(), length in style(), marks in style(), v6: bool) -> Strange {
        Strange { far, protocol, ports, length, marks, v6 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_sample_ends_within_a_bound_of_work(
        (attack, own) in (strange(), strange()),
        (count, known) in (prop_oneof![Just(5_000_usize), 1..5_000_usize], prop_oneof![Just(0_usize), Just(8_192), 1..8_192_usize]),
        (most_rules, seconds) in (1..=64_usize, prop_oneof![Just(0.0), 0.001..100.0_f64]),
    ) {
        let own = Strange { v6: attack.v6, ..own };
        let prefix = if attack.v6 { "2001:db8::5/128" } else { "192.0.2.5/32" };
        let target = Target { prefix: prefix.parse().unwrap(), direction: Direction::Incoming };
        // Every second packet of the host's own may be as those of the attack: then little sets them apart, and much is tried.
        let either = |seed: usize| if seed.is_multiple_of(2) { attack.packet(seed + 9_999) } else { own.packet(seed) };
        let (sample, peace) = (sample(count, |seed| attack.packet(seed)), peace(sample(known, either)));
        let limits = Limits { most_rules, ..Limits::default() };
        let (profile, whitelist) = (Profile::default(), Whitelist::default());
        let (outcome, steps) = mined(&Task {
            target, by: Unit::Pps, sample: &sample, seconds, peace: &peace, profile: &profile, limits: &limits, whitelist: &whitelist,
        });
        prop_assert!(steps <= BOUND, "{steps} steps");
        prop_assert!(outcome.rules.len() <= most_rules);
    }
}

/// What a table says of the host's share, at most and at least, for an attack and what the host has in peace.
fn own_of(attack: &[Headers], own: &[Headers], seconds: f64) -> (f64, f64) {
    let own = peace(own.to_vec());
    let table = Table::new(attack, &own.packets, Unit::Pps, Direction::Incoming);
    let rate = own::by_rate(attack, seconds, &own, Unit::Pps);
    own::share(&table, Component::DestinationPort, Component::SourcePort, rate)
}

#[test]
fn how_much_of_a_sample_is_the_hosts_own() {
    // 100 packets a second in peace, steady: 20 s of them.
    let web =
        |seed: usize| Headers { ip_length: 52 + 600 * (seed as u32 % 2), ..tcp(seed, random_port(seed), 443, 0x10) };
    let own = sample(2_000, web);
    let mixed = |attack: usize, own: usize| -> Vec<Headers> {
        let flood = sample(attack, |seed| udp(seed, 123, random_port(seed)));
        flood.into_iter().chain(sample(own, |seed| web(seed + 70_000))).collect()
    };
    let (most, least) = own_of(&mixed(400, 100), &own, 1.0);
    assert!((0.2..0.26).contains(&most), "a fifth by its kinds, which the attack adds nothing to: {most}");
    assert!((0.1..0.2).contains(&least), "and not much less by its rate: {least}");
    let (most, least) = own_of(&mixed(400, 100), &own, 0.0);
    assert!((0.2..0.26).contains(&most) && least == 0.0, "without times nothing says how little: {most} {least}");
    let (most, least) = own_of(&mixed(495, 5), &own, 0.05);
    assert!(most < 0.03 && least < 0.01, "{most} {least}");
    assert_eq!(own_of(&mixed(400, 100), &[], 1.0), (0.5, 0.0), "without a baseline it may be half");
}

#[test]
fn rules_leave_what_must_be_the_hosts_own() {
    // A flood like the host's own packets, ten to one: what tells it is the sources alone, which are all over.
    let web = |seed: usize| Headers { ip_length: 52, ..tcp(seed, random_port(seed), 443, 0x10) };
    let own = peace(sample(2_000, web));
    let flood = sample(500, |seed| web(seed + 70_000));
    let outcome = mine_with(&incoming(), &flood, &own, |task| task.seconds = 0.5);
    let discards = outcome.rules.iter().filter(|mined| mined.action == Action::Discard);
    assert!(discards.map(|mined| mined.coverage).sum::<f64>() < 0.95, "{:?}", words(&outcome));
}

#[test]
fn a_conversation_is_one_witness_however_long() {
    let table = |conversations: usize| {
        let own = sample(1_000, |seed| {
            let from = seed % conversations;
            let Addresses::V4 { source, .. } = udp(from, 1, 1).addresses else { unreachable!() };
            let addresses = Addresses::V4 { source, destination: HOST };
            Headers { addresses, ip_length: 200, ..udp(from, random_port(from), 10_000) }
        });
        let table = Table::new(&sample(10, |seed| udp(seed, 53, 53)), &own, Unit::Pps, Direction::Incoming);
        table.conversations(&(10..1_010).collect::<Vec<u32>>())
    };
    assert!((table(9).flows - 9.0).abs() < 0.1 && (table(9).ends - 9.0).abs() < 0.1, "{:?}", table(9));
    assert!((table(500).flows - 500.0).abs() < 1.0, "{:?}", table(500));
}

#[test]
fn few_calls_say_little_of_the_next() {
    // Nine calls of one length in peace. A flood of long packets from all over, and among it calls of another length.
    let call = |number: usize, length: u32| {
        let Addresses::V4 { source, .. } = udp(number, 1, 1).addresses else { unreachable!() };
        let addresses = Addresses::V4 { source, destination: HOST };
        Headers { addresses, ip_length: length, ..udp(number, random_port(number), 10_000 + 200 * (number as u16 % 9)) }
    };
    let own = peace(sample(2_000, |seed| call(seed % 9, 200)));
    let mut attack =
        sample(400, |seed| Headers { ip_length: 700 + noise(seed) % 600, ..udp(seed, random_port(seed), 10_000) });
    attack.extend(sample(30, |seed| call(100 + seed % 3, 60)));
    attack.extend(sample(90, |seed| call(200 + seed % 9, 200)));
    let outcome = mine_with(&incoming(), &attack, &own, |_| {});
    // What takes the flood takes no calls along, of neither length.
    let takes = |packet: &Headers| outcome.rules[0].rule.matches(packet);
    assert!(outcome.rules.iter().map(|mined| mined.packets).sum::<usize>() >= 380, "{:?}", words(&outcome));
    assert!(!takes(&call(300, 60)) && !takes(&call(309, 200)), "{:?}", words(&outcome));
}

#[test]
fn a_port_that_all_reflectors_share_is_nobodys_name() {
    // Answers of a service above 1024 from 300 addresses, beside a resolver that is most of what the host hears.
    let answer = |seed: usize| {
        let addresses = Addresses::V4 { source: 0xc633_6435, destination: HOST };
        Headers { addresses, ip_length: 80 + noise(seed) % 200, ..udp(seed, 53, random_port(seed)) }
    };
    let own = peace(sample(2_000, answer));
    let mut attack =
        sample(80, |seed| Headers { ip_length: 100 + noise(seed) % 150, ..udp(seed, 1_900, random_port(seed)) });
    attack.extend(sample(300, |seed| Headers { ip_length: 468, ..udp(seed, 123, random_port(seed)) }));
    attack.extend(sample(40, |seed| answer(seed + 5_000)));
    let outcome = mine_with(&incoming(), &attack, &own, |_| {});
    let fresh = sample(500, |seed| Headers {
        ip_length: 100 + noise(seed) % 150,
        ..udp(seed + 9_000, 1_900, random_port(seed + 9_000))
    });
    let taken = fresh.iter().filter(|packet| outcome.rules.iter().any(|mined| mined.rule.matches(packet))).count();
    assert!(taken >= 475, "{taken} of 500: {:?}", words(&outcome));
}

#[test]
fn a_network_that_takes_half_of_a_kind_is_an_accident() {
    // The host's clients are in one half of the world, and the flood comes from all of it.
    let from = |packet: Headers, source| Headers { addresses: Addresses::V4 { source, destination: HOST }, ..packet };
    let play = |seed: usize| Headers { ip_length: 60 + noise(seed) % 40, ..udp(seed, random_port(seed), 27_015) };
    let own =
        peace(sample(2_000, |seed| from(play(seed % 40 + seed / 40 * 40), 0x2d40_0000 | noise(seed % 40) & 0xffff)));
    let flood = sample(500, |seed| from(play(seed + 50_000), 0x2d40_0000 | noise(seed) & 0x1_ffff));
    let outcome = mine_with(&incoming(), &flood, &own, |task| task.seconds = 0.05);
    let networks = outcome.rules.iter().filter_map(|mined| mined.rule.source).filter(|net| net.prefix_len() < 32);
    assert_eq!(networks.count(), 0, "{:?}", words(&outcome));
}
